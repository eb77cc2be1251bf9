"""Claude Code's event stream: what is shown of it, and how it is summed up."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.agents.claude_events import ClaudeTranscript
from agent_runner.contract import Tokens
from agent_runner.process import Ended

OK = Ended(0, "exit")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "subtype",
        "message",
        "content",
        "result",
        "usage",
        "modelUsage",
        "model_usage_since_last_result",
        "num_turns",
        "errors",
        "session_id",
        "permission_denials",
        "structured_output",
        "is_error",
        "api_error_status",
        "total_cost_usd",
        "model",
        "duration_ms",
    ]
)


def feed(transcript: ClaudeTranscript, **event: Any) -> list[str]:
    return list(transcript.read(json.dumps(event).encode()))


@pytest.fixture
def transcript() -> ClaudeTranscript:
    return ClaudeTranscript("s-1")


def test_lines_for_people(transcript: ClaudeTranscript) -> None:
    tool = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "git status"}}
    write = {
        "type": "tool_use",
        "id": "t2",
        "name": "Write",
        "input": {"file_path": "a", "content": "x" * 999},
    }
    assert feed(
        transcript, type="system", subtype="init", model="m", claude_code_version="2", session_id="s-2"
    ) == ["agent: Claude Code 2, model m, session s-2"]
    assert feed(
        transcript, type="assistant", message={"content": [{"type": "text", "text": "Hello"}, tool]}
    ) == [
        "agent> Hello",
        "tool Bash: git status",
    ]
    assert transcript.busy
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "clean"}]}
    assert feed(transcript, type="user", message={"content": [result]}) == ["tool ok: clean"]
    assert not transcript.busy
    (line,) = feed(transcript, type="assistant", message={"content": [write]})
    assert len(line) < 300
    failed = {"type": "tool_result", "tool_use_id": "t2", "content": "no", "is_error": True}
    assert feed(transcript, type="user", message={"content": [failed]}) == ["tool error: no"]
    assert feed(
        transcript,
        type="system",
        subtype="api_retry",
        attempt=1,
        max_retries=10,
        retry_delay_ms=580,
        error_status=529,
    ) == ["model API: 529, try 1 of 10, again in 0.6 s"]
    assert feed(transcript, type="stream_event", event={}) == []
    assert feed(transcript, type="from the future") == []


def test_last_result_decides(transcript: ClaudeTranscript) -> None:
    feed(transcript, type="result", is_error=True, result="first", num_turns=2)
    feed(transcript, type="result", is_error=False, result="second", num_turns=1, structured_output={"a": 1})
    report = transcript.report(OK, "")
    assert (report.failure, report.summary, report.turns, report.output) == (None, "second", 3, {"a": 1})


def test_cost_of_a_resumed_session_is_that_of_this_run(transcript: ClaudeTranscript) -> None:
    """``total_cost_usd`` counts the earlier runs of the session too."""
    used = {
        "inputTokens": 1,
        "outputTokens": 2,
        "cacheReadInputTokens": 3,
        "cacheCreationInputTokens": 4,
        "costUSD": 0.25,
    }
    feed(
        transcript,
        type="result",
        total_cost_usd=9.0,
        usage={"input_tokens": 1},
        model_usage_since_last_result={"opus": used, "haiku": used},
    )
    feed(transcript, type="result", total_cost_usd=9.25, model_usage_since_last_result={"opus": used})
    report = transcript.report(OK, "")
    assert report.cost_usd == 0.75
    assert report.tokens == Tokens(input=3, output=6, cache_read=9, cache_write=12)


def test_tool_calls_are_told_to_the_observer(transcript: ClaudeTranscript) -> None:
    seen: list[tuple[object, ...]] = []
    transcript.tool_observer = lambda name, given, output, *, lane: seen.append((name, given, output, lane))

    def call(number: int, parent: str | None = None, **given: Any) -> None:
        block = {"type": "tool_use", "id": f"t{number}", "name": "Bash", "input": given}
        feed(transcript, type="assistant", parent_tool_use_id=parent, message={"content": [block]})

    def result(number: int, text: str, **more: Any) -> None:
        block = {"type": "tool_result", "tool_use_id": f"t{number}", "content": text, **more}
        feed(transcript, type="user", message={"content": [block]})

    call(1, command="make", description="Try it")
    call(2, parent="t9", command="ls")
    result(2, "a")
    result(1, "no", is_error=True)
    result(1, "once more")
    result(3, "never called")
    assert seen == [
        ("Bash", {"command": "ls"}, [False, "a"], "t9"),
        ("Bash", {"command": "make"}, [True, "no"], ""),
    ]


def test_calls_that_never_end_are_bounded(transcript: ClaudeTranscript) -> None:
    for number in range(1_000):
        block = {"type": "tool_use", "id": f"t{number}", "name": "Bash", "input": {}}
        feed(transcript, type="assistant", message={"content": [block]})
    assert transcript.busy
    assert len(transcript._open_tools) == 200


def test_finished_until_another_turn_begins(transcript: ClaudeTranscript) -> None:
    assert not transcript.finished
    feed(transcript, type="result")
    feed(transcript, type="system", subtype="informational")
    assert transcript.finished
    feed(transcript, type="assistant", message={"content": []})
    assert not transcript.finished
    feed(transcript, type="result")
    assert transcript.finished


def test_session_is_what_the_program_says(transcript: ClaudeTranscript) -> None:
    assert transcript.session_id == "s-1"
    feed(transcript, type="system", subtype="init", session_id="s-2")
    assert transcript.session_id == "s-2"


@pytest.mark.parametrize(
    ("denials", "question"),
    [
        (
            [{"tool_name": "AskUserQuestion", "tool_input": {"questions": [{"question": "A or b?"}]}}],
            "A or b?",
        ),
        (
            [
                {
                    "tool_name": "AskUserQuestion",
                    "tool_input": {"questions": [{"question": "A?"}, {"question": "B?"}]},
                }
            ],
            "A? B?",
        ),
        ([{"tool_name": "AskUserQuestion", "tool_input": {"questions": [3, {"question": 4}]}}], ""),
        ([{"tool_name": "AskUserQuestion", "tool_input": {"questions": 3}}], ""),
        ([{"tool_name": "AskUserQuestion"}], ""),
        ([{"tool_name": "Bash", "tool_input": {"questions": [{"question": "A?"}]}}, 3], ""),
        (3, ""),
    ],
)
def test_question_that_was_refused(transcript: ClaudeTranscript, denials: object, question: str) -> None:
    feed(transcript, type="result", permission_denials=denials)
    assert transcript.report(OK, "").question == question


def test_garbage_is_shown_in_moderation(transcript: ClaudeTranscript) -> None:
    shown = [line for _ in range(100) for line in transcript.read(b"\xff{not json")]
    assert len(shown) == 20
    assert transcript.read(b"[1]") == []
    failure = transcript.report(OK, "").failure
    assert failure
    assert failure.code == "agent_crashed"


@given(st.sampled_from(["system", "assistant", "user", "result"]), st.dictionaries(KEYS, JSON, max_size=8))
def test_no_event_breaks_it(kind: str, event: dict[str, Any]) -> None:
    transcript = ClaudeTranscript("s-1")
    for subtype in ("init", "api_retry", "model_fallback", "permission_denied"):
        feed(transcript, **{"subtype": subtype, **event, "type": kind})
    feed(transcript, type=kind, message={"content": [event, 3, {"type": "tool_result", **event}]})
    report = transcript.report(OK, "")
    assert report.cost_usd >= 0
    assert isinstance(report.session_id, str)


def test_mcp_servers_that_are_missing_are_named() -> None:
    transcript = ClaudeTranscript("s")
    servers = [
        {"name": "docs", "status": "connected"}, {"name": "db", "status": "failed"}, {"name": "wiki", "status": "pending"},
        {"name": "x", "status": "needs-auth"}, "nonsense",
    ]  # fmt: skip
    shown = feed(transcript, type="system", subtype="init", session_id="s", mcp_servers=servers)
    assert list(shown)[1:] == ["agent: no MCP server db: failed", "agent: no MCP server x: needs-auth"]
    assert len(list(feed(transcript, type="system", subtype="init", session_id="s", mcp_servers="x"))) == 1
