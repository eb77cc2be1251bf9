"""What rules do at GitHub beside landing: labels that may have to be made, reviewers, and who reopened what.

Each call may be made again after a lost answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_provider_agents.exceptions import ForgeAccessError, ForgeConflictError
from airflow_provider_agents.hooks.github_errors import Operation, absent
from airflow_provider_agents.hooks.github_fields import mapping, text
from airflow_provider_agents.hooks.github_names import owner_and_name, repository_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_agents.hooks.github_transport import GitHubTransport

REOPENINGS = """
query Reopenings($owner: String!, $name: String!, $number: Int!) {
  repository(owner: $owner, name: $name) {
    pullRequest(number: $number) {
      timelineItems(last: 10, itemTypes: [REOPENED_EVENT]) {
        nodes { __typename ... on ReopenedEvent { createdAt actor { login } } }
      }
    }
  }
}
"""

DOCUMENTS = {"Reopenings": REOPENINGS}
"""Every document of this module, by its operation name."""

LABEL_COLOR = "d93f0b"
"""Of labels that are made here, as six hexadecimal digits."""


class RuleCalls:
    """The part of :class:`~.github_client.GitHubClient` that acts for rules."""

    _transport: GitHubTransport

    async def ensure_label(self, repository: str, name: str, description: str) -> bool:
        """Make a label where the repository has none of that name; return whether it was made.

        :param description: for people, at most 100 characters.
        :raises ForgeAccessError: it is not there, and may not be made.
        """
        operation = Operation(f"read the label {name} of {repository}", "Issues: read or Pull requests: read")
        path = repository_path(repository, f"labels/{quote(name, safe='')}")
        try:
            await self._transport.read(path, operation)
        except ForgeAccessError:
            # 404: no such label, or no such right; making it tells which.
            pass
        else:
            return False
        operation = Operation(
            f"make the label {name} in {repository}", "Issues: write or Pull requests: write"
        )
        values = {"name": name, "color": LABEL_COLOR, "description": description[:100]}
        try:
            await self._transport.write("POST", repository_path(repository, "labels"), operation, values)
        except ForgeConflictError:
            # Somebody made it in between.
            await self._transport.read(path, operation)
            return False
        return True

    async def remove_label(self, repository: str, number: int, name: str) -> None:
        """Take a label off a pull request; one that is not on it is fine."""
        operation = Operation(
            f"take the label {name} off {repository}#{number}", "Issues: write or Pull requests: write"
        )
        labels = repository_path(repository, f"issues/{number}/labels")
        try:
            await self._transport.write("DELETE", f"{labels}/{quote(name, safe='')}", operation)
        except (ForgeAccessError, ForgeConflictError):
            # 404 may mean that it is gone, and that we may not.
            nodes = await self._transport.read(labels, operation, {"per_page": "100"})
            names = [text(mapping(node).get("name")) for node in (nodes if isinstance(nodes, list) else [])]
            if name.casefold() in (each.casefold() for each in names):
                raise

    async def request_reviewers(self, repository: str, number: int, reviewers: Sequence[str]) -> None:
        """Ask people and teams for a review; those that are asked already stay so.

        :param reviewers: logins, and ``organisation/team``.
        :raises ForgeConflictError: one of them cannot be asked, e.g. for lack of access; then nobody was.
        """
        operation = Operation(f"ask for a review of {repository}#{number}", "Pull requests: write")
        people = [name for name in reviewers if "/" not in name]
        teams = [name.partition("/")[2] for name in reviewers if "/" in name]
        path = repository_path(repository, f"pulls/{number}/requested_reviewers")
        values = {"reviewers": people, "team_reviewers": teams}
        await self._transport.write("POST", path, operation, values)

    async def reopened_by(self, repository: str, number: int) -> str:
        """Return who opened a pull request again last after it was closed; empty where nobody did."""
        operation = Operation(f"read the timeline of {repository}#{number}", "Pull requests: read")
        variables = {**owner_and_name(repository), "number": number}
        answer = await self._transport.query(REOPENINGS, variables, operation)
        pull = mapping(mapping(answer.data.get("repository")).get("pullRequest"))
        nodes = mapping(pull.get("timelineItems")).get("nodes")
        if not isinstance(nodes, list):
            raise absent(operation, answer.errors)
        people = [
            text(mapping(node.get("actor")).get("login")) or "somebody"
            for node in map(mapping, nodes)
            if node.get("__typename") == "ReopenedEvent"
        ]
        return people[-1] if people else ""
