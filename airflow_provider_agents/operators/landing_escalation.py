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
from airflow_provider_agents.domain.landing import Decision
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
            remember(self._context, self._key("asked_about"), {})

    def take_answer(self, snapshot: PullRequestSnapshot, event: Mapping[str, Any] | None) -> None:
        """Store what a person chose on Airflow's page, whatever has become of the pull request meanwhile.

        The choice is of what was shown: of that head, and in spite of those failing checks.

        :param event: what the task was resumed with; an answer, or anything else.
        """
        asked = recall(self._context, self._key("asked_about"))
        if not asked or self.answer is not None:
            return
        decision = Decision(**asked["decision"])
        question = dataclasses.replace(self._question(snapshot, decision), key=asked["key"])
        given = take_answer(self._gate, self._context, event, question)
        if given is None:
            return
        answer = read_answer(given, snapshot)
        overridden = tuple(asked["failing"]) if answer.choice == "merge" else ()
        answer = dataclasses.replace(answer, head_sha=asked["head_sha"], overridden=overridden)
        self._take(answer, snapshot, decision)

    def take_command(self, snapshot: PullRequestSnapshot, decision: Decision) -> bool:
        """Take a command in a comment for an answer, where one was asked for; return whether there was one."""
        if not recall(self._context, self._key("asked_about")):
            return False
        for command in pending_commands(snapshot, self._memory.history):
            if answer := read_command(command, snapshot, snapshot.read_at):
                self._take(answer, snapshot, decision)
                return True
        return False

    def _take(self, answer: EscalationAnswer, snapshot: PullRequestSnapshot, decision: Decision) -> None:
        remember(self._context, self._key("answer_taken"), answer.to_dict())
        if answer.key:
            self._memory.done([answer.key])
        self._comment(snapshot, decision, answer)

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
            authority=self._memory.history.authority.model_dump(mode="json", exclude_defaults=True),
        )
        question = self._question(snapshot, decision)
        about = {
            "key": question.key,
            "decision": decision.to_dict(),
            "head_sha": snapshot.head_sha,
            "failing": sorted({check.name for check in snapshot.checks_in("failed")}),
        }
        remember(self._context, self._key("asked_about"), about)
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
