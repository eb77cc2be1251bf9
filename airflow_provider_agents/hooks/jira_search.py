"""A search with JQL, page after page: by a token (Cloud) or by a number (Data Center)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from airflow_provider_agents.exceptions import ForgeError, ForgeUnavailableError
from airflow_provider_agents.hooks.github_fields import mapping
from airflow_provider_agents.hooks.jira_fields import mappings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow_provider_agents.hooks.jira_client import JiraClient

T = TypeVar("T")

PAGE = 100
"""Issues of one answer."""
SEAM = 10
"""Issues that a page of Data Center has in common with the one before: it is asked for by a number, and what left
the list meanwhile moved the rest up."""
MOST_ISSUES = 100_000


class Found(NamedTuple, Generic[T]):
    """What a search found."""

    items: list[T]
    moved: bool
    """Whether the list moved so much while it was read that something may be missing (Data Center)."""


async def search(
    client: JiraClient,
    jql: str,
    fields: Sequence[str],
    take: Callable[[Mapping[str, Any]], T],
    *,
    most: int = MOST_ISSUES,
) -> Found[T]:
    """Return what ``take`` makes of each issue that a query finds; only one page is held at a time.

    :param most: bound of the issues; at it the search ends with an error.
    :raises ForgeError: they are more, or Jira does not take the query; the message has Jira's words.
    """
    items: list[T] = []
    cloud = client.server.cloud
    place: dict[str, Any] = {} if cloud else {"startAt": 0}
    last: frozenset[Any] = frozenset()
    moved = False
    while True:
        body = {"jql": jql, "fields": list(fields), "maxResults": min(PAGE, most), **place}
        page = mapping(await client.search(body))
        if not isinstance(page.get("issues"), list):
            raise ForgeUnavailableError("Jira's answer to a search lists no issues")
        issues = mappings(page["issues"])
        ids = frozenset(issue.get("id") for issue in issues)
        moved = moved or bool(last and ids and not last & ids)
        items += [take(issue) for issue in issues if issue.get("id") not in last]
        if cloud:
            following = page.get("nextPageToken")
            if not following or page.get("isLast") is True:
                return Found(items, moved)
            if following == place.get("nextPageToken"):
                raise ForgeUnavailableError("Jira sends a search to the same page again and again")
            place = {"nextPageToken": following}
        else:
            start = int(place["startAt"])
            end, total = start + len(issues), page.get("total")
            if not ids - last or not isinstance(total, int) or end >= total:
                return Found(items, moved)
            place, last = {"startAt": max(end - SEAM, start + 1)}, ids
        if len(items) >= most:
            raise ForgeError(
                f"a search finds more than {most:,} issues ({jql[:200]}): make the source's JQL narrower"
            )
