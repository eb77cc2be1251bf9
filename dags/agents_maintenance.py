"""Housekeeping: deletes what runs of agents left behind and nobody comes back for, and says what it freed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Param

from airflow_provider_agents.operators.housekeeping_report import HousekeepingReportOperator
from airflow_provider_agents.operators.stale_branches import SweepBranchesOperator
from airflow_provider_agents.operators.sweep import SweepOperator
from airflow_provider_agents.operators.sweep_cache import SweepCacheOperator

DOC = """\
### Agents: maintenance

Cleans up every hour, and touches only what this installation made. The tasks do not depend on each other:

* `sweep` … claims of runs that ended, pods that were kept long enough, secrets whose pod is gone
* `branches` … work branches of pull requests that were closed long ago
* `cache` … what nobody uses on the cache claim, and what is beyond its sizes
* `report` … what was freed, in counts and bytes

Trigger it with `dry_run` to see what would go. An empty field means the option of `[agents]` beside it.
"""


def _override(title: str, option: str) -> Param:
    return Param(
        None, type=["null", "number"], minimum=0, title=title, description=f"Empty: `[agents] {option}`."
    )


with DAG(
    "agents_maintenance",
    dag_display_name="Agents: maintenance",
    description="Deletes what agents left: claims, pods, secrets, branches, caches",
    doc_md=DOC,
    schedule="17 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=55),
    is_paused_upon_creation=False,  # without it, the claims of failed runs stay for ever
    params={
        "dry_run": Param(False, type="boolean", title="Dry run", description="Delete nothing."),
        "pod_keep_hours": _override("Hours that succeeded pods are kept", "pod_keep_hours"),
        "failed_pod_keep_hours": _override("Hours that failed pods are kept", "failed_pod_keep_hours"),
        "claim_keep_minutes": _override("Minutes that claims are kept", "claim_keep_minutes"),
        "branch_keep_days": _override("Days that branches are kept", "branch_keep_days"),
    },
    tags=["agents"],
):
    tasks = [
        SweepOperator(
            task_id="sweep",
            report_only="{{ params.dry_run }}",
            pod_keep_hours="{{ params.pod_keep_hours }}",
            failed_pod_keep_hours="{{ params.failed_pod_keep_hours }}",
            claim_keep_minutes="{{ params.claim_keep_minutes }}",
            execution_timeout=timedelta(minutes=15),
        ),
        SweepBranchesOperator(
            task_id="branches",
            report_only="{{ params.dry_run }}",
            keep_days="{{ params.branch_keep_days }}",
            execution_timeout=timedelta(minutes=15),
        ),
        SweepCacheOperator(task_id="cache", report_only="{{ params.dry_run }}"),
    ]
    # A teardown, so that the tasks above decide the colour of the run.
    report = HousekeepingReportOperator(
        task_id="report", tasks=[task.task_id for task in tasks], execution_timeout=timedelta(minutes=5)
    ).as_teardown()
    tasks >> report
