"""One pull request while it is being read: the first page, further pages, and that all tell of one head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_agents.hooks.github_errors import Operation, absent, errors_below
from airflow_provider_agents.hooks.github_fields import mapping, text
from airflow_provider_agents.hooks.github_names import owner_and_name
from airflow_provider_agents.hooks.github_parse import CONNECTIONS, parse_snapshot
from airflow_provider_agents.hooks.github_queries import (
    CHECKS_PAGE,
    REMARKS_PAGE,
    REVIEWS_PAGE,
    SAID_PAGE,
    THREADS_PAGE,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.hooks.github_transport import GitHubTransport

Ref = tuple[str, int]
"""``owner/name`` and the number of a pull request."""

MOST_PAGES = 20
"""Further pages that are read of each part: 2,000 checks, reviews and threads, and comments of a thread."""

MOST_SAID_PAGES = 4
"""Earlier pages of the conversation, of 100 comments each: nobody is to bury a ``/stop`` under comments."""

_PAGE_DOCUMENTS = {"checks": CHECKS_PAGE, "reviews": REVIEWS_PAGE, "threads": THREADS_PAGE}


def reading_operation(ref: Ref) -> Operation:
    """Return the words for the reading of one pull request."""
    return Operation(
        f"read pull request {ref[0]}#{ref[1]}",
        "Pull requests: read, Checks: read, Commit statuses: read, Contents: read",
    )


class Reading:
    """A reading of one pull request that its first page began.

    :param node: the repository of the answer, the pull request within it; further pages are added to it.
    :param errors: errors of the answer, their paths beginning below the repository.
    :param read_at: when it was begun, by GitHub's clock.
    :raises ForgeError: the pull request is not in the answer.
    """

    def __init__(
        self,
        transport: GitHubTransport,
        ref: Ref,
        node: Any,
        errors: Sequence[Mapping[str, Any]],
        read_at: datetime,
    ) -> None:
        self._transport = transport
        self._ref = ref
        self._node = mapping(node)
        self._pull = mapping(self._node.get("pullRequest"))
        self._errors = list(errors)
        self._read_at = read_at
        self._incomplete: list[tuple[str, str]] = []
        if not self._pull:
            raise absent(reading_operation(ref), self._errors)

    def snapshot(self, *incomplete: tuple[str, str]) -> PullRequestSnapshot:
        """Return what was read.

        :param incomplete: further parts that are missing, and why.
        :raises ForgeUnavailableError: the answer lacks the pull request's own facts.
        """
        found = (*self._incomplete, *incomplete)
        return parse_snapshot(self._ref[0], self._node, self._errors, self._read_at, found)

    async def complete(self) -> bool:
        """Read all further pages; return whether they, and the checks, belong to one head.

        :raises ForgeError: a page could not be read.
        """
        if not _checks_of_head(self._pull):
            return False
        for part in CONNECTIONS:
            if not await self._read_pages(part):
                return False
        await self._read_remarks()
        await self._read_said()
        return True

    async def _read_pages(self, part: str) -> bool:
        """Append the further pages of one part to its first; return whether the head stayed."""
        connection = _connection(self._pull, part)
        variables = {**owner_and_name(self._ref[0]), "number": self._ref[1]}
        for _ in range(MOST_PAGES):
            after = self._next(part, connection)
            if after is None:
                return True
            answer = await self._transport.query(
                _PAGE_DOCUMENTS[part], {**variables, "after": after}, reading_operation(self._ref)
            )
            pull = mapping(mapping(answer.data.get("repository")).get("pullRequest"))
            errors = errors_below(answer.errors, "repository")
            if not pull:
                raise absent(reading_operation(self._ref), errors)
            if pull.get("headRefOid") != self._pull.get("headRefOid") or not _checks_of_head(pull):
                return False
            page = _connection(pull, part)
            where = ("pullRequest", *CONNECTIONS[part], "nodes")
            self._errors += _moved(errors, where, len(connection["nodes"]))
            if not isinstance(page.get("nodes"), list):
                self._lack(part, "a further page could not be read")
                return True
            _append(connection, page)
        if self._next(part, connection) is not None:
            self._lack(part, f"more than {MOST_PAGES + 1} pages")
        return True

    async def _read_remarks(self) -> None:
        """Append the further comments of the unresolved threads."""
        for thread in _connection(self._pull, "threads").get("nodes") or ():
            comments = mapping(thread).get("comments")
            if not isinstance(comments, dict) or thread.get("isResolved") is True:
                continue
            for _ in range(MOST_PAGES):
                after = self._next("threads", comments)
                if after is None:
                    break
                variables = {"threadId": text(thread.get("id")), "after": after}
                answer = await self._transport.query(REMARKS_PAGE, variables, reading_operation(self._ref))
                page = mapping(mapping(answer.data.get("node")).get("comments"))
                if not isinstance(page.get("nodes"), list):
                    self._lack("threads", "further comments of a thread could not be read")
                    break
                _append(comments, page)
            else:
                if self._next("threads", comments) is not None:
                    self._lack("threads", f"a thread with more than {MOST_PAGES + 1} pages of comments")

    async def _read_said(self) -> None:
        """Put earlier comments of the conversation before those of the first page."""
        said = self._pull.get("comments")
        variables = {**owner_and_name(self._ref[0]), "number": self._ref[1]}
        for _ in range(MOST_SAID_PAGES):
            info = mapping(mapping(said).get("pageInfo"))
            if not isinstance(said, dict) or info.get("hasPreviousPage") is not True:
                return
            page_variables = {**variables, "before": text(info.get("startCursor"))}
            answer = await self._transport.query(SAID_PAGE, page_variables, reading_operation(self._ref))
            pull = mapping(mapping(answer.data.get("repository")).get("pullRequest"))
            page = mapping(pull.get("comments"))
            if not isinstance(page.get("nodes"), list) or not isinstance(said.get("nodes"), list):
                self._lack("comments", "an earlier page could not be read")
                return
            said["nodes"] = page["nodes"] + said["nodes"]
            said["pageInfo"] = page.get("pageInfo")
        if mapping(mapping(said).get("pageInfo")).get("hasPreviousPage") is True:
            self._lack("earlier comments", f"there are more than {50 + 100 * MOST_SAID_PAGES} comments")

    def _next(self, part: str, connection: Mapping[str, Any]) -> str | None:
        """Return the cursor of the next page, ``None`` where there is none, or the answer does not tell."""
        if not isinstance(connection.get("nodes"), list):
            return None
        info = mapping(connection.get("pageInfo"))
        more, cursor = info.get("hasNextPage"), info.get("endCursor")
        if more is False:
            return None
        if more is not True or not isinstance(cursor, str):
            self._lack(part, "the answer does not say whether there is more")
            return None
        return cursor

    def _lack(self, part: str, reason: str) -> None:
        self._incomplete.append((part, reason))


def _append(connection: dict[str, Any], page: Mapping[str, Any]) -> None:
    connection["nodes"] += page["nodes"]
    connection["pageInfo"] = page.get("pageInfo")


def _checks_of_head(pull: Mapping[str, Any]) -> bool:
    """Tell whether the checks in an answer, if any, are those of the head in the same answer."""
    oid = mapping(mapping(pull.get("statusCheckRollup")).get("commit")).get("oid")
    return oid is None or oid == pull.get("headRefOid")


def _connection(pull: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Return one connection of an answer, empty where it is absent."""
    value: Any = pull
    for name in CONNECTIONS[part]:
        value = mapping(value).get(name)
    return value if isinstance(value, dict) else {}


def _moved(
    errors: Sequence[Mapping[str, Any]], where: tuple[str, ...], offset: int
) -> list[Mapping[str, Any]]:
    """Return the errors of a page with the places that its entries have among all entries."""
    at = len(where)
    moved: list[Mapping[str, Any]] = []
    for error in errors:
        path = error.get("path")
        if isinstance(path, list) and tuple(path[:at]) == where and path[at:] and isinstance(path[at], int):
            error = {**error, "path": [*path[:at], path[at] + offset, *path[at + 1 :]]}
        moved.append(error)
    return moved
