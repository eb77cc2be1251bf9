"""The one poll of all rules of a connection in a process: lists open pull requests, each repository when it is due."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from airflow_provider_agents.exceptions import (
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.hooks.github_open_labels import LabelMemory
from airflow_provider_agents.hooks.github_open_queries import OPEN_BATCH
from airflow_provider_agents.hooks.github_scope import resolve
from airflow_provider_agents.triggers.pull_request_budget import PULSES_PER_POINT, RateBudget
from airflow_provider_agents.triggers.pull_request_readings import backoff

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from airflow_provider_agents.domain.open_pull_request import OpenPullRequest
    from airflow_provider_agents.domain.pr_rule_scope import RuleScope
    from airflow_provider_agents.hooks.github_models import RateLimit

log = logging.getLogger(__name__)

ROUND_SECONDS = 1.0
"""Shortest time between two rounds: those who come at the same time share their requests."""
SHORTEST_SECONDS = 0.01
MOST_REPOSITORIES = 50
"""Repositories of one round; more are spread over several, the longest due first. Half as many after a round that
took too long, so that one that does keeps no other waiting."""
READ_SECONDS = 180.0
"""Bound of the reading of one round, its pages and retries included."""
RESOLVED_SECONDS = 600.0
"""Time for which the repositories of an owner are not asked for again."""
WOKEN_SECONDS = 10.0
"""Shortest time between two looks at a repository that somebody is woken for: a busy one has events every second."""
BACKOFF_SECONDS = 30.0


class Reader(Protocol):
    """What the poll asks of :class:`~airflow_provider_agents.hooks.github_owners.OwnersClient`."""

    @property
    def rate_limit(self) -> RateLimit | None: ...

    async def organization_repositories(self, organization: str) -> tuple[str, ...]: ...

    async def open_pull_requests(
        self, repositories: Sequence[str], labels: LabelMemory | None = None
    ) -> Mapping[str, tuple[OpenPullRequest, ...] | ForgeError]: ...


@dataclass(eq=False, slots=True)
class Watcher:
    """One rule that watches.

    :param scope: its repositories.
    :param interval: seconds between two looks at each of them.
    :param first_look: moment of the event loop's clock before which it needs none.
    """

    scope: RuleScope
    interval: float
    first_look: float
    begun: bool = field(init=False, default=False)
    """Whether its repositories were due once because of it."""


class Watchers:
    """The rules that share a poll."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        """Set when somebody joined, or is woken."""
        self.phase = random.uniform(0, 60)  # noqa: S311
        """Where the grid of looks begins: triggerers do not ask all at the same second."""
        self.woken: set[str] = set()
        """Repositories, in small letters, that are to be looked at now."""
        self._members: list[Watcher] = []

    def __iter__(self) -> Iterator[Watcher]:
        return iter(tuple(self._members))

    def join(self, member: Watcher) -> None:
        self._members.append(member)
        self.changed.set()

    def leave(self, member: Watcher) -> None:
        if member in self._members:
            self._members.remove(member)

    def wake(self, *named: tuple[str, int | None]) -> None:
        """Have these repositories looked at once, whichever pull request is named; in any case."""
        if named:
            self.woken.update(repository.casefold() for repository, _ in named)
            self.changed.set()


@dataclass(frozen=True, slots=True)
class ListingRound:
    """What one round read.

    :param listed: open pull requests by repository, in small letters; the very same tuple as last time where nothing
        changed.
    :param scopes: all repositories of each scope, in small letters, as far as they are known.
    """

    listed: Mapping[str, tuple[OpenPullRequest, ...]]
    scopes: Mapping[RuleScope, frozenset[str]]


@dataclass(slots=True)
class _Place:
    """One repository."""

    name: str
    interval: float
    due: float
    failures: int = 0
    fault: str = ""
    read_at: float = float("-inf")
    entries: tuple[OpenPullRequest, ...] | None = None


@dataclass(slots=True)
class _Resolution:
    """The repositories of one scope."""

    names: tuple[str, ...] = ()
    again_at: float = float("-inf")
    failures: int = 0
    fault: str = ""


class _Owners:
    """Lists the repositories of each owner once in a round, however many rules are for some of them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[str, tuple[str, ...] | ForgeError] = {}

    async def organization_repositories(self, organization: str) -> tuple[str, ...]:
        if organization not in self._known:
            try:
                self._known[organization] = await self._reader.organization_repositories(organization)
            except ForgeError as error:
                self._known[organization] = error
        found = self._known[organization]
        if isinstance(found, ForgeError):
            raise found
        return found


