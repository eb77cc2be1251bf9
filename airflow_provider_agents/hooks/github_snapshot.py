"""The full reading of one pull request: first page, further pages, and that all of them tell of one head."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.hooks.github_errors import Operation, absent
from airflow_provider_agents.hooks.github_parse import CONNECTIONS, parse_snapshot
from airflow_provider_agents.hooks.github_queries import CHECKS_PAGE, REVIEWS_PAGE, SNAPSHOT, THREADS_PAGE

if TYPE_CHECKING:
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.hooks.github_transport import GitHubTransport, GraphQLAnswer

MOST_PAGES = 20
"""Further pages that are read of each part: 2,000 checks and reviews, 1,000 threads."""
MOST_READINGS = 3
"""Readings that are begun when the head moves meanwhile."""

_PAGE_DOCUMENTS = {"checks": CHECKS_PAGE, "reviews": REVIEWS_PAGE, "threads": THREADS_PAGE}
_HEAD_MOVED = "checks: the head moved while it was read"


async def read_snapshot(transport: GitHubTransport, repository: str, number: int) -> PullRequestSnapshot:
    """Read a pull request with all its checks, latest reviews and unresolved threads.

    Parts that could not be read are named in ``missing``. If the head moves between two pages, the reading
    begins anew, at most :data:`MOST_READINGS` times; then the checks count as missing.

    :raises ForgeError: the pull request itself could not be read.
    """
    reading = _Reading(transport, repository, number)
    for _ in range(MOST_READINGS - 1):
        if await reading.read():
            return reading.snapshot()
    moved = () if await reading.read() else (_HEAD_MOVED,)
    return reading.snapshot(*moved)


class _Reading:
    """One attempt after the other at a consistent reading; :meth:`read` begins anew."""

    def __init__(self, transport: GitHubTransport, repository: str, number: int) -> None:
        owner, name = repository.split("/")
        self._transport = transport
        self._repository = repository
        self._variables = {"owner": owner, "name": name, "number": number}
        self._operation = Operation(
            f"read pull request {repository}#{number}",
            "Pull requests: read, Checks: read, Commit statuses: read, Contents: read",
        )
        self._begin()

    def _begin(self) -> None:
        self._data: dict[str, Any] = {}
        self._errors: list[Mapping[str, Any]] = []
        self._incomplete: list[str] = []
        self._read_at = datetime.now(UTC)

    def snapshot(self, *incomplete: str) -> PullRequestSnapshot:
        """Return what the last :meth:`read` found."""
        return parse_snapshot(
            self._repository, self._data, self._errors, self._read_at, (*self._incomplete, *incomplete)
        )

    async def read(self) -> bool:
        """Read all pages; return whether all of them, and the checks, belong to one head."""
        self._begin()
        answer = await self._transport.query(SNAPSHOT, self._variables, self._operation)
        self._data, self._errors = dict(answer.data), list(answer.errors)
        pull = self._pull(answer)
        if not _checks_of_head(pull):
            return False
        for part in CONNECTIONS:
            if not await self._read_further_pages(part, pull):
                return False
        return True

    async def _read_further_pages(self, part: str, pull: Mapping[str, Any]) -> bool:
        """Append the further pages of one part to its first; return whether the head stayed."""
        connection = _connection(pull, part)
        for _ in range(MOST_PAGES):
            after = _next_cursor(connection)
            if after is None:
                return True
            answer = await self._transport.query(
                _PAGE_DOCUMENTS[part], {**self._variables, "after": after}, self._operation
            )
            page_pull = self._pull(answer)
            self._errors += answer.errors
            if page_pull.get("headRefOid") != pull.get("headRefOid") or not _checks_of_head(page_pull):
                return False
            page = _connection(page_pull, part)
            if not isinstance(page.get("nodes"), list):
                self._incomplete.append(f"{part}: a further page could not be read")
                return True
            connection["nodes"] += page["nodes"]
            connection["pageInfo"] = page.get("pageInfo")
        if _next_cursor(connection) is not None:
            self._incomplete.append(f"{part}: more than {MOST_PAGES + 1} pages")
        return True

    def _pull(self, answer: GraphQLAnswer) -> Mapping[str, Any]:
        repository = answer.data.get("repository")
        pull = repository.get("pullRequest") if isinstance(repository, Mapping) else None
        if not isinstance(pull, Mapping):
            raise absent(self._operation, answer.errors)
        return pull


def _checks_of_head(pull: Mapping[str, Any]) -> bool:
    """Tell whether the checks in an answer, if any, are those of the head in the same answer."""
    rollup = pull.get("statusCheckRollup")
    commit = rollup.get("commit") if isinstance(rollup, Mapping) else None
    oid = commit.get("oid") if isinstance(commit, Mapping) else None
    return oid is None or oid == pull.get("headRefOid")


def _connection(pull: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Return one connection of an answer, empty where it is absent."""
    value: Any = pull
    for name in CONNECTIONS[part]:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _next_cursor(connection: Mapping[str, Any]) -> str | None:
    info = connection.get("pageInfo")
    if not isinstance(connection.get("nodes"), list) or not isinstance(info, Mapping):
        return None
    cursor = info.get("endCursor")
    return cursor if info.get("hasNextPage") is True and isinstance(cursor, str) else None
