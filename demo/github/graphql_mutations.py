"""GraphQL's mutations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from demo.github import issues, pull_requests, reviews
from demo.github.errors import ApiError
from demo.github.graphql_nodes import Context
from demo.github.graphql_registry import answers
from demo.github.merging import MergeRequest, merge
from demo.github.state import Comment, Issue, PullRequest, ReviewThread

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


def _pull(context: Context, values: dict[str, Any]) -> PullRequest:
    return context.forge.node(values["pullRequestId"], PullRequest, context.viewer)
