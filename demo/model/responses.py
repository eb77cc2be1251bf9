"""The script's answer in the form of OpenAI's Responses API, whole and as server-sent events."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

from demo.model import responses_conversation, structured
from demo.model.codex_tools import Toolbox
from demo.model.play import Answer, said
from demo.model.streaming import INPUT_CHUNK, TEXT_CHUNK, chunks
from demo.model.structured import STRUCTURED_OUTPUT
from demo.model.usage import Usage, measure_items

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from demo.model.script import Script

_CUT = {
    "max_tokens": {"reason": "max_output_tokens"},
    "model_context_window_exceeded": {"reason": "max_output_tokens"},
    "pause_turn": {"reason": "max_output_tokens"},
}
"""Why an answer is not complete, by the script's word; a refusal is complete here."""
_INPUTS = {"function_call": "arguments", "custom_tool_call": "input"}
"""Item type → the field with what a tool is given, which is streamed."""


def answer(script: Script, body: Mapping[str, Any]) -> Answer:
    """Return the answer of ``script`` to the request ``body``.

    :raises demo.model.errors.ApiError: the request lacks what the API or the script demands.
    """
    turn = said(script, responses_conversation.read(body))
    form = structured.responses_form(body)
    toolbox = Toolbox.of(body)
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    formed = [call.input for call in turn.calls if call.tool == STRUCTURED_OUTPUT]
    if form is not None:
        formed = [structured.fitted(values, form) for values in formed]
    written = [json.dumps(values, ensure_ascii=False) for values in formed]
    forced = written if form is not None and form.tool else []
    texts = ([turn.text] if turn.text else []) + ([] if forced else written)
    calls = [call for call in turn.calls if call.tool != STRUCTURED_OUTPUT]
    if turn.stop_reason == "max_tokens":
        texts, calls, forced = [text[: len(text) // 2] for text in texts], [], []
    output = [
        _message(f"msg_{digest[:24]}{index:02d}", text, refused=turn.stop_reason == "refusal")
        # An answer of nothing at all is none; it is only made of an error that never passes.
        for index, text in enumerate(texts or ([] if calls or forced else [""]))
    ]
    output += [toolbox.item(call, f"call_{digest[:20]}{index:02d}") for index, call in enumerate(calls)]
    output += [_forced_call(digest, form.tool, arguments) for arguments in forced if form is not None]
    items = responses_conversation.items(body)
    starts = responses_conversation.answer_starts(body)
    fixed = {name: body[name] for name in ("instructions", "tools", "text") if name in body}
    usage = measure_items([fixed, *items], known=starts[-1] + 1 if starts else 0, answer=output)
    message = {
        "id": f"resp_{digest[:24]}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "incomplete" if turn.stop_reason in _CUT else "completed",
        "error": None,
        "incomplete_details": _CUT.get(turn.stop_reason or ""),
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
    yield f"response.{message['status']}", {"response": message}


def _message_events(item: Mapping[str, Any], at: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    [part] = item["content"]
    field = "refusal" if part["type"] == "refusal" else "text"
    kind = "refusal" if field == "refusal" else "output_text"
    yield "response.content_part.added", {**at, "part": {**part, field: ""}}
    for chunk in chunks(part[field], TEXT_CHUNK):
        yield f"response.{kind}.delta", {**at, "delta": chunk}
    yield f"response.{kind}.done", {**at, field: part[field]}
    yield "response.content_part.done", {**at, "part": part}


def _forced_call(digest: str, tool: str | None, arguments: str) -> dict[str, Any]:
    return {
        "type": "function_call",
        "id": f"fc_{digest[:24]}",
        "call_id": f"call_{digest[:22]}",
        "name": tool,
        "arguments": arguments,
        "status": "completed",
    }


def _message(item_id: str, text: str, *, refused: bool = False) -> dict[str, Any]:
    said = {"type": "output_text", "text": text, "annotations": []}
    return {
        "type": "message",
        "id": item_id,
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "refusal", "refusal": text} if refused else said],
    }
