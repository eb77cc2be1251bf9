"""A message of the Messages API as the server-sent events of a streamed answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from demo.model.usage import Usage

TEXT_CHUNK = 48
"""Characters of text in one event."""
INPUT_CHUNK = 256
"""Characters of a tool's JSON input in one event."""


def events(message: Mapping[str, Any], usage: Usage) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the data of each event, in order.

    ``message_start`` reports one output token, ``message_delta`` the sum: as the API, which counts on.
    """
    start = {**message, "content": [], "stop_reason": None, "usage": usage.as_json(output=1)}
    yield _event("message_start", message=start)
    for index, block in enumerate(message["content"]):
        text = block["type"] == "text"
        empty = {**block, "text": ""} if text else {**block, "input": {}}
        yield _event("content_block_start", index=index, content_block=empty)
        if index == 0:
            yield _event("ping")
        if text:
            for chunk in chunks(block["text"], TEXT_CHUNK):
                yield _delta(index, type="text_delta", text=chunk)
        else:
            written = json.dumps(block["input"], ensure_ascii=False)
            for chunk in chunks(written, INPUT_CHUNK):
                yield _delta(index, type="input_json_delta", partial_json=chunk)
        yield _event("content_block_stop", index=index)
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    yield _event("message_delta", delta=ended, usage=usage.as_json())
    yield _event("message_stop")


def encode(name: str, data: Mapping[str, Any]) -> bytes:
    """Return one event as it goes over the wire."""
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def _event(name: str, **data: Any) -> tuple[str, dict[str, Any]]:
    return name, {"type": name, **data}


def _delta(index: int, **delta: str) -> tuple[str, dict[str, Any]]:
    return _event("content_block_delta", index=index, delta=delta)


def chunks(text: str, size: int) -> Iterator[str]:
    """Yield ``text`` in pieces of at most ``size`` characters."""
    for start in range(0, len(text), size):
        yield text[start : start + size]
