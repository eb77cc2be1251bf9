"""The example definition and those of the documentation are ones that load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from airflow_provider_agents.domain.authority import may
from airflow_provider_agents.domain.authority_rules import Standing
from airflow_provider_agents.domain.source_definition import AT_PULL_REQUEST, SourceDefinition
from airflow_provider_agents.hooks.linear_tickets import LinearTickets

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "tickets-linear.md").read_text()
WRITTEN = [
    (ROOT / "dags" / "tickets" / "linear.yaml").read_text(),
    *(re.sub(r"(?m)^ {3}", "", block) for block in re.findall(r"(?ms)^ *```yaml\n(.*?)^ *```", PAGE)),
]


@pytest.mark.parametrize("text", WRITTEN)
def test_it_loads_and_lets_members_start(text: str) -> None:
    definition = SourceDefinition.model_validate(yaml.safe_load(text))
    assert LinearTickets(definition, connection="linear_default").kind == "linear"
    member = Standing(login="ada@example.com", association="member")
    assert may(member, "start", definition.authority)
    assert not may(member, "merge", definition.authority)
    at_github = Standing(login="mona", permission="maintain")
    assert all(may(at_github, action, definition.authority) for action in AT_PULL_REQUEST)
    assert not may(Standing(login="guest@example.com"), "start", definition.authority)


def test_there_is_one_in_the_documentation() -> None:
    assert len(WRITTEN) == 2
