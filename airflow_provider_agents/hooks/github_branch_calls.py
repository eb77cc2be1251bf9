"""What housekeeping asks of GitHub and does there: closed work, the branches behind it, and their deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.stale_branches import ClosedWork
from airflow_provider_agents.domain.workspace import stamp
from airflow_provider_agents.exceptions import ForgeConflictError, ForgeError, ForgeUnavailableError
from airflow_provider_agents.hooks.github_errors import Operation, absent
from airflow_provider_agents.hooks.github_fields import flag, integer, mapping, moment, text
from airflow_provider_agents.hooks.github_models import ClosedRef
from airflow_provider_agents.hooks.github_mutations import VIEWER
from airflow_provider_agents.hooks.github_names import owner_and_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from airflow_provider_agents.hooks.github_transport import GitHubTransport

CLOSED_PULL_REQUESTS = """
query ClosedPullRequests($search: String!, $after: String) {
  search(type: ISSUE, query: $search, first: 100, after: $after) {
    issueCount
    pageInfo { hasNextPage endCursor }
    nodes {
      __typename
      ... on PullRequest { number headRefName headRef { id } repository { nameWithOwner } }
    }
  }
}
"""

CLOSED_WORK = """
query ClosedWork($owner: String!, $name: String!, $number: Int!, $branch: String!, $ref: String!) {
  repository(owner: $owner, name: $name) {
    id
    nameWithOwner
    ref(qualifiedName: $ref) { target { oid } }
    from: pullRequests(headRefName: $branch, states: [OPEN], first: 1) { totalCount }
    into: pullRequests(baseRefName: $branch, states: [OPEN], first: 1) { totalCount }
    pullRequest(number: $number) {
      url body state closedAt viewerDidAuthor isCrossRepository headRefName headRefOid
    }
  }
}
"""

DELETE_REF = """
mutation DeleteRef($repository: ID!, $ref: GitRefname!, $head: GitObjectID!, $nothing: GitObjectID!) {
  updateRefs(input: {
    repositoryId: $repository, refUpdates: [{name: $ref, beforeOid: $head, afterOid: $nothing}]
  }) { clientMutationId }
}
"""

DOCUMENTS = {"ClosedPullRequests": CLOSED_PULL_REQUESTS, "ClosedWork": CLOSED_WORK}
"""Every document of this module that only reads, by its operation name."""
MUTATIONS = {"DeleteRef": DELETE_REF}

MOST_PAGES = 10
"""A search has at most 1,000 results."""

_NOTHING = "0" * 40
_READ = "Pull requests: read, Contents: read"
_BOT = "[bot]"


class BranchCalls:
    """The part of :class:`~.github_client.GitHubClient` that housekeeping uses."""

    _transport: GitHubTransport

    async def own_closed_pull_requests(
        self, since: datetime, until: datetime, *, prefix: str
    ) -> tuple[list[ClosedRef], bool]:
        """Return this account's pull requests that were closed in a span and whose branch is still there.

        They are candidates only: a search index lags. Merged ones are closed ones too.

        :param prefix: of the names of their branches.
        :return: and whether there are more than a search can tell of; then only the first page was read.
        """
        operation = Operation("search for closed pull requests", _READ)
        login = await self._login()
        author = f"app/{login.removesuffix(_BOT)}" if login.endswith(_BOT) else login
        search = f"is:pr is:closed author:{author} closed:{stamp(since)}..{stamp(until)}"
        found: list[ClosedRef] = []
        after, total = None, 0
        for _ in range(MOST_PAGES):
            variables = {"search": search, "after": after}
            answer = await self._transport.query(CLOSED_PULL_REQUESTS, variables, operation)
            page = mapping(answer.data.get("search"))
            nodes, total = page.get("nodes"), integer(page.get("issueCount")) or 0
            if not isinstance(nodes, list):
                raise absent(operation, answer.errors)
            found += [ref for node in nodes if (ref := _candidate(mapping(node), prefix))]
            info = mapping(page.get("pageInfo"))
            after = text(info.get("endCursor"))
            if total > MOST_PAGES * 100 or info.get("hasNextPage") is not True or not after:
                break
        return found, total > MOST_PAGES * 100

    async def closed_work(self, repository: str, number: int, branch: str) -> ClosedWork:
        """Return a pull request and its branch as they are now.

        :param branch: name of the pull request's branch.
        :raises ForgeError: the answer is not complete: nothing may be concluded from a part of it.
        """
        operation = Operation(f"read {repository}#{number} and its branch {branch}", _READ)
        variables = {
            **owner_and_name(repository),
            "number": number,
            "branch": branch,
            "ref": f"refs/heads/{branch}",
        }
        answer = await self._transport.query(CLOSED_WORK, variables, operation)
        node = mapping(answer.data.get("repository"))
        pull = mapping(node.get("pullRequest"))
        if answer.errors or not pull:
            raise absent(operation, answer.errors)
        counts = [integer(mapping(node.get(part)).get("totalCount")) for part in ("from", "into")]
        ref = node.get("ref")
        sha = text(mapping(mapping(ref).get("target")).get("oid")) or None
        head = text(pull.get("headRefOid"))
        whole = head and text(node.get("id")) and pull.get("headRefName") == branch
        if None in counts or not whole or (ref is not None and sha is None):
            raise ForgeUnavailableError(f"GitHub's answer to {operation.what} is incomplete")
        return ClosedWork(
            repository=text(node.get("nameWithOwner")) or repository,
            repository_id=text(node.get("id")),
            number=number,
            url=text(pull.get("url")),
            merged=pull.get("state") == "MERGED",
            closed_at=moment(pull.get("closedAt")) if pull.get("state") in ("CLOSED", "MERGED") else None,
            ours=flag(pull.get("viewerDidAuthor")) is True,
            cross_repository=flag(pull.get("isCrossRepository")) is not False,
            branch=branch,
            head_sha=head,
            branch_sha=sha,
            open_pull_requests=sum(count for count in counts if count),
            body=text(pull.get("body")),
        )

    async def delete_branch_at(self, work: ClosedWork) -> bool:
        """Delete a branch if it still is at the head of its closed pull request; GitHub itself compares.

        :return: false if it has moved, or is gone.
        :raises ForgeError: it may not be deleted, or the answer was lost and the branch is still there.
        """
        operation = Operation(f"delete branch {work.branch} of {work.repository}", "Contents: write")
        variables = {
            "repository": work.repository_id,
            "ref": f"refs/heads/{work.branch}",
            "head": work.head_sha,
            "nothing": _NOTHING,
        }
        try:
            await self._transport.mutate(DELETE_REF, variables, operation)
        except ForgeError as error:
            now = await self.closed_work(work.repository, work.number, work.branch)
            if isinstance(error, ForgeUnavailableError) and now.branch_sha is None:
                return True  # the answer was lost, the deletion was not
            if now.branch_sha != work.head_sha:
                return False
            if isinstance(error, ForgeConflictError):
                raise ForgeConflictError(f"{error} (a rule of the repository may protect it)") from None
            raise
        return True

    async def _login(self) -> str:
        operation = Operation("read whose the credential is", "Metadata: read")
        answer = await self._transport.query(VIEWER, {}, operation)
        login = text(mapping(answer.data.get("viewer")).get("login"))
        if not login:
            raise absent(operation, answer.errors)
        return login


def _candidate(node: Mapping[str, Any], prefix: str) -> ClosedRef | None:
    number, branch = integer(node.get("number")), text(node.get("headRefName"))
    repository = text(mapping(node.get("repository")).get("nameWithOwner"))
    if number is None or not repository or not branch.startswith(prefix) or node.get("headRef") is None:
        return None
    return ClosedRef(repository=repository, number=number, branch=branch)
