"""Models of other vendors, by the hooks of Airflow's common-ai provider and the vendors' own libraries, over HTTP."""

from __future__ import annotations

import asyncio
import builtins
import json
import logging
import socket
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from rule_model_world import ANSWER, KEY, PROMPT, Api, called, message, refusal, rule, said

from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.hooks import pr_rule_asking, pr_rule_model_common_ai
from airflow_provider_agents.hooks.pr_rule_models import rule_model
from airflow_provider_agents.hooks.pr_rule_refinements import Refinements
from demo.model import Script, StandInModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web

    from airflow_provider_agents.domain.pr_rule_decision import ModelCall

CLAUDE = "anthropic:claude-sonnet-4-5"
GPT = "openai:gpt-5.5"


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with Api() as api:
        yield api


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key or proxy of this machine, short pauses."""
    monkeypatch.setattr(pr_rule_model_common_ai, "KNOWN", Refinements())
    monkeypatch.setattr(pr_rule_asking, "PAUSES", (0.01, 0.02))
    monkeypatch.setenv("AIRFLOW__AGENTS__ANTHROPIC_CONN_ID", "other_models")
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the connection ``other_models``."""

    def begin(host: str | None = None, **more: Any) -> None:
        extra = {"model": CLAUDE, **more.pop("extra", {})}
        values = {
            "conn_type": "pydanticai",
            "password": KEY,
            "host": host,
            **more,
            "extra": json.dumps(extra),
        }
        monkeypatch.setenv("AIRFLOW_CONN_OTHER_MODELS", json.dumps(values))

    return begin


def decided(values: Any = None) -> dict[str, Any]:
    """Return an answer that calls the tool by which pydantic-ai has an answer of a form."""
    return called("decide", values)


def faulty(call: ModelCall, fault: str, *words: str) -> None:
    """Assert that there is no answer, why, and that no secret is told."""
    assert (call.answer, call.fault) == (None, fault), call.detail
    for word in words:
        assert word in call.detail
    assert KEY not in repr(call)
    assert "\n" not in call.detail


def test_an_answer_that_is_honoured(api: Api, connect: Any) -> None:
    connect(api.url)
    usage = {
        "input_tokens": 900, "output_tokens": 60, "cache_read_input_tokens": 2000, "cache_creation_input_tokens": 500,
    }  # fmt: skip
    api.play(said({**decided(), "usage": usage}))
    model = rule_model(rule())
    assert model.name == "claude-sonnet-4-5"
    call = model.ask(PROMPT)
    assert (call.fault, call.detail) == ("", "")
    assert call.answer is not None
    assert (call.answer.action, call.answer.confidence) == ("merge", 0.9)
    tokens = call.tokens
    assert (tokens.input, tokens.output, tokens.cache_read, tokens.cache_write) == (900, 60, 2000, 500)
    assert call.usd == pytest.approx((900 * 3 + 60 * 15 + 2000 * 0.3 + 500 * 3.75) / 1e6)
    assert (call.priced, call.request_id) == (True, "msg_1")
    [sent] = api.requests
    assert (sent["max_tokens"], sent["temperature"]) == (1024, 0.2)
    assert PROMPT.contract in json.dumps(sent["system"])
    assert PROMPT.rule in json.dumps(sent["system"])
    assert PROMPT.facts in json.dumps(sent["messages"])
    assert [tool["name"] for tool in sent["tools"]] == ["decide"]
    # A second question from the same process, as a worker with several tasks asks it.
    assert model.ask(PROMPT).answer is not None


