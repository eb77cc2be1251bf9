"""What a sensor may wait for at a pull request: :func:`examine`, a pure function of one reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot

Condition = Literal["merged", "closed", "checks_passed", "green", "approved"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)

Outcome = Literal["met", "unmet", "impossible"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a condition holds, and why."""

    outcome: Outcome
    """``impossible``: it does not hold and cannot come to hold any more."""
    message: str
    """One sentence for a person."""


def examine(snapshot: PullRequestSnapshot, until: Condition) -> Finding:
    """Say whether ``until`` holds for the pull request in ``snapshot``.

    ``merged``
        it is merged; impossible once it is closed without a merge.
    ``closed``
        it is no longer open, merged or not.
    ``checks_passed``
        the head has at least one check, and all of them passed.
    ``approved``
        the review that the branch rules ask for is there; where they ask for none, somebody with write
        access approved and nobody with write access requests changes.
    ``green``
        the checks passed, nobody with write access requests changes, and there is no conflict.

    A part that could not be read leaves a condition unmet.
    """
    return _RULES[until](snapshot)


def result_of(snapshot: PullRequestSnapshot) -> dict[str, Any]:
    """Return the few facts of a reading that later tasks use, JSON-ready."""
    return {
        "state": snapshot.state,
        "head_sha": snapshot.head_sha,
        "url": snapshot.url,
        "merge_commit_sha": snapshot.merge_commit_sha,
    }


def _merged(s: PullRequestSnapshot) -> Finding:
    if s.state == "MERGED":
        return Finding("met", f"{s.url} is merged.")
    if s.state == "CLOSED":
        return Finding("impossible", f"{s.url} was closed without a merge. Reopen it, then clear this task.")
    return Finding("unmet", "It is open.")


def _closed(s: PullRequestSnapshot) -> Finding:
    if s.state == "OPEN":
        return Finding("unmet", "It is open.")
    return Finding("met", f"{s.url} is {s.state.lower()}.")


def _checks_passed(s: PullRequestSnapshot) -> Finding:
    if unread := _unread(s, "checks"):
        return unread
    if pending := s.checks_in("pending"):
        return Finding("unmet", f"Running checks: {', '.join(sorted(check.name for check in pending))}.")
    if failed := s.checks_in("failed"):
        return _while_open(s, f"Failing checks: {', '.join(sorted(check.name for check in failed))}.")
    if not s.checks:
        return _while_open(s, "No check has started on its head.")
    return Finding("met", f"All {len(s.checks)} checks of {s.head_sha[:12]} passed.")


def _approved(s: PullRequestSnapshot) -> Finding:
    if unread := _unread(s, "reviews", "review decision"):
        return unread
    if s.review_decision == "APPROVED":
        return Finding("met", f"{s.url} is approved.")
    if s.review_decision == "REVIEW_REQUIRED":
        return _while_open(s, "The review that the branch rules ask for is not there.")
    if objection := _objection(s):
        return _while_open(s, objection)
    approvers = sorted(r.author for r in s.reviews if r.state == "APPROVED" and r.can_write)
    if not approvers:
        return _while_open(s, "Nobody with write access approved it.")
    return Finding("met", f"{s.url} is approved by {', '.join(approvers)}.")


def _green(s: PullRequestSnapshot) -> Finding:
    checks = _checks_passed(s)
    if checks.outcome != "met":
        return checks
    if unread := _unread(s, "reviews", "review decision"):
        return unread
    if objection := _objection(s):
        return _while_open(s, objection)
    if s.state == "CLOSED":
        return _while_open(s, "It is green, but closed.")
    if s.state == "OPEN" and s.mergeable == "CONFLICTING":
        return Finding("unmet", f"{s.head_branch} conflicts with {s.base_branch}.")
    if s.state == "OPEN" and s.mergeable != "MERGEABLE":
        return Finding("unmet", "GitHub is still computing mergeability.")
    return Finding("met", f"{s.url} is green.")


_RULES: Mapping[Condition, Callable[[PullRequestSnapshot], Finding]] = {
    "merged": _merged,
    "closed": _closed,
    "checks_passed": _checks_passed,
    "green": _green,
    "approved": _approved,
}


def _while_open(s: PullRequestSnapshot, message: str) -> Finding:
    """Return the finding for what only a pull request that is still open can make good."""
    if s.state == "OPEN":
        return Finding("unmet", message)
    return Finding("impossible", f"{s.url} is {s.state.lower()}, and this can no longer change: {message}")


def _unread(s: PullRequestSnapshot, *parts: str) -> Finding | None:
    unread = [entry for entry in s.missing if entry.partition(":")[0] in parts]
    return Finding("unmet", f"Could not read: {'; '.join(unread)}.") if unread else None


def _objection(s: PullRequestSnapshot) -> str | None:
    objectors = sorted(r.author for r in s.reviews if r.state == "CHANGES_REQUESTED" and r.can_write)
    if objectors:
        return f"{', '.join(objectors)} requested changes."
    return "Changes are requested." if s.review_decision == "CHANGES_REQUESTED" else None
