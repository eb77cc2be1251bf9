"""The GraphQL documents with which this project acts at GitHub, and those that look before it acts.

A contract test validates each against GitHub's schema. What REST does as well is done by REST.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_agents.exceptions import ForgeConflictError, ForgeError, ForgeUnavailableError
from airflow_provider_agents.hooks.github_errors import Operation, access_denied

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENQUEUE = """
mutation EnqueuePullRequest($id: ID!, $head: GitObjectID!) {
  enqueuePullRequest(input: {pullRequestId: $id, expectedHeadOid: $head}) { clientMutationId }
}
"""

DEQUEUE = """
mutation DequeuePullRequest($id: ID!) {
  dequeuePullRequest(input: {id: $id}) { clientMutationId }
}
"""

ENABLE_AUTO_MERGE = """
mutation EnableAutoMerge(
  $id: ID!, $head: GitObjectID!, $method: PullRequestMergeMethod!, $title: String, $body: String
) {
  enablePullRequestAutoMerge(input: {
    pullRequestId: $id, expectedHeadOid: $head, mergeMethod: $method, commitHeadline: $title, commitBody: $body
  }) { clientMutationId }
}
"""

DISABLE_AUTO_MERGE = """
mutation DisableAutoMerge($id: ID!) {
  disablePullRequestAutoMerge(input: {pullRequestId: $id}) { clientMutationId }
}
"""

MARK_READY = """
mutation MarkReady($id: ID!) {
  markPullRequestReadyForReview(input: {pullRequestId: $id}) { clientMutationId }
}
"""

REPLY = """
mutation ReplyInThread($thread: ID!, $body: String!) {
  addPullRequestReviewThreadReply(input: {pullRequestReviewThreadId: $thread, body: $body}) {
    comment { id url }
  }
}
"""

RESOLVE = """
mutation ResolveThread($thread: ID!) {
  resolveReviewThread(input: {threadId: $thread}) { clientMutationId }
}
"""

UPDATE_COMMENT = """
mutation UpdateComment($id: ID!, $body: String!) {
  updateIssueComment(input: {id: $id, body: $body}) { clientMutationId }
}
"""

PULL_REQUEST_STATE = """
query PullRequestState($id: ID!) {
  node(id: $id) {
    __typename
    ... on PullRequest { headRefOid isDraft isInMergeQueue autoMergeRequest { enabledAt } }
  }
}
"""

THREAD_END = """
query ThreadEnd($thread: ID!) {
  node(id: $thread) {
    __typename
    ... on PullRequestReviewThread {
      comments(last: 20) { nodes { id url body viewerDidAuthor } }
    }
  }
}
"""

LATEST_REVIEWS = """
query LatestReviews($id: ID!) {
  node(id: $id) {
    __typename
    ... on PullRequest {
      number
      repository { nameWithOwner }
      reviews(last: 100) { nodes { id url body viewerDidAuthor commit { oid } } }
    }
  }
}
"""

VIEWER = """
query Viewer { viewer { login } }
"""

MUTATIONS: dict[str, str] = {
    "EnqueuePullRequest": ENQUEUE,
    "DequeuePullRequest": DEQUEUE,
    "EnableAutoMerge": ENABLE_AUTO_MERGE,
    "DisableAutoMerge": DISABLE_AUTO_MERGE,
    "MarkReady": MARK_READY,
    "ReplyInThread": REPLY,
    "ResolveThread": RESOLVE,
    "UpdateComment": UPDATE_COMMENT,
}
"""Every document that changes something, by its operation name."""

LOOKS: dict[str, str] = {
    "PullRequestState": PULL_REQUEST_STATE,
    "ThreadEnd": THREAD_END,
    "LatestReviews": LATEST_REVIEWS,
    "Viewer": VIEWER,
}
"""Every document of this module that only reads, by its operation name."""

_CONFLICT_TYPES = frozenset({"UNPROCESSABLE", "STALE_DATA"})
_ACCESS_TYPES = frozenset({"FORBIDDEN", "NOT_FOUND", "INSUFFICIENT_SCOPES", "UNAUTHORIZED"})


def mutation_refused(operation: Operation, errors: Sequence[Mapping[str, Any]]) -> ForgeError:
    """Return the exception of a mutation that GitHub answered with errors.

    :param errors: a rate limit is not among them; empty where the answer was none of GraphQL's.
    """
    said = "; ".join(str(error.get("message") or error.get("type") or "unnamed error") for error in errors)
    said = said[:500] or "the answer is not GitHub's; does a proxy answer in its place?"
    types = {error.get("type") for error in errors}
    if types & _ACCESS_TYPES:
        return access_denied(operation, said)
    if types & _CONFLICT_TYPES:
        return ForgeConflictError(f"GitHub did not {operation.what}: {said}")
    return ForgeUnavailableError(
        f"GitHub could not {operation.what}: {said}; it may have happened all the same"
    )
