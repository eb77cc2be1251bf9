"""Which work branches of closed pull requests may go.

Deleting a branch is the one act of housekeeping that could lose a person's work, so a branch goes only if
three witnesses agree: its name, which is made of the digest of one run; the pull request, which this
installation's account opened for it and which is closed; and Airflow's own record of that run. What the
branch points to is kept by the forge as the head of the closed pull request, and can be restored from there.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from airflow_provider_agents.domain.coding_task import CodingTask
from airflow_provider_agents.domain.housekeeping import RunSeen, SweepDecision
from airflow_provider_agents.domain.workspace import stamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from airflow_provider_agents.domain.coding_task_request import CodingTaskRequest

BRANCH_PREFIX = "ai/"
"""What the names of the work branches that are named by the pipeline begin with."""

_NAME = re.compile(r"ai/(?:issue-\d+|task)-([0-9a-f]{8})")
_ORIGIN = re.compile(r"Opened by Airflow: DAG `([^`\n]{1,250})`, run `([^`\n]{1,250})`")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedWork:
    """A closed pull request and its branch, as the forge has them now."""

    repository: str
    """``owner/name``"""
    repository_id: str
    """Node id."""
    number: int
    url: str
    merged: bool
    closed_at: datetime | None
    ours: bool
    """Opened by the account of our connection."""
    cross_repository: bool
    branch: str
    head_sha: str
    """Head of the pull request when it was closed."""
    branch_sha: str | None
    """Where the branch is now; ``None``: it is gone."""
    open_pull_requests: int
    """Open pull requests from the branch, or into it."""
    body: str
    """Written by the pipeline, and editable by others: it leads to a run, and proves nothing."""

    @property
    def origin(self) -> tuple[str, str] | None:
        """DAG id and run id that the body names last."""
        found = _ORIGIN.findall(self.body)
        return found[-1] if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What Airflow's own record says of the run that a pull request names."""

    run: RunSeen
    task: Mapping[str, Any]
    """What its task ``accept`` returned."""
    pull_request_number: int | None
    """What its task ``open_pull_request`` left."""
    heads: frozenset[str]
    """Every head that its steps say they pushed."""


def by_the_forge(work: ClosedWork, *, now: datetime, keep: timedelta) -> SweepDecision | None:
    """Decide by what the forge says; ``None`` where the record of the run has to be asked.

    :param keep: how long a branch stays after its pull request was closed, and its run ended.
    """
    name = _NAME.fullmatch(work.branch)
    if name is None:
        return SweepDecision("keep", "Its name is not one that the pipeline gives.")
    if work.branch_sha is None:
        return SweepDecision("keep", "It is gone already.")
    if not work.ours:
        return SweepDecision("keep", "Its pull request was opened by another account.")
    if work.cross_repository:
        return SweepDecision("keep", "It is in another repository than its pull request.")
    if work.open_pull_requests:
        return SweepDecision("keep", "An open pull request uses it.")
    if work.closed_at is None:
        return SweepDecision("keep", "Its pull request is not closed.")
    if work.branch_sha != work.head_sha:
        return SweepDecision("keep", "It has moved since its pull request was closed.")
    if now - work.closed_at < keep:
        return SweepDecision(
            "keep", f"Its pull request is kept in reach until {stamp(work.closed_at + keep)}."
        )
    if work.origin is None:
        return SweepDecision("keep", "Its pull request names no run.")
    if hashlib.sha256("/".join(work.origin).encode()).hexdigest()[:8] != name[1]:
        return SweepDecision("keep", "The run that its pull request names is not the one in its name.")
    return None


def by_the_record(
    work: ClosedWork, record: RunRecord | None, *, now: datetime, keep: timedelta
) -> SweepDecision:
    """Decide about a branch that :func:`by_the_forge` lets go, by the record of its run."""
    if record is None:
        return SweepDecision("keep", "This Airflow has no record of the run that its pull request names.")
    request = _request(record.task, work)
    if request is None or record.pull_request_number != work.number:
        return SweepDecision("keep", "The run that its pull request names did not make it.")
    if request.work_branch is not None:
        return SweepDecision("keep", "Its name was chosen by a person.")
    if not request.delete_branch:
        return SweepDecision("keep", "The run was told to leave it (delete_branch).")
    if work.head_sha not in record.heads:
        return SweepDecision("keep", "Its last commit was not pushed by a step of the run.")
    if record.run.goes_on or record.run.ended_at is None:
        return SweepDecision("keep", f"Its run is {record.run.state}.")
    if now - record.run.ended_at < keep:
        return SweepDecision("keep", f"Its run is kept in reach until {stamp(record.run.ended_at + keep)}.")
    what = "merged" if work.merged else "closed"
    return SweepDecision("delete", f"{work.url} was {what} at {stamp(work.closed_at or now)}.")


def _request(accepted: Mapping[str, Any], work: ClosedWork) -> CodingTaskRequest | None:
    """Return the run's request if its work branch is this one of this repository."""
    try:
        task = CodingTask.model_validate(accepted)
    except ValidationError:
        return None
    same = task.request.repository.lower() == work.repository.lower() and task.work_branch == work.branch
    return task.request if same else None
