"""Answers to the snapshot query, in parts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.hooks.github_errors import errors_below
from airflow_provider_agents.hooks.github_parse import parse_snapshot

if TYPE_CHECKING:
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HEAD = "a" * 40
OTHER = "b" * 40


def read(answer: dict[str, Any], repository: str = "acme/shop") -> PullRequestSnapshot:
    """Parse an answer of ``StubGitHub.pull``."""
    errors = errors_below(answer.get("errors", []), "pull0")
    return parse_snapshot(repository, answer["data"]["pull0"], errors, NOW)


def error(
    *path: str | int, kind: str = "FORBIDDEN", message: str = "Resource not accessible by integration"
) -> dict[str, Any]:
    """Return an error about a field of the pull request."""
    return {"type": kind, "path": ["pull0", "pullRequest", *path], "message": message}


def connection(*nodes: object, after: str | None = None) -> dict[str, object]:
    return {"pageInfo": {"hasNextPage": after is not None, "endCursor": after}, "nodes": list(nodes)}


def comment(
    login: str | None, *, can_push: bool | None = True, association: str = "NONE"
) -> dict[str, object]:
    review = None if can_push is None else {"authorCanPushToRepository": can_push}
    author = {"login": login} if login else None
    return {
        "author": author,
        "id": f"C_{login}",
        "body": "b",
        "createdAt": "2026-01-01T10:00:00Z",
        "authorAssociation": association,
        "pullRequestReview": review,
    }


def thread(
    node_id: str, *comments: object, resolved: bool = False, line: int | None = 10
) -> dict[str, object]:
    return {
        "id": node_id,
        "path": "shop.py",
        "line": line,
        "originalLine": 8,
        "isResolved": resolved,
        "isOutdated": False,
        "comments": connection(*comments),
    }
