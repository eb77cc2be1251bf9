"""The log of a workflow job: bounded, stamped as GitHub stamps it, and read for workflow commands."""

from __future__ import annotations

import re
from collections import deque
from datetime import UTC, datetime

from demo.github.check_state import CheckAnnotation

LOG_BYTES = 1 << 20
"""Bytes of log that are kept: the last ones, where failures are told."""
LINE_BYTES = 16 * 1024
MAX_ANNOTATIONS = 50

_COMMAND = re.compile(r"^::(error|warning|notice)(?: (?P<properties>.*?))?::(?P<message>.*)$")
_LEVELS = {"error": "FAILURE", "warning": "WARNING", "notice": "NOTICE"}


class JobLog:
    """Collects output as it comes."""

    def __init__(self) -> None:
        self.annotations: list[CheckAnnotation] = []
        self._lines: deque[str] = deque()
        self._size = 0
        self._dropped = 0
        self._partial = b""

    def feed(self, data: bytes) -> None:
        """Take output of a step."""
        self._partial += data
        *whole, self._partial = self._partial.split(b"\n")
        for line in whole:
            self.line(line[:LINE_BYTES].decode(errors="replace").rstrip("\r"))
        # A line without end must not grow without bound.
        self._partial = self._partial[:LINE_BYTES]

    def flush(self) -> None:
        """Take the last line, even without its end."""
        if self._partial:
            self.feed(b"\n")

    def line(self, text: str) -> None:
        """Add one line, and the annotation that it may carry."""
        shown = text
        if annotation := parse_command(text):
            if len(self.annotations) < MAX_ANNOTATIONS:
                self.annotations.append(annotation)
            shown = f"##[{text[2:].split(':', 1)[0].split(' ', 1)[0]}]{annotation.message}"
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"
        line = f"{stamp} {shown}"
        self._lines.append(line)
        self._size += len(line) + 1
        while self._size > LOG_BYTES:
            self._size -= len(self._lines.popleft()) + 1
            self._dropped += 1

    def tail(self, count: int) -> str:
        """Return the last ``count`` lines, without their stamps."""
        return "\n".join(line.split(" ", 1)[1] for line in list(self._lines)[-count:])

    def text(self) -> str:
        """Return the whole log."""
        notice = [f"[{self._dropped} earlier lines were dropped]"] if self._dropped else []
        return "\n".join([*notice, *self._lines]) + "\n"


def parse_command(line: str) -> CheckAnnotation | None:
    """Return the annotation in a line such as ``::error file=a.py,line=3::message``, if it is one."""
    match = _COMMAND.match(line.strip())
    if match is None:
        return None
    pairs = (part.split("=", 1) for part in (match["properties"] or "").split(",") if "=" in part)
    values = {key.strip(): _unescape(value) for key, value in pairs}
    return CheckAnnotation(
        path=values.get("file", ".github"),
        line=_number(values.get("line")) or 1,
        end_line=_number(values.get("endLine")),
        level=_LEVELS[match[1]],
        message=_unescape(match["message"]),
        title=values.get("title"),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 10 else None


def _unescape(text: str) -> str:
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, character)
    return text
