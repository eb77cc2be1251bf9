"""The one answer that is waited for, out of what an MCP server sends: plain JSON, or one event of a stream."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import aiohttp

    from agent_runner.gateway.mcp_policy import Message

MAX_BYTES = 8 << 20
"""Most of a server's list of tools, and what comes before it."""

JSON_TYPE = "application/json"
STREAM_TYPE = "text/event-stream"

_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")
"""A line end; one ``\\r`` at the end of what came so far may be the first half of one."""


class NoAnswerError(Exception):
    """There is no answer to the message; the text says why."""


class EventReader:
    """Cuts a stream of server-sent events into the data of its events, however it comes in pieces."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take in a chunk; yield the data of each event that it ends."""
        held_back = self._rest.endswith(b"\r")
        self._rest += chunk
        if not held_back and b"\n" not in chunk and b"\r" not in chunk:
            return  # a long line is not looked through again with each of its pieces
        *lines, rest = _LINE_END.split(bytes(self._rest))
        self._rest = bytearray(rest)
        for line in lines:
            if not line:
                if self._data:
                    yield b"\n".join(self._data)
                self._data = []
            elif line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))


async def answer_to(message: Message, answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """Return the server's answer to a message.

    Other messages in the stream are dropped; so this is for messages that no server needs to say more about.

    :raises NoAnswerError: there is none, or it is too large.
    :raises aiohttp.ClientError: the answer breaks off.
    """
    streamed = answer.content_type == STREAM_TYPE
    reader, size, whole = EventReader(), 0, bytearray()
    async for chunk in answer.content.iter_any():
        size += len(chunk)
        if size > MAX_BYTES:
            raise NoAnswerError(f"its answer has more than {MAX_BYTES:,} bytes")
        if not streamed:
            whole += chunk
            continue
        for data in reader.feed(chunk):
            if (found := _answer(data, message)) is not None:
                return found
    if not streamed and (found := _answer(bytes(whole), message)) is not None:
        return found
    raise NoAnswerError("it sent no answer to the request")


def _answer(data: bytes, message: Message) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or "method" in value or value.get("id") != message.id:
        return None
    return value
