"""The pages name every command, option, field and variable that there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_agents.cli import api_access
from airflow_provider_agents.cli.definition import get_agents_cli_commands
from airflow_provider_agents.cli.definition_runs import get_run_commands
from airflow_provider_agents.cli.phases import _PHASES
from airflow_provider_agents.domain.manifest import read_manifest
from airflow_provider_agents.domain.manifest_fields import CodingTaskManifest
from airflow_provider_agents.domain.model_faults import _models

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

DOCS = Path(__file__).resolve().parents[3] / "docs"
CLI, MANIFESTS = ((DOCS / name).read_text() for name in ("cli.md", "manifests.md"))


@pytest.mark.parametrize("command", get_run_commands(), ids=lambda command: command.name)
def test_commands_and_options(command: object) -> None:
    assert re.search(rf"\b{command.name}\b", CLI)  # type: ignore[attr-defined]
    for arg in command.args:  # type: ignore[attr-defined]
        longest = arg.flags[-1]
        assert not longest.startswith("--") or longest == "--output" or f"{longest}" in CLI, longest


def test_airflow_knows_the_commands() -> None:
    (group,) = get_agents_cli_commands()
    names = [command.name for command in group.subcommands]
    assert {command.name for command in get_run_commands()} <= set(names)
    assert len(names) == len(set(names))
    for command in group.subcommands:
        assert callable(command.func)


def test_variables_and_phases() -> None:
    for name in (api_access.URL, api_access.TOKEN, api_access.USERNAME, api_access.PASSWORD):
        assert f"`{name}" in CLI
    for phase in {phase for _, phase in _PHASES} | {"Complete", "Failed"}:
        assert f"`{phase}`" in CLI


def paths(model: type[BaseModel], before: str = "") -> Iterator[str]:
    for name, info in model.model_fields.items():
        inner = list(_models(info.annotation))
        path = f"{before}{info.alias or name}"
        if inner:
            yield from paths(inner[0], f"{path}.")
        else:
            yield path


@pytest.mark.parametrize("path", [path for path in paths(CodingTaskManifest) if "." in path])
def test_fields(path: str) -> None:
    """A row has the whole path, or its last part after that of its neighbour: `a.b`, `.c`."""
    before, _, last = path.rpartition(".")
    rows = [line for line in MANIFESTS.splitlines() if line.startswith("| `")]
    assert any(f"`{path}`" in row or (f"`.{last}`" in row and f"`{before}." in row) for row in rows), (
        f"{path} is not in docs/manifests.md"
    )


def test_the_examples_are_manifests() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", MANIFESTS, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        manifests, faults = read_manifest(example, "docs/manifests.md")
        assert (len(manifests), faults) == (1, [])
