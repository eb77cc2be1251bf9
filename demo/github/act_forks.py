"""Acts about forks: as far as whose repository the head of a pull request is of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo.github.act_subjects import pull_of
from demo.github.state import Repository

if TYPE_CHECKING:
    from demo.github.act_subjects import Act
    from demo.github.forge import Forge
    from demo.github.state import User


def fork_of(forge: Forge, repository: Repository, user: User) -> Repository:
    """Return a fork that is there by name alone: nobody can list it, or push to it."""
    return forge.store.add(
        Repository(owner=user, name=repository.name, git=repository.git, is_private=False, is_fork=True)
    )


async def delete_fork(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Delete the repository that the head of the pull request ``number`` is of, a fork."""
    pull = pull_of(repository, values)
    pull.fork_deleted = pull.fork is not None
    forge.mutations.record("fork.deleted", repository.full_name, actor=user.login, number=pull.number)
    return {"deleted": pull.fork_deleted}


ACTS: dict[str, Act] = {"delete_fork": delete_fork}
