"""Where a run is, in the words of agent-operator's ``CodingTask``; and how a task stands, in those of its ``AgentRun``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_agents.cli.agent_runs import WORKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_provider_agents.cli.agent_runs import Run, Task

_OF_TASKS = (
    (r"accept|admit|workspace", "Pending"),
    (r"plan\.round_\d+\.plan", "Planning"),
    (r"plan\.round_\d+\.approve", "AwaitingApproval"),
    (r"build\.attempt_\d+\.implement", "Implementing"),
    (r"build\.attempt_\d+\.(test|gate)", "Testing"),
    (r"open_pull_request", "PullRequest"),
    (r"land\.round_\d+\.(gate|review|fix)", "AwaitingMerge"),
)
_PHASES = tuple((re.compile(rf"(?:.*\.)?(?:{pattern})"), phase) for pattern, phase in _OF_TASKS)
_STEP = re.compile(r"(?:.*\.)?(?:plan|implement|test|review|fix)")
_LAST = re.compile(r"(?:.*\.)?(?:finish|report|release_workspace)")

_TASK_PHASES = {
    "": "Pending",
    "scheduled": "Pending",
    "queued": "Pending",
    "success": "Succeeded",
    "failed": "Failed",
    "upstream_failed": "Skipped",
    "skipped": "Skipped",
    "removed": "Skipped",
}


def run_phase(run: Run, tasks: Iterable[Task]) -> str:
    """Return the phase of a run: ``Pending`` … ``Complete`` or ``Failed``."""
    if run.state == "success":
        return "Complete"
    if run.state == "failed":
        return "Failed"
    task = current(tasks)
    return next((phase for pattern, phase in _PHASES if task and pattern.fullmatch(task.task_id)), "Pending")


def task_phase(task: Task) -> str:
    """Return ``Pending``, ``Running``, ``Succeeded``, ``Failed``, or ``Skipped``: it is not needed."""
    return _TASK_PHASES.get(task.state, "Running")


def current(tasks: Iterable[Task]) -> Task | None:
    """Return the task that a run is at, or the last that it was at; ``None`` before the first."""
    never = datetime.min.replace(tzinfo=UTC)
    seen = [task for task in tasks if not _LAST.fullmatch(task.task_id)]
    at_work = [task for task in seen if task.state in WORKING]
    if at_work:
        return max(at_work, key=lambda task: task.started_at or never)
    ended = [task for task in seen if task.state in ("success", "failed") and task.ended_at]
    return max(ended, key=lambda task: task.ended_at or never, default=None)


def is_step(task_id: str) -> bool:
    """Tell whether a task is a step that runs in a pod."""
    return bool(_STEP.fullmatch(task_id))


def in_order(tasks: Sequence[Task]) -> list[Task]:
    """Return tasks in the order in which they ran, those that did not run last."""
    never = datetime.max.replace(tzinfo=UTC)
    return sorted(tasks, key=lambda task: (task.started_at or never, task.task_id, task.map_index))
