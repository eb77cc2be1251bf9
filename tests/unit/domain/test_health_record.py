"""What the watcher remembers of an application's revisions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.health_record import (
    MOST_HANDLED,
    MOST_REVISIONS,
    HealthRecord,
    RevisionHealth,
)

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
A, B = "a" * 40, "b" * 40


def heard(*readings: tuple[str, str], every: float = 10, record: HealthRecord | None = None) -> HealthRecord:
    found = record or HealthRecord()
    last = max((one.last_seen for one in found.revisions), default=NOW)
    for number, (health, revision) in enumerate(readings, 1):
        found = found.heard(health, revision, last + timedelta(seconds=every * number))  # type: ignore[arg-type]
    return found


def told(record: HealthRecord) -> HealthRecord:
    assert record.streak is not None
    return record.told(record.streak)


def test_what_nobody_took_up_is_told_again_ever_more_seldom() -> None:
    record = told(heard(*[("Degraded", A)] * 3))
    moments = []
    for minute in range(24 * 60):
        record = heard(("Degraded", A), every=60, record=record)
        if record.unanswered(3) is not None:
            moments.append(minute)
            record = told(record)
    assert moments[:3] == [9, 20, 42]
    assert len(moments) < 10
    assert heard(("Progressing", A), record=record).unanswered(3) is None


def test_a_revision_that_was_never_healthy_is_ill() -> None:
    record = heard(("Progressing", A), ("Degraded", A))
    assert record.revisions[0].ill
    assert not heard(("Healthy", A), ("Healthy", A), record=record).revisions[0].ill
    assert not heard(("Progressing", A)).revisions[0].ill


def test_three_readings_in_a_row_are_due_once() -> None:
    record = heard(("Degraded", A), ("Degraded", A))
    assert record.due(3) is None
    record = heard(("Degraded", A), record=record)
    streak = record.due(3)
    assert streak is not None
    assert (streak.revision, streak.readings) == (A, 3)
    assert streak.last - streak.since == timedelta(seconds=20)
    record = record.told(streak)
    assert heard(*[("Degraded", A)] * 5, record=record).due(3) is None


@pytest.mark.parametrize("between", ["Healthy", "Progressing", "Missing", "Suspended", "Unknown"])
def test_anything_else_ends_the_row(between: str) -> None:
    record = heard(("Degraded", A), ("Degraded", A), (between, A), ("Degraded", A), ("Degraded", A))
    assert record.due(3) is None


def test_another_revision_begins_a_row_of_its_own() -> None:
    record = told(heard(*[("Degraded", A)] * 3))
    record = heard(*[("Degraded", B)] * 2, record=record)
    assert record.due(3) is None
    assert heard(("Degraded", B), record=record).due(3) is not None


def test_what_was_healthy_in_between_is_told_of_again() -> None:
    record = told(heard(*[("Degraded", A)] * 3))
    assert heard(*[("Progressing", A), *[("Degraded", A)] * 3], record=record).due(3) is None
    assert heard(*[("Healthy", A), *[("Degraded", A)] * 3], record=record).due(3) is not None


def test_a_row_does_not_go_on_over_a_long_silence() -> None:
    record = heard(*[("Degraded", A)] * 2)
    record = heard(("Degraded", A), every=3600, record=record)
    assert record.due(3) is None


def test_a_day_at_99_percent_is_proof() -> None:
    def known(hours: float, share: float) -> bool:
        seconds = hours * 3600
        return RevisionHealth(
            revision=A, first_seen=NOW, last_seen=NOW, observed=seconds, healthy=share * seconds
        ).proven

    assert known(24, 0.99)
    assert not known(23.9, 1)
    assert not known(48, 0.989)


def test_only_what_was_seen_counts() -> None:
    record = heard(*[("Healthy", A)] * 7)
    assert (record.revisions[0].observed, record.revisions[0].healthy) == (60, 60)
    later = heard(("Healthy", A), every=3600, record=record)
    assert later.revisions[0].observed == 60
    ill = heard(("Degraded", A), ("Degraded", A), record=record)
    assert (ill.revisions[0].observed, ill.revisions[0].healthy) == (80, 60)


def test_time_of_another_revision_does_not_count() -> None:
    record = heard(("Healthy", A), ("Healthy", B), ("Healthy", A))
    assert [one.observed for one in record.revisions] == [0, 0]
    assert [one.revision for one in record.revisions] == [A, B]


def test_nothing_is_learned_from_an_unknown_revision_or_an_old_reading() -> None:
    record = heard(("Healthy", A))
    assert record.heard("Degraded", "", NOW + timedelta(hours=1)) is record
    assert record.heard("Degraded", A, NOW) is record


@given(
    st.lists(
        st.tuples(st.sampled_from(["Healthy", "Degraded", "Progressing"]), st.integers(0, 80)), max_size=150
    )
)
def test_it_is_bounded_and_survives_json(readings: list[tuple[str, int]]) -> None:
    record = HealthRecord()
    for number, (health, revision) in enumerate(readings):
        record = record.heard(health, f"{revision:040x}", NOW + timedelta(seconds=number))  # type: ignore[arg-type]
        if record.due(1) is not None:
            record = told(record)
    assert len(record.revisions) <= MOST_REVISIONS
    assert len(record.handled) <= MOST_HANDLED
    assert all(one.healthy <= one.observed for one in record.revisions)
    if readings:
        assert record.of(f"{readings[-1][1]:040x}") is not None
    assert HealthRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


@pytest.mark.parametrize(
    "values", [{}, {"revisions": [{}]}, {"revisions": 7}, {"revisions": [], "health": "x"}]
)
def test_something_else_is_no_record(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no record of an application's health"):
        HealthRecord.from_dict(values)
