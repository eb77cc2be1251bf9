"""Waits, without a worker slot, until something is to be done about a pull request."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_agents.domain.conditions import CONDITIONS, Condition, examine, result_of
from airflow_provider_agents.domain.landing import LandingHistory, LandingPolicy, decide
from airflow_provider_agents.exceptions import (
    AgentsError,
    ForgeAccessError,
    ForgeConflictError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.hooks.github import AgentsGitHubHook

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot

QUIET_SECONDS = 5.0
"""No event in this time after the start: Airflow may fail a task that is resumed while it still defers."""
READING_SECONDS = 180.0
"""Bound of one whole reading, all pages and retries included."""
LONGEST_BACKOFF_SECONDS = 300.0
TOLERATED_ACCESS_FAILURES = 3
"""Refusals in a row that are waited out: a permission is seldom mended by waiting."""
MOST_MESSAGE_CHARACTERS = 500


class PullRequestTrigger(BaseTrigger):
    """Reads a pull request again and again and fires one event when its wait is over.

    With ``policy`` it waits until :func:`~airflow_provider_agents.domain.landing.decide` says anything but
    ``wait``; with ``until`` it waits for a :data:`~airflow_provider_agents.domain.conditions.Condition`.
    Its one event holds a ``status``:

    ``decided``
        ``decision`` (verdict, reason, message), ``head_sha``, ``head_first_seen`` (ISO 8601).
    ``met`` or ``impossible``
        ``message``, and ``state``, ``head_sha``, ``url``, ``merge_commit_sha`` of the pull request.
    ``deadline``
        ``message``: what it was waiting for.
    ``error``
        ``kind`` (name of the exception class) and ``message``; :func:`error_of` makes the exception of it.

    :param repository: ``owner/name``.
    :param number: of the pull request.
    :param github_conn_id: the connection.
    :param poll_interval: seconds between two readings.
    :param deadline: moment at which waiting ends, ISO 8601 with a time zone; ``None`` for none.
    :param policy: a :class:`~airflow_provider_agents.domain.landing.LandingPolicy` as a dictionary.
    :param history: ``rounds_used``, ``fixed_heads``, ``answered`` and ``head_first_seen`` (SHA to ISO 8601
        moment), for ``policy``.
    :param until: the condition, for waiting without a policy.
    :param first_look_seconds: time until the first reading; at least :data:`QUIET_SECONDS`.
    :param tolerated_failures: failed readings in a row that are waited out before an ``error`` event.
    """

    def __init__(
        self,
        *,
        repository: str,
        number: int,
        github_conn_id: str = AgentsGitHubHook.default_conn_name,
        poll_interval: float = 30.0,
        deadline: str | None = None,
        policy: Mapping[str, Any] | None = None,
        history: Mapping[str, Any] | None = None,
        until: Condition | None = None,
        tolerated_failures: int = 60,
        first_look_seconds: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        if (policy is None) == (until is None):
            raise ValueError("PullRequestTrigger takes either policy or until")
        if until is not None and until not in CONDITIONS:
            raise ValueError(f"until must be one of {', '.join(CONDITIONS)}, not {until!r}")
        self.repository = repository
        self.number = number
        self.github_conn_id = github_conn_id
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.policy = dict(policy) if policy is not None else None
        self.history = dict(history or {})
        self.until = until
        self.tolerated_failures = tolerated_failures
        self.first_look_seconds = first_look_seconds
        self._deadline = _moment(deadline) if deadline else None
        self._first_seen = {
            sha: _moment(text) for sha, text in dict(self.history.get("head_first_seen") or {}).items()
        }
        self._waiting_for = ""
        self._failures = 0
        self._refusals = 0

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, JSON-ready."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "repository": self.repository,
                "number": self.number,
                "github_conn_id": self.github_conn_id,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
                "policy": self.policy,
                "history": self.history,
                "until": self.until,
                "tolerated_failures": self.tolerated_failures,
                "first_look_seconds": self.first_look_seconds,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield exactly one event."""
        # The task looked just before it deferred, so nothing is lost by not looking at once.
        await asyncio.sleep(max(QUIET_SECONDS, self.first_look_seconds))
        yield TriggerEvent(await self._wait())  # type: ignore[no-untyped-call]

    async def _wait(self) -> dict[str, Any]:
        hook = AgentsGitHubHook(self.github_conn_id, repository=self.repository)
        readings = poll_pull_request(
            hook, self.repository, self.number, interval=self.poll_interval, deadline=self._deadline
        )
        try:
            async with aclosing(readings):
                async for reading in readings:
                    event = (
                        self._failed(reading) if isinstance(reading, ForgeError) else self._judged(reading)
                    )
                    if event is not None:
                        return event
        except InvalidInputError as error:
            return _error_event(error)
        return {"status": "deadline", "message": self._waiting_for}

    def _judged(self, snapshot: PullRequestSnapshot) -> dict[str, Any] | None:
        """Return the event for what was read, or ``None`` where there is more to wait for."""
        if self._failures:
            self.log.info("Reading %s#%s works again.", self.repository, self.number)
        self._failures = self._refusals = 0
        if self.until is not None:
            finding = examine(snapshot, self.until)
            if finding.outcome == "unmet":
                self._keep_waiting(finding.message)
                return None
            return {
                "status": finding.outcome,
                "message": finding.message[:MOST_MESSAGE_CHARACTERS],
                **result_of(snapshot),
            }
        first_seen = self._first_seen.setdefault(snapshot.head_sha, snapshot.read_at)
        history = LandingHistory(
            head_first_seen=first_seen,
            rounds_used=int(self.history.get("rounds_used", 0)),
            fixed_heads=tuple(self.history.get("fixed_heads", ())),
            answered=frozenset(self.history.get("answered", ())),
        )
        decision = decide(snapshot, LandingPolicy.from_dict(self.policy or {}), history)
        if decision.verdict == "wait":
            self._keep_waiting(decision.message)
            return None
        decision = dataclasses.replace(decision, message=decision.message[:MOST_MESSAGE_CHARACTERS])
        return {
            "status": "decided",
            "decision": decision.to_dict(),
            "head_sha": snapshot.head_sha,
            "head_first_seen": first_seen.isoformat(),
        }

    def _keep_waiting(self, message: str) -> None:
        """Say what is waited for, when that changed."""
        message = message[:MOST_MESSAGE_CHARACTERS]
        if message != self._waiting_for:
            self.log.info("Waiting: %s", message)
            self._waiting_for = message

    def _failed(self, error: ForgeError) -> dict[str, Any] | None:
        """Count a failed reading; return the event of one too many."""
        self._failures += 1
        self._refusals += isinstance(error, ForgeAccessError)
        if self._failures > self.tolerated_failures or self._refusals > TOLERATED_ACCESS_FAILURES:
            return _error_event(error, f" ({self._failures} failed readings in a row)")
        if self._failures == 1 or self._failures % 10 == 0:
            self.log.warning(
                "Could not read %s#%s (failure %d in a row, %d are tolerated): %s",
                self.repository,
                self.number,
                self._failures,
                TOLERATED_ACCESS_FAILURES if self._refusals else self.tolerated_failures,
                error,
            )
        self._waiting_for = f"Could not read the pull request: {error}"[:MOST_MESSAGE_CHARACTERS]
        return None


