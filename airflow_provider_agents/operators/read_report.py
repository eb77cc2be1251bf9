"""Puts the report of a run together from what its tasks left: XComs and task states."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from airflow_provider_agents.operators.failure_reason import FAILURE_KEY
from airflow_provider_agents.operators.pulled import values_of
from airflow_provider_agents.operators.step_books import LEDGER_KEY

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_agents.domain.run_report import RunReport


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunTasks:
    """Where in the graph the values of a run are: task ids."""

    accept: str
    workspace: str
    open_pull_request: str
    steps: tuple[str, ...]
    gates: tuple[str, ...]
    approvals: tuple[str, ...] = ()

    def all(self) -> list[str]:
        """Return every task whose failure ends the run."""
        named = [self.accept, self.workspace, *self.approvals, *self.steps, self.open_pull_request]
        return [*named, *self.gates]

    @property
    def prefix(self) -> str:
        """Return what stands before the ids of the pipeline's tasks: the group's id with a dot, or nothing."""
        return self.accept.removesuffix("accept")


def read_report(context: Context, tasks: RunTasks) -> RunReport:
    """Put the report of the run together, as far as it has come."""
    from airflow_provider_agents.domain.budget import from_values
    from airflow_provider_agents.domain.run_report import run_report

    ti = context["ti"]
    states = ti.get_task_states(dag_id=ti.dag_id, task_ids=tasks.all(), run_ids=[ti.run_id])
    failed = [task for task, state in states.get(ti.run_id, {}).items() if state == "failed"]
    failures = {
        task: str(ti.xcom_pull(task_ids=task, key=FAILURE_KEY) or "failed; see its log")
        for task in tasks.all()
        if task in failed
    }
    # Money was spent whatever became of the task.
    books = [
        record for task in tasks.steps for record in from_values(ti.xcom_pull(task_ids=task, key=LEDGER_KEY))
    ]
    return run_report(
        steps=values_of(context, tasks.steps),
        decisions=values_of(context, tasks.gates, "decision"),
        failures=failures,
        books=books,
        pull_request=ti.xcom_pull(task_ids=tasks.open_pull_request),
    )
