"""Merge queues: what is queued is checked on top of all before it, and merged by the queue itself.

Nothing here waits. :func:`maintain` brings a repository's queues from any state as far as they can go now, and
is called again whenever something has changed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from demo.github.errors import ApiError
from demo.github.forge import Forge, require
from demo.github.git_values import ZERO
from demo.github.issues import close_linked_issues
from demo.github.merging import MergeRequest, blockers, build, compute_mergeability, delete_head
from demo.github.pull_requests import mark_merged, record
from demo.github.pushes import branches_moved
from demo.github.queue_state import AddedToMergeQueueEvent, MergeQueue, QueueEntry, RemovedFromMergeQueueEvent
from demo.github.rollups import outcomes

if TYPE_CHECKING:
    from demo.github.state import PullRequest, Repository, User

BOT = "github-merge-queue[bot]"
BRANCHES = "gh-readonly-queue"
"""First part of the names of the queue's own branches."""
ENTRIES_BUILT = 5
"""Entries that are checked at once."""


def queue_of(forge: Forge, repository: Repository, branch: str) -> MergeQueue | None:
    """Return the merge queue of a branch, made on first sight; ``None`` where its rules ask for none."""
    if not repository.rules_of(branch).merge_queue:
        return None
    if branch not in repository.queues:
        repository.queues[branch] = forge.store.add(MergeQueue(repository=repository, branch=branch))
    return repository.queues[branch]


async def enqueue(
    forge: Forge, pull: PullRequest, actor: User, *, expected_head: str | None = None, jump: bool = False
) -> QueueEntry:
    """Put a pull request into the merge queue of its base branch.

    :param expected_head: head that the caller saw.
    :param jump: put it in front of all others.
    :raises ApiError: 403 without write permission; 422 where there is no queue, it is queued already, the head
        moved, or it may not be merged.
    """
    require(pull.repository, actor, "write")
    return await enqueue_permitted(forge, pull, actor, expected_head=expected_head, jump=jump)


async def enqueue_permitted(
    forge: Forge, pull: PullRequest, actor: User, *, expected_head: str | None = None, jump: bool = False
) -> QueueEntry:
    """Queue as :func:`enqueue` does, for an actor who is known to have the permission."""
    repository = pull.repository
    async with repository.lock:
        queue = queue_of(forge, repository, pull.base_ref_name)
        if queue is None:
            raise ApiError(422, f"Merge queue is not enabled for {pull.base_ref_name}")
        if pull.state != "OPEN":
            raise ApiError(422, "Pull request is closed")
        if pull.merge_queue_entry is not None:
            raise ApiError(422, "Pull request is already in the queue")
        if expected_head is not None and expected_head != pull.head_ref_oid:
            raise ApiError(422, "Head branch was modified. Review and try the merge again.")
        if pull.is_draft:
            raise ApiError(422, "Pull request is in draft state")
        if said := blockers(pull):
            raise ApiError(422, " ".join(said))
        if await compute_mergeability(pull) != "MERGEABLE":
            raise ApiError(422, "Pull request has merge conflicts")
        entry = forge.store.add(
            QueueEntry(merge_queue=queue, pull_request=pull, enqueuer=actor, head_oid=pull.head_ref_oid)
        )
        queue.entries.insert(0 if jump else len(queue.entries), entry)
        event = AddedToMergeQueueEvent(pull_request=pull, actor=actor, enqueuer=actor, merge_queue=queue)
        pull.timeline.append(forge.store.add(event))
        pull.touch()
        record(forge, "merge_queue.entered", pull, actor, sha=entry.head_oid, position=entry.position)
        await repository.git.lock_heads(_heads(repository))
    return entry


async def dequeue(forge: Forge, pull: PullRequest, actor: User, reason: str = "manual") -> QueueEntry:
    """Take a pull request out of the queue.

    :param reason: GitHub's word for why.
    :raises ApiError: 403 without write permission; 422 where it is not queued.
    """
    require(pull.repository, actor, "write")
    async with pull.repository.lock:
        entry = pull.merge_queue_entry
        if entry is None:
            raise ApiError(422, "Pull request is not in the queue")
        await _remove(forge, entry, actor, reason)
    return entry


async def maintain(forge: Forge, repository: Repository) -> None:
    """Build, check, merge and throw out, until only checks are awaited; the caller holds the lock."""
    for queue in list(repository.queues.values()):
        while await _advance(forge, queue):
            pass


async def _advance(forge: Forge, queue: MergeQueue) -> bool:
    """Take one step, and say whether there was one to take."""
    bot = forge.store.user(BOT)
    for entry in list(queue.entries):
        if reason := _obstacle(entry):
            await _remove(forge, entry, bot, reason)
            return True
    if await _build_groups(forge, queue):
        return True
    for entry in queue.entries[:ENTRIES_BUILT]:
        first = entry is queue.entries[0]
        words = set(_required(entry).values())
        if "failing" in words:
            # With others before it, the fault may be theirs: it is thrown out once it stands first.
            entry.state = "UNMERGEABLE"
            if first:
                await _remove(forge, entry, bot, "failed_checks")
                return True
        elif words <= {"passed"}:
            entry.state = "MERGEABLE"
            if first:
                await _merge(forge, entry, bot)
                return True
        else:
            entry.state = "AWAITING_CHECKS"
    return False


