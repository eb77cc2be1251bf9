"""When a wait is looked at again, for each reason to wait."""

from __future__ import annotations

import ast
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_agents.domain import landing
from airflow_provider_agents.domain.landing import Decision
from airflow_provider_agents.domain.landing_history import LandingHistory
from airflow_provider_agents.domain.landing_policy import LandingPolicy
from airflow_provider_agents.domain.pull_request import Check, PullRequestSnapshot
from airflow_provider_agents.triggers import pull_request_demand as module
from airflow_provider_agents.triggers.pull_request_demand import (
    AWAITS_PEOPLE,
    PATIENCE,
    UNSEEN_BY_PULSE,
    Demand,
    demand_of_condition,
    demand_of_decision,
)

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
HEAD = "a" * 40


def check(state: str, **values: Any) -> Check:
    return Check(name=state, state=state, kind="check_run", **values)  # type: ignore[arg-type]


def snapshot(**values: Any) -> PullRequestSnapshot:
    facts: dict[str, Any] = {
        "repository": "acme/shop",
        "number": 7,
        "node_id": "PR_1",
        "url": "https://github.com/acme/shop/pull/7",
        "title": "t",
        "state": "OPEN",
        "head_sha": HEAD,
        "head_branch": "agents/7",
        "base_branch": "main",
        "read_at": NOW,
        "mergeable": "MERGEABLE",
    }
    return PullRequestSnapshot(**facts | values)


def demand(reason: str, history: LandingHistory | None = None, **values: Any) -> Demand:
    decision = Decision(verdict="wait", reason=reason, message="m")
    policy = LandingPolicy(settle_seconds=30, no_checks_grace_seconds=120, freeze=("2026-01-01/2026-01-03",))
    return demand_of_decision(decision, snapshot(**values), policy, history or LandingHistory())


def reasons_to_wait() -> set[str]:
    """Return the reasons with which the rules of landing ask to wait."""
    found = set()
    for source in Path(landing.__file__).parent.glob("landing*.py"):
        for call in ast.walk(ast.parse(source.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "wait":
                reason = call.args[0]
                assert isinstance(reason, ast.Constant), f"{source.name}:{call.lineno}"
                found.add(reason.value)
    return found


def test_every_reason_to_wait_is_sorted() -> None:
    taken_back_for = {"checks_failed", "told_to_stop"}  # never the last word: they become a withdrawal
    assert reasons_to_wait() - taken_back_for == UNSEEN_BY_PULSE | AWAITS_PEOPLE | {"checks_running"}


@pytest.mark.parametrize("reason", sorted(UNSEEN_BY_PULSE))
def test_what_no_pulse_shows_is_read_every_time(reason: str) -> None:
    assert demand(reason).reading == "every_time"


@pytest.mark.parametrize("reason", sorted(AWAITS_PEOPLE))
def test_people_are_awaited_with_patience(reason: str) -> None:
    assert demand(reason).pace == PATIENCE


@pytest.mark.parametrize("reason", sorted(UNSEEN_BY_PULSE - AWAITS_PEOPLE))
def test_machines_are_looked_at_often(reason: str) -> None:
    assert demand(reason).pace == 1.0


def test_an_unknown_reason_is_looked_at_closely() -> None:
    assert demand("something_new") == Demand(reading="every_time")


def test_running_checks_beside_a_failed_one_are_read_every_time() -> None:
    assert demand("checks_running", checks=(check("pending"),)).reading == "while_running"
    both = (check("pending"), check("failed"))
    assert demand("checks_running", checks=both).reading == "every_time"


def test_settling_ends_at_a_known_time() -> None:
    ended = check("passed", completed_at=NOW - timedelta(seconds=10))
    assert demand("settling", checks=(ended,)).after == 21
    assert demand("settling", checks=(check("passed"),)).after == 31
    late = check("passed", completed_at=NOW - timedelta(seconds=100))
    assert demand("settling", checks=(late,)).after == 1


def test_the_grace_for_checks_ends_at_a_known_time() -> None:
    seen = LandingHistory(heads_first_seen={HEAD: NOW - timedelta(seconds=50)})
    assert demand("no_checks_yet", seen).after == 71


def test_a_freeze_ends_at_a_known_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "frozen_until", lambda windows, now: now + timedelta(hours=2))
    assert demand("frozen") == Demand(pace=PATIENCE, after=7_201)


def test_conditions() -> None:
    assert demand_of_condition("merged", snapshot()) == Demand()
    assert demand_of_condition("merged", snapshot(mergeable="UNKNOWN")) == Demand()
    assert demand_of_condition("green", snapshot(mergeable="UNKNOWN")).reading == "every_time"
    assert demand_of_condition("approved", snapshot(missing=("reviews: 502",))).reading == "every_time"
    assert demand_of_condition("green", snapshot(checks=(check("pending"),))).reading == "while_running"
    assert demand_of_condition("merged", snapshot(checks=(check("pending"),))).reading == "on_change"
