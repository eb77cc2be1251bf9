"""The one poll of all waits of a connection in a process: who is due, in which session, told to whom."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.triggers.pull_request_readings import (
    CredentialReadings,
    Failure,
    Reading,
    Want,
    Watch,
    backoff,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Container, Iterator, Mapping, Sequence

    from airflow_provider_agents.triggers.pull_request_readings import Connector
    from airflow_provider_agents.triggers.pull_request_watch import Member, PullRequestKey, Watchlist

log = logging.getLogger(__name__)

ROUND_SECONDS = 1.0
"""Shortest time between two rounds: those who come at the same time share their requests."""
MOST_SNAPSHOTS = 200
"""Full readings of one round; more are spread over several, so that the first need not wait for the last."""
MOST_SNAPSHOTS_WHEN_LOW = 50
TOLD_AT_ONCE = 50
"""Pull requests whose members judge in one turn of the event loop."""
UNUSED_SECONDS = 600.0
"""Time after which a session that nobody needs is closed."""
MOST_REPOSITORIES = 500
"""Repositories that a token of a GitHub App can be made for."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round tells its members. A member whose pull request is in neither is told nothing.

    :param readings: by pull request: a fresh full reading, or why there is none.
    :param recovered: pull requests whose reading works again, and that did not change meanwhile.
    :param notices: by pull request, where it changed: why the poll is slow; empty: it is no longer.
    """

    readings: Mapping[PullRequestKey, Reading]
    recovered: frozenset[PullRequestKey] = frozenset()
    notices: Mapping[PullRequestKey, str] = field(default_factory=dict)

    def parts(self) -> Iterator[Round]:
        """Yield it in parts that are judged without holding up the event loop; nothing where it is empty."""
        keys = [*dict.fromkeys((*self.readings, *self.recovered, *self.notices))]
        for start in range(0, len(keys), TOLD_AT_ONCE):
            part = keys[start : start + TOLD_AT_ONCE]
            yield Round(
                {key: self.readings[key] for key in part if key in self.readings},
                self.recovered.intersection(part),
                {key: self.notices[key] for key in part if key in self.notices},
            )


@dataclass(frozen=True, slots=True)
class _Credential:
    """What one session is for.

    :param owner: empty where the credential is good for all owners.
    :param part: of the owner's repositories, where they are too many for one token, or one of them is read
        apart from the others.
    """

    owner: str = ""
    part: str = ""


class PullRequestPoll:
    """Reads what the members of a watchlist wait for.

    :param watchlist: the members; they come and go while :meth:`rounds` runs.
    :param connector: opens sessions.
    :param clock: the present time, timezone-aware.
    """

    def __init__(
        self,
        watchlist: Watchlist,
        connector: Connector,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._watchlist = watchlist
        self._connector = connector
        self._clock = clock
        self._watches: dict[PullRequestKey, Watch] = {}
        self._credentials: dict[_Credential, CredentialReadings] = {}
        self._per_owner: bool | None = None
        self._apart: set[str] = set()
        self._notices: dict[PullRequestKey, str] = {}
        self._last_round = float("-inf")

    async def rounds(self) -> AsyncGenerator[Round, None]:
        """Yield what was read, for ever; it ends by being cancelled or closed, and raises nothing."""
        try:
            while True:
                await self._until_due()
                try:
                    round_ = await self._round()
                except Exception as error:  # one fault must not end the wait of all
                    log.exception("Unexpected failure of the poll of pull requests")
                    failure = ForgeUnavailableError(f"The poll failed: {type(error).__name__}: {error}")
                    round_ = self._unread(self._watchlist.due(_now()), failure, _now())
                for part in round_.parts():
                    yield part
                    # Members judge what they were told before the next ones are told.
                    await asyncio.sleep(0)
        finally:
            for credential in self._credentials.values():
                await credential.close()

    async def _until_due(self) -> None:
        while True:
            now, due = _now(), self._watchlist.next_due()
            wait = None if due is None else max(due, self._last_round + ROUND_SECONDS) - now
            if wait is not None and wait <= 0:
                return
            self._watchlist.changed.clear()
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._watchlist.changed.wait()

    async def _round(self) -> Round:
        """Read what is due; whatever fails is told, and nothing is raised."""
        started = self._last_round = _now()
        self._forget_left()
        due = self._watchlist.due(started)
        try:
            per_owner = await self._is_per_owner()
        except (InvalidInputError, ForgeError) as error:
            return self._unread(due, error, started)
        places = self._places() if per_owner else {}
        groups: dict[_Credential, list[PullRequestKey]] = {}
        for key in due:
            groups.setdefault(places.get(key[0], _Credential()), []).append(key)
        await self._close_unused(groups)
        for name in groups:
            if name not in self._credentials:
                self._credentials[name] = CredentialReadings(
                    self._connector, universal=not per_owner, clock=self._clock
                )
        rounds = await asyncio.gather(
            *(
                self._read(name, keys, frozenset(r for r, place in places.items() if place == name), started)
                for name, keys in groups.items()
            )
        )
        return Round(
            readings={key: reading for each in rounds for key, reading in each.readings.items()},
            recovered=frozenset().union(*(each.recovered for each in rounds)),
            notices={key: text for each in rounds for key, text in each.notices.items()},
        )

    def _forget_left(self) -> None:
        for key in [key for key in self._watches if key not in self._watchlist]:
            del self._watches[key]
            self._notices.pop(key, None)

    async def _is_per_owner(self) -> bool:
        if self._per_owner is None:
            self._per_owner = await self._connector.per_owner()
        return self._per_owner

    async def _close_unused(self, used: Container[_Credential]) -> None:
        for name, credential in list(self._credentials.items()):
            if name not in used and _now() - credential.used_at > UNUSED_SECONDS:
                del self._credentials[name]
                await credential.close()

    def _places(self) -> dict[str, _Credential]:
        """Return each repository's credential, where one is good for some repositories of one owner."""
        places: dict[str, _Credential] = {}
        counts: dict[str, int] = {}
        for repository in dict.fromkeys(repository for repository, _ in self._watchlist):
            owner = repository.partition("/")[0].casefold()
            if repository in self._apart:
                places[repository] = _Credential(owner, repository)
                continue
            number = counts[owner] = counts.get(owner, -1) + 1
            places[repository] = _Credential(owner, str(number // MOST_REPOSITORIES))
        return places

    async def _read(
        self, name: _Credential, keys: list[PullRequestKey], repositories: frozenset[str], started: float
    ) -> Round:
        """Read with one credential; where it has to wait, tell only those who insist."""
        credential = self._credentials[name]
        if credential.not_before > started:
            return self._put_off(credential, keys, started)
        wants = [self._want(key, started) for key in keys]
        wants.sort(key=lambda want: not want.insists)
        most = MOST_SNAPSHOTS_WHEN_LOW if credential.low else MOST_SNAPSHOTS
        found = await credential.read(wants, repositories, most)
        if credential.error is not None:
            self._set_apart(credential.error, repositories)
            self._per_owner = None
        elif name.part in self._apart:
            self._apart.discard(name.part)
        recovered = []
        for key in found.unchanged:
            if self._watches[key].failures:
                self._watches[key].failures = 0
                recovered.append(key)
            for member in self._due_members(key, started):
                member.pulsed_at(_now(), self._watchlist.phase)
        told = self._told(found.read, started)
        return Round(told.readings, frozenset(recovered), self._changed_notices(credential, keys))

    def _set_apart(self, error: Failure, repositories: frozenset[str]) -> None:
        """Read repositories apart after a refusal: one that is out of reach spoils the token of all."""
        if isinstance(error, ForgeAccessError) and len(repositories) > 1:
            self._apart |= repositories

    def _put_off(
        self, credential: CredentialReadings, keys: Sequence[PullRequestKey], started: float
    ) -> Round:
        told: dict[PullRequestKey, Reading] = {}
        for key in keys:
            for member in self._due_members(key, started):
                if member.insists and credential.error is not None:
                    told[key] = credential.error
                    member.insists = False
                member.due = credential.not_before
        return Round(told, notices=self._changed_notices(credential, keys))

    def _want(self, key: PullRequestKey, started: float) -> Want:
        members = self._due_members(key, started)
        watch = self._watches.setdefault(key, Watch(key))
        if watch.node_id is None:
            watch.node_id = next((m.node_id for m in members if m.node_id), None)
        insists = any(m.insists or (m.full_at is not None and m.full_at <= started) for m in members)
        return Want(
            watch,
            insists=insists,
            full=any(m.demand.reading == "every_time" for m in members),
            while_running=any(m.demand.reading == "while_running" for m in members),
        )

    def _unread(self, keys: Sequence[PullRequestKey], error: Failure, started: float) -> Round:
        """Tell that nothing could be read."""
        for key in keys:
            self._watches.setdefault(key, Watch(key)).failures += 1
        return self._told(dict.fromkeys(keys, error), started)

    def _told(self, readings: Mapping[PullRequestKey, Reading], started: float) -> Round:
        """Plan the next look of everybody who is told something now."""
        now = _now()
        for key, reading in readings.items():
            failures = self._watches[key].failures
            for member in self._due_members(key, started):
                member.read_at(now, self._watchlist.phase)
                if isinstance(reading, (ForgeError, InvalidInputError)):
                    member.due = now + backoff(max(1, failures), member.interval)
        return Round(readings)

    def _due_members(self, key: PullRequestKey, started: float) -> list[Member]:
        return [member for member in self._watchlist.of(key) if member.first_look <= started]

    def _changed_notices(
        self, credential: CredentialReadings, keys: Sequence[PullRequestKey]
    ) -> dict[PullRequestKey, str]:
        text = credential.notice
        changed = {key: text for key in keys if self._notices.get(key, "") != text}
        self._notices |= changed
        return changed


def _now() -> float:
    return asyncio.get_running_loop().time()
