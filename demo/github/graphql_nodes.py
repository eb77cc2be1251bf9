"""GraphQL objects that are made on asking: connections, commits, refs, blobs and roll-ups."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demo.github.check_state import CheckRun, CheckSuite, Status
from demo.github.errors import ApiError
from demo.github.git_program import GitError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from demo.github.forge import Forge
    from demo.github.git_values import Commit
    from demo.github.state import PullRequest, Repository, User

MAX_PAGE = 100


@dataclass
class Context:
    """What every resolver is handed."""

    forge: Forge
    viewer: User
    cost: int
    node_count: int
    limits: dict[str, Any]
    """The viewer's rate limit after this request."""


def virtual_id(prefix: str, *parts: object) -> str:
    """Return a node id for an object that is not stored."""
    packed = base64.urlsafe_b64encode(":".join(str(part) for part in parts).encode()).decode()
    return f"{prefix}_{packed.rstrip('=')}"


class CommitNode:
    def __init__(self, repository: Repository, commit: Commit) -> None:
        self.repository = repository
        self.commit = commit
        self.id = virtual_id("C", repository.database_id, commit.oid)
        self.oid = commit.oid
        self.abbreviated_oid = commit.oid[:7]
        self.message = commit.message
        self.message_headline, _, rest = commit.message.partition("\n")
        self.message_body = rest.lstrip("\n")
        self.committed_date = commit.committed_date
        self.authored_date = commit.authored_date


@dataclass
class BlobNode:
    repository: Repository
    oid: str
    data: bytes

    @property
    def id(self) -> str:
        return virtual_id("B", self.repository.database_id, self.oid)

    @property
    def abbreviated_oid(self) -> str:
        return self.oid[:7]

    @property
    def byte_size(self) -> int:
        return len(self.data)

    @property
    def is_binary(self) -> bool:
        return b"\x00" in self.data[:8000]

    @property
    def text(self) -> str | None:
        return None if self.is_binary else self.data.decode(errors="replace")

    is_truncated = False


@dataclass
class RefNode:
    repository: Repository
    qualified_name: str
    oid: str

    prefix = "refs/heads/"

    @property
    def id(self) -> str:
        return virtual_id("REF", self.repository.database_id, self.qualified_name)

    @property
    def name(self) -> str:
        return self.qualified_name.removeprefix(self.prefix)


@dataclass
class RollupNode:
    repository: Repository
    sha: str
    state: str

    @property
    def id(self) -> str:
        return virtual_id("SCR", self.repository.database_id, self.sha)

    @property
    def items(self) -> list[CheckRun | Status]:
        return [*self.repository.check_runs(self.sha), *self.repository.latest_statuses(self.sha)]


@dataclass
class PullRequestCommitNode:
    pull_request: PullRequest
    commit: CommitNode

    @property
    def id(self) -> str:
        return virtual_id("PURC", self.pull_request.database_id, self.commit.oid)


@dataclass
class WorkflowRunNode:
    suite: CheckSuite

    @property
    def id(self) -> str:
        return virtual_id("WFR", self.suite.database_id)


class Connection:
    """One page of a list, as ``first``, ``after``, ``last`` and ``before`` ask for it.

    :raises ApiError: neither bound is given, or it is out of 1…100, as GitHub insists.
    """

    def __init__(self, field: str, items: Sequence[Any], arguments: dict[str, Any]) -> None:
        first, last = arguments.get("first"), arguments.get("last")
        if first is None and last is None:
            raise ApiError(
                422,
                f"You must provide a `first` or `last` value to properly paginate the `{field}` connection.",
                kind="MISSING_PAGINATION_BOUNDARIES",
            )
        for word, count in (("first", first), ("last", last)):
            if count is not None and count > MAX_PAGE:
                raise ApiError(
                    422,
                    f"Requesting {count} records on the `{field}` connection exceeds the `{word}` limit"
                    f" of {MAX_PAGE} records.",
                    kind="EXCESSIVE_PAGINATION",
                )
            if count is not None and count < 0:
                raise ApiError(422, f"`{word}` on the `{field}` connection cannot be less than zero.")
        start, end = 0, len(items)
        if after := arguments.get("after"):
            start = min(_offset(after) + 1, end)
        if before := arguments.get("before"):
            end = max(min(_offset(before), end), start)
        if first is not None:
            end = min(end, start + first)
        if last is not None:
            start = max(start, end - last)
        self.all = items
        self.total_count = len(items)
        self.nodes = list(items[start:end])
        self.edges = [
            {"cursor": cursor(start + index), "node": node} for index, node in enumerate(self.nodes)
        ]
        self.page_info = {
            "has_next_page": end < len(items),
            "has_previous_page": start > 0,
            "start_cursor": self.edges[0]["cursor"] if self.edges else None,
            "end_cursor": self.edges[-1]["cursor"] if self.edges else None,
        }

    @property
    def check_run_count(self) -> int:
        return sum(isinstance(item, CheckRun) for item in self.all)

    @property
    def status_context_count(self) -> int:
        return sum(isinstance(item, Status) for item in self.all)


def cursor(index: int) -> str:
    """Return the cursor of the item at ``index``."""
    return base64.b64encode(f"cursor:v2:{index}".encode()).decode()


def _offset(cursor: str) -> int:
    try:
        return int(base64.b64decode(cursor, validate=True).decode().removeprefix("cursor:v2:"))
    except (binascii.Error, ValueError):
        raise ApiError(
            422, f"`{cursor}` does not appear to be a valid cursor.", kind="INVALID_CURSOR_ARGUMENTS"
        ) from None


async def find_ref(repo: Repository, branch: str) -> RefNode | None:
    """Return the branch, or ``None``."""
    oid = await repo.git.branch(branch)
    return RefNode(repo, f"refs/heads/{branch}", oid) if oid else None


async def find_commit(repo: Repository, oid: str | None) -> CommitNode | None:
    """Return the commit, or ``None``."""
    if oid is None:
        return None
    try:
        return CommitNode(repo, await repo.git.commit(oid))
    except GitError:
        return None
