"""Landing decisions, written down where they stay."""

from __future__ import annotations

from typing import Any

from fakes import HEAD, NOW, Store, TaskInstance, context

from airflow_provider_agents.domain.landing import Decision
from airflow_provider_agents.operators.decision_log import DECISIONS_KEY, entries, record_decision


def decision(verdict: Any = "wait", reason: str = "checks_running") -> Decision:
    return Decision(verdict=verdict, reason=reason, message="Why.", rule=reason)


def test_decisions_outlive_retries_and_clears() -> None:
    ti, store = TaskInstance(), Store()
    record_decision(context(ti, store), decision(), head_sha=HEAD, at=NOW)
    record_decision(context(ti, store), decision(), head_sha=HEAD, at=NOW)
    ti.retry()
    ti.clear(2)
    record_decision(context(ti, store), decision("merge", "green"), head_sha=HEAD, action="merge", at=NOW)
    found = entries(context(ti, store))
    assert [(e.verdict, e.action, e.count, e.head_sha) for e in found] == [
        ("wait", "", 2, HEAD),
        ("merge", "merge", 1, HEAD),
    ]
    assert isinstance(store.values[DECISIONS_KEY], list)


def test_without_a_store_there_is_no_record_and_no_fault() -> None:
    bare = context(TaskInstance()) | {"task_state_store": None}
    record_decision(bare, decision(), head_sha=HEAD)
    assert entries(bare) == ()
