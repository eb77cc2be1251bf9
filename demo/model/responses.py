"""The script's answer in the form of OpenAI's Responses API, whole and as server-sent events."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

from demo.model import responses_conversation
from demo.model.codex_tools import STRUCTURED_OUTPUT, Toolbox
from demo.model.play import Answer, said
from demo.model.streaming import INPUT_CHUNK, TEXT_CHUNK, chunks
from demo.model.usage import Usage, measure_items

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from demo.model.script import Script

_INPUTS = {"function_call": "arguments", "custom_tool_call": "input"}
"""Item type → the field with what a tool is given, which is streamed."""


def answer(script: Script, body: Mapping[str, Any]) -> Answer:
    """Return the answer of ``script`` to the request ``body``.

    :raises demo.model.errors.ApiError: the request lacks what the API or the script demands.
    """
    turn = said(script, responses_conversation.read(body))
    toolbox = Toolbox.of(body)
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    texts = [turn.text] if turn.text else []
    texts += [
        json.dumps(call.input, ensure_ascii=False) for call in turn.calls if call.tool == STRUCTURED_OUTPUT
    ]
    calls = [call for call in turn.calls if call.tool != STRUCTURED_OUTPUT]
    output = [
        _message(f"msg_{digest[:24]}{index:02d}", text)
        # An answer of nothing at all is none; it is only made of an error that never passes.
        for index, text in enumerate(texts or ([] if calls else [""]))
    ]
    output += [toolbox.item(call, f"call_{digest[:20]}{index:02d}") for index, call in enumerate(calls)]
    items = responses_conversation.items(body)
    starts = responses_conversation.answer_starts(body)
    fixed = {name: body[name] for name in ("instructions", "tools", "text") if name in body}
    usage = measure_items([fixed, *items], known=starts[-1] + 1 if starts else 0, answer=output)
    message = {
        "id": f"resp_{digest[:24]}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": body.get("model"),
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage_json(usage),
    }
    return Answer(turn, message, usage)


def usage_json(usage: Usage) -> dict[str, Any]:
    """Return the ``usage`` object of an answer. Here the input includes what came from the cache."""
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cache_read},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt + usage.output,
    }


def events(message: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the data of each event, in order."""
    for number, (name, data) in enumerate(_events(message)):
        yield name, {"type": name, "sequence_number": number, **data}


def _events(message: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    begun = {**message, "status": "in_progress", "output": [], "usage": None}
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    for index, item in enumerate(message["output"]):
        at = {"output_index": index}
        if item["type"] == "message":
            yield (
                "response.output_item.added",
                {**at, "item": {**item, "status": "in_progress", "content": []}},
            )
            yield from _message_events(item, {"item_id": item["id"], **at, "content_index": 0})
        else:
            field = _INPUTS[item["type"]]
            kind = "function_call_arguments" if field == "arguments" else "custom_tool_call_input"
            yield "response.output_item.added", {**at, "item": {**item, "status": "in_progress", field: ""}}
            for chunk in chunks(item[field], INPUT_CHUNK):
                yield f"response.{kind}.delta", {"item_id": item["id"], **at, "delta": chunk}
            yield f"response.{kind}.done", {"item_id": item["id"], **at, field: item[field]}
        yield "response.output_item.done", {**at, "item": item}
    yield "response.completed", {"response": message}


def _message_events(item: Mapping[str, Any], at: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    [part] = item["content"]
    yield "response.content_part.added", {**at, "part": {**part, "text": ""}}
    for chunk in chunks(part["text"], TEXT_CHUNK):
        yield "response.output_text.delta", {**at, "delta": chunk}
    yield "response.output_text.done", {**at, "text": part["text"]}
    yield "response.content_part.done", {**at, "part": part}


def _message(item_id: str, text: str) -> dict[str, Any]:
    return {
        "type": "message",
        "id": item_id,
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }
