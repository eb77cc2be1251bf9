"""Whether a pull request may be merged, and the merge itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from demo.github import clock
from demo.github.errors import ApiError
from demo.github.forge import Forge, require, signature
from demo.github.git_values import ZERO, Commit, Signature
from demo.github.issues import close_linked_issues
from demo.github.pull_requests import mark_merged
from demo.github.pushes import branches_moved
from demo.github.rollups import failing_requirements, rollup_state

if TYPE_CHECKING:
    from demo.github.state import PullRequest, Repository, User

GITHUB = Signature(name="GitHub", email="noreply@github.example")
"""Committer of the merges that the server makes."""

METHODS = ("merge", "squash", "rebase")


async def mergeability(pull: PullRequest) -> str:
    """Return ``MERGEABLE``, ``CONFLICTING``, or ``UNKNOWN`` while it is being computed or not open."""
    if pull.state != "OPEN" or clock.active().time() < pull.mergeable_known_at:
        return "UNKNOWN"
    return await compute_mergeability(pull)


async def compute_mergeability(pull: PullRequest) -> str:
    """Merge head and base on the side, without waiting for the delay."""
    git = pull.repository.git
    base = await git.branch(pull.base_ref_name)
    if base is None:
        return "UNKNOWN"
    merged = await git.merge_tree(base, pull.head_ref_oid)
    return "CONFLICTING" if merged.conflicts else "MERGEABLE"


def review_decision(pull: PullRequest) -> str | None:
    """Return the review decision; ``None`` where the base branch's rules ask for no review."""
    needed = pull.repository.rules_of(pull.base_ref_name).required_approvals
    if not needed:
        return None
    opinions = [r for r in pull.latest_opinionated_reviews() if pull.repository.allows(r.author, "write")]
    if any(review.state == "CHANGES_REQUESTED" for review in opinions):
        return "CHANGES_REQUESTED"
    approvals = sum(review.state == "APPROVED" for review in opinions)
    return "APPROVED" if approvals >= needed else "REVIEW_REQUIRED"


def blockers(pull: PullRequest) -> list[str]:
    """Return what the base branch's rules still miss, in GitHub's words."""
    said = failing_requirements(pull)
    decision = review_decision(pull)
    if decision == "CHANGES_REQUESTED":
        said.append("Changes have been requested.")
    elif decision == "REVIEW_REQUIRED":
        needed = pull.repository.rules_of(pull.base_ref_name).required_approvals
        words = "review is" if needed == 1 else "reviews are"
        said.append(f"At least {needed} approving {words} required by reviewers with write access.")
    return said


async def is_behind(pull: PullRequest) -> bool:
    """Say whether the base branch has commits that the head has not."""
    base = await pull.repository.git.branch(pull.base_ref_name)
    return base is not None and not await pull.repository.git.is_ancestor(base, pull.head_ref_oid)


async def must_be_updated(pull: PullRequest) -> bool:
    """Say whether the base branch's rules refuse the head because it is behind.

    A merge queue brings the head up to date by itself.
    """
    rules = pull.repository.rules_of(pull.base_ref_name)
    strict = rules.strict_checks and bool(rules.required_checks) and not rules.merge_queue
    return strict and await is_behind(pull)


async def merge_state(pull: PullRequest, *, settled: bool = False) -> str:
    """Return ``mergeStateStatus``.

    :param settled: what it will be once it is computed, in the place of ``UNKNOWN``.
    """
    mergeable = await (compute_mergeability(pull) if settled else mergeability(pull))
    if mergeable == "UNKNOWN":
        return "UNKNOWN"
    if mergeable == "CONFLICTING":
        return "DIRTY"
    if pull.is_draft:
        return "DRAFT"
    if blockers(pull):
        return "BLOCKED"
    if await must_be_updated(pull):
        return "BEHIND"
    state = rollup_state(pull.repository, pull.head_ref_oid)
    return "CLEAN" if state in (None, "SUCCESS") else "UNSTABLE"


@dataclass(frozen=True, kw_only=True)
class MergeRequest:
    """What a caller asks for."""

    method: str = "merge"
    sha: str | None = None
    """Head that the caller saw; a different one refuses the merge."""
    title: str | None = None
    message: str | None = None


async def merge(forge: Forge, pull: PullRequest, actor: User, wanted: MergeRequest) -> str:
    """Merge, and return the SHA of the commit that is now the tip of the base branch.

    :raises ApiError: 403 without write permission; 405 when it cannot be merged now; 409 when the head is
        not the one that the caller saw; 422 for an unknown method.
    """
    require(pull.repository, actor, "write")
    return await merge_permitted(forge, pull, actor, wanted)


async def merge_permitted(forge: Forge, pull: PullRequest, actor: User, wanted: MergeRequest) -> str:
    """Merge as :func:`merge` does, for an actor who is known to have the permission."""
    repository = pull.repository
    async with repository.lock:
        await _check(pull, wanted)
        before = await repository.git.refs()
        ref = f"refs/heads/{pull.base_ref_name}"
        base = before.get(ref)
        if base is None or (await repository.git.merge_tree(base, pull.head_ref_oid)).conflicts:
            raise ApiError(405, "Pull Request is not mergeable")
        sha = await build(pull, base, actor, wanted)
        if not await repository.git.update_ref(ref, sha, base):
            raise ApiError(405, "Base branch was modified. Review and try the merge again.")
        mark_merged(forge, pull, actor, sha, wanted.method)
        if pull.base_ref_name == repository.default_branch:
            close_linked_issues(forge, repository, actor, pull.body, pull_request=pull.number)
        await branches_moved(forge, repository, actor, before, await repository.git.refs())
        if repository.delete_branch_on_merge:
            await delete_head(forge, pull, actor)
    return sha


