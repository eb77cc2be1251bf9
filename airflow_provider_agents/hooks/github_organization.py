"""The repositories of an organisation, or of a user account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.exceptions import ForgeAccessError, ForgeUnavailableError
from airflow_provider_agents.hooks.github_errors import Operation, absent
from airflow_provider_agents.hooks.github_fields import mapping, text
from airflow_provider_agents.hooks.github_names import is_owner
from airflow_provider_agents.hooks.github_open_queries import OWNED

if TYPE_CHECKING:
    from airflow_provider_agents.hooks.github_transport import GitHubTransport

MOST_PAGES = 100
"""Pages of 100 repositories."""


async def read_owned_repositories(transport: GitHubTransport, owner: str) -> tuple[str, ...]:
    """Return ``owner/name`` of the repositories of an account that the credential may see, sorted.

    Archived ones are left out: nothing can be done there. So are forks, whose pull requests are of somebody else's
    project more often than not; a rule that is meant for one names it.

    :raises ForgeError: there is no such account, or the list could not be read.
    """
    if not is_owner(owner):
        raise ForgeAccessError(
            f"{owner!r} is no login of an organisation or user: correct the rule's organization"
        )
    operation = Operation(f"list the repositories of {owner}", "Metadata: read")
    found: set[str] = set()
    after: str | None = None
    for _ in range(MOST_PAGES):
        answer = await transport.query(OWNED, {"login": owner, "after": after}, operation)
        node = answer.data.get("repositoryOwner")
        if node is None:
            raise absent(operation, answer.errors)
        page = mapping(mapping(node).get("repositories"))
        nodes, info = page.get("nodes"), mapping(page.get("pageInfo"))
        if not isinstance(nodes, list) or not isinstance(info.get("hasNextPage"), bool):
            raise ForgeUnavailableError(f"GitHub's answer to {operation.what} is incomplete")
        # Null entries are repositories that the credential may not see.
        for each in map(mapping, nodes):
            if (name := text(each.get("nameWithOwner"))) and not (
                each.get("isArchived") or each.get("isFork")
            ):
                found.add(name)
        if info["hasNextPage"] is False:
            return tuple(sorted(found, key=str.casefold))
        after = text(info.get("endCursor")) or None
        if after is None:
            raise ForgeUnavailableError(f"GitHub's answer to {operation.what} is incomplete")
    raise ForgeAccessError(
        f"{owner} has more than {MOST_PAGES * 100:,} repositories: name those that the rules are for"
    )
