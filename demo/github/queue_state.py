"""What the stand-in knows of merge queues, auto-merge and the timeline that tells of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from demo.github.state import Entity, PullRequest, Repository, User, now

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(kw_only=True)
class AutoMerge:
    """That a pull request shall be merged as soon as its base branch's rules are met."""

    enabled_by: User
    merge_method: str
    """GraphQL's word: ``MERGE``, ``SQUASH`` or ``REBASE``."""
    commit_headline: str | None = None
    commit_body: str | None = None
    author_email: str | None = None
    enabled_at: datetime = field(default_factory=now)


@dataclass(kw_only=True, eq=False)
class TimelineEvent(Entity):
    """One event of a pull request's timeline."""

    pull_request: PullRequest
    actor: User
    created_at: datetime = field(default_factory=now)


@dataclass(kw_only=True, eq=False)
class AddedToMergeQueueEvent(TimelineEvent):
    prefix: ClassVar[str] = "ATMQE"
    enqueuer: User
    merge_queue: MergeQueue


@dataclass(kw_only=True, eq=False)
class RemovedFromMergeQueueEvent(TimelineEvent):
    prefix: ClassVar[str] = "RFMQE"
    enqueuer: User
    merge_queue: MergeQueue
    reason: str
    before_oid: str | None
    """Commit that the queue had built for it."""


@dataclass(kw_only=True, eq=False)
class AutoMergeEnabledEvent(TimelineEvent):
    prefix: ClassVar[str] = "AMEE"
    enabler: User


@dataclass(kw_only=True, eq=False)
class AutoMergeDisabledEvent(TimelineEvent):
    prefix: ClassVar[str] = "AMDE"
    disabler: User
    reason: str
    reason_code: str


@dataclass(kw_only=True, eq=False)
class ReopenedEvent(TimelineEvent):
    prefix: ClassVar[str] = "REE"


@dataclass(kw_only=True, eq=False)
class MergeQueue(Entity):
    prefix: ClassVar[str] = "MQ"
    repository: Repository
    branch: str
    entries: list[QueueEntry] = field(default_factory=list)


@dataclass(kw_only=True, eq=False)
class QueueEntry(Entity):
    prefix: ClassVar[str] = "MQE"
    merge_queue: MergeQueue
    pull_request: PullRequest
    enqueuer: User
    head_oid: str
    """Head of the pull request that was queued."""
    state: str = "QUEUED"
    base_oid: str | None = None
    group_oid: str | None = None
    """Commit that is checked and becomes the branch's tip: the head on top of all that is queued before."""
    enqueued_at: datetime = field(default_factory=now)

    @property
    def position(self) -> int:
        return self.merge_queue.entries.index(self) + 1 if self in self.merge_queue.entries else 0
