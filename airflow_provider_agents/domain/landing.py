"""What to do with an open pull request: :func:`decide`, one pure function.

Level-triggered: the verdict follows from one complete reading and from what was already tried, never
from having seen a change. The rules stand in the order in which they are asked; the first that applies
decides. ``docs/landing.md`` is the same table with its reasons.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from airflow_provider_agents.domain.commands import pending_commands
from airflow_provider_agents.domain.freeze import frozen_until
from airflow_provider_agents.domain.landing_history import LandingHistory
from airflow_provider_agents.domain.landing_policy import LandingPolicy
from airflow_provider_agents.domain.pull_request import Check, PullRequestSnapshot, Review, ReviewThread

Verdict = Literal[
    "done",
    "stop",
    "obey",
    "wait",
    "fix",
    "rerun_checks",
    "update_branch",
    "review",
    "enable_auto_merge",
    "enqueue",
    "merge",
    "escalate",
]
ACTS_AND_WAITS: frozenset[Verdict] = frozenset(
    {"obey", "rerun_checks", "update_branch", "enable_auto_merge", "enqueue", "merge"}
)
"""Verdicts that a gate carries out itself, and after which it looks again."""

STALE_SECONDS = 600
"""How long GitHub may show a head, or a check, that we know to be outdated."""
MOST_QUEUE_ENTRIES = 2
"""Entries in the merge queue for one head."""
LIMITED_REASONS = frozenset({"checks_failed", "conflict", "queue_ejected", "review_agent"})
"""Reasons whose rounds ``max_rounds_per_reason`` limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict and why."""

    verdict: Verdict
    reason: str
    """Stable lower-case word, e.g. ``checks_failed``."""
    message: str
    """One sentence for a person."""
    rule: str = ""
    """Name of the rule that decided."""

    def to_dict(self) -> dict[str, str]:
        """Return the decision as JSON-ready values."""
        return dataclasses.asdict(self)


Rule = Callable[[PullRequestSnapshot, LandingPolicy, LandingHistory], Decision | None]


def decide(snapshot: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision:
    """Say what to do with the pull request in ``snapshot``.

    A pure function: same arguments, same answer. The caller reads again and decides again before it
    acts, because the world moves between a reading and an act.
    """
    for rule in RULES:
        if decision := rule(snapshot, policy, history):
            return dataclasses.replace(decision, rule=rule.__name__)
    return Decision(
        verdict="merge", reason="green", message=f"{snapshot.head_sha[:12]} passed everything.", rule="merge"
    )


def merged(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """Whoever merged it: the work is done."""
    if s.state == "MERGED":
        return Decision(verdict="done", reason="merged", message=f"{s.url} is merged.")
    return None


def closed(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A closed pull request is a person's no."""
    if s.state == "CLOSED":
        return Decision(verdict="stop", reason="closed", message=f"{s.url} was closed without a merge.")
    return None


