"""What doctor says of rules for pull requests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.cli.checks import rules
from airflow_provider_agents.cli.report import warning
from airflow_provider_agents.domain.pr_rule import PullRequestRule
from airflow_provider_agents.domain.pr_rule_files import RuleFile
from airflow_provider_agents.domain.pr_rule_state import Pass, RuleState
from airflow_provider_agents.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_agents.cli.report import Finding

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: list[RuleFile] = []
        self.fault: Exception | None = None
        self.state = RuleState(last_pass=Pass(at=NOW))
        self.connections: list[str] = []
        monkeypatch.setattr(rules, "rule_files", lambda: self.files)
        monkeypatch.setattr(rules, "rule_model", self.model)
        monkeypatch.setattr(rules, "checked_type", self.checked)
        monkeypatch.setattr(rules, "_state", lambda name: self.state)

    def model(self, rule: PullRequestRule) -> None:
        if self.fault:
            raise self.fault

    def checked(self, name: str, wanted: str, how: str) -> Iterator[Finding]:
        self.connections.append(f"{name} {wanted}")
        if name == "odd":
            yield warning("is odd", how)

    def add(self, *faults: str, **values: Any) -> None:
        rule = PullRequestRule.model_validate(
            {"instruction": "Merge.", "repositories": ["acme/shop"]} | values
        )
        self.files.append(
            RuleFile(
                name="green",
                path=Path("rules/green.yaml"),
                file="rules/green.yaml",
                rule=None if faults else rule,
                faults=faults,
            )
        )

    def findings(self) -> list[tuple[str, str]]:
        found = rules.files(None)  # type: ignore[arg-type]
        return [(finding.status, finding.message) for finding in found]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_without_rules_all_is_well(world: World) -> None:
    assert world.findings() == [("ok", "no rule for pull requests is defined")]


def test_each_fault_of_a_rule_is_named(world: World) -> None:
    world.add("rules/green.yaml:2: foo: unknown key", "rules/green.yaml:3: interval: too small")
    assert world.findings() == [
        ("failed", "rules/green.yaml:2: foo: unknown key"),
        ("failed", "rules/green.yaml:3: interval: too small"),
    ]


def test_each_connection_is_looked_at_once(world: World) -> None:
    world.add()
    world.add(connection="odd")
    world.add(connection="odd")
    assert ("warning", "is odd") in world.findings()
    assert world.connections == ["github_default github", "odd github"]


def test_a_model_that_cannot_be_asked(world: World) -> None:
    world.add()
    world.fault = InvalidInputError(["the connection 'anthropic_default' of the rules' model does not exist"])
    ((status, message),) = world.findings()
    assert status == "failed"
    assert message.startswith("rules/green.yaml: rule green: ")
    assert "'anthropic_default'" in message


def test_how_the_last_run_went(world: World) -> None:
    world.add()
    assert world.findings() == [("ok", "rules/green.yaml: rule green ran 2026-05-01 12:00 UTC")]
    world.state = RuleState()
    assert world.findings() == [("warning", "rules/green.yaml: rule green is valid and never ran")]
    world.state = RuleState(last_pass=Pass(at=NOW), last_error="acme/shop: not found", last_error_at=NOW)
    assert world.findings() == [
        ("warning", "rules/green.yaml: rule green: its last run had a fault: acme/shop: not found")
    ]
    world.state = RuleState(
        last_pass=Pass(at=NOW), last_error="acme/shop: not found", last_error_at=NOW - timedelta(hours=1)
    )
    assert [status for status, _ in world.findings()] == ["ok"]
