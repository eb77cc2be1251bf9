"""Times in which something does not happen, written as text: nothing is merged, or nothing is started.

Three forms:

``2026-12-20/2027-01-04``
    once: an ISO 8601 interval of dates or date-times. Without an offset it is UTC. A date-time at the end is
    exclusive; a bare date at the end is frozen to its last second.
``Fri 16:00 - Mon 08:00 Europe/Berlin``
    every week, on the wall clock of an IANA zone (UTC where none is named); it may wrap around the week,
    and its end is exclusive. Where a change of the clocks makes one of its times happen twice or not at
    all, the window is the longer one.
``Mon-Fri 08:00-14:00 America/New_York``
    on each day from the first to the last, and in the same way; ``Sat 08:00-14:00`` on one day. A window that
    ends earlier than it begins ends on the next day.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEKLY = re.compile(
    r"(?P<day>[a-z]{3}) (?P<time>\d\d:\d\d) ?- ?(?P<last_day>[a-z]{3}) (?P<last_time>\d\d:\d\d)( (?P<zone>\S+))?",
    re.IGNORECASE,
)
_DAILY = re.compile(
    r"(?P<day>[a-z]{3})( ?- ?(?P<last_day>[a-z]{3}))? (?P<time>\d\d:\d\d) ?- ?(?P<last_time>\d\d:\d\d)"
    r"( (?P<zone>\S+))?",
    re.IGNORECASE,
)
_DAY_MINUTES = 24 * 60
_WEEK_MINUTES = 7 * _DAY_MINUTES
_LONGEST = timedelta(days=366)
"""How far chains of windows are followed: weekly windows that leave no gap would never end."""
_PROBE = datetime(2026, 1, 5, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Once:
    start: datetime
    end: datetime

    def end_at(self, now: datetime) -> datetime | None:
        return self.end if self.start <= now < self.end else None


@dataclass(frozen=True, slots=True)
class _Weekly:
    start_minute: int
    """Since Monday 00:00."""
    minutes: int
    zone: ZoneInfo

    def end_at(self, now: datetime) -> datetime | None:
        today = now.astimezone(self.zone).date()
        monday = datetime.combine(today - timedelta(days=today.weekday()), time())
        ends = []
        for week in (-1, 0, 1):
            start = monday + timedelta(weeks=week, minutes=self.start_minute)
            end = start + timedelta(minutes=self.minutes)
            if min(self._moments(start)) <= now < max(self._moments(end)):
                ends.append(max(self._moments(end)))
        return max(ends, default=None)

    def _moments(self, wall_clock: datetime) -> tuple[datetime, datetime]:
        """Return both readings of a time on the wall clock: they differ where the clocks change."""
        first, second = (wall_clock.replace(tzinfo=self.zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        return first, second


def frozen_until(windows: Sequence[str], now: datetime) -> datetime | None:
    """Return when the freeze that ``now`` lies in ends, in UTC; ``None`` outside of every window.

    Windows that overlap or touch count as one. Windows that leave no gap are followed for a year.

    :raises ValueError: if a window is malformed (see :func:`freeze_faults`) or ``now`` has no zone.
    """
    if now.tzinfo is None:
        raise ValueError("The moment to judge has no time zone.")
    parsed = [part for window in windows for part in _parse(window)]
    moment = now.astimezone(UTC)
    limit = moment + _LONGEST
    while moment < limit and (ends := [end for window in parsed if (end := window.end_at(moment))]):
        moment = max(ends)
    return moment if moment > now else None


def freeze_faults(windows: Sequence[str]) -> list[str]:
    """Return what is wrong with ``windows``, one sentence a fault; empty where all can be used."""
    faults, weekly = [], []
    for window in windows:
        try:
            if any(isinstance(part, _Weekly) for part in _parse(window)):
                weekly.append(window)
        except ValueError as error:
            faults.append(str(error))
    until = frozen_until(weekly, _PROBE)
    if until is not None and until - _PROBE >= _LONGEST:
        faults.append("The weekly windows together leave no time at all.")
    return faults


@lru_cache(maxsize=256)
def _parse(window: str) -> tuple[_Once | _Weekly, ...]:
    text = window.strip()
    if found := _WEEKLY.fullmatch(text):
        return (_weekly(window, found),)
    if found := _DAILY.fullmatch(text):
        return tuple(_daily(window, found))
    start, slash, end = text.partition("/")
    if not slash:
        raise ValueError(
            f"The window {window!r} is neither an interval such as 2026-12-20/2027-01-04, nor one of the week such "
            "as Fri 16:00 - Mon 08:00 Europe/Berlin, nor one of days such as Mon-Fri 08:00-14:00 Europe/Berlin."
        )
    try:
        once = _Once(_moment(start.strip()), _moment(end.strip(), last=True))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"The window {window!r}: {error}.") from None
    if once.start >= once.end:
        raise ValueError(f"The window {window!r} ends before it begins.")
    return (once,)


def _moment(text: str, *, last: bool = False) -> datetime:
    if "T" not in text and " " not in text:
        day = date.fromisoformat(text) + timedelta(days=1 if last else 0)
        return datetime.combine(day, time(), tzinfo=UTC)
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _weekly(window: str, found: re.Match[str]) -> _Weekly:
    start = _minute(window, found["day"], found["time"])
    minutes = (_minute(window, found["last_day"], found["last_time"]) - start) % _WEEK_MINUTES
    if not minutes:
        raise ValueError(f"The window {window!r} ends when it begins.")
    return _Weekly(start, minutes, _zone(window, found["zone"]))


def _daily(window: str, found: re.Match[str]) -> list[_Weekly]:
    zone = _zone(window, found["zone"])
    first, last = found["day"], found["last_day"] or found["day"]
    start = _minute(window, first, found["time"])
    end = _minute(window, first, found["last_time"])
    days = (_minute(window, last, "00:00") - _minute(window, first, "00:00")) // _DAY_MINUTES % len(_DAYS) + 1
    minutes = end - start if end > start else end - start + _DAY_MINUTES
    if end == start:
        raise ValueError(f"The window {window!r} ends when it begins.")
    return [_Weekly((start + day * _DAY_MINUTES) % _WEEK_MINUTES, minutes, zone) for day in range(days)]


def _zone(window: str, name: str | None) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (KeyError, ValueError, OSError):
        raise ValueError(f"The window {window!r}: {name!r} is not the name of a time zone.") from None


def _minute(window: str, day: str, clock: str) -> int:
    hour, minute = (int(part) for part in clock.split(":"))
    # 24:00 is the end of a day.
    if day.lower() not in _DAYS or minute > 59 or hour * 60 + minute > 24 * 60:
        raise ValueError(
            f"The window {window!r}: {day} {clock} is no time of a week (Mon 00:00 - Sun 24:00)."
        )
    return (_DAYS.index(day.lower()) * 24 + hour) * 60 + minute
