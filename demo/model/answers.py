"""From a request to the answer that the script has for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demo.model import conversation
from demo.model.errors import invalid_request
from demo.model.usage import Usage, measure

if TYPE_CHECKING:
    from demo.model.conversation import Conversation
    from demo.model.script import Fault, Script

CWD = "{cwd}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send for one request."""

    scene: str | None
    """Name of the scene that matched."""
    turn: int
    message: Mapping[str, Any]
    """The assistant message, as the API gives it without streaming."""
    usage: Usage
    delay_seconds: float = 0.0
    error: Fault | None = None


def answer(script: Script, body: Mapping[str, Any]) -> Answer:
    """Return the answer of ``script`` to the request ``body``.

    :raises demo.model.errors.ApiError: the request lacks what the API or the script demands.
    """
    talk = conversation.read(body)
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    scene = None if talk.step is None else script.find(talk.step, talk.prompt)
    delay, error = 0.0, None
    if scene is None:
        content = [_text(_unmatched(talk))]
    else:
        turns = scene.playable(talk.tools)
        if talk.turn < len(turns):
            turn = turns[talk.turn]
            delay, error = turn.delay_seconds, turn.error
            content = [_text(_placed(turn.text, talk))] if turn.text else []
            content += [
                {
                    "type": "tool_use",
                    "id": f"toolu_{digest[:20]}{index:02d}",
                    "name": call.tool,
                    "input": _placed(call.input, talk),
                }
                for index, call in enumerate(turn.calls)
            ]
        else:
            content = [_text(f"The scene {scene.name!r} has no turn {talk.turn + 1}; it is over.")]
    # An error without a text behind it never gets past its turn, but has usage like any other.
    content = content or [_text("")]
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
    return Answer(None if scene is None else scene.name, talk.turn, message, usage, delay, error)


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _unmatched(talk: Conversation) -> str:
    if talk.step is None:
        return (
            'This stand-in plays a script, and no user message has a line "# Step: …" to find the scene by.'
        )
    return f"This stand-in plays a script, and the script has no scene for the step {talk.step!r}."


def _placed(value: Any, talk: Conversation) -> Any:
    """Return ``value`` with the agent program's working directory in place of ``{cwd}``."""
    if isinstance(value, str):
        if CWD not in value:
            return value
        if talk.working_directory is None:
            raise invalid_request(
                f"the script uses {CWD}, but the request's system prompt states no working directory; "
                "run the agent program with its own system prompt, and add to it instead of replacing it"
            )
        return value.replace(CWD, talk.working_directory)
    if isinstance(value, Mapping):
        return {key: _placed(item, talk) for key, item in value.items()}
    if isinstance(value, list):
        return [_placed(item, talk) for item in value]
    return value