async def _check(pull: PullRequest, wanted: MergeRequest) -> None:
    repository = pull.repository
    if wanted.method not in METHODS:
        raise ApiError(422, f"Invalid request.\n\n{wanted.method!r} is not a merge method.")
    if pull.state != "OPEN":
        raise ApiError(405, "Pull Request is not mergeable")
    if wanted.sha is not None and wanted.sha != pull.head_ref_oid:
        raise ApiError(409, "Head branch was modified. Review and try the merge again.")
    if pull.is_draft:
        raise ApiError(405, "Pull Request is still a draft")
    if pull.merge_queue_entry is not None:
        raise ApiError(405, "Pull Request is in the merge queue")
    if repository.rules_of(pull.base_ref_name).merge_queue:
        raise ApiError(
            405, "Repository rule violations found\n\nChanges must be made through the merge queue"
        )
    check_method(repository, wanted.method)
    if said := blockers(pull):
        raise ApiError(405, " ".join(said))
    if await must_be_updated(pull):
        raise ApiError(405, "Head branch is out of date. Review and try the merge again.")


def check_method(repository: Repository, method: str) -> None:
    """Hold that the repository allows the merge method.

    :raises ApiError: 405, it does not.
    """
    allowed = {
        "merge": repository.merge_commit_allowed,
        "squash": repository.squash_merge_allowed,
        "rebase": repository.rebase_merge_allowed,
    }
    if not allowed[method]:
        word = {"merge": "Merge commits", "squash": "Squash merges", "rebase": "Rebase merges"}[method]
        raise ApiError(405, f"{word} are not allowed on this repository.")


async def build(pull: PullRequest, base: str, actor: User, wanted: MergeRequest) -> str:
    """Write the commit that brings the pull request onto ``base``, and return its id; no ref moves."""
    return await _BUILDERS[wanted.method](pull, base, actor, wanted)


async def _merge_commit(pull: PullRequest, base: str, actor: User, wanted: MergeRequest) -> str:
    git = pull.repository.git
    tree = (await git.merge_tree(base, pull.head_ref_oid)).tree
    default = f"Merge pull request #{pull.number} from {pull.repository.owner.login}/{pull.head_ref_name}"
    message = _message(wanted.title or default, pull.title if wanted.message is None else wanted.message)
    author = signature(actor)
    return await git.commit_tree(tree, (base, pull.head_ref_oid), message, author=author, committer=GITHUB)


async def _squash(pull: PullRequest, base: str, actor: User, wanted: MergeRequest) -> str:
    git = pull.repository.git
    tree = (await git.merge_tree(base, pull.head_ref_oid)).tree
    body = wanted.message
    if body is None:
        commits = await git.log("--reverse", pull.head_ref_oid, f"^{base}")
        single = len(commits) == 1
        body = _body(commits[0]) if single else "\n\n".join(f"* {commit.message}" for commit in commits)
    message = _message(wanted.title or f"{pull.title} (#{pull.number})", body)
    return await git.commit_tree(tree, (base,), message, author=signature(pull.author), committer=GITHUB)


async def _rebase(pull: PullRequest, base: str, actor: User, wanted: MergeRequest) -> str:
    """Replay each commit on the base.

    ``merge-tree`` finds the merge base by itself, so each commit is replayed between stand-in commits
    whose only common ancestor has the tree of the commit's parent.
    """
    git = pull.repository.git
    tip = base
    for commit in await git.log("--reverse", "--topo-order", "--no-merges", pull.head_ref_oid, f"^{base}"):
        parent = (await git.commit(commit.parents[0])).tree
        onto = (await git.commit(tip)).tree
        root = await git.commit_tree(parent, (), "base", author=GITHUB)
        ours = await git.commit_tree(onto, (root,), "ours", author=GITHUB)
        theirs = await git.commit_tree(commit.tree, (root,), "theirs", author=GITHUB)
        merged = await git.merge_tree(ours, theirs)
        if merged.conflicts:
            raise ApiError(405, "This branch can't be rebased")
        tip = await git.commit_tree(
            merged.tree,
            (tip,),
            commit.message,
            author=commit.author,
            authored=commit.authored_date,
            committer=signature(actor),
        )
    return tip


_BUILDERS = {"merge": _merge_commit, "squash": _squash, "rebase": _rebase}


def _message(title: str, body: str) -> str:
    return f"{title}\n\n{body}".rstrip("\n") + "\n" if body else f"{title}\n"


def _body(commit: Commit) -> str:
    return commit.message.partition("\n")[2].lstrip("\n")


async def delete_head(forge: Forge, pull: PullRequest, actor: User) -> None:
    """Delete the head's branch, where it still is the merged head; the caller holds the repository's lock."""
    repository = pull.repository
    before = await repository.git.refs()
    ref = f"refs/heads/{pull.head_ref_name}"
    tip = before.get(ref)
    if tip == pull.head_ref_oid and await repository.git.update_ref(ref, ZERO, tip):
        await branches_moved(forge, repository, actor, before, await repository.git.refs())
