"""The script's answer in the form of Anthropic's Messages API."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from demo.model import conversation, structured
from demo.model.play import Answer, said
from demo.model.usage import measure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from demo.model.script import Script


def answer(script: Script, body: Mapping[str, Any]) -> Answer:
    """Return the answer of ``script`` to the request ``body``.

    :raises demo.model.errors.ApiError: the request lacks what the API or the script demands.
    """
    turn = said(script, conversation.read(body))
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    form = structured.messages_form(body)
    calls = [(call.tool, call.input) for call in turn.calls]
    text = turn.text
    if form is not None and calls and calls[0][0] == structured.STRUCTURED_OUTPUT:
        values = structured.fitted(calls[0][1], form)
        # A model that is held to a form says nothing beside it.
        calls, text = (
            ([(form.tool, values)], "") if form.tool else ([], json.dumps(values, ensure_ascii=False))
        )
    if turn.stop_reason == "max_tokens":
        calls, text = [], text[: len(text) // 2]
    content: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    content += [
        {"type": "tool_use", "id": f"toolu_{digest[:20]}{index:02d}", "name": name, "input": given}
        for index, (name, given) in enumerate(calls)
    ]
    # An error without a text behind it never gets past its turn, but has usage like any other.
    content = content or [{"type": "text", "text": ""}]
    ended = "tool_use" if content[-1]["type"] == "tool_use" else "end_turn"
    usage = measure(body, content)
    message = {
        "id": f"msg_{digest[:24]}",
        "type": "message",
        "role": "assistant",
        "model": body.get("model"),
        "content": content,
        "stop_reason": turn.stop_reason or ended,
        "stop_sequence": None,
        "usage": usage.as_json(),
    }
    return Answer(turn, message, usage)
