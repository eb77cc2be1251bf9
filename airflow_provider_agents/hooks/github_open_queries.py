"""The queries that list open pull requests and the repositories of an owner.

What they cost by GitHub's published formula, see :mod:`.github_queries`. Labels are a connection: within a list they
cost a point for each page of each repository, be there three pull requests on it or a hundred. So the list is read
without, and the labels by node id, where they may have changed.

========================  =================================================  ==========================
query                     requests                                           points
========================  =================================================  ==========================
``open_pulls_document``   1 a repository and page of 100                     1 for 1 to 5 repositories
``LABELS``                1 a pull request                                   1 for 100 pull requests
``OWNED``                 1 a page of 100 repositories                       1
========================  =================================================  ==========================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

PAGE = 100
"""Open pull requests on a page; as many as GitHub gives."""
SMALL_PAGE = 20
"""The same of a repository whose whole page takes GitHub longer than the ten seconds that it gives a query."""
OPEN_BATCH = 5
"""Repositories in one query: GitHub has up to 500 pull requests to look up, and ten seconds for it."""
LABELS_BATCH = 100
"""Node ids that GitHub takes in one query."""

_LISTED = """
fragment Listed on PullRequest {
  id number url title isDraft createdAt updatedAt
  author { __typename login }
  headRefOid headRefName baseRefName
  isCrossRepository headRepository { id }
  mergeable mergeStateStatus reviewDecision
  statusCheckRollup { state }
}
"""

LABELS = """
query PullRequestLabels($ids: [ID!]!) {
  nodes(ids: $ids) {
    __typename
    ... on PullRequest { id labels(first: 100) { nodes { name } } }
  }
}
"""

OWNED = """
query OwnedRepositories($login: String!, $after: String) {
  repositoryOwner(login: $login) {
    repositories(first: 100, after: $after, ownerAffiliations: [OWNER]) {
      pageInfo { hasNextPage endCursor }
      nodes { nameWithOwner isArchived isFork }
    }
  }
}
"""


def open_pulls_document(count: int, small: Collection[int] = ()) -> str:
    """Return the query for a page of open pull requests of ``count`` repositories, as ``open0`` and so on.

    Their variables are ``owner0``, ``name0``, ``after0`` and so on.

    :param small: which of them are read in pages of :data:`SMALL_PAGE`.
    """
    declared = ", ".join(f"$owner{i}: String!, $name{i}: String!, $after{i}: String" for i in range(count))
    # The newest come last: one that is opened meanwhile moves no page.
    order = "states: OPEN, orderBy: {field: CREATED_AT, direction: ASC}"
    lists = "\n".join(
        f"  open{i}: repository(owner: $owner{i}, name: $name{i}) {{\n"
        "    nameWithOwner isArchived\n"
        f"    pullRequests({order}, first: {SMALL_PAGE if i in small else PAGE}, after: $after{i}) {{\n"
        "      totalCount\n"
        "      pageInfo { hasNextPage endCursor }\n"
        "      nodes { ...Listed }\n"
        "    }\n"
        "  }"
        for i in range(count)
    )
    return f"query OpenPullRequests({declared}) {{\n{lists}\n}}\n{_LISTED}"


DOCUMENTS: dict[str, str] = {
    "OpenPullRequests": open_pulls_document(1),
    "OpenPullRequests of several": open_pulls_document(2),
    "PullRequestLabels": LABELS,
    "OwnedRepositories": OWNED,
}
"""Every query by its operation name; those for several of a kind in one of their sizes."""
