"""What a request of the Responses API tells about its conversation.

As with the other API everything is read from the request, so the stand-in keeps no state between requests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from demo.model import structured
from demo.model.codex_tools import Toolbox
from demo.model.conversation import STEP_HEADER, Conversation
from demo.model.errors import invalid_request

SURROUNDINGS = "<environment_context>"
"""Starts the text in which Codex states where it works."""
NOT_THE_USERS = (SURROUNDINGS, "# AGENTS.md instructions", "<user_instructions>", "<turn_aborted>", "<skill>")
"""Starts of the texts that Codex puts beside the user's own words, in the user's role."""
WORKING_DIRECTORY = re.compile(r"<cwd>(.+?)</cwd>")

_CALLS = frozenset({"function_call", "custom_tool_call", "local_shell_call"})
_MADE_BY_THE_MODEL = _CALLS | {"reasoning", "web_search_call", "tool_search_call"}


def read(body: Mapping[str, Any]) -> Conversation:
    """Read the body of a Responses request.

    :raises demo.model.errors.ApiError: the request lacks what the API demands.
    """
    step, prompt, turn, place = None, "", 0, None
    words = []
    starts = set(answer_starts(body))
    for index, item in enumerate(items(body)):
        turn += index in starts
        if item.get("role") not in ("user", "developer"):
            continue
        texts = list(_texts(item))
        for text in texts:
            if text.lstrip().startswith(SURROUNDINGS) and (found := WORKING_DIRECTORY.search(text)):
                place = found[1]
        if item["role"] == "user":
            own = "\n\n".join(text for text in texts if not text.lstrip().startswith(NOT_THE_USERS))
            words.append(own)
            if header := STEP_HEADER.search(own):
                step, prompt, turn = header[1], own, 0
            elif not prompt:
                prompt, turn = own, 0
    form = structured.responses_form(body)
    forced = (structured.STRUCTURED_OUTPUT,) if form and form.tool else ()
    return Conversation(
        step=step,
        prompt=prompt,
        words="\n\n".join(words),
        turn=turn,
        tools=(*Toolbox.of(body).names(), *forced),
        working_directory=place,
        fields=form.fields if form else (),
    )


def items(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the items of the request's input, messages and calls alike.

    :raises demo.model.errors.ApiError: there is none, or one is no object.
    """
    given = body.get("input")
    if isinstance(given, str) and given:
        return [{"type": "message", "role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise invalid_request("input: at least one item is required")
    for index, item in enumerate(given):
        if not isinstance(item, Mapping):
            raise invalid_request(f"input[{index}]: an object is expected")
    return given


def answer_starts(body: Mapping[str, Any]) -> list[int]:
    """Return where in the input each earlier answer of the model starts.

    An answer is a run of items that the model made. Its calls have ids that start alike, so it is one answer
    also where what they returned stands between them.
    """
    starts, within, answered = [], False, None
    for index, item in enumerate(items(body)):
        made = item.get("type") in _MADE_BY_THE_MODEL or item.get("role") == "assistant"
        family = str(item.get("call_id"))[:-2] if item.get("type") in _CALLS else None
        if made and not within and (family is None or family != answered):
            starts.append(index)
        within = made
        answered = family or answered
    return starts


def _texts(item: Mapping[str, Any]) -> Iterator[str]:
    content = item.get("content")
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, Mapping) and part.get("type") in ("input_text", "text"):
                yield str(part.get("text", ""))
