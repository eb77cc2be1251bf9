"""Container logs: files in the format of the container runtime interface, and reading them.

A line is ``<time> <stream> <F or P> <text>``; a longer line than 16 KiB is stored in parts (``P``), and
``tailLines`` counts the parts, as on a real node.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from airflow_provider_agents.local import clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

PART = 16 * 1024
"""Longest part of a line, in bytes."""

_BLOCK = 64 * 1024
_MAX_RECORD = PART + 128


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What of a log is asked for.

    :param since: lines not older than this, in nanoseconds since 1970.
    :param tail: only so many stored lines from the end.
    :param limit: at most so many bytes.
    """

    follow: bool = False
    timestamps: bool = False
    since: int | None = None
    tail: int | None = None
    limit: int | None = None


class LogFile:
    """The log of one run of a container: written by the runtime, read by any number of requests.

    Time stamps rise by at least a microsecond from line to line, because readers compare them to that.

    :param path: the file; made when it is opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._last = 0
        self._changed = asyncio.Event()
        self.closed = False

    def open(self) -> None:
        """Make the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab", buffering=0)

    def write(self, stream: str, text: bytes, *, whole: bool) -> None:
        """Append a line, or with ``whole`` false a part of one. ``text`` has no line end."""
        if self._file is None:
            return
        self._last = max(time.time_ns(), self._last + 1_000)
        stamp = clock.format_nanoseconds(self._last)
        self._file.write(f"{stamp} {stream} {'F' if whole else 'P'} ".encode() + text + b"\n")
        self._notify()

    def close(self) -> None:
        """End the log; readers that follow it end too."""
        self.closed = True
        if self._file is not None:
            self._file.close()
            self._file = None
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def read(self, options: LogOptions) -> AsyncIterator[bytes]:
        """Yield the log as the API gives it, piece by piece; with ``follow`` until the container has ended."""
        remaining = options.limit
        with self.path.open("rb") as file:
            if options.tail is not None:
                file.seek(_tail_position(file, options.tail))
            format_record = _Formatter(options)
            rest = b""
            while remaining is None or remaining > 0:
                changed = self._changed
                ended = self.closed
                block = file.read(_BLOCK)
                if not block:
                    if ended or not options.follow:
                        return
                    await changed.wait()
                    continue
                *records, rest = (rest + block).split(b"\n")
                output = b"".join(map(format_record, records))
                if remaining is not None:
                    output = output[:remaining]
                    remaining -= len(output)
                if output:
                    yield output

    def last_lines(self, lines: int, size: int) -> str:
        """Return the text of the last lines, at most ``size`` bytes from the end."""
        with self.path.open("rb") as file:
            file.seek(_tail_position(file, lines))
            records = file.read(lines * _MAX_RECORD).split(b"\n")[:-1]
        text = b"".join(map(_Formatter(LogOptions()), records))
        return text[-size:].decode("utf-8", "replace")


class _Formatter:
    """Turns stored records into what the API sends."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._at_line_start = True

    def __call__(self, record: bytes) -> bytes:
        stamp, _, kind, text = record.split(b" ", 3)
        if self._options.since is not None and clock.nanoseconds(stamp.decode()) < self._options.since:
            return b""
        prefix = stamp + b" " if self._options.timestamps and self._at_line_start else b""
        self._at_line_start = kind == b"F"
        return prefix + text + (b"\n" if kind == b"F" else b"")


def _tail_position(file: BinaryIO, lines: int) -> int:
    """Return where the last ``lines`` stored lines start."""
    position = end = file.seek(0, os.SEEK_END)
    if lines <= 0:
        return end
    # The line end that closes the last line is not a boundary.
    seen = -1
    while position > 0:
        start = max(0, position - _BLOCK)
        file.seek(start)
        block = file.read(position - start)
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            seen += 1
            if seen == lines:
                return start + at + 1
        position = start
    return 0


class LinePump:
    """Cuts the bytes of one stream into lines and parts of lines.

    :param write: takes the text and whether the line is whole.
    """

    def __init__(self, write: Callable[[bytes, bool], None]) -> None:
        self._write = write
        self._buffer = b""

    def feed(self, block: bytes) -> None:
        """Take the next bytes of the stream."""
        self._buffer += block
        while True:
            end = self._buffer.find(b"\n", 0, PART + 1)
            if end >= 0:
                self._write(self._buffer[:end], True)
                self._buffer = self._buffer[end + 1 :]
            elif len(self._buffer) > PART:
                self._write(self._buffer[:PART], False)
                self._buffer = self._buffer[PART:]
            else:
                return

    def end(self) -> None:
        """Take the end of the stream: a last line without an end is stored as a part."""
        if self._buffer:
            self._write(self._buffer, False)
            self._buffer = b""
