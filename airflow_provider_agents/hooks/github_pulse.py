"""The small reading of many pull requests: one point for a hundred of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.pull_request import Mergeable, PullRequestPulse, PullRequestState
from airflow_provider_agents.exceptions import ForgeAccessError, ForgeError, ForgeUnavailableError
from airflow_provider_agents.hooks.github_batches import check_not_too_much, in_batches
from airflow_provider_agents.hooks.github_errors import Operation, absent
from airflow_provider_agents.hooks.github_fields import integer, mapping, one_of, text
from airflow_provider_agents.hooks.github_queries import PULSE_BATCH, PULSES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_agents.hooks.github_transport import GitHubTransport

_NEEDS = "Pull requests: read, Checks: read, Commit statuses: read, Contents: read"


async def read_pulses(
    transport: GitHubTransport, node_ids: Sequence[str]
) -> dict[str, PullRequestPulse | ForgeError]:
    """Return the pulse of each pull request, or why it could not be read.

    An id that names nothing, or nothing that the credential may see, is a ``ForgeAccessError``.

    :param node_ids: any number of them, of any repositories.
    :raises ForgeError: a rate limit is used up, or nothing could be read.
    """

    async def read(batch: Sequence[str]) -> dict[str, PullRequestPulse | ForgeError]:
        operation = Operation(f"look at {len(batch)} pull requests", _NEEDS)
        answer = await transport.query(PULSES, {"ids": list(batch)}, operation)
        check_not_too_much(batch, operation, answer.errors)
        nodes = answer.data.get("nodes")
        if not isinstance(nodes, list) or len(nodes) != len(batch):
            raise ForgeUnavailableError(f"GitHub's answer to {operation.what} is incomplete")
        return {
            node_id: _pulse(node_id, nodes[i], [e for e in answer.errors if _concerns(e, i)])
            for i, node_id in enumerate(batch)
        }

    return await in_batches(node_ids, PULSE_BATCH, read)


def _concerns(error: Mapping[str, Any], index: int) -> bool:
    path = error.get("path")
    return isinstance(path, list) and path[:2] == ["nodes", index]


def _pulse(node_id: str, node: Any, errors: Sequence[Mapping[str, Any]]) -> PullRequestPulse | ForgeError:
    operation = Operation(f"look at pull request {node_id}", _NEEDS)
    if node is None:
        return absent(operation, errors)
    fields = mapping(node)
    if fields.get("__typename") != "PullRequest":
        kind = text(fields.get("__typename")) or "something unknown"
        return ForgeAccessError(f"GitHub's node {node_id} is no pull request: it is {kind}")
    number, state = integer(fields.get("number")), one_of(PullRequestState, fields.get("state"))
    repository = text(mapping(fields.get("repository")).get("nameWithOwner"))
    head_sha = text(fields.get("headRefOid"))
    if number is None or state is None or not repository or not head_sha:
        return ForgeUnavailableError(f"GitHub's answer about pull request {node_id} is incomplete")
    return PullRequestPulse(
        node_id=node_id,
        repository=repository,
        number=number,
        state=state,
        head_sha=head_sha,
        checks_state=text(mapping(fields.get("statusCheckRollup")).get("state")),
        mergeable=one_of(Mergeable, fields.get("mergeable")) or "UNKNOWN",
        merge_state=text(fields.get("mergeStateStatus")),
        review_decision=text(fields.get("reviewDecision")),
        draft=fields.get("isDraft") is True,
        queued=fields.get("isInMergeQueue") is True,
        updated_at=text(fields.get("updatedAt")),
    )
