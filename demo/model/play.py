"""What the script has the model say at the point where a conversation is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demo.model.errors import invalid_request
from demo.model.script import ToolCall

if TYPE_CHECKING:
    from demo.model.conversation import Conversation
    from demo.model.script import Fault, Script
    from demo.model.usage import Usage

CWD = "{cwd}"


@dataclass(frozen=True, slots=True)
class Said:
    """One turn of the script, with the working directory in its place. The form of an API comes later."""

    scene: str | None
    """Name of the scene that matched."""
    turn: int
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    delay_seconds: float = 0.0
    error: Fault | None = None
    stop_reason: str | None = None
    drip_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send for one request, in the form of one API."""

    said: Said
    message: Mapping[str, Any]
    """The whole answer, as the API gives it without streaming."""
    usage: Usage


def said(script: Script, talk: Conversation) -> Said:
    """Return what ``script`` says next in ``talk``.

    :raises demo.model.errors.ApiError: the script needs the working directory and the request states none.
    """
    scene = script.find(talk)
    if scene is None:
        return Said(None, talk.turn, text=_unmatched(talk))
    turns = scene.playable(talk.tools)
    if talk.turn >= len(turns):
        return Said(
            scene.name, talk.turn, f"The scene {scene.name!r} has no turn {talk.turn + 1}; it is over."
        )
    turn = turns[talk.turn]
    return Said(
        scene.name,
        talk.turn,
        text=_placed(turn.text, talk),
        calls=tuple(ToolCall(call.tool, _placed(call.input, talk)) for call in turn.calls),
        delay_seconds=turn.delay_seconds,
        error=turn.error,
        stop_reason=turn.stop_reason,
        drip_seconds=turn.drip_seconds,
    )


def _unmatched(talk: Conversation) -> str:
    if talk.step is None:
        return (
            'This stand-in plays a script, and no user message has a line "# Step: …" to find the scene by, nor '
            "the texts that a scene without a step asks for."
        )
    return f"This stand-in plays a script, and the script has no scene for the step {talk.step!r}."


def _placed(value: Any, talk: Conversation) -> Any:
    """Return ``value`` with the agent program's working directory in place of ``{cwd}``."""
    if isinstance(value, str):
        if CWD not in value:
            return value
        if talk.working_directory is None:
            raise invalid_request(
                f"the script uses {CWD}, but the request states no working directory; "
                "run the agent program with its own system prompt, and add to it instead of replacing it"
            )
        return value.replace(CWD, talk.working_directory)
    if isinstance(value, Mapping):
        return {key: _placed(item, talk) for key, item in value.items()}
    if isinstance(value, list):
        return [_placed(item, talk) for item in value]
    return value
