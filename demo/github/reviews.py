"""Reviews, and the conversations they open at places in the code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from demo.github.errors import ApiError, forbidden, invalid
from demo.github.forge import Forge, require, writable
from demo.github.issues import check_text
from demo.github.pull_requests import record
from demo.github.state import PullRequest, Review, ReviewComment, ReviewThread, User, now

if TYPE_CHECKING:
    from demo.github.git_values import ChangedFile

EVENTS = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}
"""REST's verbs, and the state of the review that each makes."""


_HUNK = re.compile(r"@@ -\d+(?:,\d+)? \+(\d+)(?:,\d+)? @@")


class UnresolvedPlaceError(ApiError):
    """A remark is about a place that the diff of the pull request does not show.

    :param field: what is wrong of it: ``path`` or ``line``.
    """

    def __init__(self, field: str) -> None:
        super().__init__(422, "Unprocessable Entity", errors=[f"{field.title()} could not be resolved"])
        self.field = field


async def submit_review(
    forge: Forge,
    pull: PullRequest,
    actor: User,
    *,
    event: object = "COMMENT",
    body: object = "",
    comments: list[dict[str, Any]] | None = None,
    commit_oid: str | None = None,
) -> Review:
    """Review a pull request.

    :param event: ``APPROVE``, ``REQUEST_CHANGES`` or ``COMMENT``.
    :param comments: remarks at places, each with ``path``, ``line`` and ``body``.
    :param commit_oid: what was reviewed; the head where it is not given.
    :raises ApiError: 422 for one's own pull request, an unknown event or commit, or a missing text; nothing of
        the review is kept.
    :raises UnresolvedPlaceError: a remark is about a place that the diff does not show.
    """
    require(pull.repository, actor, "read")
    writable(pull.repository)
    state = EVENTS.get(event) if isinstance(event, str) else None
    if state is None:
        raise invalid("PullRequestReview", "event")
    if actor is pull.author and state != "COMMENTED":
        verb = "approve" if state == "APPROVED" else "request changes on"
        raise ApiError(422, "Unprocessable Entity", errors=[f"Can not {verb} your own pull request"])
    remarks = comments or []
    needs_text = state == "CHANGES_REQUESTED" or (state == "COMMENTED" and not remarks)
    text = check_text("PullRequestReview", "body", body, required=needs_text)
    commit = await pull.repository.git.resolve(commit_oid or pull.head_ref_oid)
    if commit is None:
        raise invalid("PullRequestReview", "commit_id")
    paths = {file.path for file in await changed_files(pull)} if remarks else set()
    for remark in remarks:
        check_text("PullRequestReviewComment", "body", remark.get("body"), required=True)
        if remark.get("path") not in paths:
            raise UnresolvedPlaceError("path")
        line = remark.get("line")
        if line is not None and line not in await _shown_lines(pull, commit, str(remark["path"])):
            raise UnresolvedPlaceError("line")
    review = Review(pull_request=pull, author=actor, state=state, body=text, commit_oid=commit)
    pull.reviews.append(forge.store.add(review))
    for remark in remarks:
        _open_thread(forge, review, remark)
    pull.touch()
    record(
        forge,
        "review.submitted",
        pull,
        actor,
        state=state,
        sha=review.commit_oid,
        comments=len(remarks),
        body=text[:500],
    )
    return review


def _open_thread(forge: Forge, review: Review, remark: dict[str, Any]) -> ReviewThread:
    line = remark.get("line")
    thread = ReviewThread(
        pull_request=review.pull_request,
        path=remark["path"],
        original_line=line if isinstance(line, int) else None,
        commit_oid=review.commit_oid,
    )
    review.pull_request.threads.append(forge.store.add(thread))
    _add_remark(forge, thread, review, str(remark["body"]))
    return thread


def _add_remark(forge: Forge, thread: ReviewThread, review: Review, body: str) -> ReviewComment:
    comment = forge.store.add(ReviewComment(thread=thread, review=review, author=review.author, body=body))
    thread.comments.append(comment)
    return comment


def reply(forge: Forge, thread: ReviewThread, actor: User, body: object) -> ReviewComment:
    """Answer in a conversation; GitHub files that under a new review that only comments."""
    pull = thread.pull_request
    require(pull.repository, actor, "read")
    writable(pull.repository)
    text = check_text("PullRequestReviewComment", "body", body, required=True)
    review = Review(pull_request=pull, author=actor, state="COMMENTED", commit_oid=pull.head_ref_oid)
    pull.reviews.append(forge.store.add(review))
    comment = _add_remark(forge, thread, review, text)
    pull.touch()
    record(forge, "thread.replied", pull, actor, path=thread.path, body=text[:500])
    return comment


def set_resolved(forge: Forge, thread: ReviewThread, actor: User, resolved: bool) -> None:
    """Resolve a conversation or open it again: the pull request's author, and people who may write."""
    pull = thread.pull_request
    require(pull.repository, actor, "read")
    writable(pull.repository)
    if actor is not pull.author and not pull.repository.allows(actor, "write"):
        raise forbidden()
    if thread.is_resolved != resolved:
        thread.is_resolved, thread.resolved_by = resolved, actor if resolved else None
        record(forge, "thread.resolved" if resolved else "thread.unresolved", pull, actor, path=thread.path)


def dismiss(forge: Forge, review: Review, actor: User) -> None:
    """Take the force from an approval or an objection."""
    require(review.pull_request.repository, actor, "write")
    if review.state not in ("APPROVED", "CHANGES_REQUESTED"):
        raise ApiError(422, "Can not dismiss a commented pull request review")
    review.state, review.pull_request.updated_at = "DISMISSED", now()
    record(forge, "review.dismissed", review.pull_request, actor, of=review.author.login)


async def current_line(thread: ReviewThread) -> int | None:
    """Return the line that the conversation is about at the present head; ``None`` once it was changed."""
    pull = thread.pull_request
    if thread.original_line is None:
        return None
    git = pull.repository.git
    return await git.map_line(thread.commit_oid, pull.head_ref_oid, thread.path, thread.original_line)


async def is_outdated(thread: ReviewThread) -> bool:
    """Say whether the line that the conversation is about was changed since."""
    return thread.original_line is not None and await current_line(thread) is None


async def _shown_lines(pull: PullRequest, commit: str, path: str) -> set[int]:
    """Return the lines of a file, as it is in ``commit``, that the diff shows: added ones and those around them."""
    diff = await pull.repository.git.diff(pull.base_ref_oid, commit, path)
    shown, line = set(), 0
    for text in diff.split("\n"):
        if hunk := _HUNK.match(text):
            line = int(hunk[1])
        elif line and text[:1] in ("+", " "):
            shown.add(line)
            line += 1
    return shown


async def changed_files(pull: PullRequest) -> list[ChangedFile]:
    """Return the files that the pull request changes."""
    return await pull.repository.git.changed_files(pull.base_ref_oid, pull.head_ref_oid)
