"""What the stand-in says: scenes of assistant turns, read from YAML or JSON.

.. code-block:: yaml

    scenes:
      - name: plan
        when:
          step: plan                   # regular expression, matches the whole text after "# Step: "
          contains: [letters]          # optional: texts that the prompt must hold
          conversation: [guests]       # optional: texts that it, or an earlier prompt of the session, must hold
        turns:
          - text: I look at the code first.
            calls:
              - tool: Read
                input: {file_path: "{cwd}/letters/template.py"}
          - delay_seconds: 0.5
            error: {status: 529, type: overloaded_error, message: Overloaded, times: 1}
            text: Done.
      - name: decide about a pull request
        when:
          fields: [action, reason]         # the request sets the answer's form, and it has these fields
          matches: 'acme/shop#7 '          # regular expression, searched in the prompt
        turns:
          - calls:                         # the answer in that form; fields that must be there are filled in
              - tool: StructuredOutput
                input: {action: merge, reason: All checks passed.}
      - name: refuse, cut off, chatter or drip
        when: {fields: [action]}
        turns:
          - text: No.
            stop_reason: refusal           # or max_tokens, model_context_window_exceeded, pause_turn
            drip_seconds: 10               # an answer that is not streamed comes one byte at a time

``{cwd}`` in a text or in a tool's input becomes the working directory of the agent program. Every other
brace stays as it is written. ``when`` needs one condition at least; a scene without ``step`` is for prompts that need no
step header, such as those that an agent gives its subagents, or a rule's questions about pull requests.

A call of ``StructuredOutput`` is one of Claude Code's tool of that name where the request has it; else it is the answer in
the form that the request sets, JSON or the tool that must be called. ``text`` alone there is what a model never says that
is held to a form: prose. Each question is a conversation of its own, so its scene plays its first turn.

Calls are written with Claude Code's tools. For Codex they are translated (:mod:`demo.model.codex_tools`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

    from demo.model.conversation import Conversation

MAX_DELAY_SECONDS = 600.0
STOP_REASONS = ("max_tokens", "model_context_window_exceeded", "pause_turn", "refusal")
"""Why an answer may end before it is complete, in the words of Anthropic's API."""
_WAITS = ("delay_seconds", "drip_seconds")
_CONDITIONS = ("step", "contains", "conversation", "matches", "fields")


class ScriptError(ValueError):
    """A script cannot be played. The text names every fault and where it stands; mend the script."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool of the agent program."""

    tool: str
    input: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """An error that a turn answers with, in place of its text and calls."""

    status: int
    kind: str
    message: str
    headers: Mapping[str, str]
    times: int | None
    """How many requests for the turn get the error before it answers; ``None``: all."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of the model."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    delay_seconds: float = 0.0
    """Wait before the answer starts."""
    error: Fault | None = None
    stop_reason: str | None = None
    """Why the answer ends, other than because it is complete. With ``max_tokens`` half of it is there."""
    drip_seconds: float = 0.0
    """Between two bytes of an answer that is not streamed; 0: it comes at once."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The turns of one step, and which step it is for."""

    name: str
    step: re.Pattern[str] | None
    """``None``: for any prompt that holds the texts, with or without a step header."""
    contains: tuple[str, ...]
    conversation: tuple[str, ...]
    turns: tuple[Turn, ...]
    found: re.Pattern[str] | None = None
    """To be found in the prompt."""
    fields: tuple[str, ...] = ()
    """Of the form that the request sets for the answer."""

    def matches(self, talk: Conversation) -> bool:
        """Say whether the scene is for this point of a conversation."""
        if self.step is not None and (talk.step is None or not self.step.fullmatch(talk.step)):
            return False
        if self.found is not None and not self.found.search(talk.prompt):
            return False
        if not set(self.fields) <= set(talk.fields):
            return False
        return all(text in talk.prompt for text in self.contains) and all(
            text in talk.words for text in self.conversation
        )

    def playable(self, tools: Iterable[str]) -> tuple[Turn, ...]:
        """Return the turns that an agent program with ``tools`` can follow.

        A call of a tool that is not offered is left out. A turn that loses all its calls is left out as
        well, unless it is the last: then its text ends the conversation.
        """
        offered = set(tools)
        turns = []
        for index, turn in enumerate(self.turns):
            calls = tuple(call for call in turn.calls if call.tool in offered)
            if calls or not turn.calls or index == len(self.turns) - 1:
                turns.append(replace(turn, calls=calls))
        return tuple(turns)


@dataclass(frozen=True, slots=True)
class Script:
    """Scenes in the order in which they are tried; the first that matches is played."""

    scenes: tuple[Scene, ...]

    @classmethod
    def load(cls, *paths: Path) -> Script:
        """Read YAML or JSON files; the scenes of the first are tried first.

        :raises ScriptError: a file cannot be read or does not hold a script.
        """
        scenes: list[Scene] = []
        for path in paths:
            try:
                scenes += cls.of(yaml.safe_load(path.read_text(encoding="utf-8"))).scenes
            except (OSError, UnicodeDecodeError, yaml.YAMLError, ScriptError) as error:
                raise ScriptError(f"{path}: {error}") from None
        return cls(tuple(scenes))

    @classmethod
    def of(cls, data: object) -> Script:
        """Build a script from parsed YAML or JSON.

        :raises ScriptError: naming every fault.
        """
        reader = _Reader()
        top = reader.mapping(data, "script", {"scenes"})
        scenes = tuple(
            _scene(reader, item, f"scenes[{i}]")
            for i, item in enumerate(reader.sequence(top.get("scenes"), "scenes"))
        )
        names = [scene.name for scene in scenes]
        for name in sorted({name for name in names if names.count(name) > 1}):
            reader.faults.append(f"scenes: two are named {name!r}")
        if reader.faults:
            raise ScriptError("; ".join(reader.faults))
        return cls(scenes)

    def find(self, talk: Conversation) -> Scene | None:
        """Return the first scene for this point of a conversation, or ``None``."""
        return next((scene for scene in self.scenes if scene.matches(talk)), None)


