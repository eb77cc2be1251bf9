"""A landing gate that asks people: on Airflow's page, and in one comment that is edited in place."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NoReturn

from airflow_provider_agents.domain.budget import from_values
from airflow_provider_agents.domain.commands import pending_commands
from airflow_provider_agents.domain.escalation import (
    EscalationAnswer,
    escalation_comment,
    escalation_question,
    read_answer,
    read_command,
)
from airflow_provider_agents.exceptions import TaskStoppedError
from airflow_provider_agents.operators.asking import ask, form_link, take_answer
from airflow_provider_agents.operators.step_books import LEDGER_KEY
from airflow_provider_agents.operators.task_state import generation, recall, remember
from airflow_provider_agents.triggers.ticket_comments import TicketCommentsTrigger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from airflow.sdk import Context

    from airflow_provider_agents.domain.budget import LedgerRecord
    from airflow_provider_agents.domain.landing import Decision
    from airflow_provider_agents.domain.people import Question
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.hooks.github_client import GitHubClient
    from airflow_provider_agents.hooks.github_models import CommentRef
    from airflow_provider_agents.operators.landing_gate import LandingGateOperator
    from airflow_provider_agents.operators.landing_memory import LandingMemory


class LandingEscalation:
    """The question of one gate, from asking to the carried-out answer.

    An answer is stored before anything is done with it, so that a retried task asks nobody twice, and is
    forgotten once it is carried out.

    :param run_steps: task ids of all steps of the run, for what it cost.
    """

    def __init__(
        self,
        gate: LandingGateOperator,
        context: Context,
        memory: LandingMemory,
        run_steps: Sequence[str],
        rounds_left: int,
    ) -> None:
        self._gate = gate
        self._context = context
        self._memory = memory
        self._run_steps = run_steps
        self._rounds_left = rounds_left

    @property
    def answer(self) -> EscalationAnswer | None:
        """The answer that is to be carried out, if there is one."""
        values = recall(self._context, self._key("answer_taken"))
        return EscalationAnswer.from_dict(values) if values else None

    def carried_out(self) -> None:
        """Forget the answer: the gate goes on as it would without one, and may ask anew."""
        if self.answer is not None:
            remember(self._context, self._key("answer_taken"), {})
            remember(self._context, self._key("answers"), self._answers() + 1)

    def take(
        self, snapshot: PullRequestSnapshot, decision: Decision, event: Mapping[str, Any] | None
    ) -> EscalationAnswer | None:
        """Return what a person answered, on Airflow's page or by a command in a comment; store it first."""
        given = take_answer(self._gate, self._context, event, self._question(snapshot, decision))
        answer = read_answer(given, snapshot) if given is not None else None
        if answer is None and self._asked_at() is not None:
            for command in pending_commands(snapshot, self._memory.history):
                answer = read_command(command, snapshot, snapshot.read_at) or answer
        if answer is None:
            return None
        remember(self._context, self._key("answer_taken"), answer.to_dict())
        if answer.key:
            self._memory.done([answer.key])
        self._comment(snapshot, decision, answer)
        return answer

    def ask(self, snapshot: PullRequestSnapshot, decision: Decision, patience: timedelta) -> NoReturn:
        """Ask, and let go of the worker until there is an answer, a command or a new head.

        :param patience: how long people may take.
        :raises TaskStoppedError: nobody answered in time.
        """
        asked = self._asked_at()
        if asked is None:
            asked = datetime.now(tz=UTC)
            remember(self._context, self._key("asked_at"), asked.isoformat())
        deadline = asked + patience
        if datetime.now(tz=UTC) >= deadline:
            raise TaskStoppedError(
                f"{decision.message} Nobody answered within {patience / timedelta(hours=1):g} hours. {snapshot.url}"
            )
        self._comment(snapshot, decision, None)
        trigger = TicketCommentsTrigger(
            repository=snapshot.repository,
            number=snapshot.number,
            since=asked.isoformat(),
            github_conn_id=self._gate.github_conn_id,
            ti_id=str(self._context["ti"].id),
            answered=sorted(self._memory.history.commands),
            head_sha=snapshot.head_sha,
            poll_interval=self._gate.poll_interval,
            deadline=deadline.isoformat(),
        )
        question = self._question(snapshot, decision)
        ask(self._gate, self._context, question, method_name="look_again", trigger=trigger)

    def _question(self, snapshot: PullRequestSnapshot, decision: Decision) -> Question:
        question = escalation_question(
            snapshot,
            decision,
            self._memory.history,
            books=self._books(),
            rounds_left=self._rounds_left,
            comment_url=str(recall(self._context, self._key("comment_url")) or ""),
        )
        # The same state may have to be asked about again, after an answer that did not settle it.
        return dataclasses.replace(question, key=f"{question.key}:{self._answers()}")

    def _answers(self) -> int:
        """Return how many answers were carried out."""
        return int(recall(self._context, self._key("answers")) or 0)

    def _comment(
        self, snapshot: PullRequestSnapshot, decision: Decision, answer: EscalationAnswer | None
    ) -> None:
        """Write or edit the one comment of this pull request."""
        options = self._question(snapshot, decision).option_names
        links = {name: form_link(self._context, name) for name in options} | {"": form_link(self._context)}
        text = escalation_comment(
            snapshot,
            decision,
            self._memory.history,
            books=self._books(),
            rounds_left=self._rounds_left,
            links={name: link for name, link in links.items() if link},
            answer=answer,
        )
        repository, number = snapshot.repository, snapshot.number

        async def write(client: GitHubClient) -> CommentRef:
            return await client.comment_in_place(repository, number, "escalation", text)

        comment = self._gate.ask_forge(repository, write)
        remember(self._context, self._key("comment_url"), comment.url)

    def _books(self) -> list[LedgerRecord]:
        ti = self._context["ti"]
        return [
            record
            for task_id in self._run_steps
            for record in from_values(ti.xcom_pull(task_ids=task_id, key=LEDGER_KEY))
        ]

    def _asked_at(self) -> datetime | None:
        asked = recall(self._context, self._key("asked_at"))
        return datetime.fromisoformat(asked) if asked else None

    def _key(self, what: str) -> str:
        return f"escalation_{what}_{generation(self._gate, self._context)}"
