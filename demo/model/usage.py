"""Token counts that behave like real ones: from sizes, with a prompt cache that grows by each turn."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request. ``input`` excludes both cache numbers, as in Anthropic's answers."""

    input: int
    cache_creation: int
    cache_read: int
    output: int

    @property
    def prompt(self) -> int:
        """All tokens of the request."""
        return self.input + self.cache_creation + self.cache_read

    def as_json(self, output: int | None = None) -> dict[str, Any]:
        """Return the ``usage`` object of an answer, with ``output`` tokens so far (default: all)."""
        return {
            "input_tokens": self.input,
            "cache_creation_input_tokens": self.cache_creation,
            "cache_read_input_tokens": self.cache_read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.cache_creation,
                "ephemeral_1h_input_tokens": 0,
            },
            "output_tokens": self.output if output is None else output,
            "service_tier": "standard",
        }


def measure(body: Mapping[str, Any], answer: list[dict[str, Any]]) -> Usage:
    """Count the tokens of the request ``body`` and of the ``answer``'s content blocks.

    What stands before the last ``cache_control`` mark is cached. Of that, all that the request before this
    one held already, which is all before the last assistant message, is read; the rest is created.
    """
    known = cached = total = 0
    for size, marked, is_answer in _parts(body):
        if is_answer:
            known = total
        total += size
        if marked:
            cached = total
    # Nothing can be read from the cache beyond the mark, nor where the conversation has just begun.
    known = min(known, cached)
    return Usage(
        input=max(_tokens(total) - _tokens(cached), 1),
        cache_creation=_tokens(cached) - _tokens(known),
        cache_read=_tokens(known),
        output=max(_tokens(sum(_size(block) for block in answer)), 1),
    )


def measure_items(items: list[Any], *, known: int, answer: list[Any]) -> Usage:
    """Count the tokens of a request whose prompt is cached without being asked for: a Responses request.

    :param items: the whole prompt.
    :param known: how many of its first items the request before this one held already.
    :param answer: what is answered.
    """
    read = _tokens(sum(_size(item) for item in items[:known]))
    total = _tokens(sum(_size(item) for item in items))
    return Usage(
        input=max(total - read, 1),
        cache_creation=0,
        cache_read=read,
        output=max(_tokens(sum(_size(item) for item in answer)), 1),
    )


def _parts(body: Mapping[str, Any]) -> Iterator[tuple[int, bool, bool]]:
    """Yield bytes, whether a cache mark is there, whether an assistant message starts; in prompt order."""
    for tool in body.get("tools") or []:
        yield _size(tool), _marked(tool), False
    yield from ((_size(block), _marked(block), False) for block in _blocks(body.get("system")))
    for message in body.get("messages") or []:
        starts = message.get("role") == "assistant"
        for block in _blocks(message.get("content")):
            yield _size(block), _marked(block), starts
            starts = False


def _blocks(content: object) -> list[Any]:
    if isinstance(content, list):
        return content
    return [content] if content else []


def _marked(block: object) -> bool:
    return isinstance(block, Mapping) and bool(block.get("cache_control"))


def _size(block: object) -> int:
    if isinstance(block, Mapping):
        block = {key: value for key, value in block.items() if key != "cache_control"}
    return len(json.dumps(block, ensure_ascii=False, separators=(",", ":")).encode())


def _tokens(size: int) -> int:
    return math.ceil(size / BYTES_PER_TOKEN)
