"""The pipeline: a ticket becomes a merged pull request.

The loops are unrolled, because Airflow's graph has none: every attempt and every round is a task group of
its own, with its own log, duration and links, and can be cleared by itself. A gate that ends a loop skips
the rest of it in one step.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from airflow.sdk import TaskGroup, TriggerRule

from airflow_provider_agents.domain.coding_task import Bounds
from airflow_provider_agents.operators.accept import AcceptTaskOperator
from airflow_provider_agents.operators.attempt_gate import AttemptGateOperator
from airflow_provider_agents.operators.finish import FinishOperator, ReportOperator, RunTasks
from airflow_provider_agents.operators.landing_gate import LandingGateOperator
from airflow_provider_agents.operators.open_pull_request import OpenPullRequestOperator
from airflow_provider_agents.operators.pulled import Pulled
from airflow_provider_agents.operators.steps import (
    AgentFixOperator,
    AgentImplementOperator,
    AgentPlanOperator,
    AgentTestOperator,
)
from airflow_provider_agents.operators.workspace import (
    PrepareWorkspaceOperator,
    ReleaseWorkspaceOperator,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_agents.operators.agent_step import AgentStepOperator


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
    :param step_arguments: arguments for every step operator, e.g. ``kubernetes_conn_id``, ``tolerations``.
    :return: the task group, if one was made. ``finish`` in it is the only leaf; a run that does not end
        merged fails there.
    """
    bounds = bounds or Bounds()
    step_arguments = {"github_conn_id": github_conn_id, **(step_arguments or {})}
    cluster = {name: step_arguments.get(name) for name in ("kubernetes_conn_id", "namespace")}
    group = TaskGroup(group_id, tooltip="A ticket becomes a merged pull request") if group_id else None
    with group or nullcontext():
        accept = AcceptTaskOperator(task_id="accept", conf=conf, bounds=bounds, github_conn_id=github_conn_id)
        task = Pulled(accept.task_id)
        # After `accept`: bad input leaves no claim behind.
        accepted = f"ti.xcom_pull(task_ids='{accept.task_id}')"
        workspace = PrepareWorkspaceOperator(
            task_id="workspace",
            size=f"{{{{ {accepted}['request']['workspace_size'] }}}}",
            ticket=f"{{{{ ({accepted}['ticket'] or {{}}).get('number') or {accepted}['name'] }}}}",
            **cluster,
        )
        step_arguments["workspace"] = Pulled(workspace.task_id)
        with TaskGroup("plan", tooltip="How it will be done"), TaskGroup("round_1", tooltip="Plan"):
            plan = AgentPlanOperator(task_id="plan", coding_task=task, **step_arguments)

        attempts = _build(task, Pulled(plan.task_id), bounds.max_attempts, step_arguments)
        open_pull_request = OpenPullRequestOperator(
            task_id="open_pull_request",
            coding_task=task,
            step_results=[Pulled(implement.task_id) for implement, _, _ in attempts],
            github_conn_id=github_conn_id,
            trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
        )
        rounds = _land(
            task,
            Pulled(open_pull_request.task_id),
            Pulled(plan.task_id),
            bounds.max_rounds,
            poll_interval,
            step_arguments,
        )
        gates = [gate for gate, _ in rounds]
        agents: list[AgentStepOperator] = [
            plan,
            *(implement for implement, _, _ in attempts),
            *(fix for _, fix in rounds if fix),
        ]
        for number, agent in enumerate(agents):
            agent.earlier_steps = [earlier.task_id for earlier in agents[:number]]
            agent.run_steps = [each.task_id for each in agents]
        tasks = RunTasks(
            workspace=workspace.task_id,
            accept=accept.task_id,
            open_pull_request=open_pull_request.task_id,
            steps=(
                plan.task_id,
                *(step.task_id for implement, test, _ in attempts for step in (implement, test)),
                *(fix.task_id for _, fix in rounds if fix),
            ),
            gates=(*(gate.task_id for _, _, gate in attempts), *(gate.task_id for gate in gates)),
        )
        finish = FinishOperator(
            task_id="finish", tasks=tasks, github_conn_id=github_conn_id, trigger_rule=TriggerRule.ALL_DONE
        )
        report = ReportOperator(task_id="report", tasks=tasks).as_teardown()
        release = ReleaseWorkspaceOperator(
            task_id="release_workspace",
            workspace=Pulled(workspace.task_id),
            gates=[gate.task_id for gate in gates],
            kubernetes_conn_id=cluster["kubernetes_conn_id"],
        ).as_teardown(setups=workspace)

        accept >> workspace >> plan >> attempts[0][0]
        [gate for _, _, gate in attempts] >> open_pull_request >> gates[0]
        # `finish` stands beside the teardown, not before it: Airflow does not run what lies between a setup
        # that failed and its teardown, whatever its trigger rule, and `finish` is to say why.
        gates >> release
        gates >> finish >> report
    return group


def _build(
    task: Any, plan: Any, max_attempts: int, step_arguments: Mapping[str, Any]
) -> list[tuple[AgentImplementOperator, AgentTestOperator, AttemptGateOperator]]:
    """Add implement → test → gate for each attempt."""
    attempts: list[tuple[AgentImplementOperator, AgentTestOperator, AttemptGateOperator]] = []
    with TaskGroup("build", tooltip="Implement and test"):
        for number in range(1, max_attempts + 1):
            with TaskGroup(f"attempt_{number}", tooltip=f"Attempt {number}"):
                implement = AgentImplementOperator(
                    task_id="implement",
                    coding_task=task,
                    plan=plan,
                    attempt=number,
                    test_result=Pulled(attempts[-1][1].task_id) if attempts else None,
                    **step_arguments,
                )
                test = AgentTestOperator(task_id="test", coding_task=task, **step_arguments)
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
) -> list[tuple[LandingGateOperator, AgentFixOperator | None]]:
    """Add gate → fix for each round, and a last gate that judges the last fix."""
    rounds: list[tuple[LandingGateOperator, AgentFixOperator | None]] = []
    with TaskGroup("land", tooltip="Checks, reviews, merge"):
        for number in range(1, max_rounds + 2):
            with TaskGroup(f"round_{number}", tooltip=f"Round {number}"):
                gate = LandingGateOperator(
                    task_id="gate",
                    coding_task=task,
                    pull_request=pull_request,
                    round_number=number,
                    earlier_gates=[earlier.task_id for earlier, _ in rounds],
                    poll_interval=poll_interval,
                    github_conn_id=step_arguments.get("github_conn_id"),
                )
                fix = None
                if number <= max_rounds:
                    fix = AgentFixOperator(
                        task_id="fix",
                        coding_task=task,
                        plan=plan,
                        feedback=Pulled(gate.task_id, "feedback"),
                        round_number=number,
                        **step_arguments,
                    )
                    gate >> fix
            if rounds and (last_fix := rounds[-1][1]):
                last_fix >> gate
            new = [gate.task_id, *([fix.task_id] if fix else [])]
            for earlier, _ in rounds:
                earlier.later_tasks += new
            gate.later_tasks += new[1:]
            rounds.append((gate, fix))
    return rounds
