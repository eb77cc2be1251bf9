"""Estimates of how long somebody waits."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_agents.domain.capacity import Caps, DayUse, Limits, Place, Position, Use, Waiting
from airflow_provider_agents.domain.capacity_wait import MOST_FORETOLD, estimated, in_words

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
ONE = Caps(all=Limits(runs=1), each_repository=Limits())


def waits(key: str, repository: str = "a/x", **values: float) -> Waiting:
    return Waiting(key=key, repository=repository, since=NOW + timedelta(seconds=int(key)), **values)  # type: ignore[arg-type]


def works(minutes: int, repository: str = "a/x") -> Place:
    return Place(key="w", repository=repository, since=NOW - timedelta(minutes=minutes))


def minutes(found: dict[str, float | None]) -> dict[str, float | None]:
    return {key: None if seconds is None else seconds / 60 for key, seconds in found.items()}


def test_each_waits_for_those_before_it() -> None:
    found = estimated([waits("1"), waits("2")], [works(10)], DayUse(), ONE, NOW, durations=[1800])
    assert minutes(found) == {"1": 20, "2": 50}


def test_the_median_counts_and_a_run_that_takes_long_is_taken_to_end_soon() -> None:
    found = estimated([waits("1")], [works(500)], DayUse(), ONE, NOW, durations=[1800, 60, 90_000])
    assert minutes(found) == {"1": 7.5}


def test_of_an_even_number_the_two_in_the_middle_count() -> None:
    found = estimated([waits("1")], [works(0)], DayUse(), ONE, NOW, durations=[90_000, 1200, 2400, 60])
    assert minutes(found) == {"1": 30}


def test_without_recent_runs_nothing_is_told() -> None:
    assert estimated([waits("1")], [works(1)], DayUse(), ONE, NOW, durations=[]) == {"1": None}


def test_a_pause_has_no_end() -> None:
    paused = Caps(all=Limits(runs=1), each_repository=Limits(), repositories={"a/x": Limits(paused=True)})
    found = estimated([waits("1"), waits("2", "a/y")], [], DayUse(), paused, NOW, durations=[600])
    assert minutes(found) == {"1": None, "2": 0}


def test_the_day_and_off_peak_times_are_known() -> None:
    spent = DayUse(all=Use(runs=2))
    daily = Caps(all=Limits(runs_per_day=2), each_repository=Limits())
    found = estimated([waits(str(n)) for n in (1, 2, 3)], [], spent, daily, NOW, durations=[600])
    assert minutes(found) == {"1": 12 * 60, "2": 12 * 60, "3": 36 * 60}
    quiet = Caps(all=Limits(runs=1), each_repository=Limits(off_peak=("Mon 11:00-14:00",)))
    found = estimated([waits("1"), waits("2")], [], DayUse(), quiet, NOW, durations=[600])
    assert minutes(found) == {"1": 120, "2": 130}


def test_nothing_is_told_beyond_a_week() -> None:
    found = estimated([waits(str(n)) for n in range(1, 10)], [], DayUse(), ONE, NOW, durations=[86_400])
    assert [key for key, seconds in found.items() if seconds is None] == ["9"]


def test_a_long_line_is_quick() -> None:
    line = [waits(str(n), f"a/r{n % 40}", usd=1.0) for n in range(2_000)]
    started = time.process_time()
    found = estimated(line, [], DayUse(), Caps(all=Limits(runs=5, usd_per_day=100)), NOW, durations=[60])
    assert time.process_time() - started < 2
    assert len(found) == MOST_FORETOLD


@pytest.mark.parametrize(
    ("number", "of", "seconds", "words"),
    [
        (3, 12, 2400.0, "waiting: 3rd of 12, about 40 min"),
        (1, 1, None, "waiting: 1st of 1"),
        (2, 2, 0.0, "waiting: 2nd of 2, about 1 min"),
        (11, 113, 5400.0, "waiting: 11th of 113, about 2 h"),
        (112, 113, 3 * 86_400.0, "waiting: 112th of 113, about 3 days"),
    ],
)
def test_words(number: int, of: int, seconds: float | None, words: str) -> None:
    assert in_words(Position(number=number, of=of, why="", wait_seconds=seconds)) == words