@pytest.mark.parametrize(
    ("body", "fault", "words"),
    [
        (message("", stop="refusal"), "refused", "refuses to answer"),
        (message("I would", stop="max_tokens"), "truncated", "`model.max_tokens`"),
        ({**decided(), "stop_reason": "max_tokens"}, "truncated", "`model.max_tokens`"),
        (message("I would merge this."), "malformed", "form"),
        (message(json.dumps(ANSWER)), "malformed", "form"),
        (message(f"```json\n{json.dumps(ANSWER)}\n```"), "malformed", "form"),
        (called("other"), "malformed", "form"),
        (decided({}), "malformed", ""),
        (decided({**ANSWER, "action": "explode"}), "malformed", ""),
        ({"id": "msg_1"}, "malformed", ""),
    ],
)
def test_no_half_answer_and_no_prose_is_an_answer(
    api: Api, connect: Any, body: Any, fault: str, words: str
) -> None:
    connect(api.url)
    api.play(said(body))
    call = rule_model(rule()).ask(PROMPT)
    faulty(call, fault, words)
    assert len(api.requests) == 1
    if "usage" in body:
        assert (call.tokens.input, call.tokens.output) == (900, 60)
        assert call.usd > 0


@pytest.mark.parametrize(
    ("handler", "fault", "words"),
    [
        (refusal(401, "authentication_error", f"no key {KEY}"), "denied", ("'other_models'", "valid key", "no key ***")),
        (refusal(403, "permission_error", "not for you"), "denied", ("'other_models'", "not for you")),
        (refusal(404, "not_found_error", "model: x"), "denied", ("rules_model", "model: x")),
        (refusal(400, "invalid_request_error", "credit balance is too low"), "denied", ("credit balance is too low",)),
        (refusal(400, "invalid_request_error", "prompt is too long: 2 > 1"), "truncated", ("`context`",)),
        (refusal(408, "timeout_error", "slow"), "timeout", ()),
    ],
)  # fmt: skip
def test_a_refusal_names_its_remedy(
    api: Api, connect: Any, handler: Any, fault: str, words: tuple[str, ...]
) -> None:
    connect(api.url)
    api.play(handler)
    faulty(rule_model(rule()).ask(PROMPT), fault, *words)
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    ("status", "headers", "fault", "requests", "seconds"),
    [
        (429, {}, "rate_limited", 3, None),
        (429, {"retry-after": "3600"}, "rate_limited", 1, 3600.0),
        (529, {}, "overloaded", 3, None),
        (500, {}, "unavailable", 3, None),
    ],
)
def test_a_busy_api(
    api: Api,
    connect: Any,
    status: int,
    headers: dict[str, str],
    fault: str,
    requests: int,
    seconds: float | None,
) -> None:
    connect(api.url)
    api.play(refusal(status, "busy", "Busy", **headers))
    call = rule_model(rule()).ask(PROMPT)
    faulty(call, fault, "Busy")
    assert (len(api.requests), call.retry_after) == (requests, seconds)


def test_without_a_temperature_where_the_model_takes_none(api: Api, connect: Any) -> None:
    connect(api.url)
    api.play(
        refusal(400, "invalid_request_error", "`temperature` is deprecated for this model."), said(decided())
    )
    assert rule_model(rule()).ask(PROMPT).answer is not None
    assert ["temperature" in sent for sent in api.requests] == [True, False]