class _Reader:
    """Reads values of parsed YAML, and collects what is wrong with them."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def mapping(self, value: object, where: str, keys: set[str] | None = None) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            self.faults.append(f"{where}: a mapping is needed, not {type(value).__name__}")
            return {}
        if keys is not None:
            self.faults += [f"{where}: unknown key {key!r}" for key in value if key not in keys]
        return value

    def sequence(self, value: object, where: str) -> list[Any]:
        if not isinstance(value, list) or not value:
            self.faults.append(f"{where}: a list with at least one entry is needed")
            return []
        return value

    def text(self, value: object, where: str) -> str:
        if not isinstance(value, str) or not value:
            self.faults.append(f"{where}: a text is needed, not {value!r}")
            return ""
        return value

    def number(self, value: object, where: str, low: float, high: float, *, whole: bool = False) -> float:
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            self.faults.append(f"{where}: a {'whole ' if whole else ''}number is needed, not {value!r}")
            return low
        if not low <= value <= high:
            self.faults.append(f"{where}: {value!r} is not between {low:g} and {high:g}")
            return low
        return value


def _scene(reader: _Reader, value: object, where: str) -> Scene:
    item = reader.mapping(value, where, {"name", "when", "turns"})
    when = reader.mapping(item.get("when"), f"{where}.when", set(_CONDITIONS))
    if "when" in item and not when:
        reader.faults.append(f"{where}.when: {', '.join(_CONDITIONS[:-1])} or {_CONDITIONS[-1]} is needed")
    return Scene(
        name=reader.text(item.get("name"), f"{where}.name"),
        step=_pattern(reader, when["step"], f"{where}.when.step") if "step" in when else None,
        contains=_words(reader, when, "contains", f"{where}.when"),
        conversation=_words(reader, when, "conversation", f"{where}.when"),
        found=_pattern(reader, when["matches"], f"{where}.when.matches") if "matches" in when else None,
        fields=_words(reader, when, "fields", f"{where}.when"),
        turns=tuple(
            _turn(reader, turn, f"{where}.turns[{i}]")
            for i, turn in enumerate(reader.sequence(item.get("turns"), f"{where}.turns"))
        ),
    )


def _words(reader: _Reader, when: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    if key not in when:
        return ()
    given = when[key]
    texts = [given] if isinstance(given, str) else reader.sequence(given, f"{where}.{key}")
    return tuple(reader.text(text, f"{where}.{key}[{i}]") for i, text in enumerate(texts))


def _pattern(reader: _Reader, value: object, where: str) -> re.Pattern[str]:
    pattern = reader.text(value, where)
    try:
        return re.compile(pattern)
    except re.error as error:
        reader.faults.append(f"{where}: {pattern!r} is no regular expression: {error}")
        return re.compile("")


def _turn(reader: _Reader, value: object, where: str) -> Turn:
    item = reader.mapping(value, where, {"text", "calls", "error", "stop_reason", *_WAITS})
    if isinstance(value, Mapping) and not item.keys() & {"text", "calls", "error", "stop_reason"}:
        reader.faults.append(f"{where}: one of text, calls, error and stop_reason is needed")
    stopped = item.get("stop_reason")
    if stopped is not None and stopped not in STOP_REASONS:
        reader.faults.append(f"{where}.stop_reason: {stopped!r} is none of {', '.join(STOP_REASONS)}")
    delay, drip = (
        reader.number(item.get(name, 0), f"{where}.{name}", 0, MAX_DELAY_SECONDS) for name in _WAITS
    )
    calls = reader.sequence(item["calls"], f"{where}.calls") if "calls" in item else []
    return Turn(
        text=reader.text(item["text"], f"{where}.text") if "text" in item else "",
        calls=tuple(_call(reader, call, f"{where}.calls[{i}]") for i, call in enumerate(calls)),
        delay_seconds=delay,
        drip_seconds=drip,
        stop_reason=stopped,
        error=_fault(reader, item["error"], f"{where}.error") if "error" in item else None,
    )


def _call(reader: _Reader, value: object, where: str) -> ToolCall:
    item = reader.mapping(value, where, {"tool", "input"})
    return ToolCall(
        tool=reader.text(item.get("tool"), f"{where}.tool"),
        input=reader.mapping(item.get("input", {}), f"{where}.input"),
    )


def _fault(reader: _Reader, value: object, where: str) -> Fault:
    item = reader.mapping(value, where, {"status", "type", "message", "headers", "times"})
    headers = reader.mapping(item.get("headers", {}), f"{where}.headers")
    times = item.get("times")
    return Fault(
        status=int(reader.number(item.get("status"), f"{where}.status", 400, 599, whole=True)),
        kind=reader.text(item.get("type"), f"{where}.type"),
        message=reader.text(item.get("message"), f"{where}.message"),
        headers={str(name): str(content) for name, content in headers.items()},
        times=None if times is None else int(reader.number(times, f"{where}.times", 1, 1_000, whole=True)),
    )
