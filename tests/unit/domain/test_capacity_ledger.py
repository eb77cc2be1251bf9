"""The books of the places: what they say follows from the states of tasks, and they stay small."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.contract import Settled
from airflow_provider_agents.domain.budget import LedgerRecord
from airflow_provider_agents.domain.capacity import Caps, Limits
from airflow_provider_agents.domain.capacity_ledger import (
    MOST_DURATIONS,
    MOST_ENDED,
    Entry,
    Ledger,
    PodSpend,
    priorities_of,
)

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
TODAY, YESTERDAY = "2026-01-05", "2026-01-04"


def entry(run_id: str = "r", **values: Any) -> Entry:
    return Entry(**({"dag_id": "d", "run_id": run_id, "repository": "acme/shop", "since": NOW} | values))


def record(pod: str, usd: float, *, state: str = "settled", day: str = TODAY, **values: Any) -> LedgerRecord:
    return LedgerRecord(  # type: ignore[call-arg]
        pod=pod,
        task="t",
        repository="acme/shop",
        step="plan",
        program="claude",
        day=day,
        state=state,
        usd=usd,
        **values,
    )


@pytest.mark.parametrize(
    ("phase", "states", "after"),
    [
        ("waiting", None, None),
        ("waiting", {}, "waiting"),
        ("waiting", {"admit": "deferred"}, "waiting"),
        ("waiting", {"admit": "up_for_retry"}, "waiting"),
        ("waiting", {"admit": None}, "waiting"),
        ("waiting", {"admit": "failed"}, None),
        ("waiting", {"admit": "upstream_failed"}, None),
        ("waiting", {"admit": "deferred", "finish": "failed"}, None),
        ("waiting", {"admit": "success"}, "working"),
        ("working", {"admit": "success"}, "working"),
        ("working", {"admit": "running"}, "working"),
        ("working", {"open_pull_request": "running"}, "working"),
        ("working", {"open_pull_request": "failed"}, "working"),
        ("working", {"open_pull_request": "success"}, "landing"),
        ("working", {"open_pull_request": "upstream_failed", "finish": "failed"}, "ended"),
        ("working", None, "ended"),
        ("landing", {"open_pull_request": "success", "finish": "success"}, "ended"),
        ("landing", {"open_pull_request": None}, "working"),
        ("ended", {"open_pull_request": "success", "finish": None}, "landing"),
    ],
)
def test_where_a_run_is_follows_from_its_tasks(
    phase: Any, states: dict[str, str | None] | None, after: str | None
) -> None:
    for prefix in ("", "group."):
        named = None if states is None else {prefix + task: state for task, state in states.items()}
        moved = entry(phase=phase, prefix=prefix).moved(named, NOW)
        assert (moved.phase if moved else None) == after


def test_money_of_a_run_at_work_is_its_budget_and_later_what_it_spent() -> None:
    run = entry(usd=20.0, phase="working").with_books(
        [record("a", 3.0), record("b", 2.0, day=YESTERDAY), record("c", 15.0, state="reserved")]
    )
    assert run.usd_on(TODAY) == 18.0
    assert run.usd_on(YESTERDAY) == 2.0
    settled = run.with_books([record("c", 1.0)])
    assert settled.usd_on(TODAY) == 18.0  # 3 + 1 + the 14 that are left
    landing = settled.moved({"open_pull_request": "success"}, NOW)
    assert landing is not None
    assert landing.usd_on(TODAY) == 4.0


def test_a_reserve_never_takes_the_place_of_what_is_settled() -> None:
    run = entry().with_books([record("a", 1.0)]).with_books([record("a", 20.0, state="reserved")])
    assert run.pods == {"a": PodSpend(day=TODAY, usd=1.0, settled=True)}


def test_a_lost_pod_is_settled_by_another_that_found_its_ledger() -> None:
    found = Settled(pod="a", usd=0.5, tokens=3, known=True)
    run = entry().with_books([record("a", 20.0, state="reserved"), record("b", 1.0, settles=(found,))])
    assert run.spent == 1.5
    assert run.with_books([record("a", 20.0, state="reserved")]).spent == 1.5


def test_what_ended_on_an_earlier_day_is_dropped_and_what_spent_today_is_not() -> None:
    before = NOW - timedelta(days=1)
    ledger = Ledger()
    for run in (
        entry("old", phase="ended", admitted_at=before, usd=20.0),
        entry("spent", phase="ended", admitted_at=before).with_books([record("a", 1.0)]),
        entry("today", phase="ended", admitted_at=NOW),
        entry("landing", phase="landing", admitted_at=before),
        entry("waiting"),
    ):
        ledger = ledger.with_entry(run)
    assert [each.run_id for each in ledger.tidied(NOW).entries.values()] == [
        "spent",
        "today",
        "landing",
        "waiting",
    ]


def test_of_many_that_ended_today_only_sums_are_kept_and_no_sum_changes() -> None:
    ledger = Ledger()
    for number in range(3 * MOST_ENDED):
        run = entry(
            f"r{number:04}", phase="ended", admitted_at=NOW, repository=f"acme/r{number % 3}", source="eng"
        )
        ledger = ledger.with_entry(run.with_books([record(f"p{number}", 0.5)]))
        if number % 100 == 0:
            ledger = ledger.tidied(NOW)
    use = ledger.use(NOW)
    tidied = ledger.tidied(NOW)
    assert len(tidied.entries) == MOST_ENDED
    assert tidied.use(NOW) == use
    assert use.all.runs == 3 * MOST_ENDED
    assert use.repositories["acme/r1"].usd == use.sources["eng"].usd / 3 == MOST_ENDED / 2
    assert len(tidied.to_text()) < 120_000
    tomorrow = NOW + timedelta(days=1)
    assert tidied.tidied(tomorrow).entries == {}
    assert tidied.tidied(tomorrow).use(tomorrow).all.runs == 0


def test_durations_are_few() -> None:
    ledger = Ledger()
    for seconds in range(100):
        ledger = ledger.with_duration(seconds)
    assert ledger.durations == tuple(range(100 - MOST_DURATIONS, 100))


def test_a_repository_is_limited_as_its_newest_run_knows_it() -> None:
    ledger = Ledger()
    for minute, own in ((2, Limits(runs=2)), (1, Limits(runs=1)), (0, None)):
        ledger = ledger.with_entry(entry(f"r{minute}", since=NOW + timedelta(minutes=minute), own=own))
    assert ledger.repositories() == {"acme/shop": Limits(runs=2)}


MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2026, 2, 1), timezones=st.just(UTC))  # noqa: DTZ001
NAMES = st.text(min_size=1, max_size=8)
LIMITS = st.builds(
    Limits,
    runs=st.none() | st.integers(0, 9),
    usd_per_day=st.none() | st.floats(0, 99),
    paused=st.booleans(),
    off_peak=st.lists(st.sampled_from(["Sat 00:00-12:00", "2026-01-01/2026-01-02"])).map(tuple),
)
ENTRIES = st.builds(
    Entry,
    dag_id=NAMES,
    run_id=NAMES,
    prefix=st.sampled_from(["", "group."]),
    repository=NAMES,
    source=st.text(max_size=5),
    ticket=st.text(max_size=5),
    priority=st.integers(-9, 9),
    usd=st.floats(0, 99),
    own=st.none() | LIMITS,
    since=MOMENTS,
    phase=st.sampled_from(["waiting", "working", "landing", "ended"]),
    admitted_at=st.none() | MOMENTS,
    pods=st.dictionaries(
        NAMES, st.builds(PodSpend, day=st.just(TODAY), usd=st.floats(0, 9), settled=st.booleans()), max_size=3
    ),
    seen=st.text(max_size=3),
)


@given(
    st.lists(ENTRIES, max_size=5),
    st.lists(st.floats(0, 999), max_size=3),
    st.builds(Caps, all=LIMITS, repositories=st.dictionaries(NAMES, LIMITS, max_size=2)),
    st.none() | MOMENTS,
)
def test_what_was_written_is_read(
    entries: list[Entry], durations: list[float], caps: Caps, looked_at: datetime | None
) -> None:
    ledger = Ledger(
        entries={each.key: each for each in entries},
        durations=tuple(durations),
        caps=caps,
        looked_at=looked_at,
    ).tidied(NOW)
    assert Ledger.from_text(ledger.to_text()) == ledger


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["version", "entries", "caps", "rest", "all", "dag_id", "since"]), inner
            )
        ),
        max_leaves=12,
    ),
    st.booleans(),
)
def test_anything_else_is_refused_and_nothing_worse(value: Any, versioned: bool) -> None:
    if versioned and isinstance(value, dict):
        value["version"] = 1
    try:
        Ledger.from_text(json.dumps(value))
    except ValueError:
        return
    assert value["version"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"version": 1, "entries": [{"dag_id": "d", "run_id": "r", "repository": "x", "since": "2026-01-01T00:00:00"}]}',
    ],
)
def test_damage_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Ledger.from_text(text)


def test_priorities() -> None:
    assert priorities_of('{"a": 3, "b": true, "c": "4", "d": 1.5, "e": -2}') == {"a": 3, "e": -2}
    assert priorities_of("[" * 100_000) == {}
