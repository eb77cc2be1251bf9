"""Freeze windows: what is frozen until when, and which texts are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.freeze import freeze_faults, frozen_until

WEEKEND = "Fri 16:00 - Mon 08:00 Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("windows", "now", "until"),
    [
        ([], "2026-12-24T12:00", None),
        (["2026-12-20/2027-01-04"], "2026-12-19T23:59:59", None),
        (["2026-12-20/2027-01-04"], "2026-12-20T00:00", "2027-01-05T00:00"),
        (["2026-12-20/2027-01-04"], "2027-01-04T23:59:59", "2027-01-05T00:00"),
        (["2026-12-20/2027-01-04"], "2027-01-05T00:00", None),
        (["2026-12-24/2026-12-24"], "2026-12-24T12:00", "2026-12-25T00:00"),
        (["2026-12-20T10:00/2026-12-20T12:00"], "2026-12-20T11:59", "2026-12-20T12:00"),
        (["2026-12-20T10:00/2026-12-20T12:00"], "2026-12-20T12:00", None),
        (["2026-12-20T10:00+02:00/2026-12-20T12:00Z"], "2026-12-20T08:00", "2026-12-20T12:00"),
        ([" 2026-12-20 10:00 / 2026-12-21 "], "2026-12-20T10:00", "2026-12-22T00:00"),
        # Every week, on the wall clock of Berlin: winter is UTC+1, summer UTC+2.
        ([WEEKEND], "2026-11-20T14:59", None),
        ([WEEKEND], "2026-11-20T15:00", "2026-11-23T07:00"),
        ([WEEKEND], "2026-11-23T06:59", "2026-11-23T07:00"),
        ([WEEKEND], "2026-11-23T07:00", None),
        ([WEEKEND], "2026-07-03T14:00", "2026-07-06T06:00"),
        # The clocks change in between.
        ([WEEKEND], "2026-03-28T12:00", "2026-03-30T06:00"),
        ([WEEKEND], "2026-10-24T12:00", "2026-10-26T07:00"),
        (["fri 16:00-mon 08:00"], "2026-11-20T16:00", "2026-11-23T08:00"),
        (["Mon 09:00 - Mon 17:00"], "2026-11-23T12:00", "2026-11-23T17:00"),
        (["Sun 00:00 - Sun 24:00"], "2026-11-22T23:59", "2026-11-23T00:00"),
        (["Sun 00:00 - Sun 24:00"], "2026-11-23T00:00", None),
        # A time that happens twice, and one that never happens: the longer window.
        (["Sun 00:00 - Sun 02:30 Europe/Berlin"], "2026-10-25T01:15", "2026-10-25T01:30"),
        (["Sun 02:30 - Sun 12:00 Europe/Berlin"], "2026-03-29T00:45", "2026-03-29T10:00"),
        # Overlaps, chains, gaps.
        (["2026-12-20/2026-12-24", "2026-12-23/2026-12-27"], "2026-12-20T12:00", "2026-12-28T00:00"),
        (["2026-12-25/2026-12-27", "2026-12-20/2026-12-24"], "2026-12-20T12:00", "2026-12-28T00:00"),
        (["2026-12-20/2026-12-22", "2026-12-24/2026-12-27"], "2026-12-20T12:00", "2026-12-23T00:00"),
        (["2026-11-18/2026-11-20", WEEKEND], "2026-11-19T12:00", "2026-11-23T07:00"),
    ],
)
def test_frozen_until(windows: list[str], now: str, until: str | None) -> None:
    assert freeze_faults(windows) == []
    assert frozen_until(windows, at(now)) == (at(until) if until else None)


def test_windows_without_a_gap_end_after_a_year_and_are_a_fault() -> None:
    windows = ["Mon 00:00 - Thu 00:00", "Thu 00:00 - Mon 00:00"]
    now = at("2026-11-20T12:00")
    until = frozen_until(windows, now)
    assert until is not None
    assert timedelta(days=365) < until - now < timedelta(days=374)
    (fault,) = freeze_faults(windows)
    assert "no time" in fault


@pytest.mark.parametrize(
    ("window", "fault"),
    [
        ("", "neither"),
        ("Christmas", "neither"),
        ("2026-12-20", "neither"),
        ("2026-12-20/", "2026-12-20/"),
        ("2026-13-01/2027-01-04", "month"),
        ("2027-01-04/2026-12-20", "before it begins"),
        ("2026-12-20T10:00/2026-12-20T10:00", "before it begins"),
        ("2026-12-20/9999-12-31", "9999"),
        ("Fri 16:00 - Fri 16:00", "ends when it begins"),
        ("Fry 16:00 - Mon 08:00", "Fry 16:00"),
        ("Fri 24:01 - Mon 08:00", "Fri 24:01"),
        ("Fri 16:60 - Mon 08:00", "Fri 16:60"),
        ("Fri 16:00 - Mon 08:00 Europe/Atlantis", "Europe/Atlantis"),
        ("Fri 16:00 - Mon 08:00 Europe", "time zone"),
        ("Fri 16:00 - Mon 08:00 ../../etc/passwd", "time zone"),
    ],
)
def test_faults(window: str, fault: str) -> None:
    (found,) = freeze_faults([window])
    assert fault in found
    assert repr(window) in found
    with pytest.raises(ValueError, match="window"):
        frozen_until([window], at("2026-12-24T12:00"))


def test_each_fault_is_named() -> None:
    assert len(freeze_faults(["Christmas", WEEKEND, "Fry 16:00 - Mon 08:00"])) == 2


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        frozen_until([], at("2026-12-24T12:00").replace(tzinfo=None))


MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
WINDOWS = st.lists(
    st.sampled_from(
        [WEEKEND, "Tue 22:00 - Wed 06:00 America/New_York", "2025-12-20/2026-01-04", "Sun 00:00 - Sun 24:00"]
    )
)


@given(WINDOWS, MOMENTS)
def test_the_end_is_later_and_free(windows: list[str], now: datetime) -> None:
    until = frozen_until(windows, now)
    if until is not None:
        assert until > now
        assert frozen_until(windows, until) is None
        assert frozen_until(windows, until - timedelta(microseconds=1)) == until


DAYS = "Mon-Fri 08:00-14:00 America/New_York"


@pytest.mark.parametrize(
    ("windows", "now", "until"),
    [
        ([DAYS], "2026-01-05T12:59", None),
        ([DAYS], "2026-01-05T13:00", "2026-01-05T19:00"),
        ([DAYS], "2026-01-09T18:59", "2026-01-09T19:00"),
        ([DAYS], "2026-01-09T19:00", None),
        ([DAYS], "2026-01-10T15:00", None),
        ([DAYS], "2026-07-01T12:00", "2026-07-01T18:00"),
        (["sat 08:00 - 14:00"], "2026-01-10T09:00", "2026-01-10T14:00"),
        (["Fri - Mon 22:00-06:00"], "2026-01-06T05:00", "2026-01-06T06:00"),
        (["Fri - Mon 22:00-06:00"], "2026-01-06T23:00", None),
        (["Fri - Mon 22:00-06:00"], "2026-01-04T23:00", "2026-01-05T06:00"),
        (["Sun-Sun 20:00-24:00", "Mon 00:00-01:00"], "2026-01-04T21:00", "2026-01-05T01:00"),
    ],
)
def test_the_same_hours_of_several_days(windows: list[str], now: str, until: str | None) -> None:
    assert freeze_faults(windows) == []
    assert frozen_until(windows, at(now)) == (at(until) if until else None)


@pytest.mark.parametrize(
    ("window", "fault"),
    [
        ("Mon-Fri 08:00-08:00", "ends when it begins"),
        ("Mon-Fre 08:00-14:00", "Fre 00:00"),
        ("Mon-Fri 08:00-25:00", "Mon 25:00"),
        ("Mon-Fri 08:00-14:00 Europe/Atlantis", "time zone"),
        ("Mon-Fri", "neither"),
        ("Mon-Fri-Sun 08:00-14:00", "neither"),
    ],
)
def test_faults_of_hours(window: str, fault: str) -> None:
    (found,) = freeze_faults([window])
    assert fault in found


def test_all_hours_of_all_days_are_a_fault() -> None:
    assert len(freeze_faults(["Mon-Sun 00:00-24:00"])) == 1
