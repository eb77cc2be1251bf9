"""``airflow agents cancel`` and ``cancel-active``: a run ends now, and its pods with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.cli.agent_runs import ACTIVE, CANCELLED, AgentRuns, Run
from airflow_provider_agents.cli.api_client import ApiError, part
from airflow_provider_agents.cli.bulk import confirmed, each_run, of_repository
from airflow_provider_agents.cli.command import EXIT_USAGE, FailedError, command
from airflow_provider_agents.cli.output import show

if TYPE_CHECKING:
    from argparse import Namespace

    from airflow_provider_agents.cli.api_client import AirflowApi

_LONGEST_NOTE = 1_000


@command
def cancel(args: Namespace, api: AirflowApi) -> int:
    """End one run."""
    runs = AgentRuns(api, args.dag)
    run = runs.find(args.run, active=True)
    done = "would be cancelled" if args.dry_run else cancel_run(runs, run, args.reason or "")
    show({"run": run.run_id, "result": done}, f"{run.run_id}: {done}\n", args.output)
    return 0


@command
def cancel_active(args: Namespace, api: AirflowApi) -> int:
    """End all runs at work."""
    runs = AgentRuns(api, args.dag)
    chosen = of_repository(runs.listed(state=sorted(ACTIVE)), args.repository)
    if not confirmed(args, chosen, "cancel"):
        return EXIT_USAGE
    reason = args.reason or ""
    return each_run(
        args, chosen, lambda run: "would be cancelled" if args.dry_run else cancel_run(runs, run, reason)
    )


def cancel_run(runs: AgentRuns, run: Run, reason: str) -> str:
    """End a run; return what was done.

    Airflow marks what runs as failed and what has not run as skipped: pods of deferred tasks are deleted by
    their trigger, others by their worker. The tasks that tidy up run nevertheless.

    :raises FailedError: it ended, or was deleted, in the meantime.
    """
    note = f"{CANCELLED} by `airflow agents cancel`{f': {reason}' if reason else ''}"[:_LONGEST_NOTE]
    # `finish` first. It decides the colour of the run: were it skipped like all that has not run, the run would
    # end green when the tasks that tidy up are done.
    finish = next((task for task in runs.tasks(run) if task.task_id.rpartition(".")[2] == "finish"), None)
    try:
        if finish is not None and finish.state not in ("success", "failed"):
            path = f"{run.path}/taskInstances/{part(finish.task_id)}"
            runs.api.change("PATCH", path, {"new_state": "failed"}, update_mask="new_state")
        runs.api.change("PATCH", run.path, {"state": "failed", "note": note})
    except ApiError as error:
        if error.status == 404:
            raise FailedError(f"run {run.run_id} was deleted in the meantime") from None
        raise
    return "cancelled"
