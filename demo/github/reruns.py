"""Checks run again: single jobs, all failed ones of a workflow run, and checks of other apps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demo.github.errors import ApiError
from demo.github.forge import Forge, require

if TYPE_CHECKING:
    from collections.abc import Iterable

    from demo.github.check_state import CheckRun, CheckSuite
    from demo.github.state import User


def rerun_job(forge: Forge, run: CheckRun, actor: User) -> CheckRun:
    """Run one job of a workflow run again, and those that need it; return its new check run.

    :raises ApiError: 403 without write permission, or while the workflow run is not complete.
    """
    _hold(run.suite, actor, "The workflow run containing this job is already running")
    return _again(forge, run.suite, [run], actor)[0]


def rerun_failed_jobs(forge: Forge, suite: CheckSuite, actor: User) -> None:
    """Run the jobs of a workflow run again that have not passed, and those that need them.

    :raises ApiError: 403 without write permission, while the workflow run is not complete, or where none failed.
    """
    _hold(suite, actor, "This workflow is already running")
    failed = [run for run in suite.latest_runs() if not run.passed]
    if not failed:
        raise ApiError(403, "This workflow run cannot be retried", kind="FORBIDDEN")
    _again(forge, suite, failed, actor)


def rerun_all_jobs(forge: Forge, suite: CheckSuite, actor: User) -> None:
    """Run all jobs of a workflow run again.

    :raises ApiError: 403 without write permission, or while the workflow run is not complete.
    """
    _hold(suite, actor, "This workflow is already running")
    _again(forge, suite, suite.latest_runs(), actor)


def rerequest(forge: Forge, run: CheckRun, actor: User) -> CheckRun:
    """Ask the app of a check to run it again; return the new run.

    An app that is not played by a script leaves it queued, until an act reports what came of it.

    :raises ApiError: 403 without write permission; 422 while it is not complete.
    """
    require(run.suite.repository, actor, "write")
    if run.status != "COMPLETED":
        raise ApiError(422, "This check run is not rerequestable")
    return _again(forge, run.suite, [run], actor)[0]


def _hold(suite: CheckSuite, actor: User, busy: str) -> None:
    require(suite.repository, actor, "write")
    if suite.status != "COMPLETED":
        raise ApiError(403, busy, kind="FORBIDDEN")


def _again(forge: Forge, suite: CheckSuite, runs: Iterable[CheckRun], actor: User) -> list[CheckRun]:
    """Begin another attempt of the suite with ``runs``; all others stand as they are."""
    suite.attempt += 1
    chosen = list(runs)
    keys = {run.work.job.key for run in chosen if run.work is not None}
    dependent = _dependent(suite, keys)
    suite.waiting += [run.work for run in dependent if run.work is not None]
    made = []
    for run in chosen:
        if run in dependent:
            continue
        forge.mutations.record(
            "check.rerequested",
            suite.repository.full_name,
            actor=actor.login,
            name=run.name,
            sha=suite.head_sha,
            check_run_id=run.database_id,
            attempt=suite.attempt,
        )
        if run.work is not None:
            made.append(forge.checks.start_job(suite, run.work))
        else:
            new = forge.checks.add_run(suite, run.name)
            forge.checks.play_script(new)
            made.append(new)
    return made


def _dependent(suite: CheckSuite, keys: set[str]) -> list[CheckRun]:
    """Return the runs of the jobs that need one of ``keys``, or one that needs it in turn."""
    found: list[CheckRun] = []
    reached = set(keys)
    grown = True
    while grown:
        grown = False
        for run in suite.latest_runs():
            if run.work is not None and run not in found and reached & set(run.work.job.needs):
                found.append(run)
                reached.add(run.work.job.key)
                grown = True
    return found
