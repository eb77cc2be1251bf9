"""Reads the use of tokens out of the model's answers, while these are passed on unchanged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent_runner.contract import Tokens

MAX_LINE_BYTES = 1 << 20
"""Longest line of an event stream that is parsed; usage events are far below."""

MAX_JSON_BYTES = 8 << 20
"""Longest plain answer that is parsed."""

_BYTES_PER_TOKEN = 3
"""For the estimate of an unfinished answer: English and code have 3 to 4 bytes a token."""


@dataclass(slots=True)
class Usage:
    """What one call used. Counts that the answer has not told are zero."""

    model: str | None = None
    input: int = 0
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

    def update(self, usage: object) -> None:
        """Take the counts that ``usage`` has; they replace earlier ones, because they are running totals."""
        if not isinstance(usage, Mapping):
            return
        self.input = _count(usage, "input_tokens", self.input)
        self.output = _count(usage, "output_tokens", self.output)
        self.cache_read = _count(usage, "cache_read_input_tokens", self.cache_read)
        self.cache_write = _count(usage, "cache_creation_input_tokens", self.cache_write)
        if isinstance(parts := usage.get("cache_creation"), Mapping):
            self.cache_write_1h = _count(parts, "ephemeral_1h_input_tokens", self.cache_write_1h)
        self.cache_write_1h = min(self.cache_write_1h, self.cache_write)
        if isinstance(tools := usage.get("server_tool_use"), Mapping):
            self.web_searches = _count(tools, "web_search_requests", self.web_searches)


class StreamMeter:
    """Reads a ``text/event-stream`` of the Messages API, however it is cut into chunks.

    Holds one line at most; a line beyond :data:`MAX_LINE_BYTES` is skipped.
    """

    def __init__(self) -> None:
        self.usage = Usage()
        self._line = bytearray()
        self._skipping = False
        self._final = False
        self._generated = 0

    def feed(self, chunk: bytes) -> None:
        """Add a chunk of the body."""
        *lines, last = chunk.split(b"\n")
        for line in lines:
            self._extend(line)
            self._take()
        self._extend(last)

    def finish(self) -> bool:
        """Say that the body has ended; return whether its usage had to be estimated.

        Without its last usage event the answer still says one output token. Then the output is
        estimated from the text received.
        """
        if self._line:
            self._take()
        if self._final or self.usage.model is None:
            return False
        self.usage.output = max(self.usage.output, -(-self._generated // _BYTES_PER_TOKEN))
        return True

    def _extend(self, part: bytes) -> None:
        if self._skipping:
            return
        if len(self._line) + len(part) > MAX_LINE_BYTES:
            self._generated += len(self._line)
            self._line.clear()
            self._skipping = True
        else:
            self._line += part

    def _take(self) -> None:
        line, skipped = bytes(self._line), self._skipping
        self._line.clear()
        self._skipping = False
        if skipped or not line.startswith(b"data:"):
            return
        event = _object(line[5:])
        match event.get("type"):
            case "message_start":
                message = event.get("message")
                if isinstance(message, Mapping):
                    self.usage.model = _model(message)
                    self.usage.update(message.get("usage"))
            case "message_delta":
                self.usage.update(event.get("usage"))
                self._final = True
            case "content_block_delta" if isinstance(delta := event.get("delta"), Mapping):
                self._generated += sum(
                    len(text.encode("utf-8", "replace")) for text in delta.values() if isinstance(text, str)
                ) - len(str(delta.get("type", "")))


class JsonMeter:
    """Reads a plain JSON answer of the Messages API. Holds :data:`MAX_JSON_BYTES` at most."""

    def __init__(self) -> None:
        self.usage = Usage()
        self._body = bytearray()
        self._too_long = False

    def feed(self, chunk: bytes) -> None:
        """Add a chunk of the body."""
        if self._too_long or len(self._body) + len(chunk) > MAX_JSON_BYTES:
            self._too_long = True
            self._body.clear()
        else:
            self._body += chunk

    def finish(self) -> bool:
        """Say that the body has ended; return whether its usage had to be estimated: never."""
        answer = _object(bytes(self._body))
        if answer.get("type") == "message":
            self.usage.model = _model(answer)
            self.usage.update(answer.get("usage"))
        return False


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _model(message: Mapping[str, Any]) -> str:
    model = message.get("model")
    return model if isinstance(model, str) and model else "unknown"


def _count(usage: Mapping[str, Any], key: str, otherwise: int) -> int:
    value = usage.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else otherwise
