"""Deletes what runs of agents left on the cluster and nobody comes back for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Param

from airflow_provider_agents.operators.sweep import SweepOperator

DOC = """\
### Agents: maintenance

Deletes, every hour and of this installation only:

* **claims** of runs that ended without a merge and were not resumed within `[agents] workspace_expiry_hours`;
  never one that a pod mounts, or whose run goes on
* **pods** that ended longer ago than that
* **secrets** of pods that were never made

The XCom of `sweep` and its log say what went and why. Trigger it with `dry_run` to see what would go.
"""

with DAG(
    "agents_maintenance",
    dag_display_name="Agents: maintenance",
    description="Deletes expired claims, pods and secrets of agents",
    doc_md=DOC,
    schedule="17 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=50),
    is_paused_upon_creation=False,  # without it, the claims of failed runs stay for ever
    params={"dry_run": Param(False, type="boolean", title="Dry run", description="Delete nothing.")},
    tags=["agents"],
):
    SweepOperator(
        task_id="sweep", report_only="{{ params.dry_run }}", execution_timeout=timedelta(minutes=15)
    )
