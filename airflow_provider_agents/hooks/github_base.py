"""Which checks fail on the base branch too: asked only where a check of the head failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_agents.exceptions import ForgeAccessError, ForgeError, ForgeUnavailableError
from airflow_provider_agents.hooks.github_batches import check_not_too_much, in_batches
from airflow_provider_agents.hooks.github_errors import Operation, absent, errors_below
from airflow_provider_agents.hooks.github_fields import mapping
from airflow_provider_agents.hooks.github_names import owner_and_name
from airflow_provider_agents.hooks.github_parse_checks import newest_checks
from airflow_provider_agents.hooks.github_queries import BASE_BATCH, base_document

if TYPE_CHECKING:
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.hooks.github_transport import GitHubTransport

Branch = tuple[str, str]
"""``owner/name`` and the name of a branch."""


class FailingChecks(NamedTuple):
    """Names of the checks that fail on the tip of a branch."""

    names: frozenset[str]
    cut: bool = False
    """Whether the tip has more checks than were read."""


async def with_base(
    transport: GitHubTransport, snapshots: Sequence[PullRequestSnapshot]
) -> list[PullRequestSnapshot]:
    """Return the snapshots with ``failing_on_base`` where every check of the head has ended and one failed.

    The tip of a branch is read once for all pull requests into it. Where it could not be read,
    ``degraded`` says why.
    """
    wanted = {_branch(snapshot) for snapshot in snapshots if _matters(snapshot)}
    found: Mapping[Branch, FailingChecks | ForgeError]
    try:
        found = await read_failing(transport, sorted(wanted))
    except ForgeError as error:
        found = dict.fromkeys(wanted, error)
    return [_with(s, found[_branch(s)]) if _matters(s) else s for s in snapshots]


async def read_failing(
    transport: GitHubTransport, branches: Sequence[Branch]
) -> dict[Branch, FailingChecks | ForgeError]:
    """Return the names of the checks that fail on the tip of each branch, of its first 100 checks.

    :raises ForgeError: a rate limit is used up, or nothing could be read.
    """

    async def read(batch: Sequence[Branch]) -> dict[Branch, FailingChecks | ForgeError]:
        variables: dict[str, str] = {}
        for i, (repository, branch) in enumerate(batch):
            owner = owner_and_name(repository)
            variables |= {f"owner{i}": owner["owner"], f"name{i}": owner["name"]}
            variables[f"ref{i}"] = f"refs/heads/{branch}"
        operation = _operation(batch)
        answer = await transport.query(base_document(len(batch)), variables, operation)
        check_not_too_much(batch, operation, answer.errors)
        return {
            branch: _failing(branch, answer.data.get(f"base{i}"), errors_below(answer.errors, f"base{i}"))
            for i, branch in enumerate(batch)
        }

    return await in_batches(branches, BASE_BATCH, read)


def _branch(snapshot: PullRequestSnapshot) -> Branch:
    return snapshot.repository, snapshot.base_branch


def _matters(snapshot: PullRequestSnapshot) -> bool:
    """Tell whether a decision may ask: while checks run it does not."""
    return (
        snapshot.state == "OPEN" and bool(snapshot.checks_in("failed")) and not snapshot.checks_in("pending")
    )


def _with(snapshot: PullRequestSnapshot, found: FailingChecks | ForgeError) -> PullRequestSnapshot:
    if isinstance(found, ForgeError):
        return replace(snapshot, degraded=(*snapshot.degraded, f"base checks: {found}"))
    cut = ("base checks: there are more than the 100 that were read",) if found.cut else ()
    return replace(snapshot, failing_on_base=found.names, degraded=(*snapshot.degraded, *cut))


def _failing(
    branch: Branch, repository: Any, errors: Sequence[Mapping[str, Any]]
) -> FailingChecks | ForgeError:
    operation = _operation([branch])
    if repository is None:
        return absent(operation, errors)
    ref = mapping(repository).get("ref")
    if ref is None and not errors:
        return ForgeAccessError(f"{branch[0]} has no branch {branch[1]}")
    target = mapping(mapping(ref).get("target"))
    rollup = target.get("statusCheckRollup", ...)
    if rollup is None and not errors:
        return FailingChecks(frozenset())
    contexts = mapping(rollup).get("contexts")
    nodes = mapping(contexts).get("nodes")
    if not isinstance(nodes, list):
        return (
            absent(operation, errors)
            if errors
            else ForgeUnavailableError(f"{operation.what}: not in the answer")
        )
    checks = newest_checks([node for node in nodes if isinstance(node, Mapping)])
    names = frozenset(check.name for check in checks if check.state == "failed")
    return FailingChecks(
        names, cut=mapping(mapping(contexts).get("pageInfo")).get("hasNextPage") is not False
    )


def _operation(branches: Sequence[Branch]) -> Operation:
    what = ", ".join(f"{branch} of {repository}" for repository, branch in branches[:3])
    return Operation(f"read the checks on {what}", "Checks: read, Commit statuses: read, Contents: read")
