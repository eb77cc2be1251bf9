"""The JSON schemas and the table of settings are those of the code, and the schemas agree with the checks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import airflow_provider_agents
from airflow_provider_agents.domain.merge_rules import NEVER, RULES, UNLIMITED
from airflow_provider_agents.domain.published_schemas import SCHEMAS, schema_text
from airflow_provider_agents.domain.settings_layers import read_repositories
from airflow_provider_agents.domain.settings_reference import with_generated
from airflow_provider_agents.domain.yaml_source import load_yaml, validate

ROOT = Path(airflow_provider_agents.__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "settings.md"


def faults(name: str, text: str) -> tuple[list[str], list[Any]]:
    document = load_yaml(text, "x.yaml")
    validator = jsonschema.Draft202012Validator(json.loads(schema_text(name)))
    return validate(SCHEMAS[name][0], document)[1], list(validator.iter_errors(document.value))


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_file_of_a_schema_is_current(name: str) -> None:
    file = Path(airflow_provider_agents.__file__).parent / "schemas" / f"{name}.schema.json"
    assert file.read_text(encoding="utf-8") == schema_text(name), "run: python docs/make.py"
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text(name)))


def test_the_page_is_current() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert with_generated(text) == text, "run: python docs/make.py"
    assert all(f"| `{key}` |" in text for key in RULES)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("repositories", ""),
        ("repositories", (ROOT / "dags" / "repositories.yaml").read_text()),
        ("repositories", "defaults:\n  thinking: on\n  limits: {budget_usd: 5}\n"),
        ("repositories", "defaults:\n  thinking: 8000\nrepositories: {a/b: {prompts: {plan: {file: x}}}}\n"),
        ("agents", "max_rounds: 2\nplan_approval: true\nthinking: off\n"),
        ("ticket-source", "source: github\nrepositories: [acme/shop]\n"),
        *[
            ("pull-request-rule", file.read_text())
            for file in sorted((ROOT / "dags" / "rules").glob("*.yaml"))
        ],
        *[("rollback", file.read_text()) for file in sorted((ROOT / "dags" / "rollbacks").glob("*.yaml"))],
    ],
)
def test_what_is_right_is_right_for_both(name: str, text: str) -> None:
    assert faults(name, text) == ([], [])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("repositories", "defaults: {plan_turn: 3}\n"),
        ("repositories", "defaults: {plan_turns: 0}\n"),
        ("repositories", "repositories: []\n"),
        *[("repositories", f"defaults: {{limits: {{{key}: x}}}}\n") for key in UNLIMITED[:4]],
        *[("agents", f"{key}: x\n") for key in NEVER],
        ("agents", "repository: a/b\n"),
        ("ticket-source", "source: gitlab\n"),
        ("pull-request-rule", "repositories: [acme/shop]\n"),
        ("pull-request-rule", "instruction: x\nactions: [fly]\n"),
        ("rollback", "application: shop\n"),
        ("rollback", "application: shop\nrepository: acme/shop\ntimings: {poll: 1}\n"),
    ],
)
def test_what_is_wrong_is_wrong_for_both(name: str, text: str) -> None:
    said, found = faults(name, text)
    assert said
    assert found


def test_the_example_is_valid() -> None:
    text = (ROOT / "dags" / "repositories.yaml").read_text()
    assert read_repositories(load_yaml(text, "repositories.yaml"))[1] == []