async def poll_pull_request(
    hook: AgentsGitHubHook, repository: str, number: int, *, interval: float, deadline: datetime | None
) -> AsyncGenerator[PullRequestSnapshot | ForgeError, None]:
    """Yield one reading after the other, failed ones as their error; end at the deadline.

    The first reading is made at once, and one is made even when the deadline has passed. Failed readings
    back off, up to five minutes; a rate limit is waited for until the time that GitHub names. After a
    failed reading the connection is read anew, so that a renewed token is found.

    :param interval: seconds between two readings; each pause is varied by a tenth, to spread the load.
    :raises InvalidInputError: the connection is missing or unusable.
    """
    failures = 0
    while True:
        error: ForgeError
        try:
            async with hook.client() as client:
                while True:
                    async with asyncio.timeout(READING_SECONDS):
                        snapshot = await client.snapshot(repository, number)
                    failures = 0
                    yield snapshot
                    if not await _pause(interval * random.uniform(0.9, 1.1), deadline):  # noqa: S311
                        return
        except ForgeError as failure:
            error = failure
        except TimeoutError:
            error = ForgeUnavailableError(f"Reading {repository}#{number} took over {READING_SECONDS:.0f} s")
        except AirflowRuntimeError as failure:
            error = ForgeUnavailableError(f"Airflow could not give the connection now: {failure}")
        failures += 1
        yield error
        if not await _pause(_backoff(error, failures, interval), deadline):
            return


def error_of(event: Mapping[str, Any]) -> AgentsError:
    """Return the exception that an ``error`` event tells of."""
    message = str(event.get("message", ""))
    kind = event.get("kind")
    if kind == InvalidInputError.__name__:
        return InvalidInputError([message])
    classes = (ForgeAccessError, ForgeConflictError, ForgeRateLimitedError, ForgeUnavailableError)
    return next((cls for cls in classes if cls.__name__ == kind), ForgeError)(message)


def _error_event(error: AgentsError, detail: str = "") -> dict[str, Any]:
    text = "; ".join(error.faults) if isinstance(error, InvalidInputError) else str(error)
    return {"status": "error", "kind": type(error).__name__, "message": text[:1000] + detail}


def _backoff(error: ForgeError, failures: int, interval: float) -> float:
    """Return the seconds until the next attempt after ``failures`` failed ones in a row."""
    if isinstance(error, ForgeRateLimitedError) and error.retry_at is not None:
        return max((error.retry_at - _now()).total_seconds(), 1.0) + random.uniform(0, 5)  # noqa: S311
    longest = max(LONGEST_BACKOFF_SECONDS, interval)
    return min(longest, interval * 2.0 ** min(failures - 1, 16)) * random.uniform(0.8, 1.0)  # noqa: S311


async def _pause(seconds: float, deadline: datetime | None) -> bool:
    """Sleep, but not beyond the deadline; return whether it had not passed before."""
    if deadline is not None:
        left = (deadline - _now()).total_seconds()
        if left <= 0:
            return False
        seconds = min(seconds, left)
    await asyncio.sleep(seconds)
    return True


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a moment needs a time zone: {text!r}")
    return moment


def _now() -> datetime:
    return datetime.now(UTC)
