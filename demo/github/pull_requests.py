"""Pull requests: opened, edited, closed, and kept in step with their branches."""

from __future__ import annotations

from demo.github.errors import ApiError, custom, invalid
from demo.github.forge import Forge, require
from demo.github.issues import check_text, closing_references, may_edit
from demo.github.queue_state import AutoMergeDisabledEvent, ReopenedEvent
from demo.github.state import Issue, PullRequest, Repository, User, now


async def open_pull_request(
    forge: Forge,
    repository: Repository,
    actor: User,
    *,
    title: object,
    body: object = "",
    head: object,
    base: object,
    draft: bool = False,
    fork: Repository | None = None,
) -> PullRequest:
    """Open a pull request of one branch of the repository into another.

    :param head: branch, or ``owner:branch`` with the repository's own owner.
    :param fork: the repository that the branch is said to be of: then no permission to write is needed.
    :raises ApiError: 422 when a branch is not there, nothing separates the two, or there is an open one
        of these branches already.
    """
    require(repository, actor, "read" if fork else "write")
    text = check_text("PullRequest", "title", title, required=True)
    head_name = own_branch(repository, head)
    base_name = base if isinstance(base, str) else ""
    async with repository.lock:
        head_oid = await repository.git.branch(head_name)
        base_oid = await repository.git.branch(base_name)
        if head_oid is None:
            raise invalid("PullRequest", "head")
        if base_oid is None:
            raise invalid("PullRequest", "base")
        for pull in repository.open_pulls():
            if (pull.head_ref_name, pull.base_ref_name) == (head_name, base_name):
                owner = repository.owner.login
                raise custom("PullRequest", f"A pull request already exists for {owner}:{head_name}.")
        if not await repository.git.count(base_oid, head_oid):
            raise custom("PullRequest", f"No commits between {base_name} and {head_name}")
        pull = PullRequest(
            repository=repository,
            number=repository.next_number(),
            title=text,
            body=check_text("PullRequest", "body", body),
            author=actor,
            head_ref_name=head_name,
            head_ref_oid=head_oid,
            base_ref_name=base_name,
            base_ref_oid=base_oid,
            is_draft=draft,
            fork=fork,
        )
        repository.pulls[pull.number] = forge.store.add(pull)
        forget_mergeability(forge, pull)
        await repository.git.force_ref(f"refs/pull/{pull.number}/head", head_oid)
        record(forge, "pull_request.opened", pull, actor, sha=head_oid, head=head_name, base=base_name)
    await forge.checks.on_pull_request(pull)
    return pull


def own_branch(repository: Repository, head: object) -> str:
    """Return the branch that ``head`` names, where that is one of this repository; else an empty string."""
    if not isinstance(head, str):
        return ""
    owner, colon, branch = head.partition(":")
    if not colon:
        return head
    return branch if owner.lower() == repository.owner.login.lower() else ""


def forget_mergeability(forge: Forge, pull: PullRequest) -> None:
    """Let ``mergeable`` be ``UNKNOWN`` for a while, as after every move of the head or the base."""
    delay = forge.mergeability_delays.get(
        pull.repository.full_name.lower(), forge.settings.mergeability_delay
    )
    pull.mergeable_known_at = forge.clock.time() + delay


def record(forge: Forge, kind: str, pull: PullRequest, actor: User, **details: object) -> None:
    """Log a change of a pull request."""
    name = pull.repository.full_name
    forge.mutations.record(kind, name, actor=actor.login, number=pull.number, **details)


def closing_issues(pull: PullRequest) -> list[Issue]:
    """Return the issues that a merge closes: only into the default branch, by keywords of the body."""
    if pull.base_ref_name != pull.repository.default_branch:
        return []
    return closing_references(pull.repository, pull.body)


def close_pull_request(forge: Forge, pull: PullRequest, actor: User, reason: str = "closed") -> None:
    """Close without a merge; nothing happens where it is not open."""
    may_edit(pull, actor)
    mark_closed(forge, pull, actor, reason)


def mark_closed(forge: Forge, pull: PullRequest, actor: User, reason: str) -> None:
    """Close because of ``reason``, whoever caused it."""
    if pull.state == "OPEN":
        pull.state, pull.closed_at = "CLOSED", now()
        pull.touch()
        drop_auto_merge(forge, pull, actor, "closed", "The pull request was closed")
        record(forge, "pull_request.closed", pull, actor, sha=pull.head_ref_oid, reason=reason)


def drop_auto_merge(forge: Forge, pull: PullRequest, actor: User, code: str, reason: str) -> None:
    """Turn auto-merge off because of ``reason``, whoever caused it; nothing happens where it is not on."""
    if pull.auto_merge is None:
        return
    pull.auto_merge = None
    event = AutoMergeDisabledEvent(
        pull_request=pull, actor=actor, disabler=actor, reason=reason, reason_code=code
    )
    pull.timeline.append(forge.store.add(event))
    pull.touch()
    record(forge, "auto_merge.disabled", pull, actor, reason=code)


def mark_merged(forge: Forge, pull: PullRequest, actor: User, sha: str, method: str) -> None:
    """Record that ``sha`` on the base branch contains the pull request."""
    pull.merged_at = pull.closed_at = now()
    pull.state, pull.merged_by, pull.merge_commit_oid = "MERGED", actor, sha
    pull.touch()
    record(forge, "pull_request.merged", pull, actor, sha=sha, head_sha=pull.head_ref_oid, method=method)


async def reopen_pull_request(forge: Forge, pull: PullRequest, actor: User) -> None:
    """Open a closed one again.

    :raises ApiError: 422 when it is merged or its branch is gone.
    """
    may_edit(pull, actor)
    if pull.state == "OPEN":
        return
    head = await pull.repository.git.branch(pull.head_ref_name)
    if pull.merged or head is None:
        why = f"The {pull.head_ref_name} branch has been deleted." if head is None else "It is merged."
        raise custom("PullRequest", f"state cannot be changed. {why}")
    pull.state, pull.closed_at, pull.head_ref_oid = "OPEN", None, head
    pull.touch()
    forget_mergeability(forge, pull)
    await pull.repository.git.force_ref(f"refs/pull/{pull.number}/head", head)
    pull.timeline.append(forge.store.add(ReopenedEvent(pull_request=pull, actor=actor)))
    record(forge, "pull_request.reopened", pull, actor, sha=head)
    await forge.checks.on_pull_request(pull)


def set_draft(forge: Forge, pull: PullRequest, actor: User, draft: bool) -> None:
    """Mark as a draft, or as ready for review."""
    may_edit(pull, actor)
    if pull.is_draft != draft:
        pull.is_draft = draft
        pull.touch()
        kind = "pull_request.converted_to_draft" if draft else "pull_request.ready_for_review"
        record(forge, kind, pull, actor)


async def retarget(forge: Forge, pull: PullRequest, actor: User, base: object) -> None:
    """Choose another base branch.

    :raises ApiError: 422 when there is no such branch or the pull request is not open.
    """
    may_edit(pull, actor)
    oid = await pull.repository.git.branch(base) if isinstance(base, str) else None
    if oid is None or not isinstance(base, str):
        raise invalid("PullRequest", "base")
    if pull.state != "OPEN":
        raise ApiError(422, "Cannot change the base branch of a closed pull request.")
    if not pull.repository.allows(actor, "write"):
        drop_auto_merge(forge, pull, actor, "base_changed", "The base branch was changed")
    pull.base_ref_name, pull.base_ref_oid = base, oid
    pull.touch()
    forget_mergeability(forge, pull)
    record(forge, "pull_request.retargeted", pull, actor, base=base)
