"""The ordered log of everything that changed: the witness of end-to-end tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from demo.github import clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Entry = dict[str, Any]


class MutationLog:
    """Append-only list of what changed, in memory and, where there is a path, as one JSON line each in a file.

    :param path: file to write, truncated at the start; ``None``: none.
    """

    def __init__(self, path: Path | None) -> None:
        self.entries: list[Entry] = []
        self._listeners: list[Callable[[Entry], None]] = []
        self._file = path.open("w", encoding="utf-8") if path else None

    def restore(self, entries: list[Entry]) -> None:
        """Begin with what an earlier log had; nobody is told."""
        for entry in entries:
            self._append(entry)

    def listen(self, listener: Callable[[Entry], None]) -> None:
        """Call ``listener`` with every entry from now on, as soon as it is made."""
        self._listeners.append(listener)

    def record(
        self, kind: str, repository: str, *, actor: str, number: int | None = None, **details: Any
    ) -> Entry:
        """Append one change.

        :param kind: noun and past participle, e.g. ``pull_request.merged``.
        :param repository: ``owner/name``.
        :param actor: login of who did it.
        :param number: issue or pull request, where there is one.
        :param details: JSON-ready facts, e.g. ``sha``.
        """
        entry = {
            "seq": len(self.entries) + 1,
            "at": clock.active().now().isoformat(timespec="milliseconds"),
            "kind": kind,
            "repository": repository,
            "number": number,
            "actor": actor,
            "details": details,
        }
        self._append(entry)
        for listener in self._listeners:
            listener(entry)
        return entry

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _append(self, entry: Entry) -> None:
        self.entries.append(entry)
        if self._file is not None:
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self._file.flush()
