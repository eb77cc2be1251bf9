"""``docs/reference.md`` is held to the code: public names are there, with their defaults."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path

import pytest

from agent_runner.contract import Failure, FailureCategory, StepResult
from airflow_provider_agents.domain.coding_task_request import CodingTaskRequest
from airflow_provider_agents.domain.settings_layers import REPOSITORIES_FILE
from airflow_provider_agents.get_provider_info import get_provider_info
from airflow_provider_agents.operators import pod_parts, step_outcome
from airflow_provider_agents.operators.failure_reason import FAILURE_KEY

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference.md").read_text()


def rows(section: str) -> dict[str, list[str]]:
    """Return the rows of a section's table by their first cell."""
    text = PAGE.split(f"## {section}")[1].split("\n## ")[0]
    return {cells[1].strip(): cells for line in text.splitlines() if len(cells := line.split("|")) > 3}


PARAMS = rows("Params of `coding_task`")
SETTINGS = rows("Options of the section `[agents]`")
SCHEMA = CodingTaskRequest.model_json_schema()
OPTIONS = get_provider_info()["config"]["agents"]["options"]


@pytest.mark.parametrize("name", SCHEMA["properties"])
def test_params(name: str) -> None:
    field = SCHEMA["properties"][name]
    _, _, default, description, _ = PARAMS[f"`{name}`"]
    assert field["description"] in description
    if name in SCHEMA["required"]:
        assert default.strip() == "required"
    elif (value := field["default"]) is None:
        assert default.strip() == "empty"
    else:
        assert default.strip() == f"`{str(value).lower() if isinstance(value, bool) else value}`"


@pytest.mark.parametrize("name", OPTIONS)
def test_options(name: str) -> None:
    _, _, default, description, _ = SETTINGS[f"`{name}`"]
    assert default.strip() == (f"`{OPTIONS[name]['default']}`" if OPTIONS[name]["default"] else "empty")
    assert OPTIONS[name]["description"] in description


def test_keys_of_a_result() -> None:
    section = PAGE.split("## The result of a step")[1].split("\n## ")[0]
    names = set(re.findall(r"`(\w+)`", section))
    keys = {field.name for field in dataclasses.fields(StepResult)} - {"version"}
    keys |= {field.name for field in dataclasses.fields(Failure)} | set(step_outcome._PLACES) | {"ledger"}
    assert keys <= names
    assert " ".join(typing.get_args(FailureCategory)) in " ".join(section.split())


def test_keys_labels_and_files() -> None:
    for name in ("installation", "run", "ticket", "step", "generation", "spec"):
        assert f"`{pod_parts.LABEL_PREFIX}{name}`" in PAGE
    assert f"`{pod_parts.SPEC_ANNOTATION}`" in PAGE
    assert f"`{FAILURE_KEY}`" in PAGE
    assert f"`{REPOSITORIES_FILE}`" in PAGE
