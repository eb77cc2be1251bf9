"""Codex's record of a session, its rollout file: what the program's events do not tell.

The file grows while the program runs. It can be written to by the agent, so all that is read from it is a
claim, as the rest of the transcript is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from agent_runner.contract import Tokens
from agent_runner.process import LineSplitter
from agent_runner.untrusted_json import read_object

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 512 * 1024 * 1024
"""Largest record that a session goes on with."""
_MAX_LINE = 1024 * 1024
_CHUNK = 256 * 1024
_SESSION_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_KINDS = ("session_meta", "turn_context", "token_usage_record", "event_msg")
_KIND = re.compile(rb'"type":"(' + "|".join(_KINDS).encode() + rb')"')


def rollout_file(sessions: Path, session_id: str) -> Path | None:
    """Return the record of a session, or ``None`` where there is none to go on with.

    :param sessions: the folder of all records.
    :param session_id: anything.
    """
    if not _SESSION_ID.fullmatch(session_id):
        return None
    try:
        for file in sessions.glob(f"**/rollout-*-{session_id}.jsonl"):
            if file.is_file() and not file.is_symlink() and 0 < file.stat().st_size <= MAX_BYTES:
                return file
    except OSError:
        return None
    return None


class Rollout:
    """Follows the record of one session, from its beginning.

    :param sessions: the folder of all records.
    """

    def __init__(self, sessions: Path) -> None:
        self._sessions = sessions
        self._file: Path | None = None
        self._offset = 0
        self._lines = LineSplitter(_MAX_LINE)
        self.responses = 0
        """Answers of the model so far."""
        self.total = Tokens()
        """Tokens of the session so far."""
        self.model: str | None = None
        self.version: str | None = None

    def follow(self, session_id: str | None) -> None:
        """Read what is new; nothing where the record is not there (yet)."""
        if self._file is None and session_id is not None:
            self._file = rollout_file(self._sessions, session_id)
        if self._file is None:
            return
        try:
            with self._file.open("rb") as file:
                file.seek(self._offset)
                while self._offset < MAX_BYTES and (chunk := file.read(_CHUNK)):
                    self._offset += len(chunk)
                    for line in self._lines.feed(chunk):
                        self._take(line)
        except OSError:
            return

    def _take(self, line: bytes) -> None:
        found = _KIND.search(line, 0, 200)
        record = read_object(line) if found else None
        payload = record.get("payload") if record else None
        if not found or not isinstance(payload, dict):
            return
        match found[1]:
            case b"session_meta":
                self.version = _text(payload.get("cli_version")) or self.version
            case b"turn_context":
                self.model = _text(payload.get("model")) or self.model
            case b"token_usage_record":
                self.responses += 1
            case b"event_msg" if payload.get("type") == "token_count":
                info = payload.get("info")
                usage = info.get("total_token_usage") if isinstance(info, dict) else None
                if isinstance(usage, dict):
                    self.total = tokens_of(usage)


def tokens_of(usage: dict[str, Any]) -> Tokens:
    """Return Codex's sums of a session, whose input includes what came from and went into the cache."""
    cached, written = count(usage.get("cached_input_tokens")), count(usage.get("cache_write_input_tokens"))
    return Tokens(
        input=max(0, count(usage.get("input_tokens")) - cached - written),
        output=count(usage.get("output_tokens")),
        cache_read=cached,
        cache_write=written,
    )


def difference(now: Tokens, before: Tokens) -> Tokens:
    """Return what came on top of ``before``, never less than nothing."""
    return Tokens(
        input=max(0, now.input - before.input),
        output=max(0, now.output - before.output),
        cache_read=max(0, now.cache_read - before.cache_read),
        cache_write=max(0, now.cache_write - before.cache_write),
    )


def count(value: Any) -> int:
    """Return ``value`` where it is a sane count, else zero."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0
    return int(value) if 0 <= value < 1e15 else 0


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
