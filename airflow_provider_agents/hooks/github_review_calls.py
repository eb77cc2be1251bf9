"""What a review needs to know of a pull request beyond a snapshot of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.review_diff import shown_lines
from airflow_provider_agents.hooks.github_detail_calls import MOST_FILE_PAGES, read_pages
from airflow_provider_agents.hooks.github_errors import Operation
from airflow_provider_agents.hooks.github_fields import mapping, text
from airflow_provider_agents.hooks.github_names import repository_path

if TYPE_CHECKING:
    from airflow_provider_agents.hooks.github_client import GitHubClient

MOST_REVIEW_PAGES = 10
"""Pages of 100 reviews in which one of ours is looked for."""

_OURS = re.compile(r"<!-- agents review head=([0-9a-f]{40}) -->")


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequestDescription:
    """What the author of a pull request says about it, and where it comes from."""

    body: str
    head_repository: str
    """``owner/name``; empty where a fork was deleted."""


async def description(client: GitHubClient, repository: str, number: int) -> PullRequestDescription:
    """Return the description of a pull request.

    :raises ForgeError: it cannot be read.
    """
    operation = Operation(f"read pull request {repository}#{number}", "Pull requests: read")
    answer = mapping(await client._transport.read(repository_path(repository, f"pulls/{number}"), operation))
    head = mapping(mapping(answer.get("head")).get("repo"))
    return PullRequestDescription(body=text(answer.get("body")), head_repository=text(head.get("full_name")))


async def diff_lines(client: GitHubClient, repository: str, number: int) -> dict[str, frozenset[int]]:
    """Return path → lines of the new version that the diff of a pull request shows.

    Files whose diff GitHub does not give, because they are binary or too large, are left out.

    :raises ForgeError: it cannot be read.
    """
    operation = Operation(f"read the files of {repository}#{number}", "Pull requests: read")
    path = repository_path(repository, f"pulls/{number}/files")
    found: dict[str, frozenset[int]] = {}
    for file in await read_pages(client._transport, path, operation, MOST_FILE_PAGES):
        if lines := shown_lines(text(file.get("patch"))):
            found[text(file.get("filename"))] = lines
    return found


async def own_reviews(client: GitHubClient, repository: str, number: int, login: str) -> dict[str, datetime]:
    """Return head → when this project last reviewed it as ``login``.

    :raises ForgeError: the reviews cannot be read.
    """
    operation = Operation(f"read the reviews of {repository}#{number}", "Pull requests: read")
    path = repository_path(repository, f"pulls/{number}/reviews")
    found: dict[str, datetime] = {}
    for review in await read_pages(client._transport, path, operation, MOST_REVIEW_PAGES):
        author = text(mapping(review.get("user")).get("login"))
        head, at = _OURS.search(text(review.get("body"))), _moment(review.get("submitted_at"))
        # A person may have the name of an App, without the suffix: their marker must not silence our review.
        ours = login and author.casefold() in (login.casefold(), f"{login}[bot]".casefold())
        if head is not None and at is not None and ours:
            found[head[1]] = at
    return found


def same_login(one: str, other: str) -> bool:
    """Say whether two logins name the same account; GraphQL names an App without the ``[bot]`` of REST."""
    return _bare(one) == _bare(other) != ""


def _moment(value: Any) -> datetime | None:
    """Return a moment that GitHub wrote, ``None`` where it is none."""
    try:
        return datetime.fromisoformat(text(value))
    except ValueError:
        return None


def _bare(login: str) -> str:
    return login.casefold().removesuffix("[bot]")