class OpenPullRequestsPoll:
    """Lists what the members watch.

    :param watchers: the members; they come and go while :meth:`rounds` runs.
    :param connect: opens the session; it is kept until a reading fails altogether.
    :param clock: the present time, timezone-aware; GitHub's limits are told in it.
    """

    def __init__(
        self,
        watchers: Watchers,
        connect: Callable[[], AbstractAsyncContextManager[Reader]],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._watchers = watchers
        self._connect = connect
        self._clock = clock
        self._labels = LabelMemory()
        self._budget = RateBudget()
        self._places: dict[str, _Place] = {}
        self._resolutions: dict[RuleScope, _Resolution] = {}
        self._sessions = AsyncExitStack()
        self._reader: Reader | None = None
        self._failures = 0
        self._fault = ""
        self._slow = ""
        self._not_before = float("-inf")
        self._reading: tuple[_Place, ...] = ()
        self._most = MOST_REPOSITORIES

    async def rounds(self) -> AsyncGenerator[ListingRound, None]:
        """Yield what was read, for ever; it ends by being cancelled or closed, and raises nothing."""
        try:
            while True:
                await self._until_due()
                self._not_before = _now() + ROUND_SECONDS
                try:
                    async with asyncio.timeout(READ_SECONDS):
                        listed = await self._round()
                except (ForgeError, InvalidInputError) as error:
                    await self._failed(error)
                except TimeoutError:
                    await self._took_too_long()
                except Exception as error:  # one fault must not end the watch of all
                    log.exception("Unexpected failure of the poll of open pull requests")
                    await self._failed(ForgeUnavailableError(f"{type(error).__name__}: {error}"))
                else:
                    self._recovered()
                    if listed:
                        yield ListingRound(listed, self._scopes())
        finally:
            await self._close()

    async def _until_due(self) -> None:
        while True:
            now, due = _now(), self._next_due()
            wait = None if due is None else max(due, self._not_before) - now
            if wait is not None and wait <= 0:
                return
            self._watchers.changed.clear()
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes with the event.
            with contextlib.suppress(TimeoutError):
                # A wait that is shorter than the clock's resolution would end before its time, again and again.
                async with asyncio.timeout(None if wait is None else max(wait, SHORTEST_SECONDS)):
                    await self._watchers.changed.wait()

    def _next_due(self) -> float | None:
        now = _now()
        moments = [watcher.first_look for watcher in self._watchers if not watcher.begun]
        wanted = self._wanted()
        moments += [place.due for key, place in self._places.items() if key in wanted]
        moments += [self._resolutions[watcher.scope].again_at for watcher in self._watchers if watcher.begun]
        if self._watchers.woken & wanted.keys():
            moments.append(now)
        else:
            self._watchers.woken.clear()
        return min(moments, default=None)

    def _wanted(self) -> dict[str, tuple[str, float]]:
        """Return spelling and shortest interval of each repository that somebody watches, by its small letters."""
        found: dict[str, tuple[str, float]] = {}
        for watcher in self._watchers:
            if watcher.scope in self._resolutions and watcher.begun:
                for name in self._resolutions[watcher.scope].names:
                    known = found.get(name.casefold(), (name, math.inf))
                    found[name.casefold()] = known[0], min(known[1], watcher.interval)
        return found

    async def _round(self) -> dict[str, tuple[OpenPullRequest, ...]]:
        """List what is due.

        :raises ForgeError: nothing could be read.
        :raises InvalidInputError: the connection is unusable.
        """
        started = _now()
        self._reading = ()
        reader = await self._session()
        fresh = [watcher for watcher in self._watchers if not watcher.begun and watcher.first_look <= started]
        await self._resolve(reader, fresh, started)
        for watcher in fresh:
            watcher.begun = True
        self._arrange(fresh, started)
        due = sorted(
            (each for each in self._places.values() if each.due <= started), key=lambda each: each.due
        )
        if not due:
            return {}
        self._reading = tuple(due[: self._most])
        answers = await reader.open_pull_requests([place.name for place in self._reading], self._labels)
        self._note(reader, len(self._reading))
        self._most = min(MOST_REPOSITORIES, self._most * 2)
        listed = {}
        for place in self._reading:
            answer = answers.get(place.name) or ()
            if isinstance(answer, ForgeError):
                self._unread(place, answer)
                continue
            self._read(place)
            if place.entries != answer:
                place.entries = answer
            assert place.entries is not None
            listed[place.name.casefold()] = place.entries
        return listed

    async def _session(self) -> Reader:
        if self._reader is None:
            self._reader = await self._sessions.enter_async_context(self._connect())
        return self._reader

    async def _resolve(self, reader: Reader, fresh: Sequence[Watcher], started: float) -> None:
        """Learn the repositories of the scopes whose time has come; forget those that nobody has any more."""
        scopes = {watcher.scope for watcher in self._watchers if watcher.begun} | {
            each.scope for each in fresh
        }
        owners = _Owners(reader)
        for scope in self._resolutions.keys() - scopes:
            del self._resolutions[scope]
        for scope in scopes:
            known = self._resolutions.setdefault(scope, _Resolution())
            if known.again_at > started:
                continue
            found = await resolve(owners, scope)
            listed = [name for name in known.names if name.partition("/")[0].casefold() in found.faults]
            # What was there stays while its owner cannot be asked.
            known.names = tuple({name.casefold(): name for name in (*listed, *found.repositories)}.values())
            fault = "; ".join(str(error) for error in found.faults.values())
            known.failures = known.failures + 1 if fault else 0
            pause = backoff(known.failures, BACKOFF_SECONDS) if fault else RESOLVED_SECONDS
            # Counted from the round's begin: rules that were listed together are so again.
            known.again_at = math.inf if not scope.patterns else started + pause
            if fault and fault != known.fault:
                log.warning("The repositories of %s are not known: %s", ", ".join(scope.patterns), fault)
            known.fault = fault

    def _arrange(self, fresh: Sequence[Watcher], started: float) -> None:
        """Keep a place for each repository that is watched, due now where somebody is new to it or is woken."""
        wanted = self._wanted()
        for key in self._places.keys() - wanted.keys():
            del self._places[key]
        awaited = {name.casefold() for each in fresh for name in self._resolutions[each.scope].names}
        woken, self._watchers.woken = self._watchers.woken, set()
        for key, (name, interval) in wanted.items():
            place = self._places.setdefault(key, _Place(name, interval, started))
            if place.interval > interval:
                place.due = min(place.due, started + interval)
            place.interval = interval
            if key in awaited and not place.failures:
                place.due = min(place.due, started)
            elif key in woken and not place.failures:
                place.due = min(place.due, max(started, place.read_at + WOKEN_SECONDS))

    def _read(self, place: _Place) -> None:
        if place.fault:
            log.info("%s can be listed again", place.name)
        place.failures, place.fault, place.read_at = 0, "", _now()
        grid = place.interval
        place.due = (
            math.floor((_now() + grid - self._watchers.phase) / grid + 1e-6) * grid + self._watchers.phase
        )

    def _unread(self, place: _Place, error: ForgeError) -> None:
        place.failures += 1
        place.due = _now() + self._pause(error, place.failures, place.interval)
        if str(error) != place.fault:
            place.fault = str(error)
            log.warning("The open pull requests of %s cannot be listed: %s", place.name, error)

    def _pause(self, error: ForgeError | InvalidInputError, failures: int, interval: float) -> float:
        if isinstance(error, ForgeRateLimitedError) and error.retry_at is not None:
            return max(1.0, (error.retry_at - self._clock()).total_seconds()) + random.uniform(0, 5)  # noqa: S311
        return backoff(failures, max(interval, BACKOFF_SECONDS))

    def _note(self, reader: Reader, repositories: int) -> None:
        """Slow down where the rate limit is low, so that what is left lasts to its reset."""
        now = self._clock()
        self._budget.note(reader.rate_limit, now)
        points = math.ceil(repositories / OPEN_BATCH)
        self._not_before += self._budget.pause(points * PULSES_PER_POINT, 0, now)
        if (slow := self._budget.notice(now)) != self._slow:
            self._slow = slow
            log.info("Watching pull requests: %s", slow or "GitHub's rate limit has recovered")

    async def _failed(self, error: ForgeError | InvalidInputError) -> None:
        """Ask nothing for a while, and begin with a connection that is read anew."""
        self._failures += 1
        self._not_before = _now() + self._pause(error, self._failures, BACKOFF_SECONDS)
        if str(error) != self._fault:
            self._fault = str(error)
            log.warning("Open pull requests cannot be listed: %s", error)
        await self._close()

    async def _took_too_long(self) -> None:
        """Put off what was being read, and read less at once."""
        error = ForgeUnavailableError(f"GitHub did not answer within {READ_SECONDS:.0f} s")
        if not self._reading:
            await self._failed(error)
            return
        self._most = max(1, len(self._reading) // 2)
        for place in self._reading:
            self._unread(place, error)
        await self._close()

    def _recovered(self) -> None:
        if self._fault:
            log.info("Open pull requests can be listed again")
        self._failures, self._fault = 0, ""

    def _scopes(self) -> dict[RuleScope, frozenset[str]]:
        return {
            scope: frozenset(name.casefold() for name in known.names)
            for scope, known in self._resolutions.items()
        }

    async def _close(self) -> None:
        sessions, self._sessions, self._reader = self._sessions, AsyncExitStack(), None
        with contextlib.suppress(Exception):
            await sessions.aclose()


def _now() -> float:
    return asyncio.get_running_loop().time()
