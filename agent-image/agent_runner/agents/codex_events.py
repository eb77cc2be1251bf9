"""Codex's event stream (``codex exec --json``): read, shown, and summed up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agent_runner.agents.base import AgentReport, AgentTranscript
from agent_runner.agents.codex_rollout import Rollout, difference, tokens_of
from agent_runner.agents.codex_schema import without_nulls
from agent_runner.agents.codex_verdict import verdict
from agent_runner.agents.output_schema import faults
from agent_runner.contract import Failure, failure
from agent_runner.untrusted_json import read_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent_runner.process import Ended

MAX_SUMMARY = 20_000
"""Characters of the agent's closing words that are kept."""
_MAX_GARBAGE_LINES = 20
_MAX_SHOWN = 400
_WORDS = ("agent_message", "reasoning", "error", "todo_list")
"""Items that are no tool calls."""


class CodexTranscript(AgentTranscript):
    """One run of ``codex exec``.

    :param rollout: the session's record, read up to where this run begins.
    :param session_id: of the session that goes on; ``None``: the program's events tell.
    :param max_turns: most answers of the model; the program itself has no such limit.
    :param output_schema: what the last message must fit.
    """

    def __init__(
        self,
        rollout: Rollout,
        *,
        session_id: str | None = None,
        max_turns: int | None = None,
        output_schema: Mapping[str, Any] | None = None,
    ) -> None:
        self._rollout = rollout
        self._session_id = session_id
        self._max_turns = max_turns
        self._schema = output_schema
        self._responses_before = rollout.responses
        self._tokens_before = rollout.total
        self._messages: list[str] = []
        self._usage: dict[str, Any] | None = None
        self._failed: str | None = None
        self._completed = False
        self._running = False
        self._finished = False
        self._over = False
        self._open_tools: set[str] = set()
        self._garbage = 0

    @property
    def session_id(self) -> str | None:
        return self._session_id

    @property
    def busy(self) -> bool:
        # No event comes while the model thinks either, however long that takes.
        return self._running or bool(self._open_tools)

    @property
    def finished(self) -> bool:
        return self._finished

    @property
    def turns(self) -> int:
        """Answers of the model in this run."""
        return max(0, self._rollout.responses - self._responses_before)

    @property
    def over_limit(self) -> Failure | None:
        if not self._over:
            return None
        return failure("max_turns", f"The agent went on beyond the {self._max_turns} turns that it may take.")

    def read(self, line: bytes) -> list[str]:
        if not line.strip():
            return []
        event = read_object(line)
        if event is None:
            self._garbage += 1
            if self._garbage > _MAX_GARBAGE_LINES:
                return []
            return [f"agent wrote a line that is no event: {line[:300].decode(errors='replace')}"]
        self._rollout.follow(self._session_id)
        return list(self._event(event))

    def report(self, ended: Ended, errors: str) -> AgentReport:
        self._rollout.follow(self._session_id)
        total = tokens_of(self._usage) if self._usage else self._rollout.total
        output = self._output()
        words = self._messages[:-1] if output is not None else self._messages
        return AgentReport(
            failure=verdict(self._completed, self._failed, ended, errors),
            summary=words[-1][:MAX_SUMMARY] if words else "",
            session_id=self._session_id,
            output=output,
            tokens=difference(total, self._tokens_before),
            turns=self.turns,
            model=self._rollout.model,
            version=self._rollout.version,
        )

    def _event(self, event: dict[str, Any]) -> Iterator[str]:
        match event.get("type"):
            case "thread.started":
                self._session_id = _text(event.get("thread_id")) or self._session_id
            case "turn.started":
                self._running, self._finished, self._completed, self._failed = True, False, False, None
                yield f"agent: Codex, session {self._session_id}"
            case "turn.completed":
                self._running, self._finished, self._completed = False, True, True
                self._open_tools.clear()
                usage = event.get("usage")
                self._usage = usage if isinstance(usage, dict) else self._usage
                version, model = self._rollout.version or "", self._rollout.model or "unknown"
                yield f"agent ended: completed, {self.turns} turns; Codex {version}, model {model}"
                for fault in self._answer_faults():
                    yield f"agent's answer does not fit the schema: {fault}"
            case "turn.failed":
                self._running, self._finished = False, True
                self._open_tools.clear()
                self._failed = _message(event.get("error")) or self._failed or "no reason given"
                yield f"agent ended: failed: {self._failed}"
            case "error":
                # The last one is the reason, where the program ends without saying that its turn failed.
                self._failed = _message(event)
                yield f"model API: {self._failed}"
            case "item.started" | "item.updated" | "item.completed":
                item = event.get("item")
                if isinstance(item, dict):
                    yield from self._item(item, ended=event["type"] == "item.completed")

    def _item(self, item: dict[str, Any], *, ended: bool) -> Iterator[str]:
        kind = _text(item.get("type"))
        if kind in _WORDS:
            if not ended:
                return
            text = _text(item.get("text")) or _text(item.get("message"))
            if kind == "agent_message":
                # An answer came, so what was wrong with the connection before has passed.
                self._failed = None
                self._messages = [*self._messages[-1:], text]
                yield f"agent> {text}"
            elif kind == "error":
                yield f"agent: {text}"
            return
        self._over = self._over or (self._max_turns is not None and self.turns > self._max_turns)
        item_id = _text(item.get("id"))
        given = _given(item)
        if item_id not in self._open_tools and not ended:
            self._open_tools.add(item_id)
            yield f"tool {kind}: {_shown(given)}"
        if ended:
            if item_id not in self._open_tools:
                yield f"tool {kind}: {_shown(given)}"
            self._open_tools.discard(item_id)
            output = _output(item)
            self.observe_tool(kind, given, output)
            status = "ok" if item.get("status") == "completed" else _text(item.get("status")) or "ended"
            yield f"tool {status}: {_shown(output)}"

    def _answer(self) -> Any:
        """Return the last message as JSON, cleaned of nulls that stand for nothing; ``None``: it is none."""
        if self._schema is None or not self._completed or not self._messages:
            return None
        answer = read_object(self._messages[-1].encode())
        return None if answer is None else without_nulls(self._schema, answer)

    def _answer_faults(self) -> list[str]:
        if self._schema is None:
            return []
        answer = self._answer()
        return ["it is no JSON object"] if answer is None else faults(self._schema, answer)

    def _output(self) -> dict[str, Any] | None:
        answer = self._answer()
        return answer if isinstance(answer, dict) and not self._answer_faults() else None


_OUTPUTS = ("aggregated_output", "exit_code", "result", "error")
_NO_INPUTS = (*_OUTPUTS, "id", "type", "status")


def _given(item: dict[str, Any]) -> dict[str, Any]:
    """Return what a tool was given: all of the item that is not its outcome."""
    return {key: value for key, value in item.items() if key not in _NO_INPUTS}


def _output(item: dict[str, Any]) -> dict[str, Any]:
    return {key: item[key] for key in _OUTPUTS if item.get(key) is not None}


def _shown(values: dict[str, Any]) -> str:
    """Return a tool's values in short; a single text, and a command's output, as they are."""
    texts = [value for value in values.values() if isinstance(value, str)]
    if len(texts) == 1 and all(isinstance(value, str | int) for value in values.values()):
        return texts[0][:_MAX_SHOWN]
    return json.dumps(values, ensure_ascii=False, default=str)[:_MAX_SHOWN] if values else ""


def _message(value: Any) -> str:
    return _text(value.get("message")) if isinstance(value, dict) else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
