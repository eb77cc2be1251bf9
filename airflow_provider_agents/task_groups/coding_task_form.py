"""The trigger form of a coding task: one Airflow param for each field of the request.

Made from :class:`~airflow_provider_agents.domain.coding_task.CodingTaskRequest`, so that the form, its
checks in the REST API and the checks in ``accept`` cannot drift apart.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param
from airflow.sdk.exceptions import ParamValidationError

from airflow_provider_agents import settings
from airflow_provider_agents.domain.coding_task_request import Bounds, CodingTaskRequest
from airflow_provider_agents.domain.config_files import repositories_file
from airflow_provider_agents.domain.form_values import form_defaults, form_values

_PASSED_ON = ("type", "enum", "pattern", "minimum", "maximum", "exclusiveMinimum", "maxLength", "format")
_UNFOLDED = "Ticket"


def installed_bounds() -> Bounds:
    """Return the bounds of this installation: ``[agents] max_attempts``, ``max_rounds``, ``granted_rounds``."""
    return Bounds(
        max_attempts=max(1, settings.number("max_attempts", 3)),
        max_rounds=max(0, settings.number("max_rounds", 5)),
        granted_rounds=max(0, settings.number("granted_rounds", 2)),
    )


def installed_defaults() -> dict[str, Any]:
    """Return what the installation sets in ``defaults:`` of ``<[agents] config_path>/repositories.yaml``.

    :raises ValueError: if the file has faults, each of which is named with its line; Airflow then shows them as an
        import error of the DAG.
    """
    installed, faults = repositories_file(settings.config_folder())
    if installed is None:
        raise ValueError("\n".join(faults))
    return form_defaults(installed)


def request_params(bounds: Bounds, defaults: dict[str, Any]) -> dict[str, Param]:
    """Return the params of a DAG that runs coding tasks.

    :param bounds: how many attempts and rounds the graph has.
    :param defaults: values that stand in the form in place of the request's own defaults.
    :raises ValueError: if one of ``defaults`` is no value of its field.
    """
    most = {"max_attempts": bounds.max_attempts, "max_rounds": bounds.max_rounds}
    values = form_values(bounds, defaults)
    params = {}
    request = CodingTaskRequest.model_json_schema()
    for name, schema in request["properties"].items():
        options = _flat(schema)
        default = values.get(name)
        if name in most:
            options["maximum"] = most[name]
        # The form shows what has no section first and unfolded; the ticket is what a person fills in.
        if schema["section"] != _UNFOLDED:
            options["section"] = schema["section"]
        if default is not None or name not in request["required"]:
            options["default"] = default
        params[name] = Param(description_md=schema["description"], title=schema["title"], **options)
        if name in defaults:
            _check(name, params[name])
    return params


def _check(name: str, param: Param) -> None:
    try:
        param.resolve()
    except ParamValidationError as error:
        raise ValueError(f"Default of {name}: {str(error).splitlines()[0]}") from None


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON-schema keywords of a field, with ``X or null`` as a list of types."""
    variants = schema.get("anyOf") or [schema]
    options: dict[str, Any] = {}
    types: list[str] = []
    for variant in [*variants, {key: schema[key] for key in ("format",) if key in schema}]:
        options.update({key: value for key, value in variant.items() if key in _PASSED_ON and key != "type"})
        if "type" in variant:
            types.append(variant["type"])
    if "enum" in options and "null" in types:
        options["enum"] = [None, *options["enum"]]
        options["values_display"] = {"null": schema["unset"]}
    if types == ["array"]:
        # The form makes null of a list that a person empties.
        types.append("null")
    options["type"] = types[0] if len(types) == 1 else types
    return options
