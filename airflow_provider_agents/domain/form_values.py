"""What the trigger form starts with, so that what a run changed in it can be told from what it left as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.coding_task_request import CodingTaskRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_agents.domain.run_settings import Bounds
    from airflow_provider_agents.domain.settings_layers import Installed


def form_defaults(installed: Installed) -> dict[str, Any]:
    """Return what ``defaults:`` of ``repositories.yaml`` sets, as JSON values, by the names of the form's fields."""
    values = installed.repositories.defaults.model_dump(mode="json", exclude_unset=True)
    return {key: value for key, value in values.items() if key in CodingTaskRequest.model_fields}


def form_values(bounds: Bounds, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return what each field of the form starts with, as JSON values; fields that must be filled in are left out.

    :param bounds: how many attempts and rounds the graph has.
    :param defaults: as of :func:`form_defaults`.
    """
    values: dict[str, Any] = {}
    for name, field in CodingTaskRequest.model_fields.items():
        if name in defaults:
            values[name] = defaults[name]
        elif not field.is_required():
            value = field.get_default()
            values[name] = list(value) if isinstance(value, tuple) else value
    for name in ("max_attempts", "max_rounds"):
        if isinstance(values[name], int):
            values[name] = min(values[name], getattr(bounds, name))
    return values
