"""Waits, without a worker slot, until something is to be done about a pull request."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import sys
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_agents.domain.authority import named_teams
from airflow_provider_agents.domain.conditions import CONDITIONS, Condition, examine, result_of
from airflow_provider_agents.domain.landing import decide
from airflow_provider_agents.domain.landing_history import LandingHistory
from airflow_provider_agents.domain.landing_policy import LandingPolicy
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
from airflow_provider_agents.hooks.github_authority import ask_about
from airflow_provider_agents.triggers.pull_request_demand import demand_of_condition, demand_of_decision
from airflow_provider_agents.triggers.pull_request_poll import PullRequestPoll
from airflow_provider_agents.triggers.pull_request_watch import Member, Watchlist, watchlist
from airflow_provider_agents.triggers.wake_variable import wakened

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Mapping, Sequence

    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.triggers.pull_request_demand import Demand
    from airflow_provider_agents.triggers.pull_request_poll import Round
    from airflow_provider_agents.triggers.pull_request_readings import Reader

QUIET_SECONDS = 5.0
"""No event in this time after the start: Airflow may fail a task that is resumed while it still defers."""
LAST_LOOK_SECONDS = 30.0
"""Time after the deadline in which a last reading may come."""
TOLERATED_ACCESS_FAILURES = 3
"""Refusals in a row that are waited out: a permission is seldom mended by waiting."""
MOST_MESSAGE_CHARACTERS = 500
_CLIENT_MODULES = frozenset({"aiohttp", "airflow_provider_agents.hooks.github_client"})


class PullRequestTrigger(BaseEventTrigger):
    """Waits for a pull request and fires one event when its wait is over.

    All waits of one connection in a triggerer process share one poll: see
    :class:`~airflow_provider_agents.triggers.pull_request_poll.PullRequestPoll`. With ``policy`` it waits
    until :func:`~airflow_provider_agents.domain.landing.decide` says anything but ``wait``; with ``until``
    it waits for a :data:`~airflow_provider_agents.domain.conditions.Condition`. Its one event holds a
    ``status``:

    ``decided``
        ``decision`` (verdict, reason, message, rule), ``head_sha``, ``heads_first_seen`` (SHA to ISO 8601
        moment).
    ``met`` or ``impossible``
        ``message``, and ``state``, ``head_sha``, ``url``, ``merge_commit_sha`` of the pull request.
    ``deadline``
        ``message``: what it was waiting for.
    ``error``
        ``kind`` (name of the exception class) and ``message``; :func:`error_of` makes the exception of it.

    :param repository: ``owner/name``.
    :param number: of the pull request.
    :param node_id: GitHub's id of it; without it, the first two readings are full ones.
    :param github_conn_id: the connection.
    :param poll_interval: seconds between two pulses while machines work; four times as long, at most two
        minutes, while people are waited for.
    :param deadline: moment at which waiting ends, ISO 8601 with a time zone; ``None`` for none.
    :param policy: a :class:`~airflow_provider_agents.domain.landing_policy.LandingPolicy` as a dictionary.
    :param history: a :class:`~airflow_provider_agents.domain.landing_history.LandingHistory` as a
        dictionary, for ``policy``.
    :param until: the condition, for waiting without a policy.
    :param first_look_seconds: time until the first reading; at least :data:`QUIET_SECONDS`.
    :param tolerated_failures: failed readings in a row that are waited out before an ``error`` event. Rate
        limits are waited out in any case.
    """

    supports_triggerer_queue = True

    def __init__(
        self,
        *,
        repository: str,
        number: int,
        node_id: str | None = None,
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
        self.node_id = node_id
        self.github_conn_id = github_conn_id
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.policy = dict(policy) if policy is not None else None
        self.history = dict(history or {})
        self.until = until
        self.tolerated_failures = tolerated_failures
        self.first_look_seconds = first_look_seconds
        self._deadline = datetime.fromisoformat(deadline) if deadline else None
        self._policy = LandingPolicy.from_dict(self.policy or {})
        self._history = LandingHistory.from_dict(self.history)
        ask_about(named_teams(self._history.authority))
        for moment in (self._deadline, *self._history.heads_first_seen.values()):
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"a moment needs a time zone: {moment.isoformat()!r}")
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
                "node_id": self.node_id,
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

    def shared_stream_key(self) -> Hashable:
        """Return what all waits of one connection have in common."""
        return stream_key(self.github_conn_id)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[Round]:
        """Yield what each round of the poll read, for ever."""
        conn_id = kwargs["github_conn_id"]
        members = watchlist(stream_key(conn_id))
        poll = PullRequestPoll(members, ConnectionSessions(conn_id), _now)
        async with wakened(members), aclosing(poll.rounds()) as rounds:
            async for round_ in rounds:
                yield round_

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Round]) -> AsyncIterator[TriggerEvent]:
        """Wait as one of many, and yield exactly one event."""
        event = await self._wait(watchlist(stream_key(self.github_conn_id)), shared_stream)
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait alone, where Airflow offers no shared stream, and yield exactly one event."""
        alone = Watchlist()
        poll = PullRequestPoll(alone, ConnectionSessions(self.github_conn_id), _now)
        async with wakened(alone), aclosing(poll.rounds()) as rounds:
            event = await self._wait(alone, rounds)
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _wait(self, members: Watchlist, rounds: AsyncIterator[Round]) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        # The task looked just before it deferred, so nothing is lost by not looking at once.
        first_look = loop.time() + max(QUIET_SECONDS, self.first_look_seconds)
        member = Member(
            repository=self.repository,
            number=self.number,
            node_id=self.node_id,
            interval=self.poll_interval,
            first_look=first_look,
        )
        end = None
        last_look = None
        if self._deadline is not None:
            left = (self._deadline - _now()).total_seconds()
            end = max(first_look, loop.time() + left)
            last_look = loop.call_at(end, members.look, (member,))
        members.join(member)
        try:
            async with asyncio.timeout_at(None if end is None else end + LAST_LOOK_SECONDS):
                async for round_ in rounds:
                    if loop.time() < first_look:
                        continue
                    event = self._told(member, members, round_)
                    if event is None and end is not None and loop.time() >= end and _about(round_, member):
                        break
                    if event is not None:
                        return event
        except TimeoutError:
            pass
        except Exception as error:  # the stream broke: the task is to begin anew, not to fail without words
            self.log.exception("The shared poll of pull requests failed")
            return _error_event(
                ForgeUnavailableError(f"The shared poll failed: {type(error).__name__}: {error}")
            )
        finally:
            members.leave(member)
            if last_look is not None:
                last_look.cancel()
        return {"status": "deadline", "message": self._waiting_for}

    def _told(self, member: Member, members: Watchlist, round_: Round) -> dict[str, Any] | None:
        """Take what a round brought; return the event that ends the wait, if it does."""
        if (notice := round_.notices.get(member.key)) is not None:
            self.log.info("Waiting: %s", notice or "GitHub's rate limit has recovered")
        if member.key in round_.recovered:
            self._recovered()
        reading = round_.readings.get(member.key)
        if reading is None:
            return None
        if isinstance(reading, InvalidInputError):
            return _error_event(reading)
        if isinstance(reading, ForgeError):
            return self._failed(reading)
        self._recovered()
        event, demand = self._judged(reading)
        if demand is not None:
            members.ask(member, demand)
        return event

    def _judged(self, snapshot: PullRequestSnapshot) -> tuple[dict[str, Any] | None, Demand | None]:
        """Return the event for what was read; where there is more to wait for, when to look again."""
        if self.until is not None:
            finding = examine(snapshot, self.until)
            if finding.outcome == "unmet":
                self._keep_waiting(finding.message)
                return None, demand_of_condition(self.until, snapshot)
            message = finding.message[:MOST_MESSAGE_CHARACTERS]
            return {"status": finding.outcome, "message": message, **result_of(snapshot)}, None
        seen = self._history.heads_first_seen
        if snapshot.head_sha not in seen:
            seen = {**seen, snapshot.head_sha: snapshot.read_at}
            self._history = dataclasses.replace(self._history, heads_first_seen=seen)
        decision = decide(snapshot, self._policy, self._history)
        if decision.verdict == "wait":
            self._keep_waiting(decision.message)
            return None, demand_of_decision(decision, snapshot, self._policy, self._history)
        decision = dataclasses.replace(decision, message=decision.message[:MOST_MESSAGE_CHARACTERS])
        return {
            "status": "decided",
            "decision": decision.to_dict(),
            "head_sha": snapshot.head_sha,
            "heads_first_seen": {sha: at.isoformat() for sha, at in seen.items()},
        }, None

    def _keep_waiting(self, message: str) -> None:
        """Say what is waited for, when that changed."""
        message = message[:MOST_MESSAGE_CHARACTERS]
        if message != self._waiting_for:
            self.log.info("Waiting: %s", message)
            self._waiting_for = message

    def _recovered(self) -> None:
        if self._failures:
            self.log.info("Reading %s#%s works again.", self.repository, self.number)
        self._failures = self._refusals = 0

    def _failed(self, error: ForgeError) -> dict[str, Any] | None:
        """Count a failed reading; return the event of one too many."""
        if isinstance(error, ForgeRateLimitedError):
            self._keep_waiting(str(error))
            return None
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