def test_another_connection_answers_where_the_first_cannot(
    api: Api, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = {
        "conn_type": "pydanticai",
        "password": KEY,
        "host": api.url,
        "extra": {"model": "anthropic:claude-opus-4-6"},
    }
    monkeypatch.setenv(
        "AIRFLOW_CONN_SECOND_MODELS", json.dumps({**second, "extra": json.dumps(second["extra"])})
    )
    connect(api.url, extra={"fallback_conn_ids": ["second_models"]})
    body = {**decided(), "model": "claude-opus-4-6"}
    api.play(refusal(529, "overloaded_error", "Overloaded"), said(body))
    call = rule_model(rule()).ask(PROMPT)
    assert call.answer is not None
    assert [sent["model"] for sent in api.requests] == ["claude-sonnet-4-5", "claude-opus-4-6"]
    # What is paid is the price of the model that answered.
    assert (call.model, call.usd) == ("claude-opus-4-6", pytest.approx((900 * 5 + 60 * 25) / 1e6))
    api.play(refusal(529, "overloaded_error", "Overloaded"))
    faulty(rule_model(rule()).ask(PROMPT), "overloaded", "Overloaded")


async def _silence(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(600)
    raise AssertionError


def test_the_deadline(api: Api, connect: Any) -> None:
    connect(api.url)
    api.play(_silence)
    impatient = rule()
    asked = rule_model(
        impatient.model_copy(update={"model": impatient.model.model_copy(update={"timeout": 0.5})})
    )
    started = time.monotonic()
    call = asked.ask(PROMPT)
    assert time.monotonic() - started < 3
    faulty(call, "timeout")
    assert call.usd == asked.most_usd(PROMPT)


def test_nobody_listens(connect: Any) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    connect(f"http://127.0.0.1:{port}")
    faulty(rule_model(rule()).ask(PROMPT), "unavailable", "'other_models'", "host")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"extra": {"model": None}}, "No model specified"),
        ({"extra": {"model": "gpt-5.5"}}, "no default model provider"),
        ({"extra": {"model": "no-such-vendor:gpt"}}, "cannot be resolved"),
    ],
)
def test_a_connection_that_cannot_be_used(connect: Any, settings: dict[str, Any], words: str) -> None:
    connect(None, **settings)
    with pytest.raises(InvalidInputError, match="'other_models' cannot be used") as caught:
        rule_model(rule())
    assert words in str(caught.value)
    assert KEY not in str(caught.value)


def test_without_the_extra_it_says_what_to_install(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connect()
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("airflow.providers.common.ai"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *rest)

    for name in [name for name in sys.modules if name.startswith("airflow.providers.common.ai")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InvalidInputError, match=r"pip install 'airflow-provider-agents\[common-ai\]'"):
        rule_model(rule())


def test_the_key_is_told_nowhere(
    api: Api, connect: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    connect(api.url)
    for handler in (said(decided()), refusal(401, "authentication_error", f"no such key: {KEY}")):
        api.play(handler)
        model = rule_model(rule())
        assert KEY not in repr(model) + repr(model.ask(PROMPT))
    out, err = capfd.readouterr()
    assert KEY not in caplog.text + out + err


@pytest.mark.parametrize(("name", "path"), [(CLAUDE, ""), (GPT, "/v1")])
def test_the_stand_in_model_plays_it(connect: Any, name: str, path: str) -> None:
    """Anthropic's and OpenAI's own libraries below it."""
    if name == GPT:
        pytest.importorskip("openai", reason="the vendor's library is not installed")
    scenes = [
        {"name": "refuse", "when": {"fields": ["action"], "matches": "shop#1 "}, "turns": [{"stop_reason": "refusal", "text": "No."}]},
        {
            "name": "cut off",
            "when": {"fields": ["action"], "matches": "shop#2 "},
            "turns": [{"text": "I think that it", "stop_reason": "max_tokens"}],
        },
        {
            "name": "merge",
            "when": {"fields": ["action", "reason"], "matches": "ciStatus: SUCCESS"},
            "turns": [{"calls": [{"tool": "StructuredOutput", "input": {"action": "merge", "reason": "Green."}}]}],
        },
        {"name": "chatter", "when": {"fields": ["action"]}, "turns": [{"text": "Merge it."}]},
    ]  # fmt: skip
    facts = ["acme/shop#7 ciStatus: SUCCESS", "acme/shop#1 ", "acme/shop#2 ", "acme/shop#3 "]

    async def play() -> list[ModelCall]:
        script = Script.of({"scenes": scenes})
        async with StandInModel(script, api_key=KEY, openai_api_key=KEY) as stand_in:
            connect(stand_in.url + path, extra={"model": name})
            asked = rule_model(rule())
            return [await asyncio.to_thread(asked.ask, replace(PROMPT, facts=text)) for text in facts]

    merge, refused, cut, chatter = asyncio.run(play())
    assert merge.answer is not None, merge.detail
    assert merge.answer.action == "merge"
    assert (merge.priced, merge.usd > 0, merge.tokens.output > 0) == (True, True, True)
    assert [refused.fault, cut.fault, chatter.fault] == ["refused", "truncated", "malformed"]
