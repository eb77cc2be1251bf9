"""Acts about merges: queues, auto-merge and branches brought up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo.github import auto_merge, branch_update, merge_queue
from demo.github.act_subjects import pull_of

if TYPE_CHECKING:
    from demo.github.act_subjects import Act
    from demo.github.forge import Forge
    from demo.github.state import Repository, User


async def enqueue(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Put the pull request ``number`` into the merge queue, with ``jump`` in front of all others."""
    jump = bool(values.get("jump"))
    entry = await merge_queue.enqueue(forge, pull_of(repository, values), user, jump=jump)
    return {"id": entry.id, "position": entry.position}


async def dequeue(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Throw the pull request ``number`` out of the merge queue for ``reason``, by default ``manual``."""
    reason = str(values.get("reason") or "manual")
    entry = await merge_queue.dequeue(forge, pull_of(repository, values), user, reason)
    return {"id": entry.id, "reason": reason}


async def enable_auto_merge(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Turn auto-merge on for the pull request ``number``, by ``method``."""
    pull = pull_of(repository, values)
    await auto_merge.enable(forge, pull, user, method=str(values.get("method") or "merge").upper())
    return {"number": pull.number}


async def disable_auto_merge(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Turn auto-merge off for the pull request ``number``."""
    pull = pull_of(repository, values)
    auto_merge.disable(forge, pull, user)
    return {"number": pull.number}


async def update_branch(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Bring the branch of the pull request ``number`` up to date with its base."""
    return {"sha": await branch_update.update_branch(forge, pull_of(repository, values), user)}


ACTS: dict[str, Act] = {
    "enqueue": enqueue,
    "dequeue": dequeue,
    "enable_auto_merge": enable_auto_merge,
    "disable_auto_merge": disable_auto_merge,
    "update_branch": update_branch,
}
