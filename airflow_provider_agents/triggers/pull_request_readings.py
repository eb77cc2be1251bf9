"""The readings of one credential: pulses of all that are due, full readings of those that need one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.triggers.pull_request_budget import RateBudget

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from airflow_provider_agents.domain.pull_request import PullRequestPulse
    from airflow_provider_agents.hooks.github_models import RateLimit
    from airflow_provider_agents.triggers.pull_request_watch import PullRequestKey

log = logging.getLogger(__name__)

PULSES_A_CALL = 100
SNAPSHOTS_A_CALL = 5
"""By the formula, five cost one point and ten cost three; and few are decoded in one turn of the event loop."""
CALLS_AT_ONCE = 4
CALL_SECONDS = 90.0
"""Bound of one call, its pages and retries included."""
MOST_FAILED_CALLS = 3
"""Failed calls, and no successful one, after which a round gives up: GitHub is out, not one pull request."""
BACKOFF_SECONDS = 30.0
LONGEST_BACKOFF_SECONDS = 300.0
SWEEP_SECONDS = 600.0
"""Age at which a full reading is repeated although no pulse changed: a resolved thread shows in none."""
RUNNING = frozenset({"PENDING", "EXPECTED"})
"""States of a check rollup that say: some run, none failed."""

Failure = ForgeError | InvalidInputError
Reading = PullRequestSnapshot | Failure
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


class Reader(Protocol):
    """What a poll asks of :class:`~airflow_provider_agents.hooks.github_client.GitHubClient`."""

    @property
    def rate_limit(self) -> RateLimit | None: ...

    async def pulses(self, node_ids: Sequence[str]) -> Mapping[str, PullRequestPulse | ForgeError]: ...

    async def snapshots(
        self, refs: Sequence[PullRequestKey]
    ) -> Mapping[PullRequestKey, PullRequestSnapshot | ForgeError]: ...


class Connector(Protocol):
    """Opens sessions for one Airflow connection."""

    async def per_owner(self) -> bool:
        """Return whether the connection's credentials are good for the repositories of one owner only.

        :raises InvalidInputError: the connection is missing or unusable.
        """

    def open(self, repositories: Sequence[str]) -> AbstractAsyncContextManager[Reader]:
        """Open a session that is good for these repositories."""


@dataclass(slots=True)
class Watch:
    """What a poll remembers of one pull request. Times are those of the event loop's clock."""

    key: PullRequestKey
    node_id: str | None = None
    pulse: PullRequestPulse | None = None
    """The pulse that the last full reading answered."""
    read: bool = False
    """Whether the last full reading succeeded."""
    sweep_at: float = 0.0
    failures: int = 0
    """Failed readings in a row."""
    alone: bool = False
    """Whether it is read in a call of its own, after one that it was in failed."""


@dataclass(slots=True)
class Want:
    """A pull request that is due.

    :param full: read it in full, whatever the pulse says.
    :param insists: even where the rate limit is low.
    :param while_running: read it in full as well, unless the pulse itself says that checks run.
    """

    watch: Watch
    full: bool = False
    insists: bool = False
    while_running: bool = False


@dataclass(slots=True)
class Readings:
    """What one round brought. What was due and is in neither has to wait for the next round."""

    read: dict[PullRequestKey, Reading] = field(default_factory=dict)
    unchanged: list[PullRequestKey] = field(default_factory=list)
    """Pulses that are the same as at the last full reading."""


