"""The full reading of pull requests: several in one query, each of them consistent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
from airflow_provider_agents.exceptions import ForgeError, ForgeRateLimitedError
from airflow_provider_agents.hooks.github_authority import with_authority
from airflow_provider_agents.hooks.github_base import with_base
from airflow_provider_agents.hooks.github_batches import check_not_too_much, in_batches
from airflow_provider_agents.hooks.github_errors import Operation, errors_below
from airflow_provider_agents.hooks.github_names import owner_and_name
from airflow_provider_agents.hooks.github_queries import SNAPSHOT_BATCH, snapshot_document
from airflow_provider_agents.hooks.github_reading import Reading, Ref, reading_operation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_agents.hooks.github_transport import GitHubTransport

MOST_READINGS = 3
"""Readings of one pull request that are begun when its head moves meanwhile."""

_HEAD_MOVED = ("checks", "the head moved while it was read")


async def read_snapshot(transport: GitHubTransport, repository: str, number: int) -> PullRequestSnapshot:
    """Read one pull request, see :func:`read_snapshots`.

    :raises ForgeError: the pull request itself could not be read.
    """
    found = (await read_snapshots(transport, [(repository, number)]))[repository, number]
    if isinstance(found, ForgeError):
        raise found
    return found


async def read_snapshots(
    transport: GitHubTransport, refs: Sequence[Ref]
) -> dict[Ref, PullRequestSnapshot | ForgeError]:
    """Read pull requests with all their checks, latest reviews, unresolved threads and commands.

    Returns each, or why it could not be read. Parts that could not be read are named in ``missing``, ``refused``
    or ``degraded``. If a head moves between two pages, that pull request is read anew, :data:`MOST_READINGS`
    times in all; then its checks count as missing.

    :param refs: of any repositories; :data:`.github_queries.SNAPSHOT_BATCH` are read in one query.
    :raises ForgeError: a rate limit is used up, or nothing could be read.
    """

    async def read(batch: Sequence[Ref]) -> dict[Ref, PullRequestSnapshot | ForgeError]:
        begun = await _begin(transport, batch)
        return {ref: await _finish(transport, ref, reading) for ref, reading in begun.items()}

    found = await in_batches(refs, SNAPSHOT_BATCH, read)
    whole = {ref: value for ref, value in found.items() if isinstance(value, PullRequestSnapshot)}
    compared = await with_base(transport, list(whole.values()))
    for ref, snapshot in zip(whole, compared, strict=True):
        found[ref] = await with_authority(transport, snapshot) if snapshot.state == "OPEN" else snapshot
    return found


async def _begin(transport: GitHubTransport, batch: Sequence[Ref]) -> Mapping[Ref, Reading | ForgeError]:
    """Read the first page of each pull request in one query."""
    variables: dict[str, str | int] = {}
    for i, (repository, number) in enumerate(batch):
        names = owner_and_name(repository)
        variables |= {f"owner{i}": names["owner"], f"name{i}": names["name"], f"number{i}": number}
    operation = reading_operation(batch[0])
    if len(batch) > 1:
        what = ", ".join(f"{repository}#{number}" for repository, number in batch)
        operation = Operation(f"read pull requests {what}", operation.needs)
    begun_at = datetime.now(UTC)
    answer = await transport.query(snapshot_document(len(batch)), variables, operation)
    check_not_too_much(batch, operation, answer.errors)
    read_at = begun_at + transport.clock_ahead
    begun: dict[Ref, Reading | ForgeError] = {}
    for i, ref in enumerate(batch):
        errors = errors_below(answer.errors, f"pull{i}")
        try:
            begun[ref] = Reading(transport, ref, answer.data.get(f"pull{i}"), errors, read_at)
        except ForgeError as error:
            begun[ref] = error
    return begun


async def _finish(
    transport: GitHubTransport, ref: Ref, reading: Reading | ForgeError
) -> PullRequestSnapshot | ForgeError:
    """Read what is left of one pull request, and all of it again where its head moved."""
    try:
        for _ in range(MOST_READINGS - 1):
            if isinstance(reading, ForgeError):
                return reading
            if await reading.complete():
                return reading.snapshot()
            reading = (await _begin(transport, [ref]))[ref]
        if isinstance(reading, ForgeError):
            return reading
        return reading.snapshot() if await reading.complete() else reading.snapshot(_HEAD_MOVED)
    except ForgeRateLimitedError:
        raise
    except ForgeError as error:
        return error
