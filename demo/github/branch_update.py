"""A pull request's branch brought up to date with its base, by the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demo.github.errors import ApiError
from demo.github.forge import Forge, require, signature
from demo.github.merging import GITHUB, MergeRequest, build
from demo.github.pushes import move_branch

if TYPE_CHECKING:
    from demo.github.state import PullRequest, User


async def update_branch(
    forge: Forge, pull: PullRequest, actor: User, *, expected_head: object = None, method: str = "MERGE"
) -> str:
    """Merge the base branch into the head, or rebase the head onto it; return the new head.

    :param expected_head: head that the caller saw.
    :param method: ``MERGE`` or ``REBASE``.
    :raises ApiError: 403 without write permission; 422 where the head moved, the two conflict, the base has
        nothing new, or the pull request is not open.
    """
    repository, head = pull.repository, pull.head_ref_oid
    require(repository, actor, "write")
    if pull.state != "OPEN":
        raise ApiError(422, "Pull request is closed")
    if expected_head is not None and expected_head != head:
        raise ApiError(422, "expected head sha didn’t match current head ref.")
    git = repository.git
    base = await git.branch(pull.base_ref_name)
    if base is None or await git.is_ancestor(base, head):
        raise ApiError(422, "There are no new commits on the base branch.")
    merged = await git.merge_tree(head, base)
    if merged.conflicts:
        raise ApiError(422, "merge conflict between base and head")
    if method == "REBASE":
        sha = await build(pull, base, actor, MergeRequest(method="rebase"))
    else:
        message = f"Merge branch '{pull.base_ref_name}' into {pull.head_ref_name}\n"
        sha = await git.commit_tree(
            merged.tree, (head, base), message, author=signature(actor), committer=GITHUB
        )
    await move_branch(forge, repository, actor, pull.head_ref_name, sha, expected=head)
    return sha
