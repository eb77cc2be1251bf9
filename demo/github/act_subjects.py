"""What an act is about: the pull request, issue or commit that its values name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from demo.github.errors import not_found
from demo.github.state import Comment

if TYPE_CHECKING:
    from demo.github.forge import Forge
    from demo.github.state import Issue, PullRequest, Repository, User

Act = Callable[["Forge", "Repository", "User", dict[str, Any]], Awaitable[dict[str, Any]]]


def pull_of(repository: Repository, values: dict[str, Any]) -> PullRequest:
    """Return the pull request ``number``; 404 where there is none."""
    pull = repository.pulls.get(int(values.get("number") or 0))
    if pull is None:
        raise not_found()
    return pull


def subject_of(repository: Repository, values: dict[str, Any]) -> Issue | PullRequest:
    """Return the issue or pull request ``number``; 404 where there is none."""
    subject = repository.subject(int(values.get("number") or 0))
    if subject is None:
        raise not_found()
    return subject


def comment_of(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> Comment:
    """Return the ``comment`` (number or node id), or the last one on the issue or pull request ``number``, with
    ``by`` of that login; 404 where there is none.
    """
    named = values.get("comment")
    if isinstance(named, str) and not named.isdecimal():
        return forge.node(named, Comment, user)
    if named is not None:
        found = forge.store.find(Comment, int(named))
    else:
        by = values.get("by")
        comments = subject_of(repository, values).comments
        found = next((c for c in reversed(comments) if by in (None, c.author.login)), None)
    if found is None or found.subject.repository is not repository:
        raise not_found()
    return found


async def sha_of(repository: Repository, values: dict[str, Any]) -> str:
    """Return ``sha``, or the head of the pull request ``number``, or the tip of ``branch``."""
    if sha := values.get("sha"):
        return str(sha)
    if branch := values.get("branch"):
        tip = await repository.git.branch(str(branch))
        if tip is None:
            raise not_found()
        return tip
    return pull_of(repository, values).head_ref_oid
