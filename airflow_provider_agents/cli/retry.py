"""``airflow agents retry`` and ``retry-failed``: what failed runs again, what was paid for stays."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.cli.agent_runs import AgentRuns, Run, Task
from airflow_provider_agents.cli.api_client import part
from airflow_provider_agents.cli.bulk import confirmed, each_run, of_repository
from airflow_provider_agents.cli.command import EXIT_USAGE, FailedError, UsageError, command
from airflow_provider_agents.cli.output import say, show
from airflow_provider_agents.cli.phases import in_order, is_step

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from airflow_provider_agents.cli.api_client import AirflowApi

_SPAN = re.compile(r"([0-9]{1,6})(m|h|d)")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_TEARDOWN = frozenset({"report", "release_workspace"})
_FINISH = "finish"
_SKEW = timedelta(seconds=1)


@command
def retry(args: Namespace, api: AirflowApi) -> int:
    """Clear what failed in a run, so that it goes on from there."""
    runs = AgentRuns(api, args.dag)
    run = runs.find(args.run)
    if run.active:
        raise FailedError(f"run {run.run_id} is at work; wait for its end, or end it: airflow agents cancel")
    tasks = runs.tasks(run)
    roots = [_named(args.step, run, tasks)] if args.step else to_clear(tasks)
    if not roots:
        raise FailedError(
            f"nothing failed in run {run.run_id}; name the step from which on it is to run again"
        )
    cleared = clear(runs, run, roots, dry_run=args.dry_run, paid=bool(args.step))
    document = {"run": run.run_id, "from": roots, "cleared": cleared, "dry_run": args.dry_run}
    verb = "would run" if args.dry_run else "run"
    table = f"{run.run_id}: {len(cleared)} tasks {verb} again, from {_some(roots)} on\n"
    show(document, table, args.output)
    return 0


@command
def retry_failed(args: Namespace, api: AirflowApi) -> int:
    """Retry all runs that failed of late."""
    runs = AgentRuns(api, args.dag)
    begin = datetime.now(UTC) - span_of(args.since)
    listed = of_repository(runs.listed(state=["failed"], end_date_gte=begin.isoformat()), args.repository)
    chosen = [run for run in listed if not run.cancelled]
    newer = {run.run_id for run in chosen if _is_superseded(runs, run)}
    chosen = [run for run in chosen if run.run_id not in newer]
    if not confirmed(args, chosen, "retry"):
        return EXIT_USAGE
    return each_run(args, chosen, lambda run: _retry_one(runs, run, dry_run=args.dry_run))


def _retry_one(runs: AgentRuns, run: Run, *, dry_run: bool) -> str:
    roots = to_clear(runs.tasks(run))
    if not roots:
        return "nothing failed in it"
    clear(runs, run, roots, dry_run=dry_run)
    return f"{'would be retried' if dry_run else 'retried'} from {_some(roots)} on"


def to_clear(tasks: Sequence[Task]) -> list[str]:
    """Return the tasks from which on a run is to run again: those that failed, else those that a cancel skipped."""
    roots = [task for task in tasks if task.state == "failed" and _last(task) not in {_FINISH, *_TEARDOWN}]
    finish = next((task for task in tasks if _last(task) == _FINISH), None)
    if not roots and finish is not None and finish.state == "failed" and finish.ended_at is not None:
        # Only a cancel skips tasks when `finish` has failed already; a gate does so before.
        after = finish.ended_at - _SKEW
        roots = [
            task for task in tasks if task.state == "skipped" and task.ended_at and task.ended_at >= after
        ]
    if not roots and finish is not None and finish.state in ("failed", "upstream_failed", "skipped"):
        roots = [finish]
    return [task.task_id for task in in_order(roots)]


def clear(runs: AgentRuns, run: Run, roots: list[str], *, dry_run: bool, paid: bool = False) -> list[str]:
    """Clear tasks of a run and all that follow them; return the ids of all.

    :param paid: also steps that did their work, and are paid again.
    :raises FailedError: there is such a step, and ``paid`` is not set.
    """
    body: dict[str, Any] = {
        "dag_run_id": run.run_id,
        "task_ids": roots,
        "include_downstream": True,
        "only_failed": False,
        "reset_dag_runs": True,
    }
    path = f"/dags/{part(runs.dag_id)}/clearTaskInstances"
    answer = runs.api.change("POST", path, {**body, "dry_run": True})
    found = [Task.of(each) for each in answer.get("task_instances") or ()]
    done = [task.task_id for task in in_order(found) if task.state == "success" and is_step(task.task_id)]
    if done and not paid:
        raise FailedError(
            f"run {run.run_id}: {', '.join(done)} would run and be paid again; to have that, name the step from which on"
        )
    if not dry_run:
        runs.api.change("POST", path, {**body, "dry_run": False})
        if run.cancelled:
            # Else the run would be called cancelled when it ends in another way.
            runs.api.change(
                "PATCH", run.path, {"note": f"Retried after: {run.note}"[:1000]}, update_mask="note"
            )
    return [task.task_id for task in in_order(found)]


def _named(step: str, run: Run, tasks: Sequence[Task]) -> str:
    """Return the task that a person means by ``step``."""
    found = [task.task_id for task in tasks if task.task_id == step or task.task_id.endswith(f".{step}")]
    if len(found) == 1:
        return found[0]
    if not found:
        ran = ", ".join(task.task_id for task in in_order(tasks) if task.started_at)
        raise UsageError(f"run {run.run_id} has no task {step}; those that ran: {ran}")
    raise UsageError(f"{step} means {', '.join(sorted(found))}; name one")


def _some(task_ids: Sequence[str]) -> str:
    more = f" and {len(task_ids) - 3} more" if len(task_ids) > 3 else ""
    return ", ".join(task_ids[:3]) + more


def _last(task: Task) -> str:
    return task.task_id.rpartition(".")[2]


def _is_superseded(runs: AgentRuns, run: Run) -> bool:
    """Tell whether a newer run of the same ticket or manifest is there, so that this one is history."""
    # A key such as ENG-12 may be that of two trackers.
    reference = (run.ticket if "#" in run.ticket else run.ticket_id) or run.ticket or run.name
    if not reference:
        return False
    latest = runs.called(reference)
    if latest and latest[0].run_id != run.run_id:
        say(f"{run.run_id}: left out, for {latest[0].run_id} is a newer run of {reference}")
        return True
    return False


def span_of(text: str) -> timedelta:
    """Return a span of time: ``30m``, ``24h``, ``7d``.

    :raises UsageError: it is none.
    """
    found = _SPAN.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise UsageError(f"--since {text}: write it as 30m, 24h or 7d")
    try:
        span = timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        span = timedelta.max
    return min(span, timedelta(days=3650))
