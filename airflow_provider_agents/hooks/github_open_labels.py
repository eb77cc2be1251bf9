"""The labels of open pull requests, read where they may have changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks.github_batches import check_not_too_much, in_batches
from airflow_provider_agents.hooks.github_errors import Operation, absent
from airflow_provider_agents.hooks.github_fields import mapping, moment, text
from airflow_provider_agents.hooks.github_open_queries import LABELS, LABELS_BATCH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_provider_agents.hooks.github_transport import GitHubTransport

SETTLED = timedelta(seconds=10)
"""Age of a change from which on labels are what they became by it: GitHub tells its time in whole seconds."""
LONGEST = timedelta(minutes=30)
"""Age at which labels are read again although nothing changed: one that is renamed shows nowhere."""


@dataclass(frozen=True, slots=True)
class _Known:
    updated_at: str
    labels: tuple[str, ...]
    read_at: datetime
    settled: bool


class LabelMemory:
    """The labels that earlier listings read, for as long as they can be relied on, and how they were read."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._small: dict[str, datetime] = {}

    def __len__(self) -> int:
        return len(self._known)

    def recall(self, node_id: str, updated_at: str, now: datetime) -> tuple[str, ...] | None:
        """Return the labels of a pull request; ``None`` where they have to be read.

        :param updated_at: GitHub's, as it stands in the listing.
        :param now: by GitHub's clock.
        """
        known = self._known.get(node_id)
        if known is None or known.updated_at != updated_at or not known.settled:
            return None
        return None if now - known.read_at > LONGEST else known.labels

    def keep(self, node_id: str, updated_at: str, labels: tuple[str, ...], now: datetime) -> None:
        """Remember what was read at ``now`` by GitHub's clock."""
        changed = moment(updated_at)
        settled = changed is not None and now - changed >= SETTLED
        self._known[node_id] = _Known(updated_at, labels, now, settled)

    def is_small(self, repository: str) -> bool:
        """Return whether a repository is better read in small pages: queries that GitHub breaks off cost as others."""
        return repository in self._small

    def keep_small(self, repository: str, now: datetime) -> None:
        """Remember that GitHub gave a small page where a whole one was too much."""
        self._small.setdefault(repository, now)

    def forget_old(self, now: datetime) -> None:
        """Drop what is of no use any more: nobody lists it, or it is time to try again."""
        for name in [each for each, since in self._small.items() if now - since > LONGEST]:
            del self._small[name]
        for node_id in [each for each, known in self._known.items() if now - known.read_at > 2 * LONGEST]:
            del self._known[node_id]


async def read_labels(
    transport: GitHubTransport, nodes: Mapping[str, Mapping[str, Any]], memory: LabelMemory | None = None
) -> dict[str, tuple[str, ...] | ForgeError]:
    """Return the labels of each pull request, or why they could not be read.

    Where GitHub could not be asked, the error is a :class:`ForgeUnavailableError`; what is wrong with one entry alone
    is another one.

    :param nodes: entries of the listing, by node id.
    :param memory: what is known already; it is kept up to date.
    :raises ForgeRateLimitedError: a rate limit is used up.
    """
    now = datetime.now(UTC) + transport.clock_ahead
    found: dict[str, tuple[str, ...] | ForgeError] = {}
    if memory is not None:
        memory.forget_old(now)
        for node_id, node in nodes.items():
            known = memory.recall(node_id, text(node.get("updatedAt")), now)
            if known is not None:
                found[node_id] = known
    wanted = [node_id for node_id in nodes if node_id not in found]
    if not wanted:
        return found
    try:
        read = await in_batches(wanted, LABELS_BATCH, lambda batch: _read(transport, batch))
    except ForgeRateLimitedError:
        raise
    except ForgeError as error:
        return found | dict.fromkeys(wanted, error)
    for node_id, labels in read.items():
        if memory is not None and not isinstance(labels, ForgeError):
            memory.keep(node_id, text(nodes[node_id].get("updatedAt")), labels, now)
    return found | read


async def _read(transport: GitHubTransport, batch: Sequence[str]) -> dict[str, tuple[str, ...] | ForgeError]:
    operation = Operation(f"read the labels of {len(batch)} pull requests", "Pull requests: read")
    answer = await transport.query(LABELS, {"ids": list(batch)}, operation)
    check_not_too_much(batch, operation, answer.errors)
    nodes = answer.data.get("nodes")
    if not isinstance(nodes, list) or len(nodes) != len(batch):
        raise ForgeUnavailableError(f"GitHub's answer to {operation.what} is incomplete")
    return {
        node_id: _labels(nodes[i], [error for error in answer.errors if _concerns(error, i)], operation)
        for i, node_id in enumerate(batch)
    }


def _labels(
    node: Any, errors: Sequence[Mapping[str, Any]], operation: Operation
) -> tuple[str, ...] | ForgeError:
    if node is None or errors:
        return ForgeAccessError(str(absent(operation, errors)))
    fields = mapping(node)
    if fields.get("__typename") != "PullRequest":
        return ForgeAccessError(f"GitHub could not {operation.what}: one of them is none")
    # GitHub may say null where there is no label at all.
    labels = mapping(fields.get("labels")).get("nodes", [] if fields.get("labels", ...) is None else None)
    names = [text(mapping(label).get("name")) for label in _list(labels)]
    if not isinstance(labels, list) or not all(names):
        return ForgeAccessError(f"GitHub's answer to {operation.what} is incomplete")
    return tuple(names)


def _list(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else ()


def _concerns(error: Mapping[str, Any], index: int) -> bool:
    path = error.get("path")
    return not isinstance(path, list) or not path or path[:2] == ["nodes", index]
