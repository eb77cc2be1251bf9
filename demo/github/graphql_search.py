"""GraphQL's search, as far as it finds closed issues and pull requests of an author."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from demo.github.errors import ApiError
from demo.github.graphql_nodes import Connection
from demo.github.graphql_registry import answers
from demo.github.state import PullRequest, Subject

if TYPE_CHECKING:
    from demo.github.graphql_nodes import Context

MOST_RESULTS = 1000


class SearchConnection(Connection):
    """A page of results."""

    @property
    def issue_count(self) -> int:
        return self.total_count


@answers("Query", "search")
def search(_: Any, info: Any, query: str, type: str, **arguments: Any) -> SearchConnection:  # noqa: A002
    if type != "ISSUE":
        raise ApiError(422, f"The stand-in does not search for {type}.")
    context: Context = info.context
    words = query.split()
    found: list[Subject] = [
        item
        for repository in context.forge.store.repositories.values()
        if repository.permission_of(context.viewer) is not None
        for item in (*repository.issues.values(), *repository.pulls.values())
        if all(_matches(item, word) for word in words)
    ]
    found.sort(key=lambda item: (item.created_at, item.number), reverse=True)
    return SearchConnection("search", found[:MOST_RESULTS], arguments)


def _matches(item: Subject, word: str) -> bool:
    qualifier, _, value = word.partition(":")
    if qualifier == "is":
        return _is(item, value)
    if qualifier == "author":
        app = value.removeprefix("app/")
        return item.author.login.lower() == (f"{app}[bot]" if app != value else value).lower()
    if qualifier == "closed":
        begin, _, end = value.partition("..")
        closed = item.closed_at
        return closed is not None and datetime.fromisoformat(begin) <= closed <= datetime.fromisoformat(end)
    return False


def _is(item: Subject, value: str) -> bool:
    if value in ("pr", "issue"):
        return isinstance(item, PullRequest) is (value == "pr")
    return value in ("open", "closed") and (item.state == "OPEN") is (value == "open")
