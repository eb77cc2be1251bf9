"""What GitHub answers to the smaller questions, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_agents.domain.pull_request import PullRequestState

RepositoryPermission = Literal["ADMIN", "MAINTAIN", "WRITE", "TRIAGE", "READ"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryInfo:
    """A repository, as the connection's credential sees it."""

    name_with_owner: str
    """GitHub's own spelling; differs from the name asked for after a rename."""
    node_id: str
    url: str
    default_branch: str
    """Empty for a repository without a commit."""
    archived: bool
    viewer_permission: RepositoryPermission | None
    """``None`` where GitHub does not say, e.g. for the token of an app."""
    squash_allowed: bool
    merge_allowed: bool
    rebase_allowed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """An issue, or the conversation of a pull request."""

    number: int
    node_id: str
    title: str
    body: str
    state: Literal["OPEN", "CLOSED"]
    url: str
    author: str
    """Login; ``ghost`` for a deleted account."""
    labels: tuple[str, ...] = ()
    is_pull_request: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequestRef:
    """A pull request in a list."""

    number: int
    node_id: str
    url: str
    title: str
    state: PullRequestState
    head_sha: str
    head_branch: str
    base_branch: str
    draft: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedRef:
    """A closed pull request whose branch is still there, as a search finds it."""

    repository: str
    """``owner/name``"""
    number: int
    branch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeResult:
    """A merge that GitHub confirmed."""

    sha: str
    """The commit on the base branch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentRef:
    """A comment of an issue or a pull request."""

    url: str
    created: bool = True
    """Whether this call wrote it; ``False`` where it was there already."""
    node_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """What is left of an hourly budget, in points of GraphQL."""

    limit: int
    remaining: int
    reset_at: datetime
    """When :attr:`remaining` is :attr:`limit` again, by this machine's clock."""
    used: int
