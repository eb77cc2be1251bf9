"""Rules of the landing decision: what is handed to GitHub to merge, by queue or auto-merge, and taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.domain.commands import pending_commands
from airflow_provider_agents.domain.landing_decision import (
    MOST_QUEUE_ENTRIES,
    STALE_SECONDS,
    Decision,
    Rule,
    escalate,
    fix,
    names,
    seconds,
    wait,
)
from airflow_provider_agents.domain.landing_rules_green import (
    awaiting_reviewer,
    draft,
    frozen,
    held,
    merge_by_person,
    risky,
)

if TYPE_CHECKING:
    from airflow_provider_agents.domain.landing_history import Enqueued, LandingHistory
    from airflow_provider_agents.domain.landing_policy import LandingPolicy
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot

_AGAINST: tuple[Rule, ...] = (awaiting_reviewer, draft, held, merge_by_person, risky, frozen)
"""What speaks against a merge that GitHub would make without asking us again."""
_BY_HAND = ("manual", "dequeued")
_MERGED = ("merge", "merged", "already_merged")
_NOT_ITS_FAULT = (
    "queue_cleared",
    "roll_back",
    "branch_invalidated",
    "branch_protections",
    "ci_timeout",
    "timeout",
)
"""Reasons of removals that no change of the code would answer."""


def withdraw(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """What we handed to GitHub merges without another look of ours: an objection, a label, a freeze, a
    failing check or a ``/stop`` that comes up meanwhile takes it back first. Asked before everything else, so
    that no wait and no fix round leaves it in. What a person queued is theirs.
    """
    ours = _queued_by_us(s, history) if s.queue_entry else history.auto_merge_asked if s.auto_merge_on else ()
    if not ours:
        return None
    taken_back = [each for each in history.withdrawn if each.at >= ours[-1].at]
    if taken_back:
        if seconds(s, taken_back[-1].at) < STALE_SECONDS:
            return wait(
                "withdrawal_not_shown", "Waiting for GitHub to show that it will not merge by itself."
            )
        return None
    against = _against(s, policy, history)
    if against is None or against.verdict == "note":
        return against
    return Decision(
        verdict="withdraw", reason=against.reason, message=f"Taken back from GitHub. {against.message}"
    )


def ejected(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """The merge queue took the head out: its checks failed together with what is before it in the queue.

    A removal by hand is a person's no, until a ``/merge``; one for reasons that are not in the change goes
    back into the queue. GitHub reports a removal after a successful merge too.
    """
    entries = _queued_by_us(s, history)
    if not entries or s.queue_entry or any(each.at >= entries[-1].at for each in history.withdrawn):
        return None
    removal = next((r for r in reversed(s.queue_removals) if r.at >= entries[-1].at), None)
    said = removal.reason.lower() if removal else ""
    if removal is None or said in _MERGED:
        if seconds(s, removal.at if removal else entries[-1].at) < STALE_SECONDS:
            return wait(
                "queue_not_shown", "Waiting for GitHub to show what became of the merge queue's entry."
            )
        return None
    if any(word in said for word in _BY_HAND):
        if s.head_sha in history.approved_heads:
            return None
        return escalate("dequeued", f"{removal.actor or 'Somebody'} took it out of the merge queue.")
    if said in _NOT_ITS_FAULT:
        return None
    text = f"The merge queue removed it: {removal.reason or 'no reason given'}."
    return fix(s, policy, history, "queue_ejected", text)


def auto_merge_possible(
    s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Decision | None:
    """Hand over to GitHub while required checks run. Never where none is required, or the required ones are
    through: it would merge at once. Never with a failed check, which GitHub ignores where it is not required.
    """
    if not policy.github_auto_merge or not s.auto_merge_allowed or s.auto_merge_on or s.has_merge_queue:
        return None
    running = {check.name for check in s.checks_in("pending")} & (s.required_checks or frozenset())
    if not running or policy.review != "off":
        return None
    if any(each.head_sha == s.head_sha for each in history.auto_merge_asked):
        return None
    against = _against(s, policy, history)
    if against is not None:
        return against if against.verdict == "note" else None
    text = f"GitHub merges {s.head_sha[:12]} when {', '.join(sorted(running))} passed."
    return Decision(verdict="enable_auto_merge", reason="auto_merge", message=text)


def queued(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """The merge queue has it."""
    if s.queue_entry is not None:
        return wait("queued", f"In the merge queue, position {s.queue_entry.position}.")
    return None


def auto_merge_armed(
    s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Decision | None:
    """GitHub's auto-merge merges it; a second merge beside it would race."""
    if s.auto_merge_on and policy.github_auto_merge and s.merge_state != "CLEAN":
        return wait("auto_merge_on", "Green; GitHub's auto-merge has it.")
    return None


def merge_queue(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A branch with a merge queue is merged into by the queue only, and by no second way beside it."""
    if not s.has_merge_queue:
        return None
    withdrawn = sum(each.head_sha == s.head_sha for each in history.withdrawn)
    if len(_queued_by_us(s, history)) - withdrawn >= MOST_QUEUE_ENTRIES:
        text = f"{s.head_sha[:12]} was in the merge queue {MOST_QUEUE_ENTRIES} times and was not merged."
        return escalate("queue_gave_up", text)
    return Decision(
        verdict="enqueue", reason="green", message=f"{s.head_sha[:12]} passed; it enters the merge queue."
    )


def _queued_by_us(s: PullRequestSnapshot, history: LandingHistory) -> tuple[Enqueued, ...]:
    return tuple(each for each in history.enqueued if each.head_sha == s.head_sha)


def _against(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    if any(command.name == "stop" for command in pending_commands(s, history)):
        return wait("told_to_stop", "A person wrote /stop.")
    if failed := s.checks_in("failed"):
        return wait("checks_failed", f"Failing checks: {names(failed)}.")
    return next((found for rule in _AGAINST if (found := rule(s, policy, history))), None)