class ConnectionSessions:
    """Opens the sessions of a poll from an Airflow connection, which is read anew for each.

    :param conn_id: the connection.
    """

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id

    async def per_owner(self) -> bool:
        """Return whether it is a GitHub App: its tokens are good for the repositories of one owner.

        :raises InvalidInputError: the connection is missing or unusable.
        :raises ForgeUnavailableError: Airflow could not give it now.
        """
        try:
            return (await AgentsGitHubHook(self._conn_id).aget_conn()).app is not None
        except AirflowRuntimeError as failure:
            raise _not_now(failure) from failure

    @asynccontextmanager
    async def open(self, repositories: Sequence[str]) -> AsyncGenerator[Reader, None]:
        """Open a session that is good for these repositories; empty: for whatever the token is good for.

        :raises InvalidInputError: the connection is missing or unusable.
        :raises ForgeUnavailableError: Airflow could not give it now.
        """
        hook = AgentsGitHubHook(self._conn_id, repositories=tuple(repositories))
        if not sys.modules.keys() >= _CLIENT_MODULES:
            # Half a second the first time, which no other trigger of this process is to wait for.
            for name in _CLIENT_MODULES:
                await asyncio.to_thread(importlib.import_module, name)
        try:
            async with hook.client() as reader:
                yield reader
        except AirflowRuntimeError as failure:
            raise _not_now(failure) from failure


def stream_key(conn_id: str) -> Hashable:
    """Return the key of the poll that all waits with this connection share."""
    return "airflow_provider_agents.pull_requests", conn_id


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


def _about(round_: Round, member: Member) -> bool:
    return member.key in round_.readings


def _not_now(failure: AirflowRuntimeError) -> ForgeUnavailableError:
    return ForgeUnavailableError(f"Airflow could not give the connection now: {failure}")


def _now() -> datetime:
    return datetime.now(UTC)
