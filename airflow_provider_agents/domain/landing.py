"""What to do with an open pull request: :func:`decide`, one pure function.

Level-triggered: the verdict follows from one complete reading and from what was already tried, never
from having seen a change. The rules stand in the order in which they are asked (:data:`RULES`); the first that
applies decides. ``docs/landing.md`` is the same table with its reasons. This module holds the order and the
rules up to the end of the checks; the others are in :mod:`.landing_rules_green` and
:mod:`.landing_rules_queue`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.commands import pending_commands
from airflow_provider_agents.domain.landing_decision import (
    ACTS_AND_WAITS,
    STALE_SECONDS,
    Decision,
    Rule,
    Verdict,
    escalate,
    fix,
    names,
    seconds,
    wait,
)
from airflow_provider_agents.domain.landing_rules_green import (
    awaiting_reviewer,
    behind,
    blocked,
    draft,
    frozen,
    held,
    merge_by_person,
    objections,
    required_missing,
    review_objects,
    review_wanted,
    risky,
    settling,
    unapproved,
    unknown_mergeability,
    updating,
)
from airflow_provider_agents.domain.landing_rules_queue import (
    auto_merge_armed,
    auto_merge_possible,
    ejected,
    merge_queue,
    queued,
    withdraw,
)

if TYPE_CHECKING:
    from airflow_provider_agents.domain.landing_history import LandingHistory
    from airflow_provider_agents.domain.landing_policy import LandingPolicy
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot

__all__ = ["ACTS_AND_WAITS", "RULES", "Decision", "Rule", "Verdict", "decide", "objections"]


def decide(snapshot: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision:
    """Say what to do with the pull request in ``snapshot``.

    A pure function: same arguments, same answer. The caller reads again and decides again before it
    acts, because the world moves between a reading and an act. ``history.heads_first_seen`` has to know
    the head that is shown and the one that the last round pushed, or what waits for time to pass waits for
    ever.
    """
    snapshot = _as_overridden(snapshot, history)
    for rule in RULES:
        if decision := rule(snapshot, policy, history):
            return dataclasses.replace(decision, rule=rule.__name__)
    return Decision(
        verdict="merge", reason="green", message=f"{snapshot.head_sha[:12]} passed everything.", rule="merge"
    )


def _as_overridden(s: PullRequestSnapshot, history: LandingHistory) -> PullRequestSnapshot:
    """Return the reading as if the failing checks that a person merges in spite of had passed."""
    names = history.overridden.get(s.head_sha)
    if not names:
        return s
    checks = tuple(
        dataclasses.replace(check, state="passed")
        if check.state == "failed" and check.name in names
        else check
        for check in s.checks
    )
    return dataclasses.replace(s, checks=checks)


def merged(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """Whoever merged it: the work is done. So is a merge whose answer was lost."""
    if s.state == "MERGED":
        return Decision(verdict="done", reason="merged", message=f"{s.url} is merged.")
    return None


def closed(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A closed pull request is a person's no."""
    if s.state == "CLOSED":
        return Decision(verdict="stop", reason="closed", message=f"{s.url} was closed without a merge.")
    return None


