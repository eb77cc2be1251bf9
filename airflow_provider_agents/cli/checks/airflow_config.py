"""The version of Airflow, and every option of ``[agents]`` with the files that they name."""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_agents import settings
from airflow_provider_agents.cli.deployment import one_line
from airflow_provider_agents.cli.report import Finding, failed, ok, warning
from airflow_provider_agents.domain.quantity import size
from airflow_provider_agents.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_provider_agents.cli.deployment import Deployment

OLDEST = (3, 3)
"""First release that has all that the operators use."""
_DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def version(deployment: Deployment) -> Iterator[Finding]:
    """Check that this Airflow is one that the provider works with."""
    from airflow import __version__ as found

    numbers = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    if OLDEST <= numbers < (OLDEST[0] + 1,):
        yield ok(f"Airflow {found}")
    else:
        yield failed(
            f"Airflow {found} is not supported",
            f"Install Airflow {OLDEST[0]}.{OLDEST[1]} or a later {OLDEST[0]}.x: pip install 'apache-airflow>=3.3,<4'.",
        )


def options(deployment: Deployment) -> Iterator[Finding]:
    """Check each option of ``[agents]``: known, of its type, and fit for its purpose."""
    from airflow.sdk.configuration import conf

    from airflow_provider_agents.get_provider_info import get_provider_info

    declared: Mapping[str, Any] = get_provider_info()["config"][settings.SECTION]["options"]
    present = dict(conf.getsection(settings.SECTION) or {})
    faults: list[Finding] = []
    for name in sorted(set(present) - set(declared)):
        near = get_close_matches(name, declared, n=1)
        remedy = f"Did you mean {near[0]!r}?" if near else "Remove it; docs/reference.md has all options."
        faults.append(warning(f"[agents] {name} is no option and has no effect", remedy, f"[agents] {name}"))
    for name, option in declared.items():
        value = present.get(name, option["default"])
        text = "" if value is None else str(value).strip()
        if not text and not option["default"]:
            continue  # empty, and that means something
        fault = _fault(name, str(option["type"]), text)
        if fault:
            faults.append(failed(f"[agents] {name}: {fault[0]}", fault[1], f"[agents] {name}"))
    yield from faults or [ok(f"{len(declared)} options of [agents] are valid")]


def _fault(name: str, kind: str, value: str) -> tuple[str, str] | None:
    """Return what is wrong with a value, and the remedy; ``None`` where nothing is."""
    if kind in ("integer", "float"):
        try:
            number = int(value) if kind == "integer" else float(value)
        except ValueError:
            what = "a whole number" if kind == "integer" else "a number"
            return f"{value!r} is not {what}", f"Set it to {what}."
        return ("it is negative", "Set it to 0 or more.") if number < 0 else None
    check = _CHECKS.get(name)
    return check(value) if check and value else None


def _quantity(value: str) -> tuple[str, str] | None:
    try:
        size(value)
    except ValueError as error:
        return str(error), "Write it like 8Gi."
    return None


def _url(value: str) -> tuple[str, str] | None:
    parts = urlsplit(value)
    if parts.scheme in ("http", "https") and parts.hostname:
        return None
    return "it is no http(s) address", "Write it with its scheme, like https://llm-proxy.example.com."


def _name(value: str) -> tuple[str, str] | None:
    if _DNS_NAME.fullmatch(value):
        return None
    return f"{value!r} is no name of a Kubernetes object", "Use lower-case letters, digits and hyphens."


def _image(value: str) -> tuple[str, str] | None:
    rest = value.replace("{preset}", "")
    if "{" in rest or "}" in rest or " " in rest:
        return f"{value!r} is no name of an image", "Write it like registry.example.com/agent:0.1.0-{preset}."
    return None


def _one_of(*allowed: str) -> Callable[[str], tuple[str, str] | None]:
    def check(value: str) -> tuple[str, str] | None:
        if value in allowed:
            return None
        return f"{value!r} is not {' or '.join(allowed)}", f"Set it to {' or '.join(allowed)}."

    return check


def _folder(value: str) -> tuple[str, str] | None:
    if Path(value).is_dir():
        return None
    return f"there is no folder {value!r} on this machine", (
        "Create it, mount it into every Airflow component, or correct the path."
    )


def _prices(value: str) -> tuple[str, str] | None:
    remedy = 'Write it like {"my-model": {"input": 1, "output": 4}}, USD per million tokens.'
    try:
        json.loads(value)
    except ValueError as error:
        return f"it is not JSON: {error}", remedy
    from agent_runner.contract import ContractError, GatewayConfig

    known = {"repository": "acme/shop", "work_branch": "ai/x", "forge_url": "https://github.com"}
    try:
        GatewayConfig.from_json(json.dumps({**known, "prices": json.loads(value)}))
    except ContractError as error:
        return str(error), remedy
    return None


_CHECKS: Mapping[str, Callable[[str], tuple[str, str] | None]] = {
    "namespace": _name,
    "service_account": _name,
    "secret": _name,
    "storage_class": _name,
    "cache_claim": _name,
    "image": _image,
    "workspace_size": _quantity,
    "cache_max_size": _quantity,
    "cache_repository_max_size": _quantity,
    "memory_ceiling": _quantity,
    "anthropic_url": _url,
    "openai_url": _url,
    "credentials": _one_of("secret", "connections"),
    "workspace": _one_of("claim", "ephemeral"),
    "prices": _prices,
    "config_path": _folder,
}


def form(deployment: Deployment) -> Iterator[Finding]:
    """Check the defaults of the trigger form, as the DAG reads them at its parse."""
    from airflow_provider_agents.domain.config_files import FORMER_FILE
    from airflow_provider_agents.domain.settings_layers import REPOSITORIES_FILE
    from airflow_provider_agents.task_groups.coding_task_form import (
        installed_bounds,
        installed_defaults,
        request_params,
    )

    folder = settings.text("config_path")
    if not folder or not any((Path(folder) / name).exists() for name in (REPOSITORIES_FILE, FORMER_FILE)):
        yield ok(f"all settings have their defaults; no {REPOSITORIES_FILE}")
        return
    try:
        defaults = installed_defaults()
        request_params(installed_bounds(), defaults)
    except Exception as error:
        yield failed(
            one_line(error),
            f"Correct {Path(folder) / REPOSITORIES_FILE}; until then the DAG coding_task does not import.",
            REPOSITORIES_FILE,
        )
        return
    yield ok(f"{Path(folder) / REPOSITORIES_FILE} sets {len(defaults)} defaults", REPOSITORIES_FILE)


def pod_template(deployment: Deployment) -> Iterator[Finding]:
    """Check the template of the pods, as the steps read it."""
    from airflow_provider_agents.operators.pod_template import TEMPLATE_FILE, installed_template

    try:
        found = installed_template()
    except InvalidInputError as error:
        for fault in error.faults:
            yield failed(
                fault,
                f"Correct {TEMPLATE_FILE} in [agents] config_path; docs/deploy.md says what it may set.",
                TEMPLATE_FILE,
            )
        return
    yield ok(f"{TEMPLATE_FILE} is valid" if found else "no template of pods is set")
