"""GraphQL fields that issues alone have: timeline, edits, assignees and family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo.github.graphql_nodes import Connection
from demo.github.graphql_registry import answers
from demo.github.issue_events import (
    AssignedEvent,
    IssueEvent,
    LabeledEvent,
    RenamedTitleEvent,
    TransferredEvent,
    UnassignedEvent,
    UnlabeledEvent,
)

if TYPE_CHECKING:
    from demo.github.state import Issue, Repository, User

ITEM_TYPES: dict[str, type[IssueEvent]] = {
    "LABELED_EVENT": LabeledEvent,
    "UNLABELED_EVENT": UnlabeledEvent,
    "ASSIGNED_EVENT": AssignedEvent,
    "UNASSIGNED_EVENT": UnassignedEvent,
    "RENAMED_TITLE_EVENT": RenamedTitleEvent,
    "TRANSFERRED_EVENT": TransferredEvent,
}
"""The timeline events that the stand-in has, by the name that ``itemTypes`` gives them."""


class IssueTimelineConnection(Connection):
    """A page of an issue's timeline, which counts what the filter left out as well."""

    def __init__(self, issue: Issue, items: list[IssueEvent], arguments: dict[str, Any]) -> None:
        super().__init__("timelineItems", items, arguments)
        self.total_count = len(issue.timeline)
        self.filtered_count = len(items)
        self.page_count = len(self.nodes)
        self.updated_at = issue.timeline[-1].created_at if issue.timeline else issue.updated_at


@answers("Issue", "timelineItems")
def timeline_items(issue: Issue, info: Any, **arguments: Any) -> IssueTimelineConnection:
    wanted = arguments.get("itemTypes")
    kinds = tuple(ITEM_TYPES[name] for name in wanted if name in ITEM_TYPES) if wanted else IssueEvent
    items = [event for event in issue.timeline if isinstance(event, kinds)]
    if since := arguments.get("since"):
        items = [event for event in items if event.created_at.isoformat() >= since.replace("Z", "+00:00")]
    return IssueTimelineConnection(issue, items[arguments.get("skip") or 0 :], arguments)


@answers("Issue", "assignees")
def assignees_of(issue: Issue, info: Any, **arguments: Any) -> Connection:
    # GraphQL's connection is of people alone.
    return Connection("assignees", [user for user in issue.assignees if not user.is_bot], arguments)


@answers("Issue", "userContentEdits")
def content_edits(issue: Issue, info: Any, **arguments: Any) -> Connection:
    return Connection("userContentEdits", issue.edits[::-1], arguments)


@answers("Issue", "lastEditedAt")
def last_edited_at(issue: Issue, info: Any) -> Any:
    return issue.edits[-1].edited_at if issue.edits else None


@answers("Issue", "editor")
def editor(issue: Issue, info: Any) -> User | None:
    return _present(issue.edits[-1].editor) if issue.edits else None


@answers("Issue", "subIssues")
def sub_issues(issue: Issue, info: Any, **arguments: Any) -> Connection:
    return Connection("subIssues", issue.sub_issues, arguments)


@answers("Issue", "activeLockReason")
def lock_reason(issue: Issue, info: Any) -> None:
    return None


@answers("Repository", "hasIssuesEnabled")
def has_issues_enabled(repository: Repository, info: Any) -> bool:
    return repository.has_issues


@answers("Issue IssueComment PullRequest PullRequestReview PullRequestReviewComment", "author")
def author(item: Any, info: Any) -> User | None:
    return _present(item.author)


@answers("IssueComment UserContentEdit", "editor")
def comment_editor(item: Any, info: Any) -> User | None:
    return _present(item.editor)


@answers(
    "LabeledEvent UnlabeledEvent AssignedEvent UnassignedEvent RenamedTitleEvent TransferredEvent", "actor"
)
def actor(event: IssueEvent, info: Any) -> User | None:
    return _present(event.actor)


@answers("AssignedEvent UnassignedEvent", "assignee")
def assignee(event: AssignedEvent | UnassignedEvent, info: Any) -> User | None:
    return _present(event.assignee)


def _present(user: User | None) -> User | None:
    """Return ``user`` unless the account was deleted."""
    return None if user is None or user.is_deleted else user
