"""Which function answers which GraphQL field; what is not named here is the attribute of the same name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from demo.github.check_state import CheckRun, CheckSuite, Status
from demo.github.errors import ApiError
from demo.github.graphql_nodes import BlobNode, CommitNode, RefNode
from demo.github.issue_events import (
    AssignedEvent,
    LabeledEvent,
    RenamedTitleEvent,
    TransferredEvent,
    UnassignedEvent,
    UnlabeledEvent,
    UserContentEdit,
)
from demo.github.queue_state import (
    AddedToMergeQueueEvent,
    AutoMergeDisabledEvent,
    AutoMergeEnabledEvent,
    MergeQueue,
    QueueEntry,
    RemovedFromMergeQueueEvent,
)
from demo.github.state import (
    Comment,
    Issue,
    PullRequest,
    Reaction,
    Repository,
    Review,
    ReviewComment,
    ReviewThread,
    User,
)

Resolver = Callable[..., Any]
ResolverT = TypeVar("ResolverT", bound=Resolver)
RESOLVERS: dict[tuple[str, str], Resolver] = {}
"""By type and field name."""

TYPE_NAMES: dict[type, str] = {
    Repository: "Repository",
    Issue: "Issue",
    PullRequest: "PullRequest",
    Comment: "IssueComment",
    Reaction: "Reaction",
    Review: "PullRequestReview",
    ReviewThread: "PullRequestReviewThread",
    ReviewComment: "PullRequestReviewComment",
    CheckRun: "CheckRun",
    CheckSuite: "CheckSuite",
    MergeQueue: "MergeQueue",
    QueueEntry: "MergeQueueEntry",
    AddedToMergeQueueEvent: "AddedToMergeQueueEvent",
    RemovedFromMergeQueueEvent: "RemovedFromMergeQueueEvent",
    AutoMergeEnabledEvent: "AutoMergeEnabledEvent",
    AutoMergeDisabledEvent: "AutoMergeDisabledEvent",
    LabeledEvent: "LabeledEvent",
    UnlabeledEvent: "UnlabeledEvent",
    AssignedEvent: "AssignedEvent",
    UnassignedEvent: "UnassignedEvent",
    RenamedTitleEvent: "RenamedTitleEvent",
    TransferredEvent: "TransferredEvent",
    UserContentEdit: "UserContentEdit",
    Status: "StatusContext",
    CommitNode: "Commit",
    BlobNode: "Blob",
    RefNode: "Ref",
}
"""GraphQL's name of each Python type that may stand where an interface or a union is asked for."""


def answers(types: str, field: str) -> Callable[[ResolverT], ResolverT]:
    """Register a resolver for ``field`` of each of the types (names with spaces between)."""

    def register(resolver: ResolverT) -> ResolverT:
        for name in types.split():
            RESOLVERS[name, field] = resolver
        return resolver

    return register


def missing(what: str) -> ApiError:
    """Return GitHub's error for a name or a number that leads nowhere."""
    return ApiError(404, f"Could not resolve to {what}.", kind="NOT_FOUND")


def type_name(value: Any, *_: Any) -> str:
    """Return GraphQL's name of the type of ``value``."""
    if isinstance(value, User):
        return "Bot" if value.is_bot else "User"
    return TYPE_NAMES.get(type(value), type(value).__name__.removesuffix("Node"))
