"""What a pull request changes, for a model to read: names of files, and their diff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.risk import ChangedFile
from airflow_provider_agents.domain.untrusted import one_line
from airflow_provider_agents.hooks.github_detail_calls import read_pages
from airflow_provider_agents.hooks.github_errors import Operation
from airflow_provider_agents.hooks.github_fields import integer, text
from airflow_provider_agents.hooks.github_names import repository_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_agents.hooks.github_client import GitHubClient

MOST_PAGES = 3
"""Pages of 100 files; no prompt has room for more."""
_PATH = 500
"""Characters of a path in the head of a file's diff."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes of a pull request.

    :param files: the first 300.
    :param diff: of those, in git's unified format; without what is binary or too large for GitHub.
    """

    files: tuple[ChangedFile, ...]
    diff: str


async def read_changes(client: GitHubClient, repository: str, number: int) -> Changes:
    """Return what a pull request changes.

    :raises ForgeError: it cannot be read.
    """
    operation = Operation(f"read the files of {repository}#{number}", "Pull requests: read")
    path = repository_path(repository, f"pulls/{number}/files")
    nodes = await read_pages(client._transport, path, operation, MOST_PAGES)
    files = tuple(
        ChangedFile(
            path=text(node.get("filename")),
            status=text(node.get("status")),
            additions=integer(node.get("additions")) or 0,
            deletions=integer(node.get("deletions")) or 0,
            previous_path=text(node.get("previous_filename")),
        )
        for node in nodes
    )
    return Changes(files, "\n".join(part for node in nodes if (part := _diff(node))))


def _diff(node: Mapping[str, object]) -> str:
    patch = text(node.get("patch"))
    if not patch:
        return ""
    new = one_line(text(node.get("filename")), _PATH)
    old = one_line(text(node.get("previous_filename")), _PATH) or new
    return f"diff --git a/{old} b/{new}\n--- a/{old}\n+++ b/{new}\n{patch}"