def stopped(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A person wrote ``/stop``, and no later ``/retry`` or ``/merge`` takes it back: the last word counts."""
    words = [c for c in pending_commands(s, history) if c.name in ("stop", "retry", "merge")]
    if words and words[-1].name == "stop":
        return Decision(verdict="stop", reason="told_to_stop", message=f"{words[-1].author} wrote /stop.")
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
        return escalate("refused", text)
    return None


def incomplete(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """What could not be read is not fine: Optio merged when its read of the checks failed."""
    if s.missing:
        return wait("incomplete", "Could not read: " + "; ".join(s.missing))
    return None


def outdated_reading(
    s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Decision | None:
    """GitHub may go on to show the head that a fix replaced; to judge that again would waste a round. If it
    stays, somebody took the push back, and a person says what now.
    """
    pushed = next((r.head_after for r in reversed(history.rounds) if r.head_after), None)
    if pushed is None or s.head_sha == pushed or s.head_sha not in {r.head_sha for r in history.rounds}:
        return None
    if seconds(s, history.first_seen(pushed, s.read_at)) < STALE_SECONDS:
        return wait("push_not_shown", f"GitHub does not show the pushed {pushed[:12]} yet.")
    told_again = any(c.name in ("tell", "retry") for c in pending_commands(s, history))
    if told_again or s.head_sha in history.approved_heads:
        return None
    return escalate(
        "push_undone", f"{pushed[:12]} was pushed, but the pull request is at {s.head_sha[:12]} again."
    )


def conflicting(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A conflict is known before the checks are, and checks of a merge ref do not run on it.

    Optio resumed its agent for one conflict again and again; here a head is given to one round only.
    """
    if s.mergeable == "CONFLICTING":
        return fix(s, policy, history, "conflict", f"{s.head_branch} conflicts with {s.base_branch}.")
    return None


def changes_requested(
    s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Decision | None:
    """A person with write access objects, or tells the agent something; asked before the checks, to answer
    both in one round. agent-operator took the first comment only, and anybody's.
    """
    reviews, threads = objections(s, history)
    reviews = [review for review in reviews if review.key not in history.answered]
    threads = [thread for thread in threads if thread.key not in history.answered]
    told = [c for c in pending_commands(s, history) if c.name in ("tell", "retry")]
    if not reviews and not threads and not told:
        return None
    asked = [f"{', '.join(review.author for review in reviews)} requested changes"] if reviews else []
    asked += [f"{len(threads)} unresolved review thread(s)"] if threads else []
    asked += [f"{', '.join(sorted({c.author for c in told}))} wrote to the agent"] if told else []
    return fix(s, policy, history, "changes_requested", " and ".join(asked) + ".", new=True)


def broken_base(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """What fails on the base branch too is not this change's fault, and no fix here would mend it (fabrik and
    open-swe compare likewise). It is noted, to know later why the head is red.
    """
    failed = s.checks_in("failed")
    if not failed or s.checks_in("pending") or s.failing_on_base is None:
        return None
    if not all(check.name in s.failing_on_base for check in failed):
        return None
    text = f"Failing on {s.base_branch} too: {names(failed)}. Waiting for {s.base_branch}."
    if s.head_sha not in history.broken_base:
        return Decision(verdict="note", reason="base_broken", message=text)
    return wait("base_broken", text)


def mended_base(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """A head that was red because of its base is brought up to date once the base is mended: its checks show
    the old failure until then, and every waiting pull request would start a fix round for it.
    """
    then = history.broken_base.get(s.head_sha)
    if then is None or not s.checks_in("failed") or s.checks_in("pending"):
        return None
    if s.failing_on_base is None:
        return wait("base_broken", f"It failed with {s.base_branch}, whose checks cannot be read now.")
    if not policy.update_branch or s.base_sha == then:
        return None
    return updating(s, history, "base_mended", f"{s.base_branch} is mended; {s.head_branch} takes it in.")


def rerun_not_shown(
    s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Decision | None:
    """A re-run that was asked for shows late; until then its checks still show their old end."""
    rerun = next((r for r in reversed(history.reruns) if r.head_sha == s.head_sha), None)
    if rerun is None or seconds(s, rerun.at) >= STALE_SECONDS:
        return None
    failed = [check for check in s.checks_in("failed") if check.name in rerun.checks]
    if old := [check for check in failed if not check.completed_at or check.completed_at <= rerun.at]:
        return wait("rerun_not_shown", f"Waiting for the second run of {names(old)}.")
    return None


def checks_failed(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """Only when all have ended: one round then answers every failure, and pending is not failed.

    The gate reads the logs before the round starts and may find a flake or a failure that came back: see
    :func:`.failed_checks.judge_failure`. Optio saw only the change to red, and mostly missed it.
    """
    failed = s.checks_in("failed")
    if failed and not s.checks_in("pending"):
        return fix(s, policy, history, "checks_failed", f"Failing checks: {names(failed)}.")
    return None


def review_on_open(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """The review agent need not wait for checks where it is told to look at once."""
    return review_wanted(s, policy, history) if policy.review == "on_open" else None


def checks_running(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """Running checks are waited for."""
    if pending := s.checks_in("pending"):
        return wait("checks_running", f"Running checks: {names(pending)}.")
    return None


def no_checks(s: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory) -> Decision | None:
    """No checks *yet* and no checks *at all* look alike: Optio merged untested on the first. A person's
    ``/merge`` is consent to the second only.
    """
    if s.checks:
        return None
    if seconds(s, history.first_seen(s.head_sha, s.read_at)) < policy.no_checks_grace_seconds:
        return wait("no_checks_yet", "No check has started on this head yet.")
    if policy.no_checks == "merge" or s.head_sha in history.approved_heads:
        return None
    message = f"No check started on {s.head_sha[:12]} within {policy.no_checks_grace_seconds} s."
    if policy.no_checks == "wait":
        return wait("no_checks", message)
    return escalate(
        "no_checks", f"{message} Add a check to the repository, or set no_checks to merge or wait."
    )


RULES: tuple[Rule, ...] = (
    merged,
    closed,
    withdraw,
    stopped,
    told,
    refused,
    incomplete,
    outdated_reading,
    conflicting,
    changes_requested,
    broken_base,
    mended_base,
    rerun_not_shown,
    checks_failed,
    ejected,
    auto_merge_possible,
    review_on_open,
    checks_running,
    no_checks,
    settling,
    required_missing,
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
