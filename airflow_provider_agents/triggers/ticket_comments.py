"""Waits, without a worker slot, for what people answer: on Airflow's page, or on the ticket or pull request."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_agents.domain.authority_rules import AuthorityRules
from airflow_provider_agents.domain.commands import command_action
from airflow_provider_agents.domain.plan_reply import read_plan_replies
from airflow_provider_agents.exceptions import ForgeError, ForgeRateLimitedError, InvalidInputError
from airflow_provider_agents.hooks.github import AgentsGitHubHook
from airflow_provider_agents.hooks.github_conversation import (
    approving_thumbs,
    read_conversation,
    replies,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from airflow_provider_agents.domain.authority_rules import Standing
    from airflow_provider_agents.hooks.github_client import GitHubClient

QUIET_SECONDS = 5.0
"""No event in this time after the start: Airflow may fail a task that is resumed while it still defers."""
ANSWER_SECONDS = 10.0
"""Between two looks for an answer in Airflow. It resumes the task by itself, but for one that was given just
before the task let go of its worker."""
EARLY_SECONDS = 60.0
"""How long those looks go on: such an answer is there from the start."""
READING_SECONDS = 120.0
"""Bound of one whole reading of the conversation."""
SLOWEST_FACTOR = 5
"""How much slower than ``poll_interval`` a long wait is polled in the end: after five hours at one minute."""
TOLERATED_FAILURES = 60
LONGEST_BACKOFF_SECONDS = 300.0


class TicketCommentsTrigger(BaseTrigger):
    """Reads a conversation on GitHub again and again and fires one event when somebody said something.

    Its one event has a ``status``; that of an answer in Airflow has what Airflow's own event has besides:

    ``answered``
        in Airflow: ``chosen_options``, ``params_input``, ``responded_at``, ``responded_by_user``.
    ``spoken``
        a person with authority wrote a new command (:mod:`~airflow_provider_agents.domain.commands`). With
        ``shown_at``: :func:`~airflow_provider_agents.domain.plan_reply.read_plan_replies` comes to a verdict.
    ``closed``
        the issue or pull request is not open any more.
    ``moved``
        the pull request has another head than ``head_sha``.
    ``deadline``
        the time is over.
    ``unreadable``
        GitHub could not be read many times in a row; ``message`` says why.

    :param repository: ``owner/name``.
    :param number: of the issue or pull request.
    :param since: ISO 8601 moment with a zone, by GitHub's clock; older comments do not count.
    :param github_conn_id: the connection.
    :param ti_id: task instance whose question in Airflow may be answered; ``None``: there is none.
    :param answered: node ids of comments that are known already.
    :param marker: of our comments on which a 👍 approves, as of
        :func:`~airflow_provider_agents.hooks.github_conversation.comment_in_parts`.
    :param marked_since: when the first of those was made, where that is before ``since``.
    :param shown_at: when those were shown, ISO 8601 by GitHub's clock; ``None``: no plan is asked about.
    :param head_sha: head of a pull request.
    :param poll_interval: seconds between two readings; a long wait becomes up to five times slower.
    :param deadline: ISO 8601 moment at which waiting ends; ``None`` for none.
    :param authority: an :class:`~airflow_provider_agents.domain.authority_rules.AuthorityRules` as a dictionary.
    """

    def __init__(
        self,
        *,
        repository: str,
        number: int,
        since: str,
        github_conn_id: str = AgentsGitHubHook.default_conn_name,
        ti_id: str | None = None,
        answered: Sequence[str] = (),
        marker: str | None = None,
        marked_since: str | None = None,
        shown_at: str | None = None,
        head_sha: str | None = None,
        poll_interval: float = 60.0,
        deadline: str | None = None,
        authority: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.repository = repository
        self.number = number
        self.since = since
        self.github_conn_id = github_conn_id
        self.ti_id = ti_id
        self.answered = list(answered)
        self.marker = marker
        self.marked_since = marked_since
        self.shown_at = shown_at
        self.head_sha = head_sha
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.authority = dict(authority or {})
        self._since = _moment(since)
        self._read_since = min(self._since, _moment(marked_since)) if marked_since else self._since
        self._shown_at = _moment(shown_at) if shown_at else None
        self._deadline = _moment(deadline) if deadline else None
        self._rules = AuthorityRules.model_validate(self.authority)
        self._people: dict[str, Standing] = {}

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, JSON-ready."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "repository": self.repository,
                "number": self.number,
                "since": self.since,
                "github_conn_id": self.github_conn_id,
                "ti_id": self.ti_id,
                "answered": self.answered,
                "marker": self.marker,
                "marked_since": self.marked_since,
                "shown_at": self.shown_at,
                "head_sha": self.head_sha,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
                "authority": self.authority,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield exactly one event."""
        await asyncio.sleep(QUIET_SECONDS)
        early = asyncio.ensure_future(self._early_answer())
        spoken = asyncio.ensure_future(self._wait())
        try:
            await asyncio.wait({early, spoken}, return_when=asyncio.FIRST_COMPLETED)
            event = early.result() if early.done() and early.result() is not None else await spoken
        finally:
            for task in (early, spoken):
                task.cancel()
            await asyncio.gather(early, spoken, return_exceptions=True)
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _early_answer(self) -> dict[str, Any] | None:
        """Return the answer that was given before the task let go of its worker, if there is one."""
        if self.ti_id is None:
            return None
        for _ in range(int(EARLY_SECONDS / ANSWER_SECONDS)):
            try:
                if (found := await given_answer(self.ti_id)) is not None:
                    return {"status": "answered", **found}
            except AirflowRuntimeError as error:
                self.log.warning("Airflow could not say whether the question is answered: %s", error)
            await asyncio.sleep(ANSWER_SECONDS)
        return None

    async def _wait(self) -> dict[str, Any]:
        """Read until there is something to tell."""
        started = _now()
        failures = 0
        while True:
            try:
                async with asyncio.timeout(READING_SECONDS):
                    hook = AgentsGitHubHook(self.github_conn_id, repository=self.repository)
                    async with hook.client() as client:
                        if (event := await self._look(client)) is not None:
                            return event
                failures = 0
                waited = (_now() - started) / timedelta(seconds=1)
                pause = min(max(waited / 60, self.poll_interval), SLOWEST_FACTOR * self.poll_interval)
            except (ForgeError, InvalidInputError, AirflowRuntimeError, TimeoutError) as error:
                failures += 1
                text = f"{type(error).__name__}: {error}".rstrip(": ")[:1000]
                if failures > TOLERATED_FAILURES or isinstance(error, InvalidInputError):
                    return {"status": "unreadable", "message": text}
                if failures == 1 or failures % 10 == 0:
                    self.log.warning(
                        "Could not read %s#%s (failure %d in a row, %d are tolerated): %s",
                        self.repository,
                        self.number,
                        failures,
                        TOLERATED_FAILURES,
                        text,
                    )
                pause = self._backoff(error, failures)
            if self._deadline is not None:
                left = (self._deadline - _now()).total_seconds()
                if left <= 0:
                    return {"status": "deadline"}
                pause = min(pause, left)
            await asyncio.sleep(pause * random.uniform(0.9, 1.0))  # noqa: S311

    async def _look(self, client: GitHubClient) -> dict[str, Any] | None:
        conversation = await read_conversation(client, self.repository, self.number, self._read_since)
        if conversation.state != "OPEN":
            return {"status": "closed"}
        if self.head_sha and conversation.head_sha and conversation.head_sha != self.head_sha:
            return {"status": "moved", "head_sha": conversation.head_sha}
        said = await replies(client, self.repository, conversation, self._since, self._people, self._rules)
        if self._shown_at is None:
            # Other words of people end no wait, or they would end it again and again.
            told = any(r.key not in self.answered and command_action(r.body) in r.may for r in said)
            return {"status": "spoken"} if told else None
        ours = conversation.parts(self.marker) if self.marker else ()
        thumbs = await approving_thumbs(
            client, self.repository, ours, self._shown_at, self._people, self._rules
        )
        found = read_plan_replies(
            said,
            thumbs,
            shown_at=self._shown_at,
            now=_now() + client._transport.clock_ahead,
            answered=frozenset(self.answered),
        )
        return {"status": "spoken"} if found is not None else None

    def _backoff(self, error: Exception, failures: int) -> float:
        """Return the seconds until the next attempt after ``failures`` failed ones in a row."""
        if isinstance(error, ForgeRateLimitedError) and error.retry_at is not None:
            return max((error.retry_at - _now()).total_seconds(), 1.0) * 1.1 + 1.0
        longest = max(LONGEST_BACKOFF_SECONDS, self.poll_interval)
        return min(longest, self.poll_interval * 2.0 ** min(failures - 1, 16))


async def given_answer(ti_id: str) -> dict[str, Any] | None:
    """Return the answer that Airflow has for a task instance, as the event that it would resume it with."""
    from airflow.sdk.execution_time.hitl import get_hitl_detail_content_detail
    from asgiref.sync import sync_to_async

    detail = await sync_to_async(get_hitl_detail_content_detail)(ti_id=UUID(ti_id))
    if not detail.response_received or not detail.chosen_options:
        return None
    user = detail.responded_by_user
    return {
        "chosen_options": list(detail.chosen_options),
        "params_input": dict(detail.params_input or {}),
        "responded_at": detail.responded_at.isoformat() if detail.responded_at else None,
        "responded_by_user": {"id": user.id, "name": user.name} if user else None,
    }


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a moment needs a time zone: {text!r}")
    return moment


def _now() -> datetime:
    return datetime.now(UTC)
