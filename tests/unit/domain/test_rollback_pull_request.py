"""What becomes of a rollback by what GitHub says of its pull request: from the reading to the state machine's answer."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from fakes import FAILED, HEAD, NEXT_HEAD, NOW, PASSED, PENDING, snapshot
from landing_cases import APPROVAL, OBJECTION, said

from airflow_provider_agents.domain.pr_rule_circumstances import PlatformGuards
from airflow_provider_agents.domain.rollback import Rollback, State, Transition, step
from airflow_provider_agents.domain.rollback_definition import RollbackDefinition, Timings
from airflow_provider_agents.domain.rollback_facts import Candidate, Facts, pull_facts
from airflow_provider_agents.domain.rollback_guards import judged

CREATED: State = "pr_created"
AWAITING: State = "awaiting_merge_approval"
LATE = 301.0
"""Seconds: past the time of the checks."""


def what_follows(
    state: State, seen: dict[str, Any], *, age: float = 20, since_head: float = 200
) -> Transition:
    """Return what follows from one reading.

    :param age: seconds since the state began.
    :param since_head: seconds since the head was first seen.
    """
    found = snapshot(labels=("rollback",), **seen)
    values = {"settle_seconds": 0, "no_checks_grace_seconds": 60, "max_risk": None, "protected_paths": []}
    definition = RollbackDefinition.model_validate(
        {"application": "shop", "repository": "acme/shop", "guards": values}
    )
    seen_at = NOW - timedelta(seconds=since_head)
    decision = judged(found, definition, first_seen=seen_at, files=(), platform=PlatformGuards())
    facts = Facts(
        environment_allowed=True,
        health="Degraded",
        readings=3,
        same_deployment=True,
        short=True,
        candidate=Candidate(revision="c" * 40, proven=True, evidence="its checks passed", commits=1),
        other="",
        pull=pull_facts(found, decision, head_sha=HEAD, fresh=True),
    )
    episode = Rollback(
        name="shop",
        application="shop",
        repository="acme/shop",
        revision="b" * 40,
        state=state,
        entered_at=NOW - timedelta(seconds=age),
        degraded_since=NOW,
    )
    return step(episode, facts, Timings(), NOW)


ROWS: list[tuple[State, dict[str, Any], dict[str, float], str, str]] = [
    (CREATED, {}, {}, "checks_passed", ""),
    (CREATED, {"checks": (FAILED,)}, {}, "checks_failed", ""),
    (CREATED, {"checks": (PASSED, dataclasses.replace(FAILED, name="lint"))}, {}, "checks_failed", ""),
    (CREATED, {"checks": (PENDING,)}, {}, "", ""),
    (CREATED, {"checks": (PENDING,)}, {"age": LATE}, "checks_timeout", ""),
    (CREATED, {"checks": ()}, {"since_head": 10}, "", ""),
    (CREATED, {"checks": ()}, {}, "checks_failed", ""),
    (CREATED, {"mergeable": "UNKNOWN"}, {}, "", ""),
    (CREATED, {"mergeable": "UNKNOWN"}, {"age": LATE}, "checks_timeout", ""),
    (CREATED, {"mergeable": "CONFLICTING", "merge_state": "DIRTY"}, {}, "checks_failed", ""),
    (CREATED, {"state": "CLOSED"}, {}, "changed", ""),
    (CREATED, {"state": "MERGED"}, {}, "merged", ""),
    (CREATED, {"head_sha": NEXT_HEAD}, {}, "changed", ""),
    (CREATED, {"reviews": (OBJECTION,)}, {}, "checks_failed", ""),
    (AWAITING, {}, {}, "", "merge"),
    (AWAITING, {"has_merge_queue": True}, {}, "", "enqueue"),
    (AWAITING, {"reviews": (APPROVAL,)}, {}, "", "merge"),
    (AWAITING, {"comments": (said("/merge"),)}, {}, "", "merge"),
    (AWAITING, {"comments": (said("/stop"),)}, {}, "withdrawn", ""),
    (AWAITING, {"checks": (FAILED,)}, {}, "withdrawn", ""),
    (AWAITING, {"checks": (PENDING,)}, {}, "", ""),
    (AWAITING, {"checks": (PENDING,)}, {"age": 3600}, "approval_timeout", ""),
    (AWAITING, {"draft": True}, {}, "", ""),
    (AWAITING, {"draft": True}, {"age": 3600}, "approval_timeout", ""),
    (AWAITING, {"mergeable": "UNKNOWN"}, {}, "", ""),
    (AWAITING, {"state": "CLOSED"}, {}, "withdrawn", ""),
    (AWAITING, {"state": "MERGED"}, {}, "merged", ""),
    (AWAITING, {"head_sha": NEXT_HEAD}, {}, "withdrawn", ""),
]
"""State; what differs in the reading; its times; the event that follows, and what is done without one."""


@pytest.mark.parametrize(("state", "seen", "times", "event", "act"), ROWS)
def test_what_follows(
    state: State, seen: dict[str, Any], times: dict[str, float], event: str, act: str
) -> None:
    found = what_follows(state, seen, **times)
    assert found.event == event, found.message
    if not event:
        assert found.act == act, found.message
    assert found.message
