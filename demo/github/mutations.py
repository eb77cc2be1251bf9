"""The ordered log of everything that changed: the witness of end-to-end tests."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class MutationLog:
    """Append-only list of what changed, in memory and as one JSON line each in a file.

    :param path: file to write, truncated at the start.
    """

    def __init__(self, path: Path) -> None:
        self.entries: list[dict[str, Any]] = []
        self._file = path.open("w", encoding="utf-8")

    def record(
        self, kind: str, repository: str, *, actor: str, number: int | None = None, **details: Any
    ) -> dict[str, Any]:
        """Append one change.

        :param kind: noun and past participle, e.g. ``pull_request.merged``.
        :param repository: ``owner/name``.
        :param actor: login of who did it.
        :param number: issue or pull request, where there is one.
        :param details: JSON-ready facts, e.g. ``sha``.
        """
        entry = {
            "seq": len(self.entries) + 1,
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "kind": kind,
            "repository": repository,
            "number": number,
            "actor": actor,
            "details": details,
        }
        self.entries.append(entry)
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._file.flush()
        return entry

    def close(self) -> None:
        self._file.close()
