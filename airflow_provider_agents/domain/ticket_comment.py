"""The one comment that we write on a ticket: where the work is, in words and as a strip of stages.

It is edited in place and never followed by another one. Text that a model or an outsider wrote is defused
(:mod:`.outbound`): nobody is called by it, and nothing is closed by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from airflow_provider_agents.domain.outbound import outbound, outbound_title

StageName = Literal["accepted", "plan", "build", "pull request", "checks", "merged"]
StageState = Literal["ahead", "now", "done", "failed"]

STAGES: tuple[StageName, ...] = ("accepted", "plan", "build", "pull request", "checks", "merged")

_MARKS: Mapping[StageState, str] = {"ahead": "○", "now": "◐", "done": "●", "failed": "✕"}
_RUNNING = frozenset(
    {"running", "deferred", "queued", "scheduled", "awaiting_input", "restarting", "up_for_retry"}
)
_PLAN_BYTES = 8_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """What the comment tells about a run."""

    run_id: str
    run_url: str = ""
    """Page of the run in Airflow; empty where Airflow has no public address."""
    stages: Mapping[StageName, StageState]
    headline: str
    """One sentence, ours: what happens now, or how it ended."""
    plan: Mapping[str, Any] | None = None
    """Output of the plan step: ``summary``, ``steps``. A model wrote it."""
    pull_request_url: str = ""
    attempts: int = 0
    rounds: int = 0
    cost_usd: float = 0.0
    unknown_usd: float = 0.0
    merged: bool = False


def stages_of(task_states: Mapping[str, str | None], *, outcome: str = "") -> dict[StageName, StageState]:
    """Return the stages of a run from the states of its tasks.

    :param task_states: task id, without the group's, → state in Airflow's words.
    :param outcome: ``merged``, any other word once the run has ended, empty while it goes on.
    """
    groups: dict[StageName, list[str | None]] = {name: [] for name in STAGES}
    for task_id, state in task_states.items():
        if (name := _stage_of(task_id)) is not None:
            groups[name].append(state)
    found: dict[StageName, StageState] = {}
    for name in STAGES:
        states = groups[name]
        if any(state in _RUNNING for state in states):
            found[name] = "now"
        elif "failed" in states:
            found[name] = "failed"
        elif any(state == "success" for state in states):
            found[name] = "done"
        else:
            found[name] = "ahead"
    if outcome:
        found = {name: _at_the_end(name, state, outcome) for name, state in found.items()}
    return found


def _at_the_end(name: StageName, state: StageState, outcome: str) -> StageState:
    if outcome == "merged":
        return "done"
    if name == "merged":
        return "failed"
    return "done" if state == "now" else state


def _stage_of(task_id: str) -> StageName | None:
    if task_id in ("accept", "admit", "workspace"):
        return "accepted"
    if task_id == "open_pull_request":
        return "pull request"
    first = task_id.partition(".")[0]
    known: dict[str, StageName] = {"plan": "plan", "build": "build", "land": "checks"}
    return known.get(first)


def run_comment(status: RunStatus) -> str:
    """Return the comment about a run, as Markdown."""
    strip = " → ".join(f"{_MARKS[status.stages[name]]} {name}" for name in STAGES)
    parts = [f"**Coding agent** · {strip}", status.headline]
    parts += [_facts(status)] if _facts(status) else []
    if plan := plan_text(status.plan):
        parts.append(f"<details><summary>Plan</summary>\n\n{plan}\n\n</details>")
    where = f"[run]({status.run_url})" if status.run_url else "run"
    again = "" if status.merged else " · `/agent again` asks for another run once this one has ended"
    parts.append(f"<sub>{where} `{status.run_id}`{again}</sub>")
    return "\n\n".join(parts)


def _facts(status: RunStatus) -> str:
    facts = []
    if status.pull_request_url:
        facts.append(f"Pull request: {status.pull_request_url}")
    if status.attempts:
        facts.append(_count(status.attempts, "attempt"))
    if status.rounds:
        facts.append(_count(status.rounds, "fix round"))
    if status.cost_usd or status.unknown_usd:
        lost = f" and up to ${status.unknown_usd:.2f} in pods that were lost" if status.unknown_usd else ""
        facts.append(f"cost ${status.cost_usd:.2f}{lost}")
    return " · ".join(facts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def plan_text(plan: Mapping[str, Any] | None) -> str:
    """Return a plan as Markdown, defused; empty where there is none."""
    if not plan:
        return ""
    steps = plan.get("steps")
    lines = [str(plan.get("summary") or "")]
    if isinstance(steps, Iterable) and not isinstance(steps, str | bytes | Mapping):
        lines += ["", *(f"{number}. {one}" for number, one in enumerate(steps, 1))]
    # A model's closing tag would end the fold early.
    text = "\n".join(lines).replace("</details", "&lt;/details").replace("<details", "&lt;details")
    return outbound(text, _PLAN_BYTES)


def waiting_comment(why: str, *, position: int | None = None, waits: str = "") -> str:
    """Return the comment about a ticket that waits untriggered.

    :param why: what it waits for, one sentence of ours.
    :param position: its place in the line, from 1.
    :param waits: about how long, e.g. ``about 40 min``.
    """
    line = why
    if position is not None:
        line = f"{why} Place {position} in the line{f', {waits}' if waits else ''}."
    return f"**Coding agent** · {_MARKS['now']} waiting\n\n{line}"


def begun_comment(run_id: str, run_url: str = "", *, ended: bool = False) -> str:
    """Return the comment about a run that is there and has not told of itself: what comes next is its own."""
    run = f"[run]({run_url}) `{run_id}`" if run_url else f"run `{run_id}`"
    if ended:
        return f"**Coding agent** · not at work\n\nThe {run} has ended; Airflow says how. `/agent again` asks for another."
    return f"**Coding agent** · {_MARKS['now']} starting\n\nThe {run} takes it on."


def refusal_comment(reasons: Iterable[str]) -> str:
    """Return the comment that refuses asks: politely, once.

    :param reasons: one sentence each; logins in them call nobody.
    """
    lines = [outbound(reason, 1_000) for reason in dict.fromkeys(reasons)]
    return "**Coding agent** · not started\n\n" + "\n\n".join(lines)


def ended_headline(outcome: str, reason: str) -> str:
    """Return how a run ended in one sentence."""
    if outcome == "merged":
        return "Merged. This ticket is done."
    told = outbound_title(reason, "its log says why")
    return f"The run ended without a merged pull request: {told}"
