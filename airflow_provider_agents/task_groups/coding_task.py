"""The pipeline: a ticket becomes a merged pull request.

The loops are unrolled, because Airflow's graph has none: every attempt and every round is a task group of
its own, with its own log, duration and links, and can be cleared by itself. A gate that ends a loop skips
the rest of it in one step.
"""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from airflow.sdk import TaskGroup, TriggerRule

from airflow_provider_agents.domain.coding_task_request import Bounds
from airflow_provider_agents.domain.pools import STEP_POOL
from airflow_provider_agents.operators.accept import AcceptTaskOperator
from airflow_provider_agents.operators.admit import AdmitOperator
from airflow_provider_agents.operators.approve_plan import RESULT_KEY as APPROVAL_KEY
from airflow_provider_agents.operators.approve_plan import ApprovePlanOperator
from airflow_provider_agents.operators.attempt_gate import AttemptGateOperator
from airflow_provider_agents.operators.finish import FinishOperator, ReportOperator
from airflow_provider_agents.operators.landing_gate import LandingGateOperator
from airflow_provider_agents.operators.landing_keys import (
    DECISION_KEY,
    FEEDBACK_KEY,
    MAY_FIX_KEY,
    RoundTasks,
)
from airflow_provider_agents.operators.open_pull_request import OpenPullRequestOperator
from airflow_provider_agents.operators.pulled import LatestPulled, Pulled
from airflow_provider_agents.operators.read_report import RunTasks
from airflow_provider_agents.operators.review import AgentReviewOperator
from airflow_provider_agents.operators.steps import (
    AgentFixOperator,
    AgentImplementOperator,
    AgentPlanOperator,
    AgentTestOperator,
)
from airflow_provider_agents.operators.ticket_status import TicketStatusNotifier
from airflow_provider_agents.operators.workspace import (
    PrepareWorkspaceOperator,
    ReleaseWorkspaceOperator,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import BaseOperator

    from airflow_provider_agents.domain.tickets import Stage
    from airflow_provider_agents.operators.agent_step import AgentStepOperator


PLAN_ROUNDS = 3
"""Plans that the graph has; ``plan_rounds`` of the request goes up to it."""
STAGE_WEIGHT = 100
"""Of a step in its pool; those of later stages weigh more. The same in all runs: Airflow fixes the weight of a task
before the conf of its run can be read, so that a run's own priority counts at its admission."""
ONE_WAY_IN = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS
"""Of several ways to a task one was taken, and the others were skipped."""


def coding_task_group(
    group_id: str | None = "coding_task",
    *,
    conf: Mapping[str, Any] | None = None,
    bounds: Bounds | None = None,
    github_conn_id: str | None = None,
    poll_interval: float = 30.0,
    step_arguments: Mapping[str, Any] | None = None,
) -> TaskGroup | None:
    """Add the pipeline to the DAG in whose context this is called.

    :param group_id: name of the task group; ``None`` adds the tasks without a group around them.
    :param conf: the request, see
        :class:`~airflow_provider_agents.domain.coding_task.CodingTaskRequest` (templated); ``None``: the
        run's params.
    :param bounds: how many attempts and rounds the graph has.
    :param github_conn_id: Airflow connection of type ``github``.
    :param poll_interval: seconds between two readings of the pull request.
    :param step_arguments: arguments for every step operator, e.g. ``kubernetes_conn_id``, ``tolerations``, or
        another ``pool``.
    :return: the task group, if one was made. ``finish`` in it is the only leaf; a run that does not end
        merged fails there.
    """
    bounds = bounds or Bounds()
    step_arguments = {
        "github_conn_id": github_conn_id,
        "pool": STEP_POOL,
        "weight_rule": "absolute",
        **(step_arguments or {}),
    }
    cluster = {name: step_arguments.get(name) for name in ("kubernetes_conn_id", "namespace")}
    group = TaskGroup(group_id, tooltip="A ticket becomes a merged pull request") if group_id else None
    with group or nullcontext():
        accept = AcceptTaskOperator(task_id="accept", conf=conf, bounds=bounds, github_conn_id=github_conn_id)
        task = Pulled(accept.task_id)
        admit = AdmitOperator(task_id="admit", coding_task=task)
        # After `accept`: bad input leaves no claim behind.
        accepted = f"ti.xcom_pull(task_ids='{accept.task_id}')"
        workspace = PrepareWorkspaceOperator(
            task_id="workspace",
            size=f"{{{{ {accepted}['request']['workspace_size'] }}}}",
            ticket=f"{{{{ ({accepted}['ticket'] or {{}}).get('number') or {accepted}['name'] }}}}",
            **cluster,
        )
        step_arguments["workspace"] = Pulled(workspace.task_id)
        plans, approvals = _plan(task, poll_interval, step_arguments)
        approved = Approved(
            plan=LatestPulled([plan.task_id for plan in plans]),
            approval=LatestPulled([approval.task_id for approval in approvals], APPROVAL_KEY),
        )
        attempts = _build(task, approved, bounds.max_attempts, step_arguments)
        open_pull_request = OpenPullRequestOperator(
            task_id="open_pull_request",
            coding_task=task,
            step_results=[Pulled(implement.task_id) for implement, _, _ in attempts],
            github_conn_id=github_conn_id,
            trigger_rule=ONE_WAY_IN,
        )
        rounds = _land(
            task,
            Pulled(open_pull_request.task_id),
            approved.plan,
            bounds.max_rounds + bounds.granted_rounds,
            poll_interval,
            step_arguments,
        )
        gates = [each.gate for each in rounds]
        fixes = [each.fix for each in rounds if each.fix]
        reviews = [each.review for each in rounds if each.review]
        agents: list[AgentStepOperator] = [*plans, *(implement for implement, _, _ in attempts), *fixes]
        run_steps = [each.task_id for each in (*agents, *reviews)]
        built = [step for implement, test, _ in attempts for step in (implement, test)]
        # What was begun is finished first.
        _weigh(plans, STAGE_WEIGHT)
        _weigh(built, 2 * STAGE_WEIGHT)
        _weigh([*reviews, *fixes], 3 * STAGE_WEIGHT)
        for number, agent in enumerate(agents):
            agent.earlier_steps = [earlier.task_id for earlier in agents[:number]]
        for spender in (*agents, *reviews):
            spender.run_steps = run_steps
        for gate in gates:
            gate.run_steps = run_steps
        tasks = RunTasks(
            workspace=workspace.task_id,
            accept=accept.task_id,
            open_pull_request=open_pull_request.task_id,
            steps=(
                *(plan.task_id for plan in plans),
                *(step.task_id for implement, test, _ in attempts for step in (implement, test)),
                *(step.task_id for each in rounds for step in (each.review, each.fix) if step),
            ),
            # `admit` gives leave to go on, too; where it fails, the run says why.
            approvals=(admit.task_id, *(approval.task_id for approval in approvals)),
            gates=(*(gate.task_id for _, _, gate in attempts), *(gate.task_id for gate in gates)),
        )
        finish = FinishOperator(
            task_id="finish", tasks=tasks, github_conn_id=github_conn_id, trigger_rule=TriggerRule.ALL_DONE
        )
        report = ReportOperator(task_id="report", tasks=tasks, github_conn_id=github_conn_id).as_teardown()
        release = ReleaseWorkspaceOperator(
            task_id="release_workspace",
            workspace=Pulled(workspace.task_id),
            gates=[gate.task_id for gate in gates],
            kubernetes_conn_id=cluster["kubernetes_conn_id"],
        ).as_teardown(setups=workspace)

        _tell_ticket(
            tasks,
            github_conn_id,
            ("The agent waits for its place.", "working", [accept]),
            ("The agent makes a plan.", "working", [workspace]),
            ("The agent works on it.", "working", approvals),
            ("The pull request is open; checks and reviews are next.", "in_review", [open_pull_request]),
            ("Checks and reviews are watched; what fails goes back to the agent.", "in_review", gates),
        )
        accept >> admit >> workspace >> plans[0]
        approvals >> attempts[0][0]
        [gate for _, _, gate in attempts] >> open_pull_request >> gates[0]
        # `finish` stands beside the teardown, not before it: Airflow does not run what lies between a setup
        # that failed and its teardown, whatever its trigger rule, and `finish` is to say why.
        gates >> release
        gates >> finish >> report
    return group


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """The plan that is carried out, and what people said to it; pulled when they are read."""

    plan: LatestPulled
    approval: LatestPulled


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LandingRound:
    """The tasks of one landing round. The last gate judges the last fix, and has neither beside it."""

    gate: LandingGateOperator
    review: AgentReviewOperator | None = None
    fix: AgentFixOperator | None = None

    @property
    def tasks(self) -> RoundTasks:
        return RoundTasks(
            gate=self.gate.task_id,
            review=self.review.task_id if self.review else None,
            fix=self.fix.task_id if self.fix else None,
        )


def _tell_ticket(
    tasks: RunTasks,
    github_conn_id: str | None,
    *moments: tuple[str, Stage, Sequence[BaseOperator]],
) -> None:
    """Have the ticket told where the run is, each time when one of these tasks is done.

    :param moments: what comes next, where the ticket is moved to, after which tasks.
    """
    for headline, stage, done in moments:
        notifier = TicketStatusNotifier(
            tasks=tasks, headline=headline, stage=stage, github_conn_id=github_conn_id
        )
        for task in done:
            task.on_success_callback = [notifier]


def _weigh(steps: Sequence[BaseOperator], weight: int) -> None:
    for step in steps:
        step.priority_weight = weight


def _plan(
    task: Any, poll_interval: float, step_arguments: Mapping[str, Any]
) -> tuple[list[AgentPlanOperator], list[ApprovePlanOperator]]:
    """Add plan → approve for each round; a later round runs where people wanted another plan."""
    plans: list[AgentPlanOperator] = []
    approvals: list[ApprovePlanOperator] = []
    with TaskGroup("plan", tooltip="How it will be done"):
        for number in range(1, PLAN_ROUNDS + 1):
            with TaskGroup(f"round_{number}", tooltip=f"Plan {number}"):
                plan = AgentPlanOperator(
                    task_id="plan",
                    coding_task=task,
                    feedback=Pulled(approvals[-1].task_id, APPROVAL_KEY) if approvals else None,
                    earlier_plan=Pulled(plans[-1].task_id) if plans else None,
                    **step_arguments,
                )
                approve = ApprovePlanOperator(
                    task_id="approve",
                    coding_task=task,
                    plan=Pulled(plan.task_id),
                    round_number=number,
                    earlier_approvals=[earlier.task_id for earlier in approvals],
                    poll_interval=poll_interval,
                    github_conn_id=step_arguments.get("github_conn_id"),
                )
                plan >> approve
            if approvals:
                approvals[-1] >> plan
            for earlier in approvals:
                earlier.later_tasks += [plan.task_id, approve.task_id]
            plans.append(plan)
            approvals.append(approve)
    return plans, approvals


def _build(
    task: Any, approved: Approved, max_attempts: int, step_arguments: Mapping[str, Any]
) -> list[tuple[AgentImplementOperator, AgentTestOperator, AttemptGateOperator]]:
    """Add implement → test → gate for each attempt."""
    attempts: list[tuple[AgentImplementOperator, AgentTestOperator, AttemptGateOperator]] = []
    with TaskGroup("build", tooltip="Implement and test"):
        for number in range(1, max_attempts + 1):
            with TaskGroup(f"attempt_{number}", tooltip=f"Attempt {number}"):
                implement = AgentImplementOperator(
                    task_id="implement",
                    coding_task=task,
                    plan=approved.plan,
                    approval=approved.approval,
                    attempt=number,
                    test_result=Pulled(attempts[-1][1].task_id) if attempts else None,
                    # The later plans were skipped.
                    trigger_rule=TriggerRule.ALL_SUCCESS if attempts else ONE_WAY_IN,
                    **step_arguments,
                )
                test = AgentTestOperator(
                    task_id="test", coding_task=task, approval=approved.approval, **step_arguments
                )
                gate = AttemptGateOperator(
                    task_id="gate",
                    coding_task=task,
                    test_result=Pulled(test.task_id),
                    attempt=number,
                    trigger_rule=TriggerRule.NONE_FAILED,
                )
                implement >> test >> gate
            if attempts:
                attempts[-1][2] >> implement
            for _, _, earlier in attempts:
                earlier.later_tasks += [implement.task_id, test.task_id, gate.task_id]
            attempts.append((implement, test, gate))
    return attempts


def _land(
    task: Any,
    pull_request: Any,
    plan: Any,
    max_rounds: int,
    poll_interval: float,
    step_arguments: Mapping[str, Any],
) -> list[LandingRound]:
    """Add gate → review → fix for each round, and a last gate that judges the last fix."""
    rounds: list[LandingRound] = []
    with TaskGroup("land", tooltip="Checks, reviews, merge"):
        for number in range(1, max_rounds + 2):
            with TaskGroup(f"round_{number}", tooltip=f"Round {number}"):
                gate = LandingGateOperator(
                    task_id="gate",
                    coding_task=task,
                    pull_request=pull_request,
                    round_number=number,
                    earlier_rounds=[earlier.tasks for earlier in rounds],
                    rounds_left=max_rounds + 1 - number,
                    poll_interval=poll_interval,
                    github_conn_id=step_arguments.get("github_conn_id"),
                    trigger_rule=TriggerRule.NONE_FAILED if rounds else TriggerRule.ALL_SUCCESS,
                )
                made = LandingRound(gate=gate)
                if number <= max_rounds:
                    made = _round(gate, rounds, task, pull_request, plan, number, step_arguments)
            if rounds and (last_fix := rounds[-1].fix):
                last_fix >> gate
            new = [step.task_id for step in (made.gate, made.review, made.fix) if step]
            for earlier in rounds:
                earlier.gate.later_tasks += new
            gate.later_tasks += new[1:]
            rounds.append(made)
    return rounds


def _round(
    gate: LandingGateOperator,
    earlier: list[LandingRound],
    task: Any,
    pull_request: Any,
    plan: Any,
    number: int,
    step_arguments: Mapping[str, Any],
) -> LandingRound:
    """Add the review and the fix of a round to its gate."""
    review = AgentReviewOperator(
        task_id="review",
        coding_task=task,
        pull_request=pull_request,
        decision=Pulled(gate.task_id, DECISION_KEY),
        may_fix=Pulled(gate.task_id, MAY_FIX_KEY),
        earlier_reviews=[each.review.task_id for each in earlier if each.review],
        fixes=[each.fix.task_id for each in earlier if each.fix],
        **step_arguments,
    )
    fix = AgentFixOperator(
        task_id="fix",
        coding_task=task,
        plan=plan,
        feedback=Pulled(gate.task_id, FEEDBACK_KEY),
        review_feedback=Pulled(review.task_id, FEEDBACK_KEY),
        pull_request=pull_request,
        round_number=number,
        # The review is skipped where the gate itself has something to fix.
        trigger_rule=TriggerRule.NONE_FAILED,
        **step_arguments,
    )
    review.fix_task = fix.task_id
    made = LandingRound(gate=gate, review=review, fix=fix)
    gate.round_tasks = made.tasks
    gate >> review >> fix
    return made
