"""The parts of one pull request in a GraphQL answer, and why those that are not there are not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_provider_agents.hooks.github_errors import lacks_right
from airflow_provider_agents.hooks.github_fields import mapping, text

DISPENSABLE = frozenset(
    {
        "auto-merge",
        "base checks",
        "closing issues",
        "earlier comments",
        "merge methods",
        "merge queue",
        "rules",
    }
)
"""Parts without which a decision still is a safe one."""

Path = tuple[str | int, ...]


class Parts:
    """Gives the parts of one pull request and notes which of them could not be read.

    :param repository: what the answer says about the repository, the pull request within it.
    :param errors: GraphQL's errors, their paths beginning below the repository.
    """

    def __init__(self, repository: Mapping[str, Any], errors: Sequence[Mapping[str, Any]]) -> None:
        self.repository = repository
        self.pull = mapping(repository.get("pullRequest"))
        self.degraded: list[str] = []
        self.refused: list[str] = []
        self._missing: list[tuple[str, str]] = []
        self._refused_parts: set[str] = set()
        self._errors = errors

    @property
    def missing(self) -> tuple[str, ...]:
        """What may be there the next time: without the parts that are refused."""
        return tuple(entry for part, entry in self._missing if part not in self._refused_parts)

    def error(self, *path: str | int) -> Mapping[str, Any] | None:
        """Return GitHub's error about a field of the pull request, or about a field within it."""
        return self._error_at(("pullRequest", *path))

    def miss(self, part: str, *path: str | int, reason: str = "not in the answer") -> None:
        """Note that a part could not be read, once for each reason.

        :param path: where below the pull request its value is absent.
        :param reason: why, where GitHub says nothing.
        """
        self._note(part, self.error(*path), reason)

    def doubt(self, part: str, reason: str) -> None:
        """Note a part as missing for a reason of our own, whatever GitHub says."""
        self._note(part, None, reason)

    def miss_of_repository(self, part: str, *path: str | int) -> None:
        """As :meth:`miss`, for a field of the repository."""
        self._note(part, self._error_at(path), "not in the answer")

    def nodes(self, part: str, *path: str) -> Iterator[Mapping[str, Any]]:
        """Yield the entries of a connection; one that is not there is noted."""
        value: Any = self.pull
        whole = (*path, "nodes")
        for depth, name in enumerate(whole, 1):
            value = mapping(value).get(name)
            if value is None:
                self.miss(part, *whole[:depth])
                return
        if not isinstance(value, list):
            self.miss(part, *whole)
            return
        for index, node in enumerate(value):
            if isinstance(node, Mapping):
                yield node
            else:
                self.miss(part, *path, "nodes", index, reason="an entry could not be read")

    def _error_at(self, path: Path) -> Mapping[str, Any] | None:
        for error in self._errors:
            where = error.get("path")
            if isinstance(where, list) and tuple(where[: len(path)]) == path:
                return error
        return None

    def _note(self, part: str, error: Mapping[str, Any] | None, reason: str) -> None:
        said = (text(error.get("message")) or text(error.get("type")) or "unnamed error") if error else reason
        entry = f"{part}: {said[:300]}"
        if part in DISPENSABLE:
            if entry not in self.degraded:
                self.degraded.append(entry)
        elif error and lacks_right(error):
            self._refused_parts.add(part)
            if entry not in self.refused:
                self.refused.append(entry)
        elif (part, entry) not in self._missing:
            self._missing.append((part, entry))
