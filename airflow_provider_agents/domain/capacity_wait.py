"""How long somebody will wait: the line is played through, with runs as long as recent ones were."""

from __future__ import annotations

import heapq
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.capacity import DayUse, Floor, next_day, order

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from airflow_provider_agents.domain.capacity import Caps, Place, Position, Waiting

HORIZON = timedelta(days=7)
"""Nothing is foretold beyond."""
MOST_FORETOLD = 300
"""Of the line; for those behind them there is no estimate."""
_SHORTEST = timedelta(minutes=1)


def estimated(
    waiting: Iterable[Waiting],
    places: Sequence[Place],
    day: DayUse,
    caps: Caps,
    now: datetime,
    *,
    durations: Sequence[float],
    priorities: Mapping[str, int] | None = None,
) -> dict[str, float | None]:
    """Return by key in how many seconds each may start; ``None`` where it cannot be told.

    It takes each run to be as long as the median of ``durations``, to spend its whole budget, and nobody to
    come in between; off-peak times and the change of the day are known.

    :param durations: seconds for which recent runs held their places; empty: nothing can be told.
    :param places: as of :func:`~airflow_provider_agents.domain.capacity.admit`, like all the others.
    """
    line = order(waiting, priorities)[:MOST_FORETOLD]
    waits: dict[str, float | None] = dict.fromkeys(each.key for each in line)
    if not durations:
        return waits
    length = max(_SHORTEST, timedelta(seconds=_median(durations)))
    floor = Floor(places, day, caps)
    # A run that takes longer than the others is taken to end soon.
    events = [
        (max(place.since + length, now + length / 4), place.repository, place.source) for place in places
    ]
    heapq.heapify(events)
    moments: set[datetime] = set()
    moment, midnight = now, next_day(now)
    while line:
        starts, held = floor.fill(line, moment)
        for each in starts:
            waits[each.key] = (moment - now).total_seconds()
            heapq.heappush(events, (moment + length, each.repository, each.source))
        line = [each for each, _ in held]
        moments |= {obstacle.until for _, obstacle in held if obstacle.until}
        moments = {each for each in moments if each > moment}
        upcoming = [*([events[0][0]] if events else []), *moments]
        if not line or not upcoming or (moment := min(upcoming)) - now > HORIZON:
            break
        if moment >= midnight:
            floor.day, midnight = DayUse(), next_day(moment)
        while events and events[0][0] <= moment:
            _, repository, source = heapq.heappop(events)
            floor.give_back(repository, source)
    return waits


def in_words(position: Position) -> str:
    """Return where somebody is and for how long, e.g. ``waiting: 3rd of 12, about 40 min``."""
    place = f"waiting: {_ordinal(position.number)} of {position.of}"
    if position.wait_seconds is None:
        return place
    return f"{place}, about {_span(position.wait_seconds)}"


def _median(numbers: Sequence[float]) -> float:
    """Return what ``statistics.median`` would, whose import every DAG file would pay for."""
    line, half = sorted(numbers), len(numbers) // 2
    return line[half] if len(line) % 2 else (line[half - 1] + line[half]) / 2


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _span(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    if minutes < 90:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{hours} h" if hours < 48 else f"{round(hours / 24)} days"
