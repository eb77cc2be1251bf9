"""The GraphQL queries this project sends to GitHub; a contract test validates each against GitHub's schema.

What a query costs follows from GitHub's published formula: one request for each connection, those inside
another one multiplied by the ``first`` of the outer, the sum divided by 100, rounded, at least one point.

=====================  ==========================================================  ==================
query                  requests                                                    points
=====================  ==========================================================  ==================
``PULSES``             none                                                        1 for 100 pulls
``snapshot_document``  28 a pull: labels, closing issues, reviews, rules, queue,   1 for 1 to 5 pulls,
                       conversation, checks, threads and each of 20 threads'       3 for 10 (0.3 each)
                       comments
a further page         1 (checks, reviews, comments of a thread), 101 (threads)    1
``base_document``      1 a branch                                                  1 for 10 branches
=====================  ==========================================================  ==================
"""

from __future__ import annotations

SNAPSHOT_BATCH = 10
"""Pull requests in one query: 2.8 points rounded, and an answer that is decoded without a noticeable pause."""
BASE_BATCH = 10
"""Branches in one query."""
PULSE_BATCH = 100
"""Node ids that GitHub takes in one query."""

_CHECK_FIELDS = """
    __typename
    ... on CheckRun {
      id databaseId name status conclusion detailsUrl permalink title startedAt completedAt
      %(run)s
      checkSuite { databaseId status app { slug } workflowRun { event workflow { name } } }
    }
    ... on StatusContext {
      id context state description targetUrl createdAt
      %(status)s
    }
"""


def _checks(fragment: str, number: str = "") -> str:
    """Return a fragment that reads checks.

    :param number: variable with the pull request's number, for whether it requires the check.
    """
    required = f"isRequired(pullRequestNumber: ${number})" if number else ""
    fields = _CHECK_FIELDS % {"run": required, "status": required}
    page = "pageInfo { hasNextPage endCursor }"
    return f"fragment {fragment} on StatusCheckRollupContextConnection {{ {page} nodes {{ {fields} }} }}\n"


_REVIEWS = """
fragment Reviews on PullRequestReviewConnection {
  pageInfo { hasNextPage endCursor }
  nodes { author { login } state body viewerDidAuthor authorCanPushToRepository commit { oid } }
}
"""

_SAID = """
fragment Said on IssueCommentConnection {
  pageInfo { hasPreviousPage startCursor }
  nodes { id body createdAt viewerDidAuthor authorAssociation author { __typename login } editor { login } }
}
"""

_REMARKS = """
fragment Remarks on PullRequestReviewCommentConnection {
  pageInfo { hasNextPage endCursor }
  nodes {
    id body createdAt viewerDidAuthor authorAssociation
    author { login }
    pullRequestReview { authorCanPushToRepository }
  }
}
"""

_THREADS = (
    """
fragment Threads on PullRequestReviewThreadConnection {
  pageInfo { hasNextPage endCursor }
  nodes { id path line originalLine isResolved isOutdated comments(first: 100) { ...Remarks } }
}
"""
    + _REMARKS
)

_REPOSITORY_FACTS = """
fragment RepositoryFacts on Repository {
  nameWithOwner squashMergeAllowed mergeCommitAllowed rebaseMergeAllowed
}
"""

_PULL_FACTS = (
    """
fragment PullFacts on PullRequest {
  id number url title body state isDraft createdAt updatedAt
  author { __typename login }
  isCrossRepository headRepository { id }
  additions deletions changedFiles
  headRefOid headRefName baseRefOid baseRefName
  mergeable mergeStateStatus reviewDecision
  mergeCommit { oid }
  viewerCanEnableAutoMerge
  autoMergeRequest { enabledAt }
  isMergeQueueEnabled
  mergeQueueEntry { state position }
  timelineItems(last: 5, itemTypes: [REMOVED_FROM_MERGE_QUEUE_EVENT]) {
    nodes { ... on RemovedFromMergeQueueEvent { createdAt reason actor { login } } }
  }
  baseRef {
    branchProtectionRule { requiredStatusCheckContexts }
    refUpdateRule { requiredStatusCheckContexts }
    rules(first: 100) {
      nodes {
        parameters { ... on RequiredStatusChecksParameters { requiredStatusChecks { context } } }
      }
    }
  }
  labels(first: 100) { nodes { name } }
  closingIssuesReferences(first: 100) { nodes { number repository { nameWithOwner } } }
  comments(last: 50) { ...Said }
  latestOpinionatedReviews(first: 100, writersOnly: false) { ...Reviews }
  reviewThreads(first: 20) { ...Threads }
}
"""
    + _REVIEWS
    + _SAID
    + _THREADS
)

REPOSITORY = """
query Repository($owner: String!, $name: String!) {
  repository(owner: $owner, name: $name) {
    id nameWithOwner url isArchived viewerPermission
    squashMergeAllowed mergeCommitAllowed rebaseMergeAllowed
    defaultBranchRef { name }
  }
}
"""

BRANCH_HEAD = """
query BranchHead($owner: String!, $name: String!, $ref: String!) {
  repository(owner: $owner, name: $name) {
    ref(qualifiedName: $ref) { target { oid } }
  }
}
"""

