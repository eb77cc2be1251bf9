"""Auto-merge: a merge that GitHub makes by itself, once the base branch's rules are met."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demo.github import merge_queue
from demo.github.errors import ApiError
from demo.github.forge import Forge, require
from demo.github.merging import MergeRequest, check_method, merge_permitted, merge_state
from demo.github.pull_requests import drop_auto_merge, record
from demo.github.queue_state import AutoMerge, AutoMergeEnabledEvent

if TYPE_CHECKING:
    from demo.github.state import PullRequest, User


async def refusal(pull: PullRequest) -> str | None:
    """Return why auto-merge cannot be turned on now, in GitHub's words; ``None`` where it can."""
    repository = pull.repository
    if not repository.auto_merge_allowed:
        return "Auto merge is not allowed for this repository"
    if pull.state != "OPEN":
        return "Pull request is closed"
    if pull.base_ref_name not in repository.rules:
        return "Protected branch rules not configured for this branch"
    state = await merge_state(pull, settled=True)
    return f"Pull request is in {state.lower()} status" if state in ("CLEAN", "UNSTABLE", "DIRTY") else None


async def enable(
    forge: Forge,
    pull: PullRequest,
    actor: User,
    *,
    method: str = "MERGE",
    expected_head: str | None = None,
    headline: str | None = None,
    body: str | None = None,
    author_email: str | None = None,
) -> None:
    """Turn auto-merge on; where it is on already, what is given takes the place of what was.

    :param method: ``MERGE``, ``SQUASH`` or ``REBASE``.
    :param expected_head: head that the caller saw.
    :raises ApiError: 403 without write permission; 422 where the head moved, the method is not allowed, or
        there is nothing to wait for.
    """
    require(pull.repository, actor, "write")
    if expected_head is not None and expected_head != pull.head_ref_oid:
        raise ApiError(422, "Head branch was modified. Review and try the merge again.")
    if why := await refusal(pull):
        raise ApiError(422, f"Pull request {why}")
    check_method(pull.repository, method.lower())
    pull.auto_merge = AutoMerge(
        enabled_by=actor,
        merge_method=method,
        commit_headline=headline,
        commit_body=body,
        author_email=author_email,
    )
    pull.timeline.append(
        forge.store.add(AutoMergeEnabledEvent(pull_request=pull, actor=actor, enabler=actor))
    )
    pull.touch()
    record(forge, "auto_merge.enabled", pull, actor, sha=pull.head_ref_oid, method=method.lower())


def disable(forge: Forge, pull: PullRequest, actor: User) -> None:
    """Turn auto-merge off.

    :raises ApiError: 403 without write permission; 422 where it is not on.
    """
    require(pull.repository, actor, "write")
    if pull.auto_merge is None:
        raise ApiError(422, "Can't disable auto-merge for this pull request")
    drop_auto_merge(forge, pull, actor, "manual", "Auto-merge was disabled manually")


async def consider(forge: Forge, pull: PullRequest) -> None:
    """Merge where the rules are met now; give up where they cannot be any more."""
    asked = pull.auto_merge
    if asked is None or pull.merge_queue_entry is not None:
        return
    state = await merge_state(pull, settled=True)
    if state == "DIRTY":
        drop_auto_merge(forge, pull, asked.enabled_by, "merge_conflict", "Merge conflict")
        return
    if pull.state != "OPEN" or state not in ("CLEAN", "UNSTABLE"):
        return
    wanted = MergeRequest(
        method=asked.merge_method.lower(),
        sha=pull.head_ref_oid,
        title=asked.commit_headline,
        message=asked.commit_body,
    )
    # What an App may do stands in the token of each of its requests; it may still do what it began.
    if not asked.enabled_by.is_bot and not pull.repository.allows(asked.enabled_by, "write"):
        drop_auto_merge(
            forge, pull, asked.enabled_by, "permission_lost", "Who enabled it may not merge any more"
        )
        return
    try:
        if pull.repository.rules_of(pull.base_ref_name).merge_queue:
            await merge_queue.enqueue_permitted(forge, pull, asked.enabled_by)
        else:
            await merge_permitted(forge, pull, asked.enabled_by, wanted)
    except ApiError as error:
        # Somebody was faster, or the repository does not allow it any more: it is given up, and says so.
        drop_auto_merge(forge, pull, asked.enabled_by, "merge_failed", error.message)
