"""Claude Code's event stream (``--output-format stream-json``): read, shown, and summed up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from agent_runner.agents.base import AgentReport, AgentTranscript
from agent_runner.agents.claude_verdict import verdict
from agent_runner.contract import Tokens
from agent_runner.untrusted_json import read_object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_runner.process import Ended

MAX_SUMMARY = 20_000
"""Characters of the agent's closing words that are kept."""
_SUMMED = ("model_usage_since_last_result", "usage", "num_turns")
_MAX_GARBAGE_LINES = 20
_MAX_ARGUMENTS = 200
_MAX_OPEN_TOOLS = 200
_QUESTION_TOOL = "AskUserQuestion"


class _ToolCall(NamedTuple):
    name: str
    given: object
    lane: str


class ClaudeTranscript(AgentTranscript):
    """One run of ``claude -p``. A run may emit several results; the last one is its verdict."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._model: str | None = None
        self._version: str | None = None
        self._results: list[dict[str, Any]] = []
        self._open_tools: dict[str, _ToolCall] = {}
        self._finished = False
        self._garbage = 0

    @property
    def session_id(self) -> str | None:
        return self._session_id or None

    @property
    def finished(self) -> bool:
        return self._finished

    @property
    def busy(self) -> bool:
        return bool(self._open_tools)

    def read(self, line: bytes) -> list[str]:
        if not line.strip():
            return []
        event = read_object(line)
        if event is None:
            self._garbage += 1
            if self._garbage > _MAX_GARBAGE_LINES:
                return []
            return [f"agent wrote a line that is no event: {line[:300].decode(errors='replace')}"]
        # After a result there may be another turn, which ends with a result of its own.
        self._finished = event.get("type") == "result" or (
            self._finished and event.get("type") not in ("assistant", "user", "stream_event")
        )
        match event.get("type"):
            case "system":
                return list(self._system(event))
            case "assistant":
                return list(self._assistant(event))
            case "user":
                return list(self._user(event))
            case "result":
                self._open_tools.clear()
                # Only what is summed is kept of earlier results.
                if self._results:
                    self._results[-1] = {key: self._results[-1].get(key) for key in _SUMMED}
                self._results.append(event)
                return [_closing(event)]
            case _:
                return []

    def report(self, ended: Ended, errors: str) -> AgentReport:
        last = self._results[-1] if self._results else None
        text = last.get("result") if last else None
        output = last.get("structured_output") if last else None
        return AgentReport(
            failure=verdict(last, ended, errors),
            summary=text[:MAX_SUMMARY] if isinstance(text, str) else "",
            session_id=self.session_id,
            output=output if isinstance(output, dict) else None,
            denied_tools=_denied(last or {}),
            question=_question(last or {}),
            cost_usd=self._cost(),
            tokens=self._tokens(),
            turns=sum(_count(result.get("num_turns")) for result in self._results),
            model=self._model,
            version=self._version,
        )

    def _system(self, event: dict[str, Any]) -> Iterator[str]:
        match event.get("subtype"):
            case "init":
                self._model = _text(event.get("model")) or self._model
                self._version = _text(event.get("claude_code_version")) or self._version
                self._session_id = _text(event.get("session_id")) or self._session_id
                yield f"agent: Claude Code {self._version}, model {self._model}, session {self._session_id}"
                yield from _lost_servers(event.get("mcp_servers"))
            case "api_retry":
                reason = event.get("error_status") or event.get("error") or "no answer"
                yield (
                    f"model API: {reason}, try {event.get('attempt')} of {event.get('max_retries')},"
                    f" again in {_count(event.get('retry_delay_ms')) / 1000:.1f} s"
                )
            case "model_fallback":
                yield f"model API: fell back to another model: {_arguments(event)}"
            case "permission_denied":
                yield f"agent was refused a tool: {_arguments(event)}"

    def _assistant(self, event: dict[str, Any]) -> Iterator[str]:
        for block in _blocks(event):
            if block.get("type") == "text" and _text(block.get("text")):
                yield f"agent> {block['text']}"
            elif block.get("type") == "tool_use":
                self._open(event, block)
                yield f"tool {_text(block.get('name'))}: {_arguments(block.get('input'))}"

    def _user(self, event: dict[str, Any]) -> Iterator[str]:
        for block in _blocks(event):
            if block.get("type") == "tool_result":
                self._close(block)
                status = "error" if block.get("is_error") else "ok"
                yield f"tool {status}: {_shown(block.get('content'))}"

    def _open(self, event: dict[str, Any], block: dict[str, Any]) -> None:
        name, given = _text(block.get("name")), block.get("input")
        if isinstance(given, dict):
            given = {key: value for key, value in given.items() if key != "description"}
        while len(self._open_tools) >= _MAX_OPEN_TOOLS:
            del self._open_tools[next(iter(self._open_tools))]
        self._open_tools[_text(block.get("id"))] = _ToolCall(
            name, given, _text(event.get("parent_tool_use_id"))
        )

    def _close(self, block: dict[str, Any]) -> None:
        call = self._open_tools.pop(_text(block.get("tool_use_id")), None)
        if call is not None:
            output = [block.get("is_error") is True, block.get("content")]
            self.observe_tool(call.name, call.given, output, lane=call.lane)

    def _cost(self) -> float:
        """Sum the cost of this run: ``total_cost_usd`` also counts the earlier runs of a resumed session."""
        parts = [_per_model(result, "model_usage_since_last_result") for result in self._results]
        if any(parts):
            return sum(_number(usage.get("costUSD")) for part in parts for usage in part)
        return _number(self._results[-1].get("total_cost_usd")) if self._results else 0.0

    def _tokens(self) -> Tokens:
        """Sum the tokens of this run, those of subagents and helper models included."""
        total = Tokens()
        for result in self._results:
            per_model = _per_model(result, "model_usage_since_last_result")
            for usage in per_model:
                total += Tokens(
                    input=_count(usage.get("inputTokens")),
                    output=_count(usage.get("outputTokens")),
                    cache_read=_count(usage.get("cacheReadInputTokens")),
                    cache_write=_count(usage.get("cacheCreationInputTokens")),
                )
            main_loop = result.get("usage")
            if not per_model and isinstance(main_loop, dict):
                total += Tokens(
                    input=_count(main_loop.get("input_tokens")),
                    output=_count(main_loop.get("output_tokens")),
                    cache_read=_count(main_loop.get("cache_read_input_tokens")),
                    cache_write=_count(main_loop.get("cache_creation_input_tokens")),
                )
        return total


def _blocks(event: dict[str, Any]) -> list[dict[str, Any]]:
    message = event.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return []
    return [block for block in content if isinstance(block, dict)]


def _per_model(result: dict[str, Any], key: str) -> list[dict[str, Any]]:
    models = result.get(key)
    return [usage for usage in models.values() if isinstance(usage, dict)] if isinstance(models, dict) else []


def _denied(result: dict[str, Any]) -> tuple[str, ...]:
    denials = result.get("permission_denials")
    if not isinstance(denials, list):
        return ()
    names = (_text(denial.get("tool_name")) for denial in denials if isinstance(denial, dict))
    return tuple(dict.fromkeys(name or "unknown tool" for name in names))


def _question(result: dict[str, Any]) -> str:
    """Return what the agent tried to ask with the tool for it, which has nobody to ask in a pod."""
    denials = result.get("permission_denials")
    for denial in reversed(denials if isinstance(denials, list) else []):
        if not isinstance(denial, dict) or denial.get("tool_name") != _QUESTION_TOOL:
            continue
        given = denial.get("tool_input")
        asked = given.get("questions") if isinstance(given, dict) else None
        entries = asked if isinstance(asked, list) else []
        texts = [entry.get("question") for entry in entries if isinstance(entry, dict)]
        return " ".join(text for text in texts if isinstance(text, str))
    return ""


def _closing(result: dict[str, Any]) -> str:
    ended = result.get("terminal_reason") or result.get("subtype") or "without a reason"
    return (
        f"agent ended: {ended}{', error' if result.get('is_error') else ''},"
        f" {_count(result.get('num_turns'))} turns, {_count(result.get('duration_ms')) / 1000:.1f} s,"
        f" session cost ${_number(result.get('total_cost_usd')):.4f}"
    )


def _arguments(value: Any) -> str:
    """Return a tool's arguments in short: long texts such as whole files are cut each for itself."""
    if not isinstance(value, dict):
        return ""
    shown = {
        key: item if not isinstance(item, str) or len(item) <= _MAX_ARGUMENTS else item[:_MAX_ARGUMENTS] + "…"
        for key, item in list(value.items())[:10]
    }
    if len(shown) == 1 and isinstance(only := next(iter(shown.values())), str):
        return only
    return json.dumps(shown, ensure_ascii=False, default=str)[:2_000]


def _shown(content: Any) -> str:
    if isinstance(content, list):
        texts = [block.get("text") for block in content if isinstance(block, dict)]
        return " ".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int:
    return int(_number(value))


def _number(value: Any) -> float:
    """Return ``value`` where it is a sane number, else zero."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0.0
    return float(value) if 0 <= value < 1e15 else 0.0


def _lost_servers(servers: object) -> Iterator[str]:
    """Name the MCP servers that the agent has to do without; the program goes on silently."""
    for server in servers if isinstance(servers, list) else ():
        if isinstance(server, dict) and _text(server.get("status")) not in ("connected", "pending"):
            yield f"agent: no MCP server {_text(server.get('name'))}: {_text(server.get('status'))}"
