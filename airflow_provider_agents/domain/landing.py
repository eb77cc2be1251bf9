"""What to do with an open pull request: :func:`decide`, one pure function.

Level-triggered: the verdict follows from one complete reading and from what was already tried, never
from having seen a change. The rules stand in the order in which they are asked; the first that applies
decides. Their numbers are those of ``docs/landing.md``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from airflow_provider_agents.domain.pull_request import PullRequestSnapshot, Review, ReviewThread

Verdict = Literal["done", "stop", "wait", "fix", "merge", "escalate"]
MergeMethod = Literal["squash", "merge", "rebase"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LandingPolicy:
    """What the owner of a run asked for."""

    auto_merge: bool = True
    """Merge when everything passes. Otherwise a person merges, and we wait for that."""
    merge_method: MergeMethod = "squash"
    no_checks: Literal["escalate", "merge", "wait"] = "escalate"
    """What a head without any check means, once the grace is over."""
    no_checks_grace_seconds: int = 120
    """Seconds that the first check of a new head may take to appear."""
    max_rounds: int = 5

    def to_dict(self) -> dict[str, Any]:
        """Return the policy as JSON-ready values, e.g. for a trigger's arguments."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LandingPolicy:
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class LandingHistory:
    """What was already seen and tried."""

    head_first_seen: datetime
    """When we first saw the present head, timezone-aware."""
    rounds_used: int = 0
    """Fix rounds that were already spent."""
    fixed_heads: tuple[str, ...] = ()
    """Heads on which a fix was already asked for."""
    answered: frozenset[str] = frozenset()
    """Keys of the reviews and threads that a fix was already given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict and why."""

    verdict: Verdict
    reason: str
    """Stable lower-case word, e.g. ``checks_failed``."""
    message: str
    """One sentence for a person."""

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
            return decision
    return Decision(verdict="wait", reason="nothing_to_do", message="Nothing to do yet.")


