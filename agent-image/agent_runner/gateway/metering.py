"""Reads the use of tokens out of a model's answer, while that is passed on unchanged.

What is the same for every API; what differs is in the module of the API.
"""

from __future__ import annotations

import enum
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from agent_runner.contract import Tokens

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping

MAX_LINE_BYTES = 8 << 20
"""Longest line of an event stream that is parsed. OpenAI's last event repeats the whole answer."""

MAX_JSON_BYTES = 8 << 20
"""Longest plain answer that is parsed."""

MAX_COUNT = 1_000_000_000
"""Largest count of tokens that is believed."""

BYTES_PER_TOKEN = 3
"""For the estimate of an unfinished answer: English and code have 3 to 4 bytes a token."""


@dataclass(slots=True)
class Usage:
    """What one call used. Counts that the answer has not told are zero."""

    model: str | None = None
    input: int = 0
    """Without both cache numbers."""
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    """Part of ``cache_write`` that is kept for an hour."""
    web_searches: int = 0

    @property
    def tokens(self) -> Tokens:
        return Tokens(
            input=self.input, output=self.output, cache_read=self.cache_read, cache_write=self.cache_write
        )

    @property
    def prompt(self) -> int:
        """All tokens of the prompt."""
        return self.input + self.cache_read + self.cache_write


class Reading(enum.Enum):
    """How much of its use an answer told."""

    WHOLE = enum.auto()
    """All of it."""
    PROMPT = enum.auto()
    """The prompt; it broke off, and the output is estimated from the text received."""
    NOTHING = enum.auto()
    """Nothing; ``Usage.output`` is estimated from the text received."""
    FAILED = enum.auto()
    """The API said that the call failed before it gave anything, which costs nothing."""


class Meter(ABC):
    """Reads one answer, however its body is cut into chunks."""

    def __init__(self) -> None:
        self.usage = Usage()

    @abstractmethod
    def feed(self, chunk: bytes) -> None:
        """Add a chunk of the body."""

    @abstractmethod
    def finish(self) -> Reading:
        """Say that the body has ended, or broken off; afterwards :attr:`usage` is final."""


STRING = rb'"(?P<text>[^"\\]*+(?:\\.[^"\\]*+)*+)"'
"""A JSON string, for :attr:`StreamMeter.DELTA`; matched in one pass, however long it is."""


class StreamMeter(Meter):
    """Reads a ``text/event-stream``.

    Holds one line at most; a line beyond :data:`MAX_LINE_BYTES` is skipped.
    """

    DELTA: ClassVar[re.Pattern[bytes]]
    """Fits the line of an event that brings a piece of the answer in its group ``text``, as the API writes it: the
    type comes first. Nearly all events are of this kind, and they are not parsed; the text counts with its escapes.
    What does not fit is parsed."""

    def __init__(self) -> None:
        super().__init__()
        self._line = bytearray()
        self._skipping = False
        self._generated = 0
        """Bytes of text that the model has generated so far."""

    def feed(self, chunk: bytes) -> None:
        *lines, last = chunk.split(b"\n")
        if lines and (self._line or self._skipping):
            self._extend(lines[0])
            self._end_line()
            del lines[0]
        for line in lines:
            if line.startswith(b"data:"):
                self._take(line)
        self._extend(last)

    def finish(self) -> Reading:
        if self._line:
            self._end_line()
        reading = self._reading()
        if reading in (Reading.PROMPT, Reading.NOTHING):
            self.usage.output = max(self.usage.output, -(-self._generated // BYTES_PER_TOKEN))
        return reading

    def _extend(self, part: bytes) -> None:
        if self._skipping:
            return
        if len(self._line) + len(part) > MAX_LINE_BYTES:
            self._generated += len(self._line)
            self._line.clear()
            self._skipping = True
        else:
            self._line += part

    def _end_line(self) -> None:
        line, skipped = bytes(self._line), self._skipping
        self._line.clear()
        self._skipping = False
        if not skipped and line.startswith(b"data:"):
            self._take(line)

    def _take(self, line: bytes) -> None:
        if (delta := self.DELTA.match(line)) is not None:
            self._generated += delta.end("text") - delta.start("text")
        elif len(line) <= MAX_LINE_BYTES:
            self._event(json_object(line[5:]))

    @abstractmethod
    def _event(self, event: Mapping[str, Any]) -> None:
        """Take one event; ``{}`` where it is no JSON object."""

    @abstractmethod
    def _reading(self) -> Reading:
        """Say how much the events told."""


class JsonMeter(Meter):
    """Reads a plain JSON answer. Holds :data:`MAX_JSON_BYTES` at most."""

    def __init__(self) -> None:
        super().__init__()
        self._body = bytearray()
        self._too_long = False

    def feed(self, chunk: bytes) -> None:
        if self._too_long or len(self._body) + len(chunk) > MAX_JSON_BYTES:
            self._too_long = True
            self._body.clear()
        else:
            self._body += chunk

    def finish(self) -> Reading:
        return self._answer(json_object(bytes(self._body)))

    @abstractmethod
    def _answer(self, answer: Mapping[str, Any]) -> Reading:
        """Take the answer, ``{}`` where it is no JSON object, and say how much it told."""


def json_object(text: bytes) -> dict[str, Any]:
    """Return the JSON object in ``text``, or ``{}`` where there is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def model_of(message: Mapping[str, Any]) -> str | None:
    """Return the name of the model that an answer gives, if it gives one."""
    model = message.get("model")
    return model if isinstance(model, str) and model else None


def count(usage: Mapping[str, Any], key: str, otherwise: int) -> int:
    """Return the count under ``key``, at most :data:`MAX_COUNT`, or ``otherwise`` where there is none."""
    value = usage.get(key)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return min(value, MAX_COUNT)
    return otherwise
