"""Rules of the landing decision: what still stands between a head whose checks passed and its merge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.domain.authority import asks, objects
from airflow_provider_agents.domain.freeze import freeze_faults, frozen_until
from airflow_provider_agents.domain.landing_decision import (
    MOST_BRANCH_UPDATES,
    PATIENCE_SECONDS,
    Decision,
    escalate,
    fix,
    quiet_seconds,
    wait,
)

if TYPE_CHECKING:
    from airflow_provider_agents.domain.landing_history import LandingHistory
    from airflow_provider_agents.domain.landing_policy import LandingPolicy
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot, Review, ReviewThread


def settling(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A set of checks may still grow: a second workflow is often registered seconds after the first (open-swe
    waits likewise).
    """
    if s.checks and quiet_seconds(s, history) < policy.settle_seconds:
        return wait("settling", f"All checks passed; {policy.settle_seconds} s for a further one to appear.")
    return None


def required_missing(
    s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Decision | None:
    """A required check that never reports blocks for ever, and GitHub names it nowhere but on its page."""
    absent = sorted((s.required_checks or frozenset()) - {check.name for check in s.checks})
    if not absent:
        return None
    text = f"Required, but not started: {', '.join(absent)}."
    if quiet_seconds(s, history) < PATIENCE_SECONDS:
        return wait("required_missing", text)
    return escalate("required_missing", f"{text} Start them, or take them out of the branch's rules.")


def unknown_mergeability(
    s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Decision | None:
    """GitHub computes mergeability in the background; unknown is a wait, for minutes at times. Optio merged on
    it. ``DIRTY`` beside ``MERGEABLE`` is the same: one of the two is from before.
    """
    if s.mergeable == "UNKNOWN" or s.merge_state in ("UNKNOWN", "DIRTY"):
        return wait("mergeability_unknown", "GitHub is still computing mergeability.")
    return None


def review_wanted(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """The review agent reads exactly the head that is to be merged; a new head voids its verdict. Optio's
    merge was released by a review that had merely ended. A person's ``/merge`` makes it needless.
    """
    if policy.review == "off" or history.review_of(s.head_sha) or s.head_sha in history.approved_heads:
        return None
    if policy.review == "manual" and s.head_sha not in history.review_asked:
        return wait("review_by_command", "Green; waiting for /review.")
    return Decision(verdict="review", reason="review", message=f"The review agent reads {s.head_sha[:12]}.")


def review_objects(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """Its objections are answered like a person's, in fewer rounds: two agents may never agree."""
    review = history.review_of(s.head_sha)
    if policy.review == "off" or review is None or review.verdict != "request_changes":
        return None
    if s.head_sha in history.approved_heads:
        return None
    return fix(
        s, policy, history, "review_agent", f"The review agent asks for changes: {review.summary[:200]}"
    )


def awaiting_reviewer(
    s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Decision | None:
    """An objection that was answered still stands until its author takes it back: Optio merged over it, and
    let anybody's later review hide it.
    """
    reviews, threads = objections(s, history)
    people = {review.author for review in reviews} | {thread.comments[0].author for thread in threads}
    if not people:
        return None
    text = f"The objections were answered; waiting for {', '.join(sorted(people))} to look again."
    return wait("awaiting_reviewer", text)


def draft(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A draft is somebody's "not yet"."""
    if s.draft or s.merge_state == "DRAFT":
        return wait("draft", "Green; waiting until it is marked ready for review.")
    return None


def held(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A label says no, and a person has to take it off."""
    hold = {label.casefold() for label in policy.hold_labels}
    if found := [label for label in s.labels if label.casefold() in hold]:
        return wait("held", f"Green; held by the label {', '.join(sorted(found))}.")
    return None


def unapproved(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """The branch's rules ask for an approval that is not there yet. Optio attempted the merge without."""
    if s.review_decision in ("REVIEW_REQUIRED", "CHANGES_REQUESTED"):
        return wait("review_required", "Green; waiting for the review that the branch rules ask for.")
    return None


def merge_by_person(
    s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Decision | None:
    """The owner of the run keeps the merge for people."""
    if not policy.auto_merge and s.head_sha not in history.approved_heads:
        return wait("merge_by_person", "Green; auto_merge is off, waiting for a person to merge.")
    return None


def risky(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A change of more risk than allowed is a person's to merge; one whose risk is not known is not safe."""
    most = policy.auto_merge_max_risk
    if most is None or s.head_sha in history.approved_heads:
        return None
    risk = history.risks.get(s.head_sha)
    if risk is None:
        return Decision(verdict="note", reason="risk_unknown", message=f"Weighing {s.head_sha[:12]}.")
    if risk > most:
        return wait("risk", f"Green; its risk {risk} is over {most}, waiting for a person to merge.")
    return None


def frozen(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """Nothing is merged in a freeze, nor while nobody can tell when one is."""
    if faults := freeze_faults(policy.freeze):
        return escalate("freeze_malformed", " ".join(faults))
    if (until := frozen_until(policy.freeze, s.read_at)) is not None:
        return wait("frozen", f"Green; merges are frozen until {until:%Y-%m-%d %H:%M} UTC.")
    return None


def behind(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """The rules want the branch up to date with its base. A merge queue sees to that by itself."""
    if s.merge_state != "BEHIND" or s.has_merge_queue:
        return None
    if not policy.update_branch:
        return wait(
            "behind", f"Green, but behind {s.base_branch}; waiting for a person to update the branch."
        )
    return updating(s, history, "behind", f"{s.head_branch} is behind {s.base_branch}.")


def updating(s: PullRequestSnapshot, history: LandingHistory, reason: str, message: str) -> Decision:
    """Ask for the branch to be brought up to date, once for a head."""
    if s.head_sha in history.updated_heads:
        text = f"Waiting for the update with {s.base_branch} to show."
        if quiet_seconds(s, history) < PATIENCE_SECONDS:
            return wait("update_not_shown", text)
        return escalate("update_not_shown", f"{message} GitHub took the update, but does not show it.")
    if len(history.updated_heads) >= MOST_BRANCH_UPDATES:
        text = f"{message} It was updated {MOST_BRANCH_UPDATES} times; use a merge queue, or merge by hand."
        return escalate("updates_exhausted", text)
    return Decision(verdict="update_branch", reason=reason, message=message)


def blocked(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A rule of the branch that we cannot name is not met. Waiting alone may never end it, so people are told
    after a while.
    """
    if s.merge_state != "BLOCKED" or s.has_merge_queue:
        return None
    text = "Green; GitHub says BLOCKED: a branch rule is not met yet."
    if quiet_seconds(s, history) < PATIENCE_SECONDS:
        return wait("blocked", text)
    hints = "signatures, code owners, deployments, unresolved threads of people without write access"
    unread = f" Not readable: {'; '.join(s.degraded)}." if s.degraded else ""
    return escalate("blocked", f"{text} Rules that the API does not name: {hints}.{unread}")


def objections(s: PullRequestSnapshot, history: LandingHistory) -> tuple[list[Review], list[ReviewThread]]:
    """Return what people with write access hold against the pull request, answered or not."""
    reviews = [review for review in s.reviews if objects(review, history.ours)]
    return reviews, [thread for thread in s.threads if asks(thread, history.ours)]
