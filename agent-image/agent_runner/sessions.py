"""Which session of an agent program belongs to which conversation of a run.

A small file in the agent's home, which lies on the run's claim: the next step, or the same one after its pod
was lost, finds the session there. The agent can write it too, so that what it says is only a hint: the program
itself checks an id before it is used.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from agent_runner.console import say
from agent_runner.contract import PROGRAM_PATTERN, SESSION_KEY_PATTERN
from agent_runner.files import read_small, replace
from agent_runner.untrusted_json import read_object

if TYPE_CHECKING:
    from pathlib import Path

FILE = "sessions.json"
_MAX_BYTES = 64 * 1024
_MAX_SESSIONS = 100
_MAX_ID = 200


class Sessions:
    """The sessions that one agent program keeps in one home."""

    def __init__(self, home: Path, program: str) -> None:
        self._file = home / FILE
        self._program = program

    def find(self, key: str | None) -> str | None:
        """Return the program's id of the session kept under ``key``; another program's does not count."""
        kept = self._read().get(key) if key is not None else None
        return kept[1] if kept is not None and kept[0] == self._program else None

    def keep(self, key: str, session_id: str) -> bool:
        """Keep a session under ``key``; say whether it is. A failure is no more than logged: the step can go
        on without.
        """
        kept = self._read()
        if kept.get(key) == (self._program, session_id):
            return True
        kept.pop(key, None)
        kept[key] = (self._program, session_id)
        newest = list(kept.items())[-_MAX_SESSIONS:]
        text = json.dumps({name: {"program": program, "id": known} for name, (program, known) in newest})
        try:
            replace(self._file, text + "\n")
        except OSError as error:
            say(f"session: its id cannot be kept for later steps: {error.strerror or error}")
            return False
        return True

    def _read(self) -> dict[str, tuple[str, str]]:
        entries = read_object(read_small(self._file, _MAX_BYTES)) or {}
        return {key: found for key, entry in entries.items() if (found := _entry(key, entry)) is not None}


def _entry(key: str, entry: object) -> tuple[str, str] | None:
    if not SESSION_KEY_PATTERN.fullmatch(key) or not isinstance(entry, dict):
        return None
    program, session_id = entry.get("program"), entry.get("id")
    if not isinstance(program, str) or not PROGRAM_PATTERN.fullmatch(program):
        return None
    if not isinstance(session_id, str) or not 0 < len(session_id) <= _MAX_ID or not session_id.isprintable():
        return None
    return program, session_id
