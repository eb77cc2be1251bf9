"""What a request of the Messages API tells about its conversation.

Everything is read from the request itself, so the stand-in keeps no state between requests: it can be
restarted, and a request can be sent again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from demo.model import structured
from demo.model.errors import invalid_request

STEP_HEADER = re.compile(r"^# Step: (.+?)\s*$", re.MULTILINE)
WORKING_DIRECTORY = re.compile(
    r"^[ \t]*(?:-[ \t]*)?(?:Primary )?[Ww]orking directory: (.+?)\s*$", re.MULTILINE
)
REMINDER = "<system-reminder>"
"""Starts the text blocks that the agent program puts beside the user's own words."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One request, as far as the script is concerned."""

    step: str | None
    """The step header's text after ``# Step: ``; ``None`` if no user message has such a line."""
    prompt: str
    """The user's own words in the message with the step header, or without one in the first message."""
    words: str
    """All of the user's own words so far: a session that goes on does not repeat them."""
    turn: int
    """How many answers the conversation holds since that message."""
    tools: tuple[str, ...]
    """Names of the tools that the request offers, as Claude Code calls them."""
    working_directory: str | None
    fields: tuple[str, ...] = ()
    """Names of the fields of the answer, where the request sets its form."""


def read(body: Mapping[str, Any]) -> Conversation:
    """Read the body of a Messages request.

    The latest user message with a step header counts: in a new session that is the first one, in a resumed
    session the one that resumed it.

    :raises demo.model.errors.ApiError: the request lacks what the API demands.
    """
    messages = _messages(body)
    step, prompt, turn = None, "", 0
    words = []
    for message in messages:
        if message["role"] == "assistant":
            turn += 1
        elif message["role"] == "user":
            text = "\n\n".join(t for t in _texts(message["content"]) if not t.lstrip().startswith(REMINDER))
            words.append(text)
            if header := STEP_HEADER.search(text):
                step, prompt, turn = header[1], text, 0
            elif not prompt:
                prompt, turn = text, 0
    tools = body.get("tools") or []
    form = structured.messages_form(body)
    return Conversation(
        step=step,
        prompt=prompt,
        words="\n\n".join(words),
        turn=turn,
        tools=(
            *(str(tool["name"]) for tool in tools if isinstance(tool, Mapping) and "name" in tool),
            *([structured.STRUCTURED_OUTPUT] if form else ()),
        ),
        working_directory=_working_directory(body, messages),
        fields=form.fields if form else (),
    )


def _messages(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise invalid_request("messages: at least one message is required")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise invalid_request(f"messages.{index}: Input should be an object")
        if message.get("role") not in ("user", "assistant", "system"):
            raise invalid_request(f"messages.{index}.role: Input should be 'user', 'assistant' or 'system'")
        if not isinstance(message.get("content"), str | list):
            raise invalid_request(f"messages.{index}.content: Input should be a string or a list")
    return messages


def _texts(content: object) -> Iterator[str]:
    """Yield the text blocks of ``content``; what tools returned is none."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for block in content:
            if isinstance(block, Mapping) and block.get("type") == "text":
                yield str(block.get("text", ""))


def _working_directory(body: Mapping[str, Any], messages: list[Mapping[str, Any]]) -> str | None:
    """Return the directory named last in what the agent program, not the user, wrote."""
    texts = list(_texts(body.get("system")))
    for message in messages:
        if message["role"] == "system":
            texts += _texts(message["content"])
        elif message["role"] == "user":
            texts += (t for t in _texts(message["content"]) if t.lstrip().startswith(REMINDER))
    found = [match[1] for text in texts for match in WORKING_DIRECTORY.finditer(text)]
    return found[-1] if found else None
