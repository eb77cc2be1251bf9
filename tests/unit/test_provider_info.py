"""What Airflow is told about the provider is true."""

from __future__ import annotations

import importlib
import json
import re
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import airflow_provider_agents
from airflow_provider_agents.bundles import AgentsDagBundle
from airflow_provider_agents.get_provider_info import get_provider_info

INFO = get_provider_info()
PACKAGE = Path(airflow_provider_agents.__file__).parent
MODULES = [
    module
    for key in ("operators", "sensors", "hooks", "triggers", "bundles")
    for entry in INFO[key]
    for module in entry["python-modules"]
]


def test_it_fits_airflows_schema() -> None:
    schema = json.loads((files("airflow") / "provider_info.schema.json").read_text())
    jsonschema.validate(INFO, schema)


@pytest.mark.parametrize("module", MODULES)
def test_each_module_is_there(module: str) -> None:
    importlib.import_module(module)


@pytest.mark.parametrize("path", INFO["extra-links"])
def test_each_link_is_there(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert getattr(importlib.import_module(module), name)().name


def test_every_integration_is_declared() -> None:
    names = {entry["integration-name"] for entry in INFO["integrations"]}
    for key in ("operators", "sensors", "hooks", "triggers", "bundles"):
        assert {entry["integration-name"] for entry in INFO[key]} <= names


def test_its_version_is_the_packages() -> None:
    assert INFO["versions"][0] == airflow_provider_agents.__version__


def test_airflow_finds_it() -> None:
    (found,) = [
        e
        for e in entry_points(group="apache_airflow_provider")
        if e.module.startswith("airflow_provider_agents")
    ]
    assert found.load() is get_provider_info


def source() -> str:
    return "\n".join(
        file.read_text()
        for folder in (PACKAGE, AgentsDagBundle(name="a").path)
        for file in folder.rglob("*.py")
    )


def options() -> dict[str, Any]:
    return dict(INFO["config"]["agents"]["options"])


@pytest.mark.parametrize("name", options())
def test_each_option_is_described(name: str) -> None:
    assert options()[name]["description"].endswith(".")


def test_every_option_that_the_code_reads_is_described_and_the_other_way_round() -> None:
    read = set(re.findall(r'settings\.(?:text|number|amount)\(\s*"(\w+)"', source()))
    # Read by a name that stands in a table.
    read |= {name for name in options() if re.search(rf'\("{name}", "\w+_default", ', source())}
    assert read == set(options())


@pytest.mark.parametrize("name", options())
def test_the_code_falls_back_to_the_documented_default(name: str) -> None:
    for fallback in re.findall(rf'settings\.(?:text|number|amount)\("{name}", "?([^")]*)"?\)', source()):
        documented = str(options()[name]["default"])
        fallback = fallback.removesuffix(".0")
        assert fallback in (documented, "DEFAULT_IMAGE"), (
            f"{name}: {fallback!r} in the code, {documented!r} told"
        )
