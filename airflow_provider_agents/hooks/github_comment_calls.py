"""Comments on issues and pull requests: written once, or kept up to date in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_agents.hooks.github_errors import Operation, absent
from airflow_provider_agents.hooks.github_fields import mapping, text
from airflow_provider_agents.hooks.github_models import CommentRef
from airflow_provider_agents.hooks.github_mutations import UPDATE_COMMENT
from airflow_provider_agents.hooks.github_names import hidden_marker, owner_and_name, repository_path
from airflow_provider_agents.hooks.github_queries import COMMENTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_agents.hooks.github_transport import GitHubTransport

MOST_COMMENT_PAGES = 10
"""Pages of 100 comments, newest first, in which a marker is looked for."""


class CommentCalls:
    """The part of :class:`~.github_client.GitHubClient` that writes comments."""

    _transport: GitHubTransport

    async def comment(self, repository: str, number: int, body: str) -> CommentRef:
        """Write a comment on an issue or a pull request."""
        operation = Operation(f"comment on {repository}#{number}", "Issues: write or Pull requests: write")
        path = repository_path(repository, f"issues/{number}/comments")
        answer = mapping(await self._transport.write("POST", path, operation, {"body": body}))
        return CommentRef(url=text(answer.get("html_url")), node_id=text(answer.get("node_id")))

    async def comment_once(self, repository: str, number: int, marker: str, body: str) -> CommentRef:
        """Write a comment unless this credential already wrote one with ``marker``.

        The marker is kept in the comment as a hidden HTML comment. The same marker in the comment of
        somebody else does not count.

        :param marker: e.g. ``run=coding_task/manual_1 step=finish``; letters, digits and ``._:/#@=+ -``.
        """
        hidden = hidden_marker(marker)
        if existing := await self._own_comment(repository, number, hidden):
            return _ref(existing)
        return await self.comment(repository, number, f"{body}\n\n{hidden}")

    async def comment_in_place(self, repository: str, number: int, marker: str, body: str) -> CommentRef:
        """Write a comment, or bring the one that this credential wrote with ``marker`` up to date.

        :param marker: as of :meth:`comment_once`.
        :param body: all of the comment; one that says this already is left alone, so that nobody is notified.
        """
        hidden = hidden_marker(marker)
        wanted = f"{body}\n\n{hidden}"
        existing = await self._own_comment(repository, number, hidden)
        if existing is None:
            return await self.comment(repository, number, wanted)
        # GitHub keeps line ends as they were sent, but forms of its web pages send CRLF.
        if text(existing.get("body")).replace("\r\n", "\n") != wanted:
            operation = Operation(
                f"edit a comment of {repository}#{number}", "Issues: write or Pull requests: write"
            )
            await self._transport.mutate(UPDATE_COMMENT, {"id": existing["id"], "body": wanted}, operation)
        return _ref(existing)

    async def _own_comment(self, repository: str, number: int, hidden: str) -> Mapping[str, Any] | None:
        """Return the newest comment of this credential that holds ``hidden``."""
        operation = Operation(
            f"read the comments of {repository}#{number}", "Issues: read, Pull requests: read"
        )
        variables: dict[str, Any] = {**owner_and_name(repository), "number": number, "before": None}
        for _ in range(MOST_COMMENT_PAGES):
            answer = await self._transport.query(COMMENTS, variables, operation)
            try:
                comments = answer.data["repository"]["issueOrPullRequest"]["comments"]
                for node in reversed(comments["nodes"]):
                    if node["viewerDidAuthor"] is True and hidden in node["body"]:
                        return mapping(node)
                page = comments["pageInfo"]
                if not page["hasPreviousPage"]:
                    return None
                variables["before"] = page["startCursor"]
            except (KeyError, TypeError):
                raise absent(operation, answer.errors) from None
        return None


def _ref(node: Mapping[str, Any]) -> CommentRef:
    return CommentRef(url=text(node.get("url")), created=False, node_id=text(node.get("id")))
