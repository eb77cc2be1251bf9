"""GraphQL fields of merge queues, auto-merge and the timeline events that tell of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo.github import auto_merge, merging
from demo.github.graphql_nodes import CommitNode, Connection, find_commit
from demo.github.graphql_registry import answers
from demo.github.merge_queue import queue_of
from demo.github.queue_state import (
    AddedToMergeQueueEvent,
    AutoMergeDisabledEvent,
    AutoMergeEnabledEvent,
    MergeQueue,
    QueueEntry,
    RemovedFromMergeQueueEvent,
    ReopenedEvent,
    TimelineEvent,
)

if TYPE_CHECKING:
    from demo.github.state import PullRequest, Repository, User

ITEM_TYPES: dict[str, type[TimelineEvent]] = {
    "ADDED_TO_MERGE_QUEUE_EVENT": AddedToMergeQueueEvent,
    "REMOVED_FROM_MERGE_QUEUE_EVENT": RemovedFromMergeQueueEvent,
    "AUTO_MERGE_ENABLED_EVENT": AutoMergeEnabledEvent,
    "AUTO_MERGE_DISABLED_EVENT": AutoMergeDisabledEvent,
    "REOPENED_EVENT": ReopenedEvent,
}
"""The timeline events that the stand-in has, by the name that ``itemTypes`` gives them."""


@answers("PullRequest", "isMergeQueueEnabled")
def is_merge_queue_enabled(pull: PullRequest, info: Any) -> bool:
    return pull.repository.rules_of(pull.base_ref_name).merge_queue


@answers("PullRequest", "isInMergeQueue")
def is_in_merge_queue(pull: PullRequest, info: Any) -> bool:
    return pull.merge_queue_entry is not None


@answers("PullRequest", "mergeQueue")
def merge_queue_of(pull: PullRequest, info: Any) -> MergeQueue | None:
    return queue_of(info.context.forge, pull.repository, pull.base_ref_name)


@answers("Repository", "mergeQueue")
def merge_queue(repository: Repository, info: Any, branch: str | None = None) -> MergeQueue | None:
    return queue_of(info.context.forge, repository, branch or repository.default_branch)


@answers("MergeQueue", "url")
def merge_queue_url(queue: MergeQueue, info: Any) -> str:
    return str(info.context.forge.link(queue.repository.full_name, "queue", queue.branch))


@answers("MergeQueue", "entries")
def merge_queue_entries(queue: MergeQueue, info: Any, **arguments: Any) -> Connection:
    return Connection("entries", queue.entries, arguments)


@answers("MergeQueueEntry", "jump")
@answers("MergeQueueEntry", "solo")
def never(_: QueueEntry, info: Any) -> bool:
    return False


@answers("MergeQueueEntry", "baseCommit")
async def entry_base(entry: QueueEntry, info: Any) -> CommitNode | None:
    return await find_commit(entry.pull_request.repository, entry.base_oid)


@answers("MergeQueueEntry", "headCommit")
async def entry_head(entry: QueueEntry, info: Any) -> CommitNode | None:
    return await find_commit(entry.pull_request.repository, entry.group_oid)


@answers("RemovedFromMergeQueueEvent", "beforeCommit")
async def before_commit(event: RemovedFromMergeQueueEvent, info: Any) -> CommitNode | None:
    return await find_commit(event.pull_request.repository, event.before_oid)


class TimelineConnection(Connection):
    """A page of a timeline, which counts what the filter left out as well."""

    def __init__(self, pull: PullRequest, items: list[TimelineEvent], arguments: dict[str, Any]) -> None:
        super().__init__("timelineItems", items, arguments)
        self.total_count = len(pull.timeline)
        self.filtered_count = len(items)
        self.page_count = len(self.nodes)
        self.updated_at = pull.timeline[-1].created_at if pull.timeline else pull.updated_at


@answers("PullRequest", "timelineItems")
def timeline_items(pull: PullRequest, info: Any, **arguments: Any) -> TimelineConnection:
    wanted = arguments.get("itemTypes")
    kinds = tuple(ITEM_TYPES[name] for name in wanted if name in ITEM_TYPES) if wanted else TimelineEvent
    items = [event for event in pull.timeline if isinstance(event, kinds)]
    if since := arguments.get("since"):
        items = [event for event in items if event.created_at.isoformat() >= since.replace("Z", "+00:00")]
    return TimelineConnection(pull, items[arguments.get("skip") or 0 :], arguments)


@answers("PullRequest", "autoMergeRequest")
def auto_merge_request(pull: PullRequest, info: Any) -> dict[str, Any] | None:
    asked = pull.auto_merge
    if asked is None:
        return None
    names = ("author_email", "commit_body", "commit_headline", "enabled_at", "enabled_by", "merge_method")
    return {**{name: getattr(asked, name) for name in names}, "pull_request": pull}


@answers("PullRequest", "viewerCanEnableAutoMerge")
async def viewer_can_enable_auto_merge(pull: PullRequest, info: Any) -> bool:
    if pull.auto_merge is not None or not pull.repository.allows(info.context.viewer, "write"):
        return False
    return await auto_merge.refusal(pull) is None


@answers("PullRequest", "viewerCanDisableAutoMerge")
def viewer_can_disable_auto_merge(pull: PullRequest, info: Any) -> bool:
    on = pull.auto_merge is not None and pull.state == "OPEN"
    return on and pull.repository.allows(info.context.viewer, "write")


@answers("PullRequest", "viewerCanUpdate")
def viewer_can_update(pull: PullRequest, info: Any) -> bool:
    viewer = info.context.viewer
    may = viewer is pull.author or pull.repository.allows(viewer, "triage")
    return may and not pull.repository.is_archived


@answers("PullRequest", "viewerCanUpdateBranch")
async def viewer_can_update_branch(pull: PullRequest, info: Any) -> bool:
    writes = pull.repository.allows(info.context.viewer, "write")
    return writes and pull.state == "OPEN" and await merging.is_behind(pull)


@answers("Repository", "viewerDefaultMergeMethod")
def default_merge_method(repository: Repository, info: Any) -> str:
    return "MERGE" if repository.merge_commit_allowed else "SQUASH"


@answers("AddedToMergeQueueEvent RemovedFromMergeQueueEvent", "enqueuer")
def enqueuer(event: AddedToMergeQueueEvent | RemovedFromMergeQueueEvent, info: Any) -> User | None:
    return _person(event.enqueuer)


@answers("AutoMergeEnabledEvent", "enabler")
def enabler(event: AutoMergeEnabledEvent, info: Any) -> User | None:
    return _person(event.enabler)


@answers("AutoMergeDisabledEvent", "disabler")
def disabler(event: AutoMergeDisabledEvent, info: Any) -> User | None:
    return _person(event.disabler)


def _person(user: User) -> User | None:
    """Return ``user`` for a field of the type ``User``, which a bot does not have."""
    return None if user.is_bot else user
