"""The script's answer in the form of Anthropic's Messages API."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from demo.model import conversation
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
    content: list[dict[str, Any]] = [{"type": "text", "text": turn.text}] if turn.text else []
    content += [
        {"type": "tool_use", "id": f"toolu_{digest[:20]}{index:02d}", "name": call.tool, "input": call.input}
        for index, call in enumerate(turn.calls)
    ]
    # An error without a text behind it never gets past its turn, but has usage like any other.
    content = content or [{"type": "text", "text": ""}]
    usage = measure(body, content)
    message = {
        "id": f"msg_{digest[:24]}",
        "type": "message",
        "role": "assistant",
        "model": body.get("model"),
        "content": content,
        "stop_reason": "tool_use" if content[-1]["type"] == "tool_use" else "end_turn",
        "stop_sequence": None,
        "usage": usage.as_json(),
    }
    return Answer(turn, message, usage)
