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

    from airflow_provider_agents.domain.authority_rules import Association, Standing
    from airflow_provider_agents.domain.landing_policy import MergeMethod

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
    started_at: datetime | None = None
    """When it appeared, by GitHub's clock."""
    completed_at: datetime | None = None


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
    own: bool = False
    """Whether the credential that reads wrote it."""

    @property
    def key(self) -> str:
        """What tells this review from a later one of the same person."""
        digest = hashlib.sha256(self.body.encode(errors="replace")).hexdigest()
        return f"{self.author}@{self.head_sha}:{digest[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """One comment of a review thread, or of the pull request's conversation."""

    author: str
    body: str
    can_write: bool = False
    node_id: str = ""
    created_at: datetime | None = None
    own: bool = False
    """Whether the credential that reads wrote it."""
    edited_by: str = ""
    """Login of whoever edited it last, where that is somebody other than its author."""
    association: Association | None = None
    """What GitHub calls the author's relation to the repository."""
    standing: Standing | None = None
    """What the author is to the repository, where that was asked: of the comments that are commands."""


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

        Comments of others are not handed to the agent, so they do not ask for another answer either; nor
        does what we answered.
        """
        said = sum(comment.can_write and not comment.own for comment in self.comments)
        return f"{self.node_id}:{said}"

    @property
    def started_by_writer(self) -> bool:
        """Whether a person with write access opened the thread."""
        return bool(self.comments) and self.comments[0].can_write


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueEntry:
    """The place of a pull request in the merge queue of its base branch."""

    state: str
    """GitHub's ``MergeQueueEntryState``: ``QUEUED``, ``AWAITING_CHECKS``, ``MERGEABLE``, ``UNMERGEABLE``,
    ``LOCKED``."""
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRemoval:
    """That a pull request left the merge queue without a merge."""

    at: datetime
    reason: str
    """GitHub's words, e.g. ``failed_checks``; empty where it gives none."""
    actor: str = ""
    """Who removed it; the queue's own removals name the merge queue's bot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequestPulse:
    """The small reading: enough to see that something may have changed, cheap for a hundred at once."""

    node_id: str
    repository: str
    number: int
    state: PullRequestState
    head_sha: str
    checks_state: str
    """State of the head's check rollup (``SUCCESS``, ``PENDING``, ``FAILURE``, ``ERROR``, ``EXPECTED``);
    empty where there is no check, or it may not be read."""
    mergeable: Mergeable
    merge_state: str
    review_decision: str
    draft: bool
    queued: bool
    updated_at: str
    """GitHub's ``updatedAt``, as it stands: it is only ever compared."""


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
    author: str = ""
    author_is_bot: bool = False
    """Whether the author is an App; its login is the one without ``[bot]``, as GraphQL gives it."""
    fork: bool | None = None
    """Whether the head is in another repository, or its repository is gone; ``None``: not in the answer."""
    body: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    additions: int | None = None
    """Lines; as the other two ``None`` where the answer does not tell."""
    deletions: int | None = None
    changed_files: int | None = None
    base_sha: str = ""
    """Tip of the base branch, as GitHub last saw it for this pull request."""
    comments: tuple[Comment, ...] = ()
    """The last comments of the conversation, oldest first."""
    failing_on_base: frozenset[str] | None = None
    """Names of the checks that fail on the base branch's tip; ``None``: not looked at, or not readable."""
    required_checks: frozenset[str] | None = None
    """Names of the checks that the base branch's rules require; ``None`` where they could not be read."""
    allowed_methods: tuple[MergeMethod, ...] = ()
    """Merge methods that the repository allows; empty where that could not be read."""
    auto_merge_allowed: bool = False
    """Whether the credential may turn on GitHub's auto-merge for it now."""
    auto_merge_on: bool = False
    has_merge_queue: bool = False
    """Whether the base branch is merged into by a merge queue only."""
    queue_entry: QueueEntry | None = None
    queue_removals: tuple[QueueRemoval, ...] = ()
    """Removals from the merge queue, oldest first."""
    missing: tuple[str, ...] = ()
    """Parts that a decision needs and that could not be read this time (``checks``, ``reviews``,
    ``threads`` …), each as ``part: reason``."""
    refused: tuple[str, ...] = ()
    """The like, where the credential lacks the right: they will not come by waiting. A part stands here or
    in :attr:`missing`, not in both."""
    degraded: tuple[str, ...] = ()
    """Parts that could not be read and that a decision can do without (``rules``, ``closing issues``,
    ``merge queue``, ``base checks``), each as ``part: reason``."""

    def checks_in(self, state: CheckState) -> tuple[Check, ...]:
        """Return the checks of the head commit in ``state``."""
        return tuple(check for check in self.checks if check.state == state)

    @property
    def checks_changed_at(self) -> datetime | None:
        """When the last check of the head appeared or ended, by GitHub's clock; ``None`` where unknown."""
        moments = [at for check in self.checks for at in (check.started_at, check.completed_at) if at]
        return max(moments, default=None)