PULSES = """
query PullRequestPulses($ids: [ID!]!) {
  nodes(ids: $ids) {
    __typename
    ... on PullRequest {
      id number state isDraft headRefOid mergeable mergeStateStatus reviewDecision isInMergeQueue updatedAt
      statusCheckRollup { state }
      repository { nameWithOwner }
    }
  }
}
"""


def snapshot_document(count: int) -> str:
    """Return the query that reads ``count`` pull requests, under the aliases ``pull0``, ``pull1`` and so on.

    Their variables are ``owner0``, ``name0``, ``number0`` and so on. ``isRequired`` wants the number of the
    pull request, so each has a fragment of its own for its checks.
    """
    declared = ", ".join(f"$owner{i}: String!, $name{i}: String!, $number{i}: Int!" for i in range(count))
    pulls = "\n".join(
        f"  pull{i}: repository(owner: $owner{i}, name: $name{i}) {{\n"
        "    ...RepositoryFacts\n"
        f"    pullRequest(number: $number{i}) {{\n"
        "      ...PullFacts\n"
        f"      statusCheckRollup {{ commit {{ oid }} contexts(first: 100) {{ ...Checks{i} }} }}\n"
        "    }\n"
        "  }"
        for i in range(count)
    )
    fragments = "".join(_checks(f"Checks{i}", f"number{i}") for i in range(count))
    return (
        f"query PullRequestSnapshot({declared}) {{\n{pulls}\n}}\n"
        + _REPOSITORY_FACTS
        + _PULL_FACTS
        + fragments
    )


def base_document(count: int) -> str:
    """Return the query that reads the checks on the tips of ``count`` branches, as ``base0`` and so on.

    Their variables are ``owner0``, ``name0``, ``ref0`` and so on.
    """
    declared = ", ".join(f"$owner{i}: String!, $name{i}: String!, $ref{i}: String!" for i in range(count))
    bases = "\n".join(
        f"  base{i}: repository(owner: $owner{i}, name: $name{i}) {{\n"
        f"    ref(qualifiedName: $ref{i}) {{\n"
        "      target { ... on Commit { statusCheckRollup { contexts(first: 100) { ...Checks } } } }\n"
        "    }\n"
        "  }"
        for i in range(count)
    )
    return f"query BaseChecks({declared}) {{\n{bases}\n}}\n" + _checks("Checks")


def _page(operation: str, selection: str, fragment: str) -> str:
    """Return the document that reads one further page, and the head that it belongs to."""
    return (
        f"query {operation}($owner: String!, $name: String!, $number: Int!, $after: String!) {{\n"
        "  repository(owner: $owner, name: $name) {\n"
        f"    pullRequest(number: $number) {{ headRefOid {selection} }}\n"
        "  }\n"
        "}\n" + fragment
    )


CHECKS_PAGE = _page(
    "PullRequestChecks",
    "statusCheckRollup { commit { oid } contexts(first: 100, after: $after) { ...Checks } }",
    _checks("Checks", "number"),
)
REVIEWS_PAGE = _page(
    "PullRequestReviews",
    "latestOpinionatedReviews(first: 100, after: $after, writersOnly: false) { ...Reviews }",
    _REVIEWS,
)
THREADS_PAGE = _page(
    "PullRequestThreads", "reviewThreads(first: 100, after: $after) { ...Threads }", _THREADS
)

REMARKS_PAGE = (
    """
query ThreadComments($threadId: ID!, $after: String!) {
  node(id: $threadId) {
    ... on PullRequestReviewThread { comments(first: 100, after: $after) { ...Remarks } }
  }
}
"""
    + _REMARKS
)

SAID_PAGE = (
    """
query PullRequestComments($owner: String!, $name: String!, $number: Int!, $before: String!) {
  repository(owner: $owner, name: $name) {
    pullRequest(number: $number) { comments(last: 100, before: $before) { ...Said } }
  }
}
"""
    + _SAID
)

COMMENTS = """
query Comments($owner: String!, $name: String!, $number: Int!, $before: String) {
  repository(owner: $owner, name: $name) {
    issueOrPullRequest(number: $number) {
      __typename
      ... on Issue {
        comments(last: 100, before: $before) { ...OwnComments }
      }
      ... on PullRequest {
        comments(last: 100, before: $before) { ...OwnComments }
      }
    }
  }
}
fragment OwnComments on IssueCommentConnection {
  pageInfo { hasPreviousPage startCursor }
  nodes { id url body viewerDidAuthor }
}
"""

DOCUMENTS: dict[str, str] = {
    "Repository": REPOSITORY,
    "BranchHead": BRANCH_HEAD,
    "PullRequestPulses": PULSES,
    "PullRequestSnapshot": snapshot_document(1),
    "PullRequestSnapshot of several": snapshot_document(2),
    "BaseChecks": base_document(2),
    "PullRequestChecks": CHECKS_PAGE,
    "PullRequestReviews": REVIEWS_PAGE,
    "PullRequestThreads": THREADS_PAGE,
    "PullRequestComments": SAID_PAGE,
    "ThreadComments": REMARKS_PAGE,
    "Comments": COMMENTS,
}
"""Every query by its operation name; those for several of a kind in one of their sizes."""
