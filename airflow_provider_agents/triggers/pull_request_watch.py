"""Who waits for which pull request, in this process: the members of each poll, and the call to wake them."""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakValueDictionary

from airflow_provider_agents.triggers.pull_request_demand import Demand

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

PullRequestKey = tuple[str, int]
"""``owner/name`` and number."""

SLOWEST_SECONDS = 120.0
"""Longest pause between two pulses that patience leads to; a longer poll interval stays as it is."""


@dataclass(eq=False, slots=True)
class Member:
    """One wait for one pull request. All times are those of the event loop's clock.

    :param interval: seconds between two pulses.
    :param first_look: before this moment it is given nothing.
    """

    repository: str
    number: int
    node_id: str | None
    interval: float
    first_look: float
    due: float = field(init=False)
    """When the poll is to look for it."""
    full_at: float | None = field(init=False)
    """When it wants a full reading even where the pulse did not change; ``None``: at no special time."""
    insists: bool = field(init=False, default=True)
    """Whether it is to be told something when it is due, be it that nothing can be read now."""
    demand: Demand = field(init=False, default_factory=Demand)

    def __post_init__(self) -> None:
        self.due = self.full_at = self.first_look

    @property
    def key(self) -> PullRequestKey:
        return self.repository, self.number

    def read_at(self, now: float, phase: float) -> None:
        """Plan the next look after one at ``now``.

        Looks of equal intervals fall on one grid, so that they share requests.

        :param phase: where the grid begins.
        """
        self.full_at = None
        self.insists = False
        self.pulsed_at(now, phase)

    def pulsed_at(self, now: float, phase: float) -> None:
        """Plan the next look after a pulse without a full reading."""
        interval = max(self.interval, min(self.interval * self.demand.pace, SLOWEST_SECONDS))
        # A look that comes a little late still counts for its own point of the grid.
        due = math.floor((now + interval - phase) / interval + 1e-6) * interval + phase
        self.due = due if self.full_at is None else max(now, min(due, self.full_at))

    def ask(self, demand: Demand, now: float, phase: float) -> None:
        """Plan the next look after a reading at ``now`` that left ``demand``."""
        self.demand = demand
        self.full_at = None if demand.after is None else now + demand.after
        self.pulsed_at(now, phase)

    def look(self, now: float) -> None:
        """Want a full reading as soon as may be."""
        self.due = self.full_at = max(now, self.first_look)
        self.insists = True


class Watchlist:
    """The members of one poll."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        """Set when somebody is due earlier than before."""
        self.phase = random.uniform(0, 60)  # noqa: S311
        """Where the grid of looks begins: triggerers do not ask all at the same second."""
        self._members: dict[PullRequestKey, list[Member]] = {}

    def __len__(self) -> int:
        return sum(len(members) for members in self._members.values())

    def __contains__(self, key: PullRequestKey) -> bool:
        return key in self._members

    def join(self, member: Member) -> None:
        self._members.setdefault(member.key, []).append(member)
        self.changed.set()

    def leave(self, member: Member) -> None:
        members = self._members.get(member.key, [])
        if member in members:
            members.remove(member)
        if not members:
            self._members.pop(member.key, None)

    def of(self, key: PullRequestKey) -> tuple[Member, ...]:
        return tuple(self._members.get(key, ()))

    def __iter__(self) -> Iterator[PullRequestKey]:
        return iter(self._members)

    def next_due(self) -> float | None:
        """Return when the next member is due; ``None`` where there is no member."""
        return min((m.due for members in self._members.values() for m in members), default=None)

    def due(self, now: float) -> list[PullRequestKey]:
        """Return the pull requests that are to be looked at, longest due first."""
        found = {key: min(m.due for m in members) for key, members in self._members.items()}
        return sorted((key for key, due in found.items() if due <= now), key=lambda key: found[key])

    def ask(self, member: Member, demand: Demand) -> None:
        """Take a member's answer to the reading that it was just given."""
        member.ask(demand, asyncio.get_running_loop().time(), self.phase)
        self.changed.set()

    def look(self, members: Iterable[Member]) -> None:
        """Have the pull requests of these members read at once."""
        now = asyncio.get_running_loop().time()
        for member in members:
            member.look(now)
        self.changed.set()

    def wake(self, *named: tuple[str, int | None]) -> None:
        """Have pull requests, or all of a repository, read at once; repositories in any case."""
        wanted = {(repository.casefold(), number) for repository, number in named}
        woken: list[Member] = []
        for (repository, number), members in self._members.items():
            name = repository.casefold()
            if (name, number) in wanted or (name, None) in wanted:
                woken += members
        self.look(woken)


_watchlists: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[Hashable, Watchlist]] = (
    WeakKeyDictionary()
)
"""Held by their polls and members: a poll that runs keeps its list between its last member and the next."""


def watchlist(key: Hashable) -> Watchlist:
    """Return the list of the poll ``key`` in the running event loop, the same one while anybody holds it."""
    lists = _watchlists.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    found = lists.get(key)
    if found is None:
        found = lists[key] = Watchlist()
    return found


def wake(repository: str, number: int | None = None) -> None:
    """Have every wait of this process for a pull request look at once; from any thread.

    For whoever learns of a change before the next poll, e.g. from a webhook. It is a hint only: what
    follows is a reading like any other, so that a false or doubled call costs one request and no more.

    :param repository: ``owner/name``, in any case.
    :param number: of the pull request; ``None``: all of the repository.
    """
    for loop, lists in list(_watchlists.items()):
        if loop.is_closed():
            continue
        for found in list(lists.values()):
            loop.call_soon_threadsafe(found.wake, (repository, number))
