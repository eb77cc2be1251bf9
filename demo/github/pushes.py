"""What follows when branches move, whoever moved them: by a push, a merge, or the API."""

from __future__ import annotations

from demo.github.errors import ApiError
from demo.github.forge import Forge, require, signature
from demo.github.git_values import ZERO
from demo.github.issues import close_linked_issues
from demo.github.pull_requests import (
    drop_auto_merge,
    forget_mergeability,
    mark_closed,
    mark_merged,
    record,
)
from demo.github.repositories import QUEUED_HEAD
from demo.github.state import Permission, Repository, User, now

KEYWORD_COMMITS = 250
"""Commits of one push whose messages are searched for closing keywords."""


async def branches_moved(
    forge: Forge, repository: Repository, actor: User, before: dict[str, str], after: dict[str, str]
) -> None:
    """React to every difference between two listings of ``refs/heads``, by full name.

    The caller holds the repository's lock.
    """
    for ref in sorted({*before, *after}):
        old, new = before.get(ref, ZERO), after.get(ref, ZERO)
        if old != new:
            await _branch_moved(forge, repository, actor, ref.removeprefix("refs/heads/"), old, new)


async def _branch_moved(
    forge: Forge, repository: Repository, actor: User, branch: str, old: str, new: str
) -> None:
    repository.pushed_at = repository.updated_at = now()
    if new == ZERO:
        forge.mutations.record(
            "branch.deleted", repository.full_name, actor=actor.login, branch=branch, sha=old
        )
        for pull in repository.open_pulls():
            if branch in (pull.head_ref_name, pull.base_ref_name):
                mark_closed(forge, pull, actor, "branch_deleted")
        return
    forced = old != ZERO and not await repository.git.is_ancestor(old, new)
    forge.mutations.record(
        "push",
        repository.full_name,
        actor=actor.login,
        branch=branch,
        before=old,
        sha=new,
        created=old == ZERO,
        forced=forced,
    )
    moved = await _move_heads(forge, repository, actor, branch, new)
    await _move_bases(forge, repository, actor, branch, new)
    if branch == repository.default_branch and old != ZERO:
        await _close_by_commits(forge, repository, actor, old, new)
    await forge.checks.on_push(repository, branch, new)
    for number in moved:
        await forge.checks.on_pull_request(repository.pulls[number])


async def _move_heads(forge: Forge, repository: Repository, actor: User, branch: str, new: str) -> list[int]:
    """Bring the pull requests of ``branch`` to its new tip; return their numbers."""
    moved = []
    for pull in repository.open_pulls():
        if pull.head_ref_name != branch:
            continue
        before, pull.head_ref_oid = pull.head_ref_oid, new
        pull.touch()
        if not repository.allows(actor, "write"):
            drop_auto_merge(
                forge, pull, actor, "head_changed", "New commits by somebody without write access"
            )
        forget_mergeability(forge, pull)
        await repository.git.force_ref(f"refs/pull/{pull.number}/head", new)
        record(forge, "pull_request.synchronized", pull, actor, before=before, sha=new)
        base = await repository.git.branch(pull.base_ref_name)
        if base is not None and await repository.git.is_ancestor(new, base):
            mark_closed(forge, pull, actor, "no_commits")
        else:
            moved.append(pull.number)
        if repository.rules_of(pull.base_ref_name).dismiss_stale_reviews:
            for review in pull.reviews:
                if review.state == "APPROVED":
                    review.state = "DISMISSED"
    return moved


async def _move_bases(forge: Forge, repository: Repository, actor: User, branch: str, new: str) -> None:
    """Settle the pull requests into ``branch``: merged where it now contains their head."""
    for pull in repository.open_pulls():
        if pull.base_ref_name != branch:
            continue
        if await repository.git.is_ancestor(pull.head_ref_oid, new):
            mark_merged(forge, pull, actor, new, "push")
            if branch == repository.default_branch:
                close_linked_issues(forge, repository, actor, pull.body, pull_request=pull.number)
        else:
            pull.base_ref_oid = new
            forget_mergeability(forge, pull)


async def _close_by_commits(forge: Forge, repository: Repository, actor: User, old: str, new: str) -> None:
    for commit in await repository.git.log(f"--max-count={KEYWORD_COMMITS}", new, f"^{old}"):
        close_linked_issues(forge, repository, actor, commit.message, commit=commit.oid)


async def move_branch(
    forge: Forge, repository: Repository, actor: User, branch: str, new: str, *, expected: str | None = None
) -> None:
    """Point a branch at a commit, or delete it (:data:`ZERO`), as a push of ``actor`` would.

    :param expected: commit that it must be at.

    :raises ApiError: 403 without write permission; 422 when there is nothing to delete, the branch is
        the default one, or it moved meanwhile.
    """
    require(repository, actor, "write")
    ref = f"refs/heads/{branch}"
    async with repository.lock:
        before = await repository.git.refs()
        _hold_unlocked(repository, branch, new)
        if new == ZERO and ref not in before:
            raise ApiError(422, "Reference does not exist")
        if new == ZERO and branch == repository.default_branch:
            raise ApiError(422, "Cannot delete the default branch")
        if not await repository.git.update_ref(ref, new, expected or before.get(ref, ZERO)):
            raise ApiError(422, "Reference cannot be updated")
        await branches_moved(forge, repository, actor, before, await repository.git.refs())


def _hold_unlocked(repository: Repository, branch: str, new: str = "") -> None:
    """Hold that ``branch`` is not queued for merging; it may be deleted all the same.

    :raises ApiError: 422, it is.
    """
    queued = (pull for pull in repository.open_pulls() if pull.merge_queue_entry is not None)
    if new != ZERO and any(pull.head_ref_name == branch for pull in queued):
        raise ApiError(422, QUEUED_HEAD)


async def push_files(
    forge: Forge,
    repository: Repository,
    actor: User,
    branch: str,
    files: dict[str, str | None],
    message: str,
    *,
    start: str | None = None,
    permission: Permission = "write",
) -> str:
    """Commit ``files`` (a text each, or ``None`` to delete) on top of a branch as ``actor``; return the SHA.

    :param start: branch or commit to start from where ``branch`` does not exist.
    :param permission: what the actor must have here.
    :raises ApiError: 403 without the permission, 422 where there is nothing to start from.
    """
    require(repository, actor, permission)
    async with repository.lock:
        _hold_unlocked(repository, branch)
        before = await repository.git.refs()
        old = before.get(f"refs/heads/{branch}")
        parent = old or await repository.git.resolve(start or repository.default_branch)
        if parent is None:
            raise ApiError(422, f"There is no {branch} and nothing to start it from.")
        sha = await repository.git.write_files(parent, files, message, signature(actor))
        if not await repository.git.update_ref(f"refs/heads/{branch}", sha, old or ZERO):
            raise ApiError(422, f"{branch!r} is not a branch name.")
        await branches_moved(forge, repository, actor, before, await repository.git.refs())
    return sha