def _required(entry: QueueEntry) -> dict[str, str]:
    """Return what became of the required checks on the commit that was built for an entry."""
    repository, queue = entry.pull_request.repository, entry.merge_queue
    names = repository.rules_of(queue.branch).required_checks
    return dict(outcomes(repository, entry.group_oid or ZERO, names))


def _obstacle(entry: QueueEntry) -> str | None:
    """Return why an entry cannot stay, whatever its checks say."""
    pull, queue = entry.pull_request, entry.merge_queue
    if pull.state != "OPEN" or pull.base_ref_name != queue.branch:
        return "closed" if pull.base_ref_name == queue.branch else "base_changed"
    if pull.head_ref_oid != entry.head_oid:
        return "head_changed"
    if pull.is_draft or blockers(pull):
        return "branch_protections"
    return None if queue.repository.rules_of(queue.branch).merge_queue else "queue_cleared"


async def _build_groups(forge: Forge, queue: MergeQueue) -> bool:
    """Build what the first entries would make of the branch; say whether one had to be thrown out."""
    git = queue.repository.git
    base = await git.branch(queue.branch)
    for entry in queue.entries[:ENTRIES_BUILT]:
        if base is None or (await git.merge_tree(base, entry.head_oid)).conflicts:
            await _remove(forge, entry, forge.store.user(BOT), "merge_conflict")
            return True
        if entry.base_oid != base:
            await _move(forge, entry, ZERO)
            await _build_group(forge, entry, base)
        base = entry.group_oid
    return False


async def _build_group(forge: Forge, entry: QueueEntry, base: str) -> None:
    pull, queue = entry.pull_request, entry.merge_queue
    method = queue.repository.rules_of(queue.branch).queue_method
    sha = await build(pull, base, entry.enqueuer, MergeRequest(method=method))
    sha = await _unlike_earlier(pull, sha)
    entry.base_oid, entry.group_oid, entry.state = base, sha, "AWAITING_CHECKS"
    await _move(forge, entry, sha)
    bot, branch = forge.store.user(BOT), _branch(entry)
    record(forge, "merge_group.checks_requested", pull, bot, sha=sha, base_sha=base, branch=branch)
    await forge.checks.on_merge_group(queue.repository, queue.branch, branch, sha)


async def _unlike_earlier(pull: PullRequest, sha: str) -> str:
    """Return a group's commit that is none of an earlier entry's, whose failed checks would count for it.

    Two of one content and one second would be the same commit; the later one is dated a second ahead.
    """
    git = pull.repository.git
    earlier = {event.before_oid for event in pull.timeline if isinstance(event, RemovedFromMergeQueueEvent)}
    while sha in earlier:
        same = await git.commit(sha)
        ahead = same.authored_date + timedelta(seconds=1)
        sha = await git.commit_tree(
            same.tree,
            same.parents,
            same.message,
            author=same.author,
            committer=same.committer,
            authored=ahead,
        )
    return sha


async def _merge(forge: Forge, entry: QueueEntry, bot: User) -> None:
    """Make the commit that was built for the first entry the tip of the branch."""
    pull, queue, repository = entry.pull_request, entry.merge_queue, entry.merge_queue.repository
    entry.state = "LOCKED"
    before = await repository.git.refs()
    ref, group, base = f"refs/heads/{queue.branch}", str(entry.group_oid), str(entry.base_oid)
    if not await repository.git.update_ref(ref, group, base):
        entry.base_oid = None
        return
    mark_merged(forge, pull, bot, group, repository.rules_of(queue.branch).queue_method)
    if queue.branch == repository.default_branch:
        close_linked_issues(forge, repository, bot, pull.body, pull_request=pull.number)
    await _remove(forge, entry, bot, "merge")
    await branches_moved(forge, repository, bot, before, {**before, ref: group})
    if repository.delete_branch_on_merge:
        await delete_head(forge, pull, bot)


async def _remove(forge: Forge, entry: QueueEntry, actor: User, reason: str) -> None:
    pull, queue = entry.pull_request, entry.merge_queue
    queue.entries.remove(entry)
    event = RemovedFromMergeQueueEvent(
        pull_request=pull,
        actor=actor,
        enqueuer=entry.enqueuer,
        merge_queue=queue,
        reason=reason,
        before_oid=entry.group_oid,
    )
    pull.timeline.append(forge.store.add(event))
    pull.touch()
    record(
        forge, "merge_queue.left", pull, actor, sha=entry.head_oid, group_sha=entry.group_oid, reason=reason
    )
    await _move(forge, entry, ZERO)
    await queue.repository.git.lock_heads(_heads(queue.repository))


def _branch(entry: QueueEntry) -> str:
    return f"{BRANCHES}/{entry.merge_queue.branch}/pr-{entry.pull_request.number}-{entry.base_oid}"


async def _move(forge: Forge, entry: QueueEntry, sha: str) -> None:
    """Point the queue's branch of an entry at a commit, or delete it (:data:`ZERO`)."""
    repository, ref = entry.merge_queue.repository, f"refs/heads/{_branch(entry)}"
    before = await repository.git.refs()
    if before.get(ref, ZERO) != sha and await repository.git.update_ref(ref, sha, before.get(ref, ZERO)):
        after = await repository.git.refs()
        await branches_moved(forge, repository, forge.store.user(BOT), before, after)


def _heads(repository: Repository) -> list[str]:
    """Return the branches that may not be pushed to because they are queued."""
    entries = [entry for queue in repository.queues.values() for entry in queue.entries]
    return sorted({entry.pull_request.head_ref_name for entry in entries})
