"""The GraphQL documents this project sends to GitHub; a contract test validates each against GitHub's schema."""

from __future__ import annotations

_CHECKS = """
fragment Checks on StatusCheckRollupContextConnection {
  pageInfo { hasNextPage endCursor }
  nodes {
    __typename
    ... on CheckRun {
      id databaseId name status conclusion detailsUrl permalink title
      isRequired(pullRequestNumber: $number)
      checkSuite { databaseId app { slug } workflowRun { event workflow { name } } }
    }
    ... on StatusContext {
      id context state description targetUrl
      isRequired(pullRequestNumber: $number)
    }
  }
}
"""

_REVIEWS = """
fragment Reviews on PullRequestReviewConnection {
  pageInfo { hasNextPage endCursor }
  nodes { author { login } state body authorCanPushToRepository commit { oid } }
}
"""

_THREADS = """
fragment Threads on PullRequestReviewThreadConnection {
  pageInfo { hasNextPage endCursor }
  nodes {
    id path line originalLine isResolved isOutdated
    comments(first: 100) {
      nodes { author { login } body authorAssociation pullRequestReview { authorCanPushToRepository } }
    }
  }
}
"""

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

SNAPSHOT = (
    """
query PullRequestSnapshot($owner: String!, $name: String!, $number: Int!) {
  repository(owner: $owner, name: $name) {
    nameWithOwner
    pullRequest(number: $number) {
      id number url title state isDraft
      headRefOid headRefName baseRefName
      mergeable mergeStateStatus reviewDecision
      mergeCommit { oid }
      labels(first: 100) { nodes { name } }
      closingIssuesReferences(first: 100) { nodes { number repository { nameWithOwner } } }
      latestOpinionatedReviews(first: 100, writersOnly: false) { ...Reviews }
      reviewThreads(first: 50) { ...Threads }
      statusCheckRollup { commit { oid } contexts(first: 100) { ...Checks } }
    }
  }
}
"""
    + _CHECKS
    + _REVIEWS
    + _THREADS
)


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
    _CHECKS,
)
REVIEWS_PAGE = _page(
    "PullRequestReviews",
    "latestOpinionatedReviews(first: 100, after: $after, writersOnly: false) { ...Reviews }",
    _REVIEWS,
)
THREADS_PAGE = _page("PullRequestThreads", "reviewThreads(first: 50, after: $after) { ...Threads }", _THREADS)

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
  nodes { url body viewerDidAuthor }
}
"""

DOCUMENTS: dict[str, str] = {
    "Repository": REPOSITORY,
    "BranchHead": BRANCH_HEAD,
    "PullRequestSnapshot": SNAPSHOT,
    "PullRequestChecks": CHECKS_PAGE,
    "PullRequestReviews": REVIEWS_PAGE,
    "PullRequestThreads": THREADS_PAGE,
    "Comments": COMMENTS,
}
"""Every document by its operation name."""
