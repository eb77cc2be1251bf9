"""GraphQL fields of the query itself and of repositories."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from demo.github.errors import ApiError
from demo.github.graphql_nodes import (
    BlobNode,
    CommitNode,
    Connection,
    Context,
    RefNode,
    find_commit,
    find_ref,
)
from demo.github.graphql_registry import answers, missing
from demo.github.state import (
    Entity,
    Issue,
    PullRequest,
    Repository,
    User,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@answers("Query", "viewer")
def viewer(_: Any, info: Any) -> User:
    context: Context = info.context
    return context.viewer


@answers("Query", "rateLimit")
def rate_limit(_: Any, info: Any) -> dict[str, Any]:
    context: Context = info.context
    limits = context.limits
    return {
        "cost": context.cost,
        "node_count": context.node_count,
        "limit": limits["limit"],
        "remaining": limits["remaining"],
        "used": limits["used"],
        "reset_at": datetime.fromtimestamp(limits["reset"], UTC),
    }


@answers("Query", "repository")
def repository(_: Any, info: Any, owner: str, name: str) -> Repository:
    found = info.context.forge.store.repository(f"{owner}/{name}")
    if not isinstance(found, Repository) or found.permission_of(info.context.viewer) is None:
        raise missing(f"a Repository with the name '{owner}/{name}'")
    return found


@answers("Query", "repositoryOwner")
def repository_owner(_: Any, info: Any, login: str) -> User | None:
    # An organisation is a user here; GitHub answers null for a login that nobody has.
    users = info.context.forge.store.users.values()
    return next((user for user in users if user.login.lower() == login.lower() and not user.is_bot), None)


@answers("User", "repositories")
def repositories_of(user: User, info: Any, **arguments: Any) -> Connection:
    context: Context = info.context
    found = [
        repo
        for repo in context.forge.store.repositories.values()
        if repo.owner is user and repo.permission_of(context.viewer) is not None
    ]
    keys: dict[str, Callable[[Repository], Any]] = {
        "NAME": lambda repo: repo.name.lower(),
        "PUSHED_AT": lambda repo: repo.pushed_at or repo.created_at,
        "UPDATED_AT": lambda repo: repo.updated_at,
    }
    order = arguments.get("orderBy") or {"field": "CREATED_AT", "direction": "ASC"}
    found.sort(
        key=keys.get(order["field"], lambda repo: repo.created_at), reverse=order["direction"] == "DESC"
    )
    return Connection("repositories", found, arguments)


@answers("Query", "node")
def node(_: Any, info: Any, id: str) -> Any:  # noqa: A002
    return info.context.forge.node(id, Entity, info.context.viewer)


@answers("Query", "nodes")
def nodes(_: Any, info: Any, ids: list[str]) -> list[Any]:
    found: list[Any] = []
    for node_id in ids:
        try:
            found.append(info.context.forge.node(node_id, Entity, info.context.viewer))
        except ApiError as error:
            # An exception in a list fails this item alone.
            found.append(error)
    return found


@answers("Repository", "nameWithOwner")
def name_with_owner(repo: Repository, info: Any) -> str:
    return repo.full_name


@answers("Repository", "visibility")
def visibility(repo: Repository, info: Any) -> str:
    return "PRIVATE" if repo.is_private else "PUBLIC"


@answers("Repository", "viewerPermission")
def viewer_permission(repo: Repository, info: Any) -> str | None:
    held = repo.permission_of(info.context.viewer)
    return held.upper() if held else None


@answers("Repository", "defaultBranchRef")
async def default_branch_ref(repo: Repository, info: Any) -> RefNode | None:
    return await find_ref(repo, repo.default_branch)


@answers("Repository", "ref")
async def ref(repo: Repository, info: Any, qualifiedName: str) -> RefNode | None:  # noqa: N803
    return await find_ref(repo, qualifiedName.removeprefix("refs/heads/"))


@answers("Ref", "target")
async def ref_target(item: RefNode, info: Any) -> CommitNode | None:
    return await find_commit(item.repository, item.oid)


@answers("Repository", "object")
async def git_object(
    repo: Repository, info: Any, expression: str | None = None, oid: str | None = None
) -> CommitNode | BlobNode | None:
    revision, colon, path = (oid or expression or "").partition(":")
    if not colon:
        found = await repo.git.branch(revision) or await repo.git.resolve(revision)
        return await find_commit(repo, found)
    commit = await repo.git.branch(revision) or await repo.git.resolve(revision)
    blob = await repo.git.entry(commit, path, "blob") if commit and path else None
    data = await repo.git.blob(commit, path) if commit and blob else None
    return BlobNode(repo, blob, data) if blob and data is not None else None


@answers("Repository", "issue")
def issue(repo: Repository, info: Any, number: int) -> Issue:
    if number not in repo.issues:
        raise missing(f"an Issue with the number of {number}")
    return repo.issues[number]


@answers("Repository", "pullRequest")
def pull_request(repo: Repository, info: Any, number: int) -> PullRequest:
    if number not in repo.pulls:
        raise missing(f"a PullRequest with the number of {number}")
    return repo.pulls[number]


@answers("Repository", "issueOrPullRequest")
def issue_or_pull_request(repo: Repository, info: Any, number: int) -> Issue | PullRequest:
    subject = repo.subject(number)
    if subject is None:
        raise missing(f"an issue or pull request with the number of {number}")
    return subject


@answers("Repository", "issues")
def issues_of(repo: Repository, info: Any, **arguments: Any) -> Connection:
    filters = arguments.get("filterBy") or {}
    states = arguments.get("states") or filters.get("states")
    labels = arguments.get("labels") or filters.get("labels")
    found: list[Any] = [item for item in repo.issues.values() if not states or item.state in states]
    found = _labelled(found, labels)
    if since := filters.get("since"):
        found = [item for item in found if item.updated_at >= datetime.fromisoformat(since)]
    if creator := filters.get("createdBy"):
        found = [item for item in found if item.author.login == creator]
    if assignee := filters.get("assignee"):
        found = [
            item for item in found if assignee.lower() in {user.login.lower() for user in item.assignees}
        ]
    return Connection("issues", _ordered(found, arguments.get("orderBy")), arguments)


@answers("Repository", "pullRequests")
def pull_requests_of(repo: Repository, info: Any, **arguments: Any) -> Connection:
    found: list[Any] = list(repo.pulls.values())
    for argument, attribute in (("headRefName", "head_ref_name"), ("baseRefName", "base_ref_name")):
        if (wanted := arguments.get(argument)) is not None:
            found = [pull for pull in found if getattr(pull, attribute) == wanted]
    if states := arguments.get("states"):
        found = [pull for pull in found if pull.state in states]
    found = _labelled(found, arguments.get("labels"))
    return Connection("pullRequests", _ordered(found, arguments.get("orderBy")), arguments)


def _labelled(found: list[Any], labels: list[str] | None) -> list[Any]:
    # Any of the labels, as on GitHub; the REST list asks for all of them.
    wanted = {label.lower() for label in labels or []}
    return [item for item in found if not wanted or wanted & {label.name.lower() for label in item.labels}]


def _ordered(found: list[Any], order: dict[str, str] | None) -> list[Any]:
    keys: dict[str, Callable[[Any], Any]] = {
        "CREATED_AT": lambda item: (item.created_at, item.number),
        "UPDATED_AT": lambda item: (item.updated_at, item.number),
        "COMMENTS": lambda item: (len(item.comments), item.number),
    }
    chosen = order or {"field": "CREATED_AT", "direction": "ASC"}
    return sorted(found, key=keys[chosen["field"]], reverse=chosen["direction"] == "DESC")
