"""Asks people whether a plan is to be carried out, in Airflow and on the ticket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.coding_task import CodingTask
from airflow_provider_agents.operators.failure_reason import leaving_reason
from airflow_provider_agents.operators.forge import ForgeMixin, connection_id, forge_defaults
from airflow_provider_agents.operators.skipping import LoopExitOperator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

RESULT_KEY = "approval"
"""XCom with the result; also pushed where the later rounds are skipped, which keeps no return value."""


class ApprovePlanOperator(ForgeMixin, LoopExitOperator):
    """Wait until a person approved the plan, wants another one, or ends the run.

    Not asked for (``plan_approval`` of the request is off): approved at once. Asked, the plan stands on
    Airflow's page of required actions and, where the task has a ticket, in a comment on it that is edited in
    place. On the ticket those count whom the rules of the run name (by default people with write access): a 👍 on the comment or ``/approve`` approves, any
    other reply asks for another plan, ``/stop`` ends the run. Waiting costs no worker.

    Approved, the later rounds are skipped. The result is the XCom ``approval``:

    ``approved``
        whether the plan of this round is to be carried out.
    ``feedback``
        fenced text for the prompt of the next plan, or, with ``approved``, of the work; may be empty.
    ``choices``, ``decisions``, ``run_tests``
        what was taken of the plan's options: group key → option key; one line a group, for the plan that is
        implemented; whether tests are run, ``None`` where that was no choice.
    ``by``
        who said so; empty where nobody was asked.
    ``answered``, ``shown_at``
        node ids of the comments that are in this, and when the plan was shown on the ticket.

    :param coding_task: the accepted task. (templated)
    :param plan: result of this round's :class:`~.steps.AgentPlanOperator`. (templated)
    :param round_number: number of this round, counted from 1.
    :param earlier_approvals: task ids of the approvals of earlier rounds.
    :param poll_interval: seconds between two readings of the ticket.
    :param timeout: hours that people may take.
    :param github_conn_id: Airflow connection of type ``github``. (templated)
    :raises TaskStoppedError: if a person ended the run, asked for a plan more than there may be, or nobody
        answered in time.
    """

    template_fields: Sequence[str] = ("coding_task", "plan", "github_conn_id")
    ui_color = "#e6e0f8"

    def __init__(
        self,
        *,
        coding_task: Any,
        plan: Any,
        round_number: int = 1,
        earlier_approvals: Sequence[str] = (),
        poll_interval: float = 60.0,
        timeout: float = 168.0,
        github_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**forge_defaults(kwargs))
        self.coding_task = coding_task
        self.plan = plan
        self.round_number = round_number
        self.earlier_approvals = list(earlier_approvals)
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.github_conn_id = connection_id(github_conn_id)

    def execute(self, context: Context) -> Any:
        """Ask, unless it was asked and answered before."""
        return self._look(context, None)

    def resume(self, context: Context, event: dict[str, Any]) -> Any:
        """Take over from the wait. What it says about the ticket is only a hint: it is read again."""
        return self._look(context, event)

    def _look(self, context: Context, event: Mapping[str, Any] | None) -> Any:
        # Not at import: a DAG file has several of these, and none of them asks while it is parsed.
        from airflow_provider_agents.operators.plan_round import PlanRound, approval

        task = CodingTask.model_validate(self.coding_task)
        if not task.request.plan_approval:
            self.log.info("Nobody is asked: plan_approval is off.")
            return self.approve(context, approval(True))
        with leaving_reason(context):
            return PlanRound(self, task, context).look(event)

    def approve(self, context: Context, result: dict[str, Any]) -> Any:
        """Leave the result, and skip the rounds that are not needed any more."""
        context["ti"].xcom_push(key=RESULT_KEY, value=result)
        self.leave_loop(context)
        return result
