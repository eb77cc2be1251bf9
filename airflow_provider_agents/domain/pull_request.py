"""What a pull request looked like at one moment, in the words of this project.

Filled by ``hooks``; read by ``landing`` and by the prompts. An absent answer is absent: every part that
could not be read is named in :attr:`PullRequestSnapshot.missing` and is never taken for "fine".
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

PullRequestState = Literal["OPEN", "CLOSED", "MERGED"]
Mergeable = Literal["MERGEABLE", "CONFLICTING", "UNKNOWN"]
MergeState = Literal["BEHIND", "BLOCKED", "CLEAN", "DIRTY", "DRAFT", "HAS_HOOKS", "UNKNOWN", "UNSTABLE"]
ReviewDecision = Literal["APPROVED", "CHANGES_REQUESTED", "REVIEW_REQUIRED"]
CheckState = Literal["pending", "passed", "failed"]
"""``neutral`` and ``skipped`` conclusions count as passed; ``action_required``, ``cancelled``,
``startup_failure``, ``stale`` and ``timed_out`` as failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One remark of a check at a place in the code."""

    path: str
    line: int
    level: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A check run or a commit status of the head commit."""

    name: str
    state: CheckState
    kind: Literal["check_run", "status"]
    conclusion: str = ""
    """GitHub's own word for the end (``FAILURE``, ``NEUTRAL``, ``ERROR``, …); empty while pending."""
    required: bool | None = None
    """Whether the base branch's rules require it; ``None`` where that could not be read."""
    url: str = ""
    title: str = ""
    summary: str = ""
    node_id: str = ""
    database_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """The latest opinionated review of one person."""

    author: str
    state: Literal["APPROVED", "CHANGES_REQUESTED", "COMMENTED", "DISMISSED", "PENDING"]
    body: str = ""
    can_write: bool = False
    """Whether the author may push to the repository (GitHub's ``authorCanPushToRepository``)."""
    head_sha: str = ""
    """Commit that was reviewed."""

    @property
    def key(self) -> str:
        """What tells this review from a later one of the same person."""
        return f"{self.author}@{self.head_sha}:{hashlib.sha256(self.body.encode()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """One comment of a review thread."""

    author: str
    body: str
    can_write: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewThread:
    """An unresolved conversation at a place in the code."""

    node_id: str
    path: str
    line: int | None
    comments: tuple[Comment, ...]
    outdated: bool = False

    @property
    def key(self) -> str:
        """What tells this state of the thread from one with another comment of a person with write access.

        Comments of others are not handed to the agent, so they do not ask for another answer either.
        """
        return f"{self.node_id}:{sum(comment.can_write for comment in self.comments)}"

    @property
    def started_by_writer(self) -> bool:
        """Whether a person with write access opened the thread."""
        return bool(self.comments) and self.comments[0].can_write


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequestSnapshot:
    """One reading of a pull request: the input of every landing decision."""

    repository: str
    number: int
    node_id: str
    url: str
    title: str
    state: PullRequestState
    head_sha: str
    head_branch: str
    base_branch: str
    read_at: datetime
    """When this was read, timezone-aware."""
    draft: bool = False
    mergeable: Mergeable = "UNKNOWN"
    merge_state: MergeState = "UNKNOWN"
    review_decision: ReviewDecision | None = None
    """``None`` where the base branch's rules ask for no review."""
    checks: tuple[Check, ...] = ()
    reviews: tuple[Review, ...] = ()
    threads: tuple[ReviewThread, ...] = ()
    """Unresolved threads only."""
    labels: tuple[str, ...] = ()
    closing_issues: tuple[int, ...] = ()
    """Numbers of the issues of the same repository that a merge closes."""
    merge_commit_sha: str | None = None
    missing: tuple[str, ...] = ()
    """Parts that could not be read (``checks``, ``reviews``, ``threads`` …), each with the reason."""

    def checks_in(self, state: CheckState) -> tuple[Check, ...]:
        """Return the checks of the head commit in ``state``."""
        return tuple(check for check in self.checks if check.state == state)
