"""What landing does at GitHub, besides the merge itself: queue, auto-merge, threads, reviews, re-runs.

Each call may be made again after a lost answer: what is done already is found and left as it is.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_agents.exceptions import ForgeConflictError
from airflow_provider_agents.hooks.github_comment_calls import CommentCalls
from airflow_provider_agents.hooks.github_detail_calls import DetailCalls
from airflow_provider_agents.hooks.github_errors import Operation, absent
from airflow_provider_agents.hooks.github_fields import integer, mapping, text
from airflow_provider_agents.hooks.github_models import CommentRef
from airflow_provider_agents.hooks.github_mutations import (
    DEQUEUE,
    DISABLE_AUTO_MERGE,
    ENABLE_AUTO_MERGE,
    ENQUEUE,
    LATEST_REVIEWS,
    MARK_READY,
    PULL_REQUEST_STATE,
    REPLY,
    RESOLVE,
    THREAD_END,
)
from airflow_provider_agents.hooks.github_names import hidden_marker, repository_path
from airflow_provider_agents.hooks.github_reruns import MUTATION_PAUSE_SECONDS, rerun_checks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_agents.domain.landing_policy import MergeMethod
    from airflow_provider_agents.domain.pull_request import Check
    from airflow_provider_agents.domain.review_remark import ReviewRemark

ReviewEvent = Literal["APPROVE", "REQUEST_CHANGES", "COMMENT"]

_WRITE = "Pull requests: write"
_MERGE = "Pull requests: write, Contents: write"


class LandingCalls(CommentCalls, DetailCalls):
    """The part of :class:`~.github_client.GitHubClient` that acts on pull requests.

    Pull requests and threads are named by their node ids where GitHub takes those only. Several calls in a
    row are to be a second apart (GitHub's advice); that is the caller's to do.
    """

    async def update_branch(self, repository: str, number: int, expected_head_sha: str) -> None:
        """Merge the base branch into the branch of a pull request, in the background of GitHub.

        :raises ForgeConflictError: the head moved, there is nothing to merge, or it conflicts.
        """
        operation = Operation(f"update the branch of {repository}#{number}", _MERGE)
        path = repository_path(repository, f"pulls/{number}/update-branch")
        await self._transport.write("PUT", path, operation, {"expected_head_sha": expected_head_sha})

    async def rerun_checks(self, repository: str, checks: Sequence[Check]) -> tuple[str, ...]:
        """Ask for a second run of checks; see :func:`.github_reruns.rerun_checks`."""
        return await rerun_checks(self._transport, repository, checks)

    async def enqueue(self, pull_request_id: str, expected_head_sha: str) -> None:
        """Put a pull request into the merge queue of its base branch; one that is there stays there.

        :raises ForgeConflictError: the head moved, or the branch's rules are not met.
        """
        operation = Operation("put the pull request into the merge queue", _MERGE)
        variables = {"id": pull_request_id, "head": expected_head_sha}
        try:
            await self._transport.mutate(ENQUEUE, variables, operation)
        except ForgeConflictError:
            state = await self._state(pull_request_id)
            if state.get("isInMergeQueue") is not True or state.get("headRefOid") != expected_head_sha:
                raise

    async def dequeue(self, pull_request_id: str) -> None:
        """Take a pull request out of the merge queue; one that is not there is fine."""
        operation = Operation("take the pull request out of the merge queue", _MERGE)
        try:
            await self._transport.mutate(DEQUEUE, {"id": pull_request_id}, operation)
        except ForgeConflictError:
            if (await self._state(pull_request_id)).get("isInMergeQueue") is not False:
                raise

    async def enable_auto_merge(
        self,
        pull_request_id: str,
        head_sha: str,
        method: MergeMethod,
        title: str | None = None,
        body: str | None = None,
    ) -> None:
        """Have GitHub merge a pull request once its requirements are met; where it is told already, fine.

        Ask only where checks are required: where nothing is, GitHub would merge at once.

        :param title: title of the commit; GitHub's default without.
        :param body: body of the commit; GitHub's default without.
        :raises ForgeConflictError: the head moved, nothing is left to wait for, or the repository does not
            allow auto-merge.
        """
        operation = Operation("turn on auto-merge for the pull request", _MERGE)
        variables = {"id": pull_request_id, "head": head_sha, "method": method.upper()}
        variables |= {"title": title} if title is not None else {}
        variables |= {"body": body} if body is not None else {}
        try:
            await self._transport.mutate(ENABLE_AUTO_MERGE, variables, operation)
        except ForgeConflictError:
            state = await self._state(pull_request_id)
            if state.get("autoMergeRequest") is None or state.get("headRefOid") != head_sha:
                raise

    async def disable_auto_merge(self, pull_request_id: str) -> None:
        """Take back :meth:`enable_auto_merge`; where it is not on, fine."""
        operation = Operation("turn off auto-merge for the pull request", _MERGE)
        try:
            await self._transport.mutate(DISABLE_AUTO_MERGE, {"id": pull_request_id}, operation)
        except ForgeConflictError:
            if (await self._state(pull_request_id)).get("autoMergeRequest", ...) is not None:
                raise

    async def mark_ready(self, pull_request_id: str) -> None:
        """Make a draft ready for review; one that is no draft stays as it is."""
        operation = Operation("mark the pull request as ready for review", _WRITE)
        try:
            await self._transport.mutate(MARK_READY, {"id": pull_request_id}, operation)
        except ForgeConflictError:
            if (await self._state(pull_request_id)).get("isDraft") is not False:
                raise

    async def close_pull_request(self, repository: str, number: int) -> None:
        """Close a pull request without merging it; one that is closed or merged stays so."""
        operation = Operation(f"close {repository}#{number}", _WRITE)
        path = repository_path(repository, f"pulls/{number}")
        try:
            await self._transport.write("PATCH", path, operation, {"state": "closed"})
        except ForgeConflictError:
            if mapping(await self._transport.read(path, operation)).get("state") != "closed":
                raise

    async def add_labels(self, repository: str, number: int, labels: Sequence[str]) -> None:
        """Put labels on a pull request; those that are on it stay, and GitHub makes those that it does not know.

        :raises ForgeConflictError: a label is none, e.g. longer than 50 characters.
        """
        named = ", ".join(labels)
        operation = Operation(
            f"put the labels {named} on {repository}#{number}", f"Issues: write or {_WRITE}"
        )
        path = repository_path(repository, f"issues/{number}/labels")
        await self._transport.write("POST", path, operation, {"labels": list(labels)})

    async def reply_in_thread(self, thread_id: str, body: str) -> CommentRef:
        """Answer in a review thread, unless exactly this is what we said there last.

        A hidden marker of the text tells: what we said before others spoke may be said again.
        """
        hidden = hidden_marker(f"reply={hashlib.sha256(body.encode(errors='replace')).hexdigest()[:16]}")
        operation = Operation("read a review thread", "Pull requests: read")
        answer = await self._transport.query(THREAD_END, {"thread": thread_id}, operation)
        comments = mapping(mapping(answer.data.get("node")).get("comments")).get("nodes")
        if not isinstance(comments, list):
            raise absent(operation, answer.errors)
        for comment in map(mapping, reversed(comments)):
            if comment.get("viewerDidAuthor") is not True:
                break
            if hidden in text(comment.get("body")):
                return _ref(comment, created=False)
        operation = Operation("answer in a review thread", _WRITE)
        variables = {"thread": thread_id, "body": f"{body}\n\n{hidden}"}
        data = await self._transport.mutate(REPLY, variables, operation)
        return _ref(mapping(mapping(data.get("addPullRequestReviewThreadReply")).get("comment")))

    async def resolve_thread(self, thread_id: str) -> None:
        """Mark a review thread as resolved; one that is resolved stays so."""
        operation = Operation("resolve a review thread", _WRITE)
        await self._transport.mutate(RESOLVE, {"thread": thread_id}, operation)

    async def submit_review(
        self,
        pull_request_id: str,
        head_sha: str,
        event: ReviewEvent,
        body: str,
        remarks: Sequence[ReviewRemark],
    ) -> CommentRef:
        """Submit one review of exactly ``head_sha``; where this credential reviewed that head so before, return that.

        Where GitHub cannot place a remark (the line is not in the diff), all of them go into the body.

        :raises ForgeConflictError: it is a verdict on one's own pull request, or the head is not in it.
        """
        hidden = hidden_marker(f"review head={head_sha}")
        operation = Operation("read the reviews of the pull request", "Pull requests: read")
        answer = await self._transport.query(LATEST_REVIEWS, {"id": pull_request_id}, operation)
        pull = mapping(answer.data.get("node"))
        repository, number = (
            text(mapping(pull.get("repository")).get("nameWithOwner")),
            integer(pull.get("number")),
        )
        reviews = mapping(pull.get("reviews")).get("nodes")
        if not repository or number is None or not isinstance(reviews, list):
            raise absent(operation, answer.errors)
        for review in map(mapping, reviews):
            if review.get("viewerDidAuthor") is True and hidden in text(review.get("body")):
                return _ref(review, created=False)
        operation = Operation(f"submit a review of {repository}#{number}", _WRITE)
        path = repository_path(repository, f"pulls/{number}/reviews")
        comments = [{"path": r.path, "line": r.line, "side": "RIGHT", "body": r.body} for r in remarks]
        values: dict[str, Any] = {"commit_id": head_sha, "event": event, "body": f"{body}\n\n{hidden}"}
        try:
            made = await self._transport.write("POST", path, operation, values | {"comments": comments})
        except ForgeConflictError:
            if not remarks:
                raise
            # A refused review leaves nothing behind, so this cannot become a second one.
            await asyncio.sleep(MUTATION_PAUSE_SECONDS)
            listed = "\n".join(f"- `{r.path}:{r.line}`: {r.body}" for r in remarks)
            values["body"] = f"{body}\n\n{listed}\n\n{hidden}"
            made = await self._transport.write("POST", path, operation, values)
        node = mapping(made)
        return CommentRef(url=text(node.get("html_url")), node_id=text(node.get("node_id")))

    async def _state(self, pull_request_id: str) -> Mapping[str, Any]:
        """Return the fields that tell whether a refused change was made already."""
        operation = Operation("read the state of the pull request", "Pull requests: read")
        answer = await self._transport.query(PULL_REQUEST_STATE, {"id": pull_request_id}, operation)
        if answer.data.get("node") is None:
            raise absent(operation, answer.errors)
        return mapping(answer.data["node"])


def _ref(node: Mapping[str, Any], *, created: bool = True) -> CommentRef:
    return CommentRef(url=text(node.get("url")), created=created, node_id=text(node.get("id")))
