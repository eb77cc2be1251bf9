"""Claude Code's outcomes, as its own result events tell them."""

from __future__ import annotations

from typing import Any

import pytest

from agent_runner.agents.claude_verdict import verdict
from agent_runner.process import Ended

EXITED = Ended(1, "exit")


def api(status: int | None, text: str, **more: Any) -> dict[str, Any]:
    """An API error, which the program reports with subtype ``success``."""
    return {
        "subtype": "success",
        "is_error": True,
        "terminal_reason": "api_error",
        "api_error_status": status,
        "result": text,
        **more,
    }


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (api(401, "Invalid API key · Fix external API key"), ("auth", "model_credential", False)),
        (api(403, "Failed to authenticate. API Error: 403 no"), ("auth", "model_forbidden", False)),
        (api(402, "API Error: 402 over budget"), ("budget", "budget_exhausted", False)),
        (api(400, "Credit balance is too low"), ("quota", "model_quota", False)),
        (api(400, "API Error: 400 prompt is too long: 3 > 2"), ("context", "prompt_too_long", False)),
        (api(400, "API Error: 400 bad tool"), ("agent", "model_request_refused", False)),
        (api(404, "model: nope"), ("config", "model_not_found", False)),
        (api(413, "too large"), ("context", "prompt_too_long", False)),
        (api(418, "teapot"), ("agent", "model_request_refused", False)),
        (api(429, "rate limited"), ("rate_limit", "model_rate_limited", True)),
        (api(529, "Overloaded"), ("rate_limit", "model_overloaded", True)),
        (api(500, "Internal"), ("network", "model_unavailable", True)),
        (api(502, "Bad gateway"), ("network", "model_unavailable", True)),
        (api(503, "Unavailable"), ("network", "model_unavailable", True)),
        (api(None, "API Error: Connection refused"), ("network", "model_unavailable", True)),
        (api(None, "?", api_error_type="connection_failed"), ("network", "model_unavailable", True)),
        (api(None, "Not logged in · Please run /login"), ("auth", "model_credential", False)),
        (api(None, "Credit balance is too low"), ("quota", "model_quota", False)),
        (api(None, "something new"), ("agent", "agent_error", False)),
        (
            {"is_error": True, "terminal_reason": "prompt_too_long", "result": "Prompt is too long"},
            ("context", "prompt_too_long", False),
        ),
        (
            {
                "is_error": True,
                "subtype": "error_max_turns",
                "terminal_reason": "max_turns",
                "errors": ["Reached maximum number of turns (3)"],
            },
            ("agent", "max_turns", False),
        ),
        ({"is_error": True, "subtype": "error_max_turns"}, ("agent", "max_turns", False)),
        (
            {"is_error": True, "subtype": "error_max_budget_usd", "terminal_reason": "budget_exhausted"},
            ("budget", "budget_exhausted", False),
        ),
        (
            {
                "is_error": True,
                "subtype": "error_during_execution",
                "errors": ["No conversation found with session ID: x"],
            },
            ("agent", "session_lost", False),
        ),
        (
            {"is_error": True, "subtype": "error_during_execution", "terminal_reason": "aborted_tools"},
            ("agent", "agent_aborted", True),
        ),
        (
            {"is_error": False, "stop_reason": "refusal", "result": "I cannot"},
            ("agent", "model_refused", False),
        ),
        ({"is_error": True}, ("agent", "agent_error", False)),
        (
            {"is_error": True, "errors": 3, "result": ["x"], "api_error_status": "401"},
            ("agent", "agent_error", False),
        ),
    ],
)
def test_failures(result: dict[str, Any], expected: tuple[str, str, bool]) -> None:
    failure = verdict(result, EXITED, "")
    assert failure
    assert (failure.category, failure.code, failure.retryable) == expected
    assert failure.message
    assert failure.remedy


@pytest.mark.parametrize(
    "result",
    [
        {"subtype": "success", "is_error": False, "terminal_reason": "completed", "result": "Done."},
        {"is_error": False, "permission_denials": [{"tool_name": "Bash"}], "result": "Done otherwise."},
    ],
)
def test_success(result: dict[str, Any]) -> None:
    assert verdict(result, Ended(0, "exit"), "") is None


def test_success_does_not_follow_from_exit_code_or_subtype() -> None:
    assert verdict({"subtype": "success", "is_error": True}, Ended(0, "exit"), "") is not None


def test_words_of_the_program_reach_the_message() -> None:
    failure = verdict(api(401, "Invalid API key"), EXITED, "")
    assert failure
    assert failure.message == "Invalid API key"


@pytest.mark.parametrize(
    ("ended", "errors", "code", "word"),
    [
        (Ended(-9, "exit"), "", "agent_crashed", "SIGKILL"),
        (Ended(-11, "exit"), "", "agent_crashed", "SIGSEGV"),
        (Ended(3, "exit"), "boom\n", "agent_crashed", "boom"),
        (Ended(0, "exit"), "", "agent_crashed", "code 0"),
        (Ended(1, "exit"), "write: ENOSPC: no space left on device", "disk_full", "disk is full"),
        (Ended(1, "exit"), "error: unknown option '--effort'", "agent_incompatible", "--effort"),
        (Ended(1, "exit"), "No conversation found with session ID: x", "session_lost", "resumed"),
    ],
)
def test_without_a_result(ended: Ended, errors: str, code: str, word: str) -> None:
    failure = verdict(None, ended, errors)
    assert failure
    assert failure.code == code
    assert word in failure.message
    assert failure.retryable == (code in ("agent_crashed", "disk_full"))
