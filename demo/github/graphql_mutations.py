"""GraphQL's mutations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from demo.github import auto_merge, branch_update, issues, merge_queue, pull_requests, reviews
from demo.github.errors import ApiError
from demo.github.graphql_nodes import Context
from demo.github.graphql_registry import answers
from demo.github.merging import MergeRequest, merge
from demo.github.state import Comment, Issue, PullRequest, Review, ReviewThread

Act = Callable[[Context, dict[str, Any]], Any]


def mutation(name: str) -> Callable[[Act], Act]:
    """Register an act as the mutation ``name``; its payload also carries the ``clientMutationId``."""

    def register(act: Act) -> Act:
        @answers("Mutation", name)
        async def resolve(_: Any, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: A002
            payload = act(info.context, input)
            if not isinstance(payload, dict):
                payload = await payload
            return {"client_mutation_id": input.get("clientMutationId"), **payload}

        return act

    return register


@mutation("addComment")
def add_comment(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    subject: Issue | PullRequest
    try:
        subject = context.forge.node(values["subjectId"], Issue, context.viewer)
    except ApiError:
        subject = context.forge.node(values["subjectId"], PullRequest, context.viewer)
    comment = issues.add_comment(context.forge, subject, context.viewer, values["body"])
    return {"subject": subject, "comment_edge": {"cursor": comment.id, "node": comment}}


@mutation("updateIssueComment")
def update_comment(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    comment = context.forge.node(values["id"], Comment, context.viewer)
    issues.edit_comment(context.forge, comment, context.viewer, values["body"])
    return {"issue_comment": comment}


@mutation("deleteIssueComment")
def delete_comment(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    comment = context.forge.node(values["id"], Comment, context.viewer)
    issues.delete_comment(context.forge, comment, context.viewer)
    return {}


@mutation("closeIssue")
def close_issue(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    issue = context.forge.node(values["issueId"], Issue, context.viewer)
    issues.set_issue_state(context.forge, issue, context.viewer, "CLOSED", values.get("stateReason"))
    return {"issue": issue}


@mutation("resolveReviewThread")
def resolve_thread(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    thread = context.forge.node(values["threadId"], ReviewThread, context.viewer)
    reviews.set_resolved(context.forge, thread, context.viewer, True)
    return {"thread": thread}


@mutation("unresolveReviewThread")
def unresolve_thread(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    thread = context.forge.node(values["threadId"], ReviewThread, context.viewer)
    reviews.set_resolved(context.forge, thread, context.viewer, False)
    return {"thread": thread}


@mutation("addPullRequestReviewThreadReply")
def reply(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    thread = context.forge.node(values["pullRequestReviewThreadId"], ReviewThread, context.viewer)
    return {"comment": reviews.reply(context.forge, thread, context.viewer, values["body"])}


@mutation("mergePullRequest")
async def merge_pull(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    pull = _pull(context, values)
    wanted = MergeRequest(
        method=(values.get("mergeMethod") or "MERGE").lower(),
        sha=values.get("expectedHeadOid"),
        title=values.get("commitHeadline"),
        message=values.get("commitBody"),
    )
    await merge(context.forge, pull, context.viewer, wanted)
    return {"pull_request": pull, "actor": context.viewer}


@mutation("markPullRequestReadyForReview")
def ready(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    pull = _pull(context, values)
    pull_requests.set_draft(context.forge, pull, context.viewer, False)
    return {"pull_request": pull}


@mutation("convertPullRequestToDraft")
def draft(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    pull = _pull(context, values)
    pull_requests.set_draft(context.forge, pull, context.viewer, True)
    return {"pull_request": pull}


@mutation("closePullRequest")
def close_pull(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    pull = _pull(context, values)
    pull_requests.close_pull_request(context.forge, pull, context.viewer)
    return {"pull_request": pull}


@mutation("reopenPullRequest")
async def reopen_pull(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    pull = _pull(context, values)
    await pull_requests.reopen_pull_request(context.forge, pull, context.viewer)
    return {"pull_request": pull}


@mutation("updatePullRequestBranch")
async def update_branch(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    pull = _pull(context, values)
    await branch_update.update_branch(
        context.forge,
        pull,
        context.viewer,
        expected_head=values.get("expectedHeadOid"),
        method=values.get("updateMethod") or "MERGE",
    )
    return {"pull_request": pull}


@mutation("enqueuePullRequest")
async def enqueue(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    entry = await merge_queue.enqueue(
        context.forge,
        _pull(context, values),
        context.viewer,
        expected_head=values.get("expectedHeadOid"),
        jump=bool(values.get("jump")),
    )
    return {"merge_queue_entry": entry}


@mutation("dequeuePullRequest")
async def dequeue(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    pull = context.forge.node(values["id"], PullRequest, context.viewer)
    return {"merge_queue_entry": await merge_queue.dequeue(context.forge, pull, context.viewer)}


@mutation("enablePullRequestAutoMerge")
async def enable_auto_merge(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    pull = _pull(context, values)
    await auto_merge.enable(
        context.forge,
        pull,
        context.viewer,
        method=values.get("mergeMethod") or "MERGE",
        expected_head=values.get("expectedHeadOid"),
        headline=values.get("commitHeadline"),
        body=values.get("commitBody"),
        author_email=values.get("authorEmail"),
    )
    return {"pull_request": pull, "actor": context.viewer}


@mutation("disablePullRequestAutoMerge")
def disable_auto_merge(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    pull = _pull(context, values)
    auto_merge.disable(context.forge, pull, context.viewer)
    return {"pull_request": pull, "actor": context.viewer}


@mutation("addPullRequestReview")
async def add_review(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    if values.get("event") is None:
        raise ApiError(422, "The stand-in has no pending reviews: send an event with the review.")
    review = await reviews.submit_review(
        context.forge,
        _pull(context, values),
        context.viewer,
        event=values["event"],
        body=values.get("body"),
        comments=values.get("threads"),
        commit_oid=values.get("commitOID"),
    )
    return {"pull_request_review": review, "review_edge": {"cursor": review.id, "node": review}}


@mutation("dismissPullRequestReview")
def dismiss_review(context: Context, values: dict[str, Any]) -> dict[str, Any]:
    review = context.forge.node(values["pullRequestReviewId"], Review, context.viewer)
    reviews.dismiss(context.forge, review, context.viewer)
    return {"pull_request_review": review}


def _pull(context: Context, values: dict[str, Any]) -> PullRequest:
    return context.forge.node(values["pullRequestId"], PullRequest, context.viewer)
