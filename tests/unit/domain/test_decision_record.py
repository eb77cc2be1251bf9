"""The record of landing decisions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_agents.domain.decision_record import DecisionEntry, appended, entry_of
from airflow_provider_agents.domain.landing import Decision

AT = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
HEAD = "a" * 40


def entry(minutes: int = 0, *, head: str = HEAD, action: str = "", **decision: Any) -> DecisionEntry:
    facts = {"verdict": "wait", "reason": "checks_running", "message": "Running checks: a.", "rule": "r"}
    return entry_of(
        Decision(**facts | decision), head_sha=head, at=AT + timedelta(minutes=minutes), action=action
    )


def record(*new: DecisionEntry, most_bytes: int = 48_000) -> tuple[DecisionEntry, ...]:
    found: tuple[DecisionEntry, ...] = ()
    for each in new:
        found = appended(found, each, most_bytes=most_bytes)
    return found


def test_equal_waits_in_a_row_are_one_entry_with_the_newest_evidence() -> None:
    (found,) = record(
        entry(0), entry(1, message="Running checks: b."), entry(2, message="Running checks: c.")
    )
    assert (found.count, found.evidence) == (3, "Running checks: c.")
    assert (found.at, found.last_at) == (AT, AT + timedelta(minutes=2))


def test_another_head_reason_verdict_or_rule_is_an_entry_of_its_own() -> None:
    others = [
        entry(1, head="b" * 40),
        entry(2, reason="settling"),
        entry(3, verdict="merge"),
        entry(4, rule="other"),
    ]
    assert [each.count for each in record(entry(0), *others)] == [1] * 5


def test_what_was_done_twice_is_there_twice() -> None:
    assert (
        len(record(entry(0, verdict="merge", action="merge"), entry(1, verdict="merge", action="merge"))) == 2
    )
    assert len(record(entry(0, action="looked"), entry(1))) == 2


def test_the_oldest_go_when_it_outgrows_its_size() -> None:
    found = record(*(entry(i, verdict="fix", message="x" * 500) for i in range(100)), most_bytes=5_000)
    assert 1 < len(found) < 100
    assert len(json.dumps([each.to_dict() for each in found])) <= 5_000
    assert found[-1].at == AT + timedelta(minutes=99)


def test_the_newest_entry_always_stays() -> None:
    assert len(record(entry(0), entry(1, verdict="fix", message="x" * 500), most_bytes=10)) == 1


def test_an_entry_survives_json() -> None:
    made = entry(0, action="merge called")
    assert DecisionEntry.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_evidence_is_cut() -> None:
    assert len(entry(0, message="x" * 100_000).evidence) < 1_000