def merged(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """Rule 1. Whoever merged it: the work is done."""
    if s.state == "MERGED":
        return Decision(verdict="done", reason="merged", message=f"{s.url} is merged.")
    return None


def closed(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """Rule 1. A closed pull request is a person's no."""
    if s.state == "CLOSED":
        return Decision(verdict="stop", reason="closed", message=f"{s.url} was closed without a merge.")
    return None


def incomplete(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """Rule 2. What could not be read is not fine: Optio merged when its read of the checks failed."""
    if s.missing:
        return Decision(
            verdict="wait", reason="incomplete", message="Could not read: " + "; ".join(s.missing)
        )
    return None


def conflicting(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """Rule 3. A conflict is known before the checks are, and checks of a merge ref do not run on it."""
    if s.mergeable == "CONFLICTING":
        return _fix(s, policy, history, "conflict", f"{s.head_branch} conflicts with {s.base_branch}.")
    return None


def changes_requested(
    s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Decision | None:
    """Rule 5. A person with write access objects; asked before the checks, to answer both in one round."""
    reviews, threads = _objections(s)
    reviews = [review for review in reviews if review.key not in history.answered]
    threads = [thread for thread in threads if thread.key not in history.answered]
    if not reviews and not threads:
        return None
    asked = [f"{', '.join(review.author for review in reviews)} requested changes"] if reviews else []
    asked += [f"{len(threads)} unresolved review thread(s)"] if threads else []
    # Not yet given to any round, so the head may well be one that a round left as it was.
    return _fix(s, policy, history, "changes_requested", " and ".join(asked) + ".", new=True)


def checks_failed(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """Rule 4. Only when all have ended: one round then answers every failure, and pending is not failed."""
    failed, pending = s.checks_in("failed"), s.checks_in("pending")
    if failed and not pending:
        names = ", ".join(sorted({check.name for check in failed}))
        return _fix(s, policy, history, "checks_failed", f"Failing checks: {names}.")
    return None


def checks_running(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """Rule 2. Running checks are waited for."""
    if pending := s.checks_in("pending"):
        names = ", ".join(sorted({check.name for check in pending}))
        return Decision(verdict="wait", reason="checks_running", message=f"Running checks: {names}.")
    return None


def no_checks(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """Rule 7. No checks *yet* and no checks *at all* look alike: Optio merged untested on the first."""
    if s.checks:
        return None
    grace = timedelta(seconds=policy.no_checks_grace_seconds)
    if s.read_at - history.head_first_seen < grace:
        return Decision(
            verdict="wait", reason="no_checks_yet", message="No check has started on this head yet."
        )
    if policy.no_checks == "merge":
        return None
    message = f"No check started on {s.head_sha[:12]} within {policy.no_checks_grace_seconds} s."
    if policy.no_checks == "wait":
        return Decision(verdict="wait", reason="no_checks", message=message)
    remedy = " Add a check to the repository, or set no_checks to merge or wait."
    return Decision(verdict="escalate", reason="no_checks", message=message + remedy)


def unknown_mergeability(
    s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Decision | None:
    """Rule 2. GitHub computes mergeability in the background; unknown is a wait, for minutes at times."""
    if s.mergeable == "UNKNOWN":
        return Decision(
            verdict="wait", reason="mergeability_unknown", message="GitHub is still computing mergeability."
        )
    return None


def awaiting_reviewer(
    s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Decision | None:
    """Rule 5. An objection that was answered still stands until its author takes it back."""
    reviews, threads = _objections(s)
    people = {review.author for review in reviews} | {thread.comments[0].author for thread in threads}
    if not people:
        return None
    message = f"The objections were answered; waiting for {', '.join(sorted(people))} to look again."
    return Decision(verdict="wait", reason="awaiting_reviewer", message=message)


def draft(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """Rule 8. A draft is somebody's "not yet"."""
    if s.draft:
        return Decision(
            verdict="wait", reason="draft", message="Green; waiting until it is marked ready for review."
        )
    return None


def unapproved(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """Rule 8. The branch's rules ask for an approval that is not there yet."""
    if s.review_decision in ("REVIEW_REQUIRED", "CHANGES_REQUESTED"):
        return Decision(
            verdict="wait",
            reason="review_required",
            message="Green; waiting for the review that the branch rules ask for.",
        )
    return None


def mergeable(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """Rule 8. Green, approved as asked, no conflict."""
    if not policy.auto_merge:
        return Decision(
            verdict="wait",
            reason="merge_by_person",
            message="Green; auto_merge is off, waiting for a person to merge.",
        )
    if s.merge_state in ("BLOCKED", "BEHIND"):
        return Decision(
            verdict="wait",
            reason=s.merge_state.lower(),
            message=f"Green; GitHub says {s.merge_state}: a branch rule is not met yet.",
        )
    return Decision(verdict="merge", reason="green", message=f"{s.head_sha[:12]} passed everything.")


RULES: tuple[Rule, ...] = (
    merged,
    closed,
    incomplete,
    conflicting,
    changes_requested,
    checks_failed,
    checks_running,
    no_checks,
    unknown_mergeability,
    awaiting_reviewer,
    draft,
    unapproved,
    mergeable,
)


def _objections(s: PullRequestSnapshot) -> tuple[list[Review], list[ReviewThread]]:
    reviews = [r for r in s.reviews if r.state == "CHANGES_REQUESTED" and r.can_write]
    return reviews, [thread for thread in s.threads if thread.started_by_writer]


def _fix(
    s: PullRequestSnapshot,
    policy: LandingPolicy,
    history: LandingHistory,
    reason: str,
    message: str,
    *,
    new: bool = False,
) -> Decision:
    """Ask for a round, unless they are used up or the last one left the head as it was."""
    if s.head_sha in history.fixed_heads and not new:
        text = f"{message} The last fix round changed nothing."
        return Decision(verdict="escalate", reason="no_progress", message=text)
    if history.rounds_used >= policy.max_rounds:
        text = f"{message} All {policy.max_rounds} fix rounds are used."
        return Decision(verdict="escalate", reason="rounds_exhausted", message=text)
    return Decision(verdict="fix", reason=reason, message=message)
