"""One round of asking people about a plan: the question, the comment on the ticket, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_agents.domain import plan_choices
from airflow_provider_agents.domain.authority import who_may
from airflow_provider_agents.domain.plan_question import (
    APPROVE,
    FEEDBACK,
    REPLAN,
    feedback_text,
    plan_comment,
    plan_question,
)
from airflow_provider_agents.domain.plan_reply import PlanReply, Remark, read_plan_replies
from airflow_provider_agents.domain.untrusted import one_line
from airflow_provider_agents.exceptions import TaskStoppedError
from airflow_provider_agents.operators.approve_plan import RESULT_KEY
from airflow_provider_agents.operators.asking import ask, form_link, take_answer
from airflow_provider_agents.operators.pulled import values_of
from airflow_provider_agents.operators.task_state import generation, recall, remember

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_agents.domain.authority_rules import Standing
    from airflow_provider_agents.domain.coding_task import CodingTask
    from airflow_provider_agents.domain.people import Answer, Question
    from airflow_provider_agents.domain.plan_choices import ChoiceGroup
    from airflow_provider_agents.hooks.github_client import GitHubClient
    from airflow_provider_agents.operators.approve_plan import ApprovePlanOperator


class PlanRound:
    """One round of asking: the plan, its question and comment, and what is remembered of it."""

    def __init__(self, operator: ApprovePlanOperator, task: CodingTask, context: Context) -> None:
        self.operator = operator
        self.task = task
        self.context = context
        output = operator.plan.get("output") if isinstance(operator.plan, Mapping) else None
        self.output: Mapping[str, Any] = output if isinstance(output, Mapping) else {}
        self.groups: tuple[ChoiceGroup, ...] = plan_choices.plan_groups(
            self.output, run_tests=task.request.run_tests
        )
        self.rounds = task.request.plan_rounds
        earlier = values_of(context, operator.earlier_approvals, RESULT_KEY)
        self._earlier = [value for value in earlier.values() if isinstance(value, Mapping)]
        self.answered = tuple(key for value in self._earlier for key in value.get("answered", ()))

    def look(self, event: Mapping[str, Any] | None) -> Any:
        """Return what the round comes to, asking first where nobody was asked.

        :param event: what the task was resumed with, if it was.
        :raises TaskDeferred, TaskAwaitingInput: nobody answered yet.
        :raises TaskStoppedError: a person ended the run, wants a plan more than there may be, or nobody
            answered in time.
        """
        found = self.kept()
        if found is None:
            answer = take_answer(self.operator, self.context, event, self.question())
            found = self.of_answer(answer) if answer else self.of_ticket()
        if found is None:
            self.wait()
        return self._conclude(*found)

    def _conclude(self, reply: PlanReply, chosen: dict[str, str]) -> Any:
        # Before anything visible: a second try comes to the same.
        self.keep(reply, chosen)
        result = approval(
            reply.verdict == "approved",
            feedback=feedback_text(reply.remarks),
            choices=chosen,
            decisions=plan_choices.decisions(self.groups, chosen),
            run_tests=plan_choices.wants_tests(chosen),
            by=reply.by,
            answered=[*self.answered, *reply.answered],
            shown_at=self.shown_at,
        )
        who = one_line(reply.by, 80)
        if reply.verdict == "stopped":
            self.close(f"{who} ended the run.", chosen)
            raise TaskStoppedError(f"{who} did not approve the plan.")
        if reply.verdict == "approved":
            self.close(f"Approved by {who}.", chosen)
            return self.operator.approve(self.context, result)
        if self.operator.round_number >= self.rounds:
            text = f"{who} asked for another plan, and all {self.rounds} are used."
            self.close(f"{text} The run ended.", chosen)
            raise TaskStoppedError(f"{text} Raise plan_rounds, or write what is wanted into the ticket.")
        self.close(f"{who} asked for another plan.", chosen)
        self.context["ti"].xcom_push(key=RESULT_KEY, value=result)
        return result

    @property
    def issue(self) -> int | None:
        """The issue on which the plan is shown; ``None``: it is asked about in Airflow alone, there being no ticket,
        or one of another tracker.
        """
        return self.task.ticket.number if self.task.ticket else None

    @property
    def shown_at(self) -> str | None:
        """When the plan was shown on the ticket, by GitHub's clock; ``None`` where it was not."""
        return self._shown().get("at")

    def question(self) -> Question:
        """Return what is asked in Airflow."""
        return plan_question(
            self.output,
            self.groups,
            title=self.task.title,
            round_number=self.operator.round_number,
            rounds=self.rounds,
            comment_url=str(self._shown().get("url", "")),
        )

    def of_answer(self, answer: Answer) -> tuple[PlanReply, dict[str, str]]:
        """Return what the answer in Airflow comes to; boxes ticked on the ticket do not count beside it."""
        said = answer.text(FEEDBACK)
        remarks = (Remark(author=answer.by, text=said),) if said else ()
        chosen = plan_choices.defaults(self.groups) | plan_choices.from_form(self.groups, answer.fields)
        if answer.option == APPROVE:
            return PlanReply(verdict="approved", by=answer.by, remarks=remarks), chosen
        if answer.option == REPLAN:
            # What was said on the ticket meanwhile is answered by the next plan too.
            noted = self._remarks_on_ticket()
            return PlanReply(
                verdict="replan",
                by=answer.by,
                remarks=(*noted.remarks, *remarks) if noted else remarks,
                answered=noted.answered if noted else (),
            ), chosen
        return PlanReply(verdict="stopped", by=answer.by), chosen

    def of_ticket(self) -> tuple[PlanReply, dict[str, str]] | None:
        """Return what the ticket comes to; ``None``: nothing yet. Shows the plan there first."""
        if self.issue is None:
            return None
        self._show()
        return self._read()

    def kept(self) -> tuple[PlanReply, dict[str, str]] | None:
        """Return what an earlier try decided."""
        kept = recall(self.context, self._key("reply"))
        return (_reply_from(kept["reply"]), dict(kept["chosen"])) if kept else None

    def keep(self, reply: PlanReply, chosen: Mapping[str, str]) -> None:
        """Store what was decided."""
        remember(self.context, self._key("reply"), {"reply": _reply_values(reply), "chosen": dict(chosen)})

    def wait(self) -> NoReturn:
        """Let go of the worker until somebody answers."""
        deadline = self._deadline()
        left = deadline - datetime.now(tz=UTC)
        if left <= timedelta(0):
            self.close("Nobody answered in time. The run ended.", None)
            hours = f"{self.operator.timeout:g} hours"
            raise TaskStoppedError(f"Nobody approved the plan within {hours}. Clear this task to ask again.")
        if self.issue is None:
            ask(self.operator, self.context, self.question(), method_name="resume", look_again=left)
        from airflow_provider_agents.triggers.ticket_comments import TicketCommentsTrigger

        shown = self._shown()
        trigger = TicketCommentsTrigger(
            repository=self.task.request.repository,
            number=self.issue,
            since=shown["since"],
            github_conn_id=self.operator.github_conn_id,
            ti_id=str(self.context["ti"].id),
            answered=self.answered,
            marker=self._marker(),
            marked_since=shown["made"],
            shown_at=shown["at"],
            poll_interval=self.operator.poll_interval,
            deadline=deadline.isoformat(),
            authority=self.task.authority.model_dump(mode="json", exclude_defaults=True),
        )
        ask(self.operator, self.context, self.question(), method_name="resume", trigger=trigger)

    def close(self, closing: str, chosen: Mapping[str, str] | None) -> None:
        """Say on the ticket how it ended."""
        if self.issue is None or not self._shown():
            return
        self._write(self._comment(chosen=chosen, closing=closing))

    # The ticket

    def _show(self) -> None:
        """Write the plan on the ticket, once a generation: again would take ticked boxes away."""
        if self._shown():
            return
        assert self.issue is not None
        number, repository = self.issue, self.task.request.repository
        body = self._comment()
        # What was said while the last plan was being answered is for this one. A clear begins anew: what
        # people said to the plan before counts no more.
        fresh = generation(self.operator, self.context) > 0 or not self._earlier
        earlier = "" if fresh else str(self._earlier[-1].get("shown_at") or "")

        async def show(client: GitHubClient) -> dict[str, str]:
            from airflow_provider_agents.hooks.github_conversation import comment_in_parts, read_conversation

            url = await comment_in_parts(client, repository, number, self._marker(), body)
            ours = (await read_conversation(client, repository, number)).parts(self._marker())
            # Where GitHub does not show it yet, its clock says what came before.
            here = datetime.now(tz=UTC) + client._transport.clock_ahead
            at = max((part.updated_at for part in ours), default=here)
            made = min((part.created_at for part in ours), default=here)
            return {
                "url": url,
                "at": at.isoformat(),
                "since": earlier or at.isoformat(),
                "made": made.isoformat(),
            }

        shown = self.operator.ask_forge(repository, show)
        remember(self.context, self._key("shown"), shown)
        self.operator.log.info("The plan is on the ticket: %s", shown["url"])

    def _read(self) -> tuple[PlanReply, dict[str, str]] | None:
        assert self.issue is not None
        number, repository, shown = self.issue, self.task.request.repository, self._shown()
        shown_at = datetime.fromisoformat(shown["at"])

        async def read(client: GitHubClient) -> tuple[PlanReply | None, str]:
            from airflow_provider_agents.hooks.github_conversation import (
                approving_thumbs,
                read_conversation,
                replies,
            )

            since, made = (datetime.fromisoformat(shown[name]) for name in ("since", "made"))
            conversation = await read_conversation(client, repository, number, min(since, made))
            ours = conversation.parts(self._marker())
            known: dict[str, Standing] = {}
            rules = self.task.authority
            if conversation.state != "OPEN":
                return PlanReply(verdict="stopped", by="Whoever closed the ticket"), ""
            reply = read_plan_replies(
                await replies(client, repository, conversation, since, known, rules),
                await approving_thumbs(client, repository, ours, shown_at, known, rules),
                shown_at=shown_at,
                now=datetime.now(tz=UTC) + client._transport.clock_ahead,
                answered=frozenset(self.answered),
            )
            return reply, "\n".join(part.body for part in ours)

        reply, body = self.operator.ask_forge(repository, read)
        if reply is None:
            return None
        ticked, unclear = plan_choices.from_boxes(self.groups, body)
        if unclear:
            self.operator.log.warning(
                "More than one box is ticked for %s: the recommended option is taken.", ", ".join(unclear)
            )
        return reply, plan_choices.defaults(self.groups) | ticked

    def _remarks_on_ticket(self) -> PlanReply | None:
        if self.issue is None or not self._shown():
            return None
        found = self._read()
        return found[0] if found and found[0].verdict == "replan" else None

    def _comment(self, *, chosen: Mapping[str, str] | None = None, closing: str = "") -> str:
        return plan_comment(
            self.output,
            self.groups,
            round_number=self.operator.round_number,
            rounds=self.rounds,
            chosen=chosen,
            link=form_link(self.context),
            closing=closing,
            approvers=who_may("approve", self.task.authority),
        )

    def _write(self, body: str) -> None:
        assert self.issue is not None
        number, repository = self.issue, self.task.request.repository

        async def write(client: GitHubClient) -> None:
            from airflow_provider_agents.hooks.github_conversation import comment_in_parts

            await comment_in_parts(client, repository, number, self._marker(), body)

        self.operator.ask_forge(repository, write)

    # What is remembered

    def _shown(self) -> dict[str, str]:
        return recall(self.context, self._key("shown")) or {}

    def _deadline(self) -> datetime:
        key = self._key("deadline")
        if isinstance(stored := recall(self.context, key), str):
            return datetime.fromisoformat(stored)
        deadline = datetime.now(tz=UTC) + timedelta(hours=self.operator.timeout)
        remember(self.context, key, deadline.isoformat())
        return deadline

    def _key(self, what: str) -> str:
        return f"{what}_{generation(self.operator, self.context)}"

    def _marker(self) -> str:
        return f"agents:{self.task.name}:plan"


def approval(approved: bool, **values: Any) -> dict[str, Any]:
    """Return the result of a round: XCom ``approval``, as :class:`~.approve_plan.ApprovePlanOperator` describes it."""
    empty: dict[str, Any] = {
        "feedback": "",
        "choices": {},
        "decisions": [],
        "run_tests": None,
        "by": "",
        "answered": [],
        "shown_at": None,
    }
    return {"approved": approved, **empty, **values}


def _reply_values(reply: PlanReply) -> dict[str, Any]:
    return {
        "verdict": reply.verdict,
        "by": reply.by,
        "remarks": [{"author": remark.author, "text": remark.text} for remark in reply.remarks],
        "answered": list(reply.answered),
    }


def _reply_from(values: Mapping[str, Any]) -> PlanReply:
    return PlanReply(
        verdict=values["verdict"],
        by=values["by"],
        remarks=tuple(Remark(**remark) for remark in values["remarks"]),
        answered=tuple(values["answered"]),
    )
