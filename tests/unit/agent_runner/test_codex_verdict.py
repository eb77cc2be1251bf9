"""Codex's words on errors, as the real program was seen to word them."""

from __future__ import annotations

import json

import pytest

from agent_runner.agents.codex_verdict import verdict
from agent_runner.contract import FAILURES
from agent_runner.process import Ended

EXIT = Ended(1, "exit")


def body(message: str, **error: str) -> str:
    return json.dumps({"error": {"message": message, "param": None, **error}})


def status(code: int, words: str) -> str:
    return f"unexpected status {code} Some Words: {words}, url: http://127.0.0.1:1/n/openai/v1/responses"


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        (body("agent gateway: the budget is spent", code="budget_exhausted"), "budget_exhausted", "the budget is spent"),
        (body("agent gateway: unusable", code="gateway_crashed"), "gateway_crashed", "unusable"),
        (body("Somebody else", code="gateway_crashed"), "model_request_refused", "Somebody else"),
        (body("Too long.", code="context_length_exceeded"), "prompt_too_long", "Too long."),
        (body("Unsupported value", type="invalid_request_error", code="unsupported"), "model_request_refused", "Unsupported"),
        (body("Your prompt was flagged", code="other"), "model_refused", "flagged"),
        (status(401, "Incorrect API key"), "model_credential", "Incorrect API key"),
        (status(402, "Pay: first, url: x"), "budget_exhausted", "Pay: first"),
        (status(403, "No."), "model_forbidden", "No."),
        (status(403, "You exceeded your current quota"), "model_quota", "quota"),
        (status(404, "No such model"), "model_not_found", "No such model"),
        (status(413, "Large"), "prompt_too_long", "Large"),
        (status(500, "Oh"), "model_unavailable", "Oh"),
        (status(503, "Gone"), "model_unavailable", "Gone"),
        (status(529, "Busy"), "model_overloaded", "Busy"),
        (status(418, "Tea"), "model_request_refused", "Tea"),
        ("exceeded retry limit, last status: 429 Too Many Requests", "model_rate_limited", "429"),
        ("exceeded retry limit, last status: 502 Bad Gateway", "model_unavailable", "502"),
        ("Quota exceeded. Check your plan and billing details.", "model_quota", "Quota"),
        ("You've hit your usage limit.", "model_quota", "usage limit"),
        ("rate limit exceeded: Rate limit reached. Please try again in 0.5s.", "model_rate_limited", "0.5s"),
        ("Codex ran out of room in the model's context window. Start a new thread.", "prompt_too_long", "room"),
        ("Selected model is at capacity. Please try a different model.", "model_overloaded", "capacity"),
        ("We're currently experiencing high demand, which may cause temporary errors.", "model_unavailable", "demand"),
        ("Connection failed: error sending request", "model_unavailable", "Connection failed"),
        ("stream disconnected before completion: stream closed before response.completed", "model_unavailable", "stream"),
        ("Invalid prompt: usage policy", "model_refused", "usage policy"),
        ("Something new", "agent_error", "Something new"),
        ("", "agent_error", "no reason"),
        ('{"error": null}', "agent_error", "null"),
        ('{"error": ' + "[" * 100_000, "agent_error", "error"),
    ],
)  # fmt: skip
def test_each_wording_has_its_code_and_keeps_its_words(message: str, code: str, words: str) -> None:
    found = verdict(False, message, EXIT, "")
    assert found
    assert found.code == code
    assert found.category == FAILURES[code].category
    assert words in found.message
    assert "url: http" not in found.message
    assert len(found.message) <= 1_000


def test_a_completed_turn_is_no_failure_whatever_the_exit_code() -> None:
    assert verdict(True, None, EXIT, "WARNING: something") is None


@pytest.mark.parametrize(
    ("ended", "errors", "code"),
    [
        (EXIT, "Error: thread/resume failed: no rollout found for thread id 1 (code -32600)", "session_lost"),
        (EXIT, "error: unexpected argument '--json' found", "agent_incompatible"),
        (EXIT, "Error loading config.toml: unknown variant", "agent_incompatible"),
        (EXIT, "thread 'main' panicked", "agent_crashed"),
        (Ended(0, "exit"), "", "agent_crashed"),
        (Ended(-9, "exit"), "", "agent_crashed"),
        (Ended(-15, "exit"), "", "agent_crashed"),
    ],
)
def test_without_a_word_on_its_turn(ended: Ended, errors: str, code: str) -> None:
    found = verdict(False, None, ended, errors)
    assert found
    assert found.code == code
    assert errors[:20] in found.message
    if ended.returncode == -9:
        assert "memory" in found.remedy
        assert "SIGKILL" in found.message
