"""Events of a pod: which are its own, counted once, cut."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_agents.domain.pod_events import (
    MAX_TEXT,
    MAX_WARNINGS,
    PodEvent,
    last_warnings,
    mount_fault,
    pull_faults,
    read_events,
)

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def item(reason: str, message: str = "m", seconds: float = 0, **more: Any) -> dict[str, Any]:
    """Return an event as the client's to_dict() gives it."""
    return {
        "involved_object": {"kind": "Pod", "name": "agent-plan-x", "uid": "u1"},
        "reason": reason,
        "message": message,
        "type": "Warning",
        "count": 1,
        "last_timestamp": NOW + timedelta(seconds=seconds),
        "event_time": None,
        "series": None,
        **more,
    }


def test_events_come_oldest_first() -> None:
    found = read_events([item("Second", seconds=2), item("First", seconds=1)], "u1")
    assert [event.reason for event in found] == ["First", "Second"]


def test_an_earlier_pod_of_the_same_name_has_events_of_its_own() -> None:
    other = item("Killing", involved_object={"uid": "u0"})
    assert [event.reason for event in read_events([other, item("Pulled")], "u1")] == ["Pulled"]
    assert len(read_events([other, item("Pulled")], None)) == 2


def test_the_same_again_is_counted() -> None:
    (found,) = read_events([item("FailedMount", count=2), item("FailedMount", seconds=9, count=3)], "u1")
    assert (found.count, found.last) == (5, NOW + timedelta(seconds=9))


def test_a_series_counts_and_stamps() -> None:
    series = {"count": 7, "last_observed_time": NOW + timedelta(seconds=30)}
    (found,) = read_events([item("FailedScheduling", count=None, last_timestamp=None, series=series)], "u1")
    assert (found.count, found.last) == (7, NOW + timedelta(seconds=30))


@pytest.mark.parametrize("odd", [{}, {"involved_object": None, "count": 0, "last_timestamp": "soon"}])
def test_an_event_that_says_little(odd: dict[str, Any]) -> None:
    assert read_events([odd], "u1") == (PodEvent(reason="Unknown", message=""),)


def test_stamps_without_a_zone_are_utc() -> None:
    items = [item("A", last_timestamp=datetime(2026, 1, 2, 12, 1)), item("B", seconds=0)]  # noqa: DTZ001
    assert [event.reason for event in read_events(items, "u1")] == ["B", "A"]


def test_the_last_warnings_are_quoted() -> None:
    items = [item(f"Failed{number}", seconds=number) for number in range(MAX_WARNINGS + 2)]
    items.append(item("Scheduled", seconds=99, type="Normal"))
    quoted = last_warnings(read_events(items, "u1"))
    assert quoted == "; ".join(f"Failed{number}: m" for number in range(2, MAX_WARNINGS + 2))
    assert last_warnings([]) == ""


def test_a_long_warning_is_cut_and_is_one_line() -> None:
    text = PodEvent(reason="Failed", message="a\nb " + "x" * 2_000).text()
    assert text.startswith("Failed: a b xx")
    assert len(text) == len("Failed: ") + MAX_TEXT
    assert text.endswith("…")


def test_failed_pulls_are_those_with_a_cause() -> None:
    events = read_events(
        [
            item("Failed", 'Failed to pull image "a:1": manifest unknown', count=2),
            item("Failed", "Error: ErrImagePull"),
            item("BackOff", 'Back-off pulling image "a:1"'),
        ],
        "u1",
    )
    assert [event.count for event in pull_faults(events)] == [2]


@pytest.mark.parametrize("later", ["Pulling", "Pulled", "Created", "Started"])
def test_a_mount_that_failed_and_came_about_is_no_fault(later: str) -> None:
    failed = [item("FailedMount", "no such secret"), item("FailedMount", "still none", seconds=5)]
    last = mount_fault(read_events(failed, "u1"))
    assert last is not None
    assert last.message == "still none"
    assert mount_fault(read_events([*failed, item(later, seconds=6, type="Normal")], "u1")) is None
