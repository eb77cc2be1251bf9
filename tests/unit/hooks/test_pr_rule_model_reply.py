"""Faults of a model's API by their names, what is told of them, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.hooks.pr_rule_reply import (
    MOST_WORDS,
    Secrets,
    json_object,
    root_cause,
    status_detail,
    status_fault,
)


@pytest.mark.parametrize(
    ("status", "words", "fault"),
    [
        (400, "credit balance is too low", "denied"),
        (401, "", "denied"),
        (402, "", "denied"),
        (403, "", "denied"),
        (404, "", "denied"),
        (422, "", "denied"),
        (400, "prompt is too long: 9 tokens > 8 maximum", "truncated"),
        (400, "This model's maximum context length is 9 tokens", "truncated"),
        (413, "", "truncated"),
        (408, "", "timeout"),
        (504, "", "timeout"),
        (429, "", "rate_limited"),
        (409, "", "unavailable"),
        (500, "", "unavailable"),
        (502, "", "unavailable"),
        (503, "", "unavailable"),
        (529, "", "overloaded"),
    ],
)
def test_a_status_has_a_fault_and_a_sentence(status: int, words: str, fault: str) -> None:
    assert status_fault(status, words) == fault
    told = status_detail(status, words, connection="claude", model="claude-x")
    assert f"HTTP {status}" in told
    assert words in told
    if fault in ("denied", "truncated"):
        assert "claude" in told


@given(st.integers(400, 599), st.text(max_size=50))
def test_every_refusal_is_told(status: int, words: str) -> None:
    assert status_fault(status, words)
    assert status_detail(status, words, connection="c", model="m")


def test_secrets_are_told_in_no_form() -> None:
    secrets = Secrets(["sk-ant-123456", "line\nbreak\x00", None, 7, "abc", "sk-ant-1234567"])
    told = secrets.told("bad key sk-ant-123456,\nsk-ant-1234567 or b'line\\nbreak\\x00' of abc")
    assert told == "bad key ***, *** or b'***' of abc"
    assert "sk-ant" not in repr(secrets) + str(vars(Secrets))
    assert len(secrets.told("x" * 10_000)) == MOST_WORDS


@pytest.mark.parametrize(
    "text", ["", "no", "[1]", "1", '{"a": 1}{"b": 2}', '{"a": 1, "a": 2}', '{"a": Infinity}', "{'a': 1}"]
)
def test_what_is_no_json_object_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        json_object(text)


def test_json_is_read() -> None:
    assert json_object(' {"a": {"a": 1}} ') == {"a": {"a": 1}}


def test_the_cause_is_the_innermost_error() -> None:
    inner, outer = ConnectionRefusedError("refused"), RuntimeError("no answer")
    outer.__cause__ = inner
    assert root_cause(outer) == "ConnectionRefusedError: refused"
    inner.__context__ = outer
    assert root_cause(outer) == "ConnectionRefusedError: refused"
    assert root_cause(TimeoutError()) == "TimeoutError"