def stopped(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A person with write access wrote ``/stop``."""
    if found := [c for c in pending_commands(s, history) if c.name == "stop"]:
        return Decision(verdict="stop", reason="told_to_stop", message=f"{found[-1].author} wrote /stop.")
    return None


def told(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A person wrote ``/merge``, ``/review`` or ``/explain``: noted for this head, and answered, at once."""
    if found := [c for c in pending_commands(s, history) if c.name in ("merge", "review", "explain")]:
        text = ", ".join(f"{c.author} wrote /{c.name}" for c in found)
        return Decision(verdict="obey", reason="told", message=f"{text}.")
    return None


def refused(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A right that is not there does not come by waiting."""
    if s.refused:
        text = f"The credential may not read: {'; '.join(s.refused)}. Grant the right, then clear the gate."
        return Decision(verdict="escalate", reason="refused", message=text)
    return None


def incomplete(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """What could not be read is not fine: Optio merged when its read of the checks failed."""
    if s.missing:
        return _wait("incomplete", "Could not read: " + "; ".join(s.missing))
    return None


def outdated_reading(
    s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Decision | None:
    """GitHub may go on to show the head that a fix replaced; to judge that again would waste a round."""
    pushed = next((r.head_after for r in reversed(history.rounds) if r.head_after), None)
    if pushed is None or s.head_sha == pushed or s.head_sha not in {r.head_sha for r in history.rounds}:
        return None
    if _seconds(s, history.first_seen(pushed, s.read_at)) < STALE_SECONDS:
        return _wait("push_not_shown", f"GitHub does not show the pushed {pushed[:12]} yet.")
    text = f"{pushed[:12]} was pushed, but the pull request is at {s.head_sha[:12]} again."
    return Decision(verdict="escalate", reason="push_undone", message=text)


def conflicting(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A conflict is known before the checks are, and checks of a merge ref do not run on it.

    Optio resumed its agent for one conflict again and again; here a head is given to one round only.
    """
    if s.mergeable == "CONFLICTING":
        return _fix(s, policy, history, "conflict", f"{s.head_branch} conflicts with {s.base_branch}.")
    return None


def changes_requested(
    s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Decision | None:
    """A person with write access objects, or tells the agent something; asked before the checks, to answer
    both in one round. agent-operator took the first comment only, and anybody's.
    """
    reviews, threads = objections(s)
    reviews = [review for review in reviews if review.key not in history.answered]
    threads = [thread for thread in threads if thread.key not in history.answered]
    told = [c for c in pending_commands(s, history) if c.name in ("tell", "retry")]
    if not reviews and not threads and not told:
        return None
    asked = [f"{', '.join(review.author for review in reviews)} requested changes"] if reviews else []
    asked += [f"{len(threads)} unresolved review thread(s)"] if threads else []
    asked += [f"{', '.join(sorted({c.author for c in told}))} wrote to the agent"] if told else []
    # Not yet given to any round, so the head may well be one that a round left as it was.
    return _fix(s, policy, history, "changes_requested", " and ".join(asked) + ".", new=True)


def broken_base(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """What fails on the base branch too is not this change's fault, and no fix here would mend it."""
    failed = _failed(s)
    if not failed or s.checks_in("pending") or s.failing_on_base is None:
        return None
    if all(check.name in s.failing_on_base for check in failed):
        return _wait("base_broken", f"Failing on {s.base_branch} too: {_names(failed)}. Waiting for {s.base_branch}.")
    return None


def rerun_not_shown(
    s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Decision | None:
    """A re-run that was asked for shows late; until then its checks still show their old end."""
    rerun = next((r for r in reversed(history.reruns) if r.head_sha == s.head_sha), None)
    if rerun is None or _seconds(s, rerun.at) >= STALE_SECONDS:
        return None
    old = [c for c in _failed(s) if c.name in rerun.checks and (not c.completed_at or c.completed_at <= rerun.at)]
    if old:
        return _wait("rerun_not_shown", f"Waiting for the second run of {_names(old)}.")
    return None


def checks_failed(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """Only when all have ended: one round then answers every failure, and pending is not failed.

    The gate reads the logs before the round starts and may find a flake or a failure that came back: see
    :func:`.failed_checks.judge_failure`.
    """
    failed = _failed(s)
    if failed and not s.checks_in("pending"):
        return _fix(s, policy, history, "checks_failed", f"Failing checks: {_names(failed)}.")
    return None


def ejected(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """The merge queue took the head out: its checks failed together with what is before it in the queue."""
    entries = [e for e in history.enqueued if e.head_sha == s.head_sha]
    if not entries or s.queue_entry is not None:
        return None
    removal = next((r for r in reversed(s.queue_removals) if r.at >= entries[-1].at), None)
    if removal is None:
        if _seconds(s, entries[-1].at) < STALE_SECONDS:
            return _wait("queue_not_shown", "Waiting for GitHub to show the merge queue's entry.")
        return None
    if "manual" in removal.reason.lower() or "dequeued" in removal.reason.lower():
        text = f"{removal.actor or 'Somebody'} took it out of the merge queue."
        return Decision(verdict="escalate", reason="dequeued", message=text)
    text = f"The merge queue removed it: {removal.reason or 'no reason given'}."
    return _fix(s, policy, history, "queue_ejected", text)


def auto_merge_possible(
    s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Decision | None:
    """Hand over to GitHub while required checks run; never where none is required: it would merge at once."""
    if not policy.github_auto_merge or not s.auto_merge_allowed or s.auto_merge_on or s.has_merge_queue:
        return None
    if not s.required_checks or not s.checks_in("pending") or policy.review != "off":
        return None
    if any(each.head_sha == s.head_sha for each in history.auto_merge_asked):
        return None
    if any(rule(s, policy, history) for rule in (awaiting_reviewer, *_PEOPLE_RULES)):
        return None
    text = f"GitHub merges {s.head_sha[:12]} when {', '.join(sorted(s.required_checks))} passed."
    return Decision(verdict="enable_auto_merge", reason="auto_merge", message=text)


def review_on_open(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """The review agent need not wait for checks where it is told to look at once."""
    if policy.review == "on_open" and history.review_of(s.head_sha) is None:
        return Decision(verdict="review", reason="review", message=f"The review agent reads {s.head_sha[:12]}.")
    return None


def checks_running(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """Running checks are waited for."""
    if pending := s.checks_in("pending"):
        return _wait("checks_running", f"Running checks: {_names(pending)}.")
    return None


def no_checks(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """No checks *yet* and no checks *at all* look alike: Optio merged untested on the first."""
    if s.checks or s.head_sha in history.approved_heads:
        return None
    if _seconds(s, history.first_seen(s.head_sha, s.read_at)) < policy.no_checks_grace_seconds:
        return _wait("no_checks_yet", "No check has started on this head yet.")
    if policy.no_checks == "merge":
        return None
    message = f"No check started on {s.head_sha[:12]} within {policy.no_checks_grace_seconds} s."
    if policy.no_checks == "wait":
        return _wait("no_checks", message)
    remedy = " Add a check to the repository, or set no_checks to merge or wait."
    return Decision(verdict="escalate", reason="no_checks", message=message + remedy)


def settling(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A set of checks may still grow: a second workflow is often registered seconds after the first."""
    if not s.checks:
        return None
    since = s.checks_changed_at or history.first_seen(s.head_sha, s.read_at)
    if _seconds(s, since) < policy.settle_seconds:
        return _wait("settling", f"All checks passed; {policy.settle_seconds} s for a further one to appear.")
    return None


def unknown_mergeability(
    s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Decision | None:
    """GitHub computes mergeability in the background; unknown is a wait, for minutes at times."""
    if s.mergeable == "UNKNOWN":
        return _wait("mergeability_unknown", "GitHub is still computing mergeability.")
    return None


def review_wanted(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """The review agent reads exactly the head that is to be merged; a new head voids its verdict."""
    if policy.review == "off" or history.review_of(s.head_sha) is not None:
        return None
    if policy.review == "manual" and s.head_sha not in history.review_asked:
        return _wait("review_by_command", "Green; waiting for /review.")
    return Decision(verdict="review", reason="review", message=f"The review agent reads {s.head_sha[:12]}.")


def review_objects(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """Its objections are answered like a person's."""
    review = history.review_of(s.head_sha)
    if policy.review == "off" or review is None or review.verdict != "request_changes":
        return None
    if s.head_sha in history.approved_heads:
        return None
    return _fix(s, policy, history, "review_agent", f"The review agent asks for changes: {review.summary[:200]}")


def awaiting_reviewer(
    s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Decision | None:
    """An objection that was answered still stands until its author takes it back."""
    reviews, threads = objections(s)
    people = {review.author for review in reviews} | {thread.comments[0].author for thread in threads}
    if not people:
        return None
    text = f"The objections were answered; waiting for {', '.join(sorted(people))} to look again."
    return _wait("awaiting_reviewer", text)


def draft(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A draft is somebody's "not yet"."""
    if s.draft:
        return _wait("draft", "Green; waiting until it is marked ready for review.")
    return None


def held(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A label says no, and a person has to take it off."""
    hold = {label.casefold() for label in policy.hold_labels}
    if found := [label for label in s.labels if label.casefold() in hold]:
        return _wait("held", f"Green; held by the label {', '.join(sorted(found))}.")
    return None


def unapproved(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """The branch's rules ask for an approval that is not there yet."""
    if s.review_decision in ("REVIEW_REQUIRED", "CHANGES_REQUESTED"):
        return _wait("review_required", "Green; waiting for the review that the branch rules ask for.")
    return None


def merge_by_person(
    s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Decision | None:
    """The owner of the run keeps the merge for people."""
    if not policy.auto_merge and s.head_sha not in history.approved_heads:
        return _wait("merge_by_person", "Green; auto_merge is off, waiting for a person to merge.")
    return None


def risky(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A change of more risk than allowed is a person's to merge."""
    risk = history.risks.get(s.head_sha)
    if policy.auto_merge_max_risk is None or risk is None or s.head_sha in history.approved_heads:
        return None
    if risk > policy.auto_merge_max_risk:
        text = f"Green; its risk {risk} is over {policy.auto_merge_max_risk}, waiting for a person to merge."
        return _wait("risk", text)
    return None


def frozen(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """Nothing is merged in a freeze."""
    if (until := frozen_until(policy.freeze, s.read_at)) is not None:
        return _wait("frozen", f"Green; merges are frozen until {until:%Y-%m-%d %H:%M} UTC.")
    return None


def queued(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """The merge queue has it."""
    if s.queue_entry is not None:
        return _wait("queued", f"In the merge queue, position {s.queue_entry.position}.")
    return None


def behind(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """The rules want the branch up to date with its base."""
    if s.merge_state != "BEHIND":
        return None
    if not policy.update_branch:
        return _wait("behind", f"Green, but behind {s.base_branch}; waiting for a person to update the branch.")
    if s.head_sha in history.updated_heads:
        return _wait("update_not_shown", f"Waiting for the update with {s.base_branch} to show.")
    return Decision(
        verdict="update_branch", reason="behind", message=f"{s.head_branch} is behind {s.base_branch}."
    )


def blocked(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A rule of the branch that we cannot name is not met."""
    if s.merge_state == "BLOCKED" and not s.has_merge_queue:
        return _wait("blocked", "Green; GitHub says BLOCKED: a branch rule is not met yet.")
    return None


def auto_merge_armed(
    s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Decision | None:
    """GitHub's auto-merge merges it; a second merge beside it would race."""
    if s.auto_merge_on and policy.github_auto_merge and s.merge_state != "CLEAN":
        return _wait("auto_merge_on", "Green; GitHub's auto-merge has it.")
    return None


def merge_queue(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A branch with a merge queue is merged into by the queue only."""
    if not s.has_merge_queue:
        return None
    if sum(e.head_sha == s.head_sha for e in history.enqueued) >= MOST_QUEUE_ENTRIES:
        text = f"{s.head_sha[:12]} was in the merge queue {MOST_QUEUE_ENTRIES} times and was not merged."
        return Decision(verdict="escalate", reason="queue_gave_up", message=text)
    return Decision(
        verdict="enqueue", reason="green", message=f"{s.head_sha[:12]} passed; it enters the merge queue."
    )


_PEOPLE_RULES: tuple[Rule, ...] = (draft, held, merge_by_person, risky, frozen)
"""What only people or the calendar can settle."""

RULES: tuple[Rule, ...] = (
    merged,
    closed,
    stopped,
    told,
    refused,
    incomplete,
    outdated_reading,
    conflicting,
    changes_requested,
    broken_base,
    rerun_not_shown,
    checks_failed,
    ejected,
    auto_merge_possible,
    review_on_open,
    checks_running,
    no_checks,
    settling,
    unknown_mergeability,
    review_wanted,
    review_objects,
    awaiting_reviewer,
    queued,
    draft,
    held,
    unapproved,
    merge_by_person,
    risky,
    frozen,
    behind,
    blocked,
    auto_merge_armed,
    merge_queue,
)
"""In the order in which they are asked; where none applies, the verdict is ``merge``."""


def objections(s: PullRequestSnapshot) -> tuple[list[Review], list[ReviewThread]]:
    """Return what people with write access hold against the pull request."""
    reviews = [r for r in s.reviews if r.state == "CHANGES_REQUESTED" and r.can_write and not r.own]
    return reviews, [thread for thread in s.threads if thread.started_by_writer]


def _failed(s: PullRequestSnapshot) -> tuple[Check, ...]:
    return s.checks_in("failed")


def _names(checks: tuple[Check, ...] | list[Check]) -> str:
    return ", ".join(sorted({check.name for check in checks}))


def _seconds(s: PullRequestSnapshot, since: datetime) -> float:
    return (s.read_at - since) / timedelta(seconds=1)


def _wait(reason: str, message: str) -> Decision:
    return Decision(verdict="wait", reason=reason, message=message)


def _fix(
    s: PullRequestSnapshot,
    policy: LandingPolicy,
    history: LandingHistory,
    reason: str,
    message: str,
    *,
    new: bool = False,
) -> Decision:
    """Ask for a round, unless they are used up or an earlier one left the head as it was."""
    if not new and any(r.head_sha == s.head_sha and r.reason == reason for r in history.rounds):
        text = f"{message} The last fix round changed nothing."
        return Decision(verdict="escalate", reason="no_progress", message=text)
    most = policy.max_rounds + history.granted_rounds
    if len(history.rounds) >= most:
        text = f"{message} All {most} fix rounds are used."
        return Decision(verdict="escalate", reason="rounds_exhausted", message=text)
    most = policy.max_rounds_per_reason + history.granted_rounds
    if reason in LIMITED_REASONS and history.rounds_for(reason) >= most:
        text = f"{message} {most} fix rounds for this reason are used."
        return Decision(verdict="escalate", reason="rounds_exhausted", message=text)
    return Decision(verdict="fix", reason=reason, message=message)