class CredentialReadings:
    """Reads with one credential, within its rate limit.

    :param universal: whether the credential is good for any repository; else a session is begun anew for
        one that is new to it.
    :param clock: the present time, timezone-aware; GitHub's limits are told in it.
    """

    def __init__(self, connector: Connector, *, universal: bool, clock: Callable[[], datetime]) -> None:
        self._connector = connector
        self._universal = universal
        self._clock = clock
        self._sessions = contextlib.AsyncExitStack()
        self._reader: Reader | None = None
        self._repositories: frozenset[str] = frozenset()
        self._failures = 0
        self._budget = RateBudget()
        self.not_before = 0.0
        """Nothing is asked before this moment of the event loop's clock."""
        self.error: Failure | None = None
        """Why nothing could be asked the last time; ``None`` where something was read."""
        self.used_at = _now()

    @property
    def low(self) -> bool:
        """Whether the rate limit is low: only what changed is read in full."""
        return self._budget.low(self._clock())

    @property
    def notice(self) -> str:
        """What to tell those who wait about the rate limit; empty where it is not low."""
        return self._budget.notice(self._clock())

    async def close(self) -> None:
        """End the session; the next reading begins another, with a connection that is read anew."""
        sessions, self._sessions, self._reader = self._sessions, contextlib.AsyncExitStack(), None
        with contextlib.suppress(Exception):
            await sessions.aclose()

    async def read(
        self, wants: Sequence[Want], repositories: frozenset[str], most_snapshots: int
    ) -> Readings:
        """Read what is wanted; failures are results, none is raised.

        :param wants: the most urgent first.
        :param repositories: all that this credential reads, now or later.
        :param most_snapshots: full readings of this round; others are left to the next.
        """
        self.used_at = _now()
        calls = _Calls(self._note)
        look = _Look(calls, wants, most_snapshots, low=self.low)
        error: Failure | None = None
        try:
            await look.run(await self._session(repositories))
            if not calls.succeeded:
                error = calls.error
        except (InvalidInputError, ForgeError) as failure:
            error = failure
        except Exception as failure:  # one broken answer must not end the wait of all
            error = _unexpected(failure)
        if error is not None and all(want.watch.alone for want in wants):
            # Known to fail by itself: that says nothing about the others.
            await self.close()
            return look.result(error)
        if error is None:
            self._failures, self.error = 0, None
            pause = self._budget.pause(look.pulses, look.snapshots, self._clock())
            self.not_before = _now() + pause
        else:
            await self._stop(error)
        return look.result(error)

    def _note(self) -> None:
        """Take over what the last answer said about the rate limit."""
        self._budget.note(self._reader.rate_limit if self._reader else None, self._clock())

    async def _session(self, repositories: frozenset[str]) -> Reader:
        if self._reader is None or not (self._universal or repositories <= self._repositories):
            await self.close()
            self._repositories = repositories
            opening = self._connector.open(() if self._universal else sorted(repositories))
            self._reader = await self._sessions.enter_async_context(opening)
        return self._reader

    async def _stop(self, error: Failure) -> None:
        """Ask nothing for a while."""
        self._failures += 1
        self.error = error
        self.not_before = _now() + self._seconds(error)
        await self.close()

    def _seconds(self, error: Failure) -> float:
        if isinstance(error, InvalidInputError):
            return 0.0  # reading the connection asks nothing of GitHub
        if isinstance(error, ForgeRateLimitedError) and error.retry_at is not None:
            wait = (error.retry_at - self._clock()).total_seconds()
            return max(wait, 1.0) + random.uniform(0, 5)  # noqa: S311
        return backoff(self._failures, BACKOFF_SECONDS)


class _Look:
    """One pass over what is due."""

    def __init__(self, calls: _Calls, wants: Sequence[Want], most_snapshots: int, *, low: bool) -> None:
        self._calls = calls
        self._wants = {want.watch.key: want for want in wants}
        self._most = most_snapshots
        self._low = low
        self._seen: dict[PullRequestKey, PullRequestPulse] = {}
        self._readings = Readings()
        self.pulses = 0
        self.snapshots = 0

    def result(self, error: Failure | None) -> Readings:
        """Return what was read; where it broke off with ``error``, that is the reading of the others."""
        found = self._readings
        if error is None:
            return found
        for key in self._wants.keys() - found.read.keys() - set(found.unchanged):
            self._wants[key].watch.failures += not isinstance(error, ForgeRateLimitedError)
            found.read[key] = error
        return found

    async def run(self, reader: Reader) -> None:
        """Take the pulse of all, and read in full those that need it."""
        by_node = {want.watch.node_id: key for key, want in self._wants.items() if want.watch.node_id}
        self.pulses = len(by_node)

        def pulsed(node_id: str, pulse: PullRequestPulse | ForgeError) -> None:
            if isinstance(pulse, ForgeError):
                self._failed(by_node[node_id], pulse)
                # A repository that was deleted and made anew has other node ids.
                if isinstance(pulse, ForgeAccessError):
                    self._wants[by_node[node_id]].watch.node_id = None
            else:
                self._seen[by_node[node_id]] = pulse

        await self._calls.all(reader.pulses, list(by_node), PULSES_A_CALL, pulsed)
        full = [key for key in self._wants if self._needs_full(key)]
        self._readings.unchanged = [
            key for key in self._seen if key not in full and key not in self._readings.read
        ]
        full = full[: self._most]
        self.snapshots = len(full)
        alone = [key for key in full if self._wants[key].watch.alone]
        together = [key for key in full if not self._wants[key].watch.alone]
        await self._calls.all(reader.snapshots, together, SNAPSHOTS_A_CALL, self._read)
        await self._calls.all(reader.snapshots, alone, 1, self._read)

    def _needs_full(self, key: PullRequestKey) -> bool:
        if key in self._readings.read:
            return False
        want, pulse = self._wants[key], self._seen.get(key)
        watch = want.watch
        if want.insists or not watch.read or pulse is None or pulse != watch.pulse:
            return True
        if self._low:
            return False
        running = want.while_running and pulse.checks_state not in RUNNING
        return want.full or running or _now() >= watch.sweep_at

    def _read(self, key: PullRequestKey, snapshot: PullRequestSnapshot | ForgeError) -> None:
        watch = self._wants[key].watch
        if isinstance(snapshot, ForgeError):
            self._failed(key, snapshot)
            watch.read = False
            # What it was read together with should not suffer for it again.
            watch.alone = True
            return
        watch.node_id = snapshot.node_id or watch.node_id
        watch.pulse, watch.read = self._seen.get(key), True
        watch.failures, watch.alone = 0, False
        watch.sweep_at = _now() + SWEEP_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311
        self._readings.read[key] = snapshot

    def _failed(self, key: PullRequestKey, error: ForgeError) -> None:
        self._wants[key].watch.failures += 1
        self._readings.read[key] = error


