"""How much is worked on at a time: which of those that wait may start now, and who waits for what.

A run holds a place from its admission until its pull request is open, or until it ended. Limits are set for
the installation, for each repository and for each source of tickets; a run starts when none of those that
concern it is in its way. Nothing is ever dropped: what may not start, waits.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_agents.domain.freeze import frozen_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Number = TypeVar("Number", int, float)

_CENT = 1e-6
"""Sums of money are compared with this much grace: they are sums of fractions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A run, or a ticket that has none yet, that waits for its turn."""

    key: str
    """Unique among all that wait."""
    repository: str
    """``owner/name``; case does not count."""
    since: datetime
    """Timezone-aware: who waits longer goes first among equals."""
    source: str = ""
    """Name of the source of tickets; empty: started by hand."""
    priority: int = 0
    """The higher, the earlier."""
    usd: float = 0.0
    """Budget of the run in USD, which is reserved when it starts."""
    names: tuple[str, ...] = ()
    """Further names under which a person may give it another priority: run id, key of the ticket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A run at work."""

    key: str
    repository: str
    since: datetime
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What runs have taken of one UTC day."""

    runs: int = 0
    """That started on it."""
    usd: float = 0.0
    """Spent on it, and reserved by those at work."""

    def plus(self, runs: int, usd: float) -> Use:
        """Return the sum."""
        return Use(runs=self.runs + runs, usd=self.usd + usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayUse:
    """What was taken of the day: in all, by repository and by source."""

    all: Use = Use()
    repositories: Mapping[str, Use] = field(default_factory=dict)
    """By name in lower case."""
    sources: Mapping[str, Use] = field(default_factory=dict)

    def plus(self, repository: str, source: str, *, runs: int = 0, usd: float = 0.0) -> DayUse:
        """Return the sum with what one run takes."""
        name = repository.lower()
        repositories = {**self.repositories, name: self.repositories.get(name, Use()).plus(runs, usd)}
        sources = dict(self.sources)
        if source:
            sources[source] = sources.get(source, Use()).plus(runs, usd)
        return DayUse(all=self.all.plus(runs, usd), repositories=repositories, sources=sources)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one scope: of all runs, of a repository or of a source. ``None``: no limit."""

    runs: int | None = None
    """Most runs at work at a time."""
    runs_per_day: int | None = None
    """Most runs that start on one UTC day."""
    usd_per_day: float | None = None
    """Most USD on one UTC day: spent, and reserved by those at work."""
    paused: bool = False
    """Nothing starts."""
    off_peak: tuple[str, ...] = ()
    """Times in which nothing starts, as of :mod:`~airflow_provider_agents.domain.freeze`."""

    def tightened(self, other: Limits) -> Limits:
        """Return what satisfies both."""
        return Limits(
            runs=_least(self.runs, other.runs),
            runs_per_day=_least(self.runs_per_day, other.runs_per_day),
            usd_per_day=_least(self.usd_per_day, other.usd_per_day),
            paused=self.paused or other.paused,
            off_peak=tuple(dict.fromkeys((*self.off_peak, *other.off_peak))),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """The limits of the installation."""

    all: Limits = Limits(runs=5)
    each_repository: Limits = Limits(runs=2)
    """For repositories that :attr:`repositories` does not name."""
    repositories: Mapping[str, Limits] = field(default_factory=dict)
    """By name in lower case; in the place of :attr:`each_repository`."""
    sources: Mapping[str, Limits] = field(default_factory=dict)

    def of_repository(self, name: str) -> Limits:
        """Return the limits of a repository."""
        return self.repositories.get(name.lower(), self.each_repository)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where in the line somebody is."""

    number: int
    """From 1."""
    of: int
    """How many wait."""
    why: str
    """What is in the way, in words."""
    until: datetime | None = None
    """When that passes by itself; ``None``: when a run gives its place back, or a person acts."""
    wait_seconds: float | None = None
    """Estimate, see :func:`~airflow_provider_agents.domain.capacity_wait.estimated`; ``None``: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Who starts now, and where the others are."""

    starts: tuple[Waiting, ...]
    """In order."""
    positions: Mapping[str, Position]
    """Of all others, by key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """What keeps somebody from starting."""

    why: str
    until: datetime | None = None
    lasting: bool = False
    """A person must act: neither time nor another run's end removes it."""


def order(waiting: Iterable[Waiting], priorities: Mapping[str, int] | None = None) -> list[Waiting]:
    """Return the line: by priority, then by age; of equal age by key, so that it is the same each time.

    :param priorities: numbers that people gave, by key or name, in place of those that runs came with.
    """
    given = priorities or {}

    def number(each: Waiting) -> int:
        return next((given[name] for name in (each.key, *each.names) if name in given), each.priority)

    return sorted(waiting, key=lambda each: (-number(each), each.since, each.key))


def admit(
    waiting: Iterable[Waiting],
    places: Iterable[Place],
    day: DayUse,
    caps: Caps,
    now: datetime,
    *,
    priorities: Mapping[str, int] | None = None,
) -> Admission:
    """Decide who starts now.

    The first in line goes first; one that something of its own holds up (its repository is full) does not
    hold up those behind it.

    :param waiting: all that wait, in any order.
    :param places: runs at work.
    :param day: what was taken of the UTC day of ``now``.
    :param now: timezone-aware.
    :param priorities: as of :func:`order`.
    """
    floor = Floor(places, day, caps)
    starts, held = floor.fill(order(waiting, priorities), now)
    positions = {
        each.key: Position(number=number, of=len(held), why=obstacle.why, until=obstacle.until)
        for number, (each, obstacle) in enumerate(held, start=1)
    }
    return Admission(starts=tuple(starts), positions=positions)


class Floor:
    """The places that are taken, and what was used of the day, while runs come and go.

    :param places: runs at work.
    :param day: use of the current UTC day.
    """

    def __init__(self, places: Iterable[Place], day: DayUse, caps: Caps) -> None:
        self.caps = caps
        self.day = day
        self.taken = 0
        self._by_repository: dict[str, int] = {}
        self._by_source: dict[str, int] = {}
        for place in places:
            self._count(place.repository, place.source, 1)

    def fill(
        self, line: Sequence[Waiting], now: datetime
    ) -> tuple[list[Waiting], list[tuple[Waiting, Obstacle]]]:
        """Start whoever may, in the order of ``line``; return them, and the others with what is in their way."""
        frozen: dict[tuple[str, ...], datetime | None] = {}
        starts: list[Waiting] = []
        held: list[tuple[Waiting, Obstacle]] = []
        for each in line:
            obstacle = self._obstacle(each, now, frozen)
            if obstacle is None:
                self._count(each.repository, each.source, 1)
                self.day = self.day.plus(each.repository, each.source, runs=1, usd=each.usd)
                starts.append(each)
            else:
                held.append((each, obstacle))
        return starts, held

    def give_back(self, repository: str, source: str) -> None:
        """Free the place of a run."""
        self._count(repository, source, -1)

    def _count(self, repository: str, source: str, by: int) -> None:
        name = repository.lower()
        self.taken += by
        self._by_repository[name] = self._by_repository.get(name, 0) + by
        if source:
            self._by_source[source] = self._by_source.get(source, 0) + by

    def _obstacle(
        self, each: Waiting, now: datetime, frozen: dict[tuple[str, ...], datetime | None]
    ) -> Obstacle | None:
        """Return what is in the way; what lasts longest first, for that is what a person wants to know."""
        name = each.repository.lower()
        scopes = [
            ("this installation", self.caps.all, self.taken, self.day.all),
            (
                each.repository,
                self.caps.of_repository(name),
                self._by_repository.get(name, 0),
                self.day.repositories.get(name, Use()),
            ),
        ]
        if each.source and each.source in self.caps.sources:
            limits, use = self.caps.sources[each.source], self.day.sources.get(each.source, Use())
            scopes.append((f"source {each.source}", limits, self._by_source.get(each.source, 0), use))
        found = [
            obstacle
            for scope, limits, taken, use in scopes
            for obstacle in _obstacles(scope, limits, taken, use, each.usd, now, frozen)
        ]
        if not found:
            return None
        lasting = [obstacle for obstacle in found if obstacle.lasting]
        timed = [obstacle for obstacle in found if obstacle.until]
        if lasting:
            return lasting[0]
        return max(timed, key=lambda obstacle: obstacle.until or now) if timed else found[0]


def _obstacles(
    scope: str,
    limits: Limits,
    taken: int,
    use: Use,
    usd: float,
    now: datetime,
    frozen: dict[tuple[str, ...], datetime | None],
) -> Iterable[Obstacle]:
    if limits.paused:
        yield Obstacle(why=f"{scope} is paused", lasting=True)
    if limits.runs is not None and taken >= limits.runs:
        if limits.runs == 0:
            yield Obstacle(why=f"{scope} may have no run at work (its limit is 0)", lasting=True)
        else:
            yield Obstacle(why=f"{scope} has {taken} of {limits.runs} runs at work")
    tomorrow = next_day(now)
    if limits.runs_per_day is not None and use.runs >= limits.runs_per_day:
        yield Obstacle(
            why=f"{scope} has started its {limits.runs_per_day} runs of today (UTC)",
            until=tomorrow,
            lasting=limits.runs_per_day == 0,
        )
    if limits.usd_per_day is not None and use.usd + usd > limits.usd_per_day + _CENT:
        if usd > limits.usd_per_day + _CENT:
            yield Obstacle(
                why=f"its budget of {usd:.2f} USD is more than {scope} may spend on a day "
                f"({limits.usd_per_day:.2f} USD): lower the one or raise the other",
                lasting=True,
            )
        else:
            yield Obstacle(
                why=f"{scope} has {use.usd:.2f} of its {limits.usd_per_day:.2f} USD of today (UTC) spent or "
                f"reserved; this needs {usd:.2f}",
                until=tomorrow,
            )
    if limits.off_peak:
        if limits.off_peak not in frozen:
            frozen[limits.off_peak] = frozen_until(limits.off_peak, now)
        if until := frozen[limits.off_peak]:
            yield Obstacle(why=f"{scope} starts nothing before {until:%Y-%m-%d %H:%M} UTC", until=until)


def _least(one: Number | None, other: Number | None) -> Number | None:
    given = [number for number in (one, other) if number is not None]
    return min(given, default=None)


def next_day(now: datetime) -> datetime:
    """Return the next midnight in UTC."""
    today = now.astimezone(UTC).date()
    return datetime.combine(today + timedelta(days=1), time(), tzinfo=UTC)


def with_waits(positions: Mapping[str, Position], waits: Mapping[str, float | None]) -> dict[str, Position]:
    """Return positions with estimates added, by key."""
    return {
        key: dataclasses.replace(position, wait_seconds=waits.get(key)) for key, position in positions.items()
    }
