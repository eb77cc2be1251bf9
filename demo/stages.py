"""The stages of a run, as a person counts them: derived from Airflow's task instances by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

StageState = Literal["pending", "running", "done", "rejected", "failed"]
"""``rejected``: it did its work, and its answer leads to another attempt or round."""

MERGE = "merge"

_STATES: dict[str | None, StageState] = {
    "running": "running",
    "deferred": "running",
    "awaiting_input": "running",
    "restarting": "running",
    "up_for_retry": "running",
    "up_for_reschedule": "running",
    "success": "done",
    "failed": "failed",
}
"""Every other state, e.g. ``upstream_failed``, means that nothing happened yet."""

_BETWEEN = frozenset({"scheduled", "queued"})
"""Before the start, and again when a deferral is over."""

# Phase, place within a round of that phase, name. Anything may stand before: the group may have an id.
_KINDS: tuple[tuple[str, int, int, str], ...] = (
    (r"plan\.round_(?P<n>\d+)\.plan", 1, 0, "plan {n}"),
    (r"plan\.round_(?P<n>\d+)\.approve", 1, 1, "approval {n}"),
    (r"build\.attempt_(?P<n>\d+)\.implement", 2, 0, "implement {n}"),
    (r"build\.attempt_(?P<n>\d+)\.test", 2, 1, "test {n}"),
    (r"open_pull_request", 3, 0, "pull request"),
    (r"land\.round_(?P<n>\d+)\.gate", 4, 0, "checks {n}"),
    (r"land\.round_(?P<n>\d+)\.fix", 4, 1, "fix {n}"),
    (r"finish", 6, 0, "done"),
)
_MERGE_PLACE = (5, 0, 0)
_EXPECTED = frozenset({"plan", "implement 1", "test 1", "pull request", "checks 1", MERGE, "done"})
"""Shown from the start; the others only once they happen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of the run."""

    name: str
    state: StageState
    seconds: float | None = None
    """How long it took, or has been running; ``None`` before its start."""
    usd: float = 0.0
    task_id: str = ""


def stages(
    tasks: Iterable[Mapping[str, Any]], results: Mapping[str, Any], now: datetime | None = None
) -> list[Stage]:
    """Return the stages in their order.

    :param tasks: task instances as Airflow's REST API gives them. Unknown ones are left out.
    :param results: task id → result of a step (with ``outcome`` and ``ledger``) or decision of a gate
        (with ``verdict``).
    :param now: for what is still running; default: the present.
    """
    now = now or datetime.now(UTC)
    placed: list[tuple[tuple[int, int, int], Stage]] = []
    merged = False
    for task in tasks:
        found = _place(task["task_id"])
        if found is None:
            continue
        place, name = found
        result = results.get(task["task_id"])
        stage = Stage(
            name=name,
            state=_state(task, result),
            seconds=seconds_between(task.get("start_date"), task.get("end_date"), now),
            usd=usd(result),
            task_id=task["task_id"],
        )
        merged = merged or (isinstance(result, Mapping) and result.get("verdict") == "done")
        if task.get("state") != "skipped" and (stage.state != "pending" or name in _EXPECTED):
            placed.append((place, stage))
    if placed:
        placed.append((_MERGE_PLACE, Stage(name=MERGE, state="done" if merged else "pending")))
    return [stage for _, stage in sorted(placed, key=lambda each: each[0])]


def usd(result: Any) -> float:
    """Return what a step cost in US dollars: what its gateway saw."""
    ledger = result.get("ledger") if isinstance(result, Mapping) else None
    return float(ledger.get("usd") or 0.0) if isinstance(ledger, Mapping) else 0.0


def _place(task_id: str) -> tuple[tuple[int, int, int], str] | None:
    for pattern, phase, position, name in _KINDS:
        if match := re.fullmatch(rf"(?:.+\.)?{pattern}", task_id):
            number = int(match.groupdict().get("n") or 1)
            # Planning again is rare, so the first plan has no number.
            text = name.format(n=number) if phase != 1 or number > 1 else name.partition(" ")[0]
            return (phase, number, position), text
    return None


def _state(task: Mapping[str, Any], result: Any) -> StageState:
    state = task.get("state")
    if state in _BETWEEN and task.get("start_date"):
        return "running"
    known = _STATES.get(state, "pending")
    answer = result if isinstance(result, Mapping) else {}
    asks_for_more = answer.get("outcome") == "failed" or answer.get("verdict") == "fix"
    return "rejected" if known == "done" and asks_for_more else known


def seconds_between(started: str | None, ended: str | None, now: datetime) -> float | None:
    """Return the seconds from ``started`` to ``ended``, or to ``now`` where it has not ended.

    :return: ``None`` if it has not started.
    """
    if not started:
        return None
    end = datetime.fromisoformat(ended) if ended else now
    return max(0.0, (end - datetime.fromisoformat(started)).total_seconds())