class _Calls:
    """The calls of one pass, a few at once; what fails is the failure of what was asked for in it.

    :param note: called after each answer.
    """

    def __init__(self, note: Callable[[], None]) -> None:
        self._note = note
        self.succeeded = 0
        self.failed = 0
        self.error: ForgeError | None = None
        """Of the last call that failed."""

    async def all(
        self,
        call: Callable[[Sequence[K]], Awaitable[Mapping[K, T | ForgeError]]],
        items: Sequence[K],
        size: int,
        take: Callable[[K, T | ForgeError], None],
    ) -> None:
        """Ask for ``items``, ``size`` in a call, and hand each answer to ``take``.

        :raises ForgeError: a rate limit, or no call succeeds.
        """
        chunks = [items[start : start + size] for start in range(0, len(items), size)]

        async def work() -> None:
            while chunks:
                chunk = chunks.pop(0)
                answer = await self._one(call, chunk)
                for item in chunk:
                    take(item, answer.get(item, ForgeUnavailableError("GitHub's answer lacks it")))
                # The next answer is decoded in another turn of the event loop.
                await asyncio.sleep(0)

        await _all_of([work() for _ in range(min(CALLS_AT_ONCE, len(chunks)))])

    async def _one(
        self, call: Callable[[Sequence[K]], Awaitable[Mapping[K, T | ForgeError]]], chunk: Sequence[K]
    ) -> Mapping[K, T | ForgeError]:
        error: ForgeError
        try:
            async with asyncio.timeout(CALL_SECONDS):
                answer = await call(chunk)
        except ForgeRateLimitedError:
            self._note()
            raise
        except ForgeError as failure:
            error = failure
        except TimeoutError:
            error = ForgeUnavailableError(f"GitHub did not answer within {CALL_SECONDS:.0f} s")
        except InvalidInputError:
            raise
        except Exception as failure:  # one broken answer must not end the wait of all
            error = _unexpected(failure)
        else:
            self.succeeded += 1
            self._note()
            return answer
        self.failed += 1
        self.error = error
        if not self.succeeded and self.failed >= MOST_FAILED_CALLS:
            raise error
        return dict.fromkeys(chunk, error)


async def _all_of(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run them beside each other; the first failure ends all, and is raised as it is."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        for task in asyncio.as_completed(tasks):
            await task
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _unexpected(error: Exception) -> ForgeUnavailableError:
    log.error("Unexpected failure while pull requests were read", exc_info=error)
    return ForgeUnavailableError(f"Reading failed unexpectedly: {type(error).__name__}: {error}")


def backoff(failures: int, interval: float) -> float:
    """Return the seconds until the next attempt after ``failures`` failed ones in a row."""
    longest = max(LONGEST_BACKOFF_SECONDS, interval)
    return min(longest, interval * 2.0 ** min(failures - 1, 16)) * random.uniform(0.8, 1.0)  # noqa: S311


def _now() -> float:
    return asyncio.get_running_loop().time()
