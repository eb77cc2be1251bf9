"""Anthropic's own library, by Airflow's hook, against a Messages API over HTTP: what is sent, and each way to fail."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from rule_model_world import ANSWER, KEY, PROMPT, Api, called, message, refusal, rule, said

from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.hooks import pr_rule_asking, pr_rule_model_anthropic
from airflow_provider_agents.hooks.pr_rule_models import rule_model
from airflow_provider_agents.hooks.pr_rule_refinements import Refinements
from demo.model import Script, StandInModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_agents.domain.pr_rule_decision import ModelCall
    from airflow_provider_agents.hooks.pr_rule_model import RuleModel

ANSWER_FIELDS = ("reason", "action", "confidence", "wait_for", "until")
SONNET = "claude-sonnet-4-5"
OVERLOADED = refusal(529, "overloaded_error", "Overloaded")


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with Api() as api:
        yield api


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing found out about a model yet, no proxy or key of this machine, short pauses."""
    monkeypatch.setattr(pr_rule_model_anthropic, "KNOWN", Refinements())
    monkeypatch.setattr(pr_rule_asking, "PAUSES", (0.01, 0.02))
    for name in (
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the connection ``anthropic_default``."""

    def begin(host: str | None = None, **more: Any) -> None:
        extra = more.pop("extra", {})
        values = {"conn_type": "anthropic", "password": KEY, "host": host, **more, "extra": json.dumps(extra)}
        monkeypatch.setenv("AIRFLOW_CONN_ANTHROPIC_DEFAULT", json.dumps(values))

    return begin


@pytest.fixture
def model(api: Api, connect: Any) -> RuleModel:
    connect(api.url)
    return rule_model(rule(name=SONNET))


def faulty(call: ModelCall, fault: str, *words: str) -> None:
    """Assert that there is no answer, why, and that no secret is told."""
    assert (call.answer, call.fault) == (None, fault)
    for word in words:
        assert word in call.detail
    assert KEY not in repr(call)
    assert "\n" not in call.detail


def test_an_answer_that_is_honoured(api: Api, model: RuleModel) -> None:
    usage = {
        "input_tokens": 900, "output_tokens": 60, "cache_read_input_tokens": 2000,
        "cache_creation_input_tokens": 500,
        "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 200},
    }  # fmt: skip
    api.play(said(message(usage=usage)))
    call = model.ask(PROMPT)
    assert (call.fault, call.detail) == ("", "")
    assert call.answer is not None
    assert (call.answer.action, call.answer.reason, call.answer.confidence) == (
        "merge",
        "All checks passed.",
        0.9,
    )
    tokens = call.tokens
    assert (tokens.input, tokens.output, tokens.cache_read, tokens.cache_write) == (900, 60, 2000, 500)
    micro = 900 * 3 + 60 * 15 + 2000 * 0.3 + 300 * 3.75 + 200 * 6
    assert call.usd == pytest.approx(micro / 1e6)
    assert (call.priced, call.request_id, call.model) == (True, "req_said", SONNET)
    assert 0 < call.seconds < 20


def test_what_is_sent(api: Api, model: RuleModel) -> None:
    api.play(said(message()))
    model.ask(PROMPT)
    [sent] = api.requests
    assert sent["model"] == SONNET
    assert (sent["max_tokens"], sent["temperature"]) == (1024, 0.2)
    assert sent["messages"] == [{"role": "user", "content": PROMPT.facts}]
    schema = sent["output_config"]["format"]["schema"]
    assert sent["output_config"]["format"]["type"] == "json_schema"
    assert schema["properties"]["action"]["enum"] == ["close", "escalate", "merge", "wait"]
    assert schema["required"] == list(ANSWER_FIELDS)
    assert schema["additionalProperties"] is False
    assert "tools" not in sent
    assert "stream" not in sent
    [headers] = api.headers
    assert KEY in (headers.get("x-api-key", "") + headers.get("authorization", ""))


def test_what_a_schema_may_not_hold_is_told_in_words(api: Api, model: RuleModel) -> None:
    share = {"type": "number", "minimum": 0, "maximum": 1}
    schema = {"type": "object", "properties": {"confidence": share}, "required": ["confidence"]}
    api.play(said(message()))
    model.ask(replace(PROMPT, schema=schema))
    sent = api.requests[0]["output_config"]["format"]["schema"]
    assert sent["additionalProperties"] is False
    assert sent["properties"]["confidence"].keys() == {"type", "description"}
    assert "maximum: 1" in sent["properties"]["confidence"]["description"]


def test_the_most_that_a_question_costs_covers_each_byte_and_the_longest_answer(model: RuleModel) -> None:
    most = model.most_usd(PROMPT)
    assert most > 1024 * 15 / 1e6
    longer = model.most_usd(replace(PROMPT, facts=PROMPT.facts + "ü" * 10_000))
    assert longer - most == pytest.approx(10_000 * 3.75 / 1e6, rel=0.01)


def test_the_rule_and_nothing_after_it_is_marked_for_the_cache(api: Api, model: RuleModel) -> None:
    api.play(said(message()))
    model.ask(PROMPT)
    [sent] = api.requests
    assert sent["system"] == [
        {"type": "text", "text": PROMPT.contract},
        {"type": "text", "text": PROMPT.rule, "cache_control": {"type": "ephemeral"}},
    ]
    assert json.dumps(sent).count("cache_control") == 1


@pytest.mark.parametrize(
    ("body", "fault", "words"),
    [
        (message("", stop="refusal"), "refused", "refuses to answer"),
        (
            message(
                "", stop="refusal",
                stop_details={"type": "refusal", "category": "cyber", "explanation": "It asks\nfor malware."},
            ),
            "refused", "(cyber): It asks for malware.",
        ),
        (message('{"action": "mer', stop="max_tokens"), "truncated", "`model.max_tokens`"),
        (message(stop="max_tokens"), "truncated", "raise it"),
        (message("", stop="model_context_window_exceeded"), "truncated", "`context`"),
        (message(stop="pause_turn"), "malformed", "'pause_turn'"),
        (message(stop="sold_out"), "malformed", "'sold_out'"),
        (message("I would merge this."), "malformed", "not of the form"),
        (message(f"Here you are: {json.dumps(ANSWER)}"), "malformed", "not of the form"),
        (message(f"```json\n{json.dumps(ANSWER)}\n```"), "malformed", "not of the form"),
        (message(json.dumps(ANSWER) * 2), "malformed", "not of the form"),
        (message('{"action": "wait", "action": "merge", "reason": "r", "confidence": 1}'), "malformed", "twice"),
        (message('{"action": "merge", "reason": "r", "confidence": NaN}'), "malformed", "NaN"),
        (message('["merge"]'), "malformed", "list"),
        (message("[" * 100_000), "malformed", "not of the form"),
        (message("{}"), "malformed", "does not fit the rule"),
        (message(json.dumps({**ANSWER, "action": "explode"})), "malformed", "does not fit the rule"),
        (message(content=[]), "malformed", "not of the form"),
        (called("other"), "malformed", "other tools"),
        (called(times=2), "malformed", "more than one"),
        (called(values=[]), "malformed", "other tools"),
        ({"id": "msg_1"}, "malformed", "lacks what"),
        ({**message(), "usage": None}, "malformed", "lacks what"),
        ({**message(), "usage": {}}, "malformed", "lacks what"),
        ({**message(), "usage": {"input_tokens": "many", "output_tokens": 1}}, "malformed", "'many'"),
        ({**message(), "usage": {"input_tokens": -5, "output_tokens": 1}}, "malformed", "-5"),
        ([], "malformed", "none of the Messages API"),
    ],
)  # fmt: skip
def test_no_half_answer_and_no_prose_is_an_answer(
    api: Api, model: RuleModel, body: Any, fault: str, words: str
) -> None:
    api.play(said(body))
    call = model.ask(PROMPT)
    faulty(call, fault, words)
    assert len(api.requests) == 1
    if isinstance(body, dict) and body.get("usage") == message()["usage"]:
        assert (call.tokens.input, call.tokens.output) == (900, 60)
        assert call.usd > 0


async def _html(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<h1>Welcome to the proxy</h1>", content_type="text/html")


async def _broken_json(_: web.Request) -> web.StreamResponse:
    return web.Response(text='{"id": ', content_type="application/json")


@pytest.mark.parametrize("handler", [_html, _broken_json])
def test_what_is_no_api_is_no_answer(api: Api, model: RuleModel, handler: Any) -> None:
    api.play(handler)
    faulty(model.ask(PROMPT), "malformed")


@pytest.mark.parametrize(
    "words",
    [
        "output_config.format: Extra inputs are not permitted",
        "The model claude-x does not support structured outputs.",
        "output_config.format.schema: unsupported keyword 'enum'",
    ],
)
def test_without_structured_output_a_tool_must_be_called(api: Api, model: RuleModel, words: str) -> None:
    api.play(refusal(400, "invalid_request_error", words), said(called()))
    call = model.ask(PROMPT)
    assert call.answer is not None
    assert call.answer.action == "merge"
    first, second = api.requests
    assert "output_config" not in second
    assert second["tool_choice"] == {"type": "tool", "name": "decide", "disable_parallel_tool_use": True}
    [tool] = second["tools"]
    assert tool["input_schema"] == first["output_config"]["format"]["schema"]
    assert second["system"] == first["system"]
    assert second["temperature"] == 0.2
    # It is remembered, by other objects for the same model as well.
    api.play(said(called()))
    assert rule_model(rule(name=SONNET)).ask(PROMPT).answer is not None
    assert "tools" in api.requests[0]
    assert len(api.requests) == 1


def test_a_tool_that_is_not_called_is_no_answer(api: Api, model: RuleModel) -> None:
    api.play(
        refusal(400, "invalid_request_error", "output_config: not permitted"), said(message("I merge it."))
    )
    faulty(model.ask(PROMPT), "malformed", "not of the form")


def test_without_a_temperature_where_the_model_takes_none(api: Api, model: RuleModel) -> None:
    api.play(
        refusal(400, "invalid_request_error", "`temperature` is deprecated for this model."), said(message())
    )
    assert model.ask(PROMPT).answer is not None
    assert ["temperature" in sent for sent in api.requests] == [True, False]
    api.play(said(message()))
    rule_model(rule(name=SONNET)).ask(PROMPT)
    assert "temperature" not in api.requests[0]
    api.play(said(message()))
    rule_model(rule(name="claude-sonnet-4-6")).ask(PROMPT)
    assert "temperature" in api.requests[0]


@pytest.mark.parametrize(
    "options",
    [{"name": "claude-opus-5"}, {"name": "claude-haiku-5-5"}, {"name": SONNET, "temperature": None}],
)
def test_no_temperature_is_sent_in_vain(api: Api, connect: Any, options: dict[str, Any]) -> None:
    connect(api.url)
    api.play(said(message()))
    rule_model(rule(**options)).ask(PROMPT)
    [sent] = api.requests
    assert "temperature" not in sent


def test_both_can_be_refused_one_after_the_other(api: Api, model: RuleModel) -> None:
    api.play(
        refusal(400, "invalid_request_error", "temperature: not permitted"),
        refusal(422, "invalid_request_error", "output_config: not permitted"),
        said(called()),
    )
    assert model.ask(PROMPT).answer is not None
    assert len(api.requests) == 3


def test_a_refusal_that_stays_ends(api: Api, model: RuleModel) -> None:
    api.play(refusal(400, "invalid_request_error", "temperature and output_config: no"))
    faulty(model.ask(PROMPT), "denied", "temperature and output_config: no")
    assert len(api.requests) == 3


@pytest.mark.parametrize(
    ("handler", "fault", "words"),
    [
        (refusal(401, "authentication_error", "invalid x-api-key"), "denied", ("'anthropic_default'", "valid key")),
        (refusal(403, "permission_error", "not for you"), "denied", ("'anthropic_default'", SONNET, "not for you")),
        (refusal(402, "billing_error", "pay"), "denied", ("'anthropic_default'",)),
        (refusal(404, "not_found_error", f"model: {SONNET}"), "denied", ("rules_model", "`model.name`", "host")),
        (
            refusal(400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
            "denied", ("credit balance is too low",),
        ),
        (refusal(400, "invalid_request_error", "x" * 5000), "denied", ("xxx",)),
        (refusal(400, "invalid_request_error", f"bad header {KEY}"), "denied", ("bad header ***",)),
        (
            refusal(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
            "truncated", ("`context`",),
        ),
        (refusal(413, "request_too_large", "Request exceeds the maximum size"), "truncated", ("`context`",)),
        (refusal(408, "timeout_error", "slow"), "timeout", ("gave up",)),
        (refusal(504, "timeout_error", "slow"), "timeout", ("gave up",)),
    ],
)  # fmt: skip
def test_a_refusal_names_its_remedy(
    api: Api, model: RuleModel, handler: Any, fault: str, words: tuple[str, ...]
) -> None:
    api.play(handler)
    call = model.ask(PROMPT)
    faulty(call, fault, *words)
    assert len(call.detail) < 700
    assert call.request_id == "req_refused"
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    ("status", "kind", "fault"),
    [(429, "rate_limit_error", "rate_limited"), (529, "overloaded_error", "overloaded"), (500, "api_error", "unavailable"),
     (503, "api_error", "unavailable"), (409, "conflict_error", "unavailable")],
)  # fmt: skip
def test_a_busy_api_is_asked_three_times(
    api: Api, model: RuleModel, status: int, kind: str, fault: str
) -> None:
    api.play(refusal(status, kind, "Busy"))
    call = model.ask(PROMPT)
    faulty(call, fault, "Busy")
    assert len(api.requests) == 3
    assert (call.usd, call.retry_after) == (0.0, None)


def test_a_busy_api_that_recovers_has_answered(api: Api, model: RuleModel) -> None:
    api.play(OVERLOADED, OVERLOADED, said(message()))
    assert model.ask(PROMPT).answer is not None


@pytest.mark.parametrize(
    ("header", "seconds", "requests"),
    [
        ("3600", 3600.0, 1),
        ("0", 0.0, 3),
        ("0.01", 0.01, 3),
        ("Wed, 21 Oct 2037 07:28:00 GMT", None, 3),
        ("-5", 0.0, 3),
    ],
)
def test_the_time_that_a_rate_limit_names_is_kept(
    api: Api, model: RuleModel, header: str, seconds: float | None, requests: int
) -> None:
    api.play(refusal(429, "rate_limit_error", "Too many", **{"retry-after": header}))
    started = time.monotonic()
    call = model.ask(PROMPT)
    assert time.monotonic() - started < 5
    faulty(call, "rate_limited", "Too many")
    assert call.retry_after == seconds
    assert len(api.requests) == requests


def test_a_limit_of_the_month_is_not_tried_again(api: Api, model: RuleModel) -> None:
    api.play(refusal(429, "rate_limit_error", "Spend limit", **{"x-should-retry": "false"}))
    faulty(model.ask(PROMPT), "rate_limited", "Spend limit")
    assert len(api.requests) == 1


async def _drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "application/json"})
    await response.prepare(request)
    for byte in json.dumps(message()).encode():
        await response.write(bytes([byte]))
        await asyncio.sleep(0.1)
    return response


async def _silence(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(600)
    raise AssertionError


@pytest.mark.parametrize("handler", [_drip, _silence])
def test_an_answer_that_does_not_end_is_left_at_the_deadline(api: Api, connect: Any, handler: Any) -> None:
    connect(api.url, extra={"anthropic_client_kwargs": {"timeout": 600, "max_retries": 9}})
    api.play(handler)
    impatient = rule(name=SONNET)
    # The least that a rule may set is too long for a test.
    asked = rule_model(
        impatient.model_copy(update={"model": impatient.model.model_copy(update={"timeout": 0.5})})
    )
    started = time.monotonic()
    call = asked.ask(PROMPT)
    assert time.monotonic() - started < 3
    faulty(call, "timeout")
    assert len(api.requests) == 1
    # What was generated for nobody is paid as well.
    assert call.usd == asked.most_usd(PROMPT)


def test_a_busy_api_is_not_asked_again_when_time_runs_out(api: Api, connect: Any) -> None:
    connect(api.url)
    api.play(refusal(529, "overloaded_error", "Overloaded", **{"retry-after": "4"}))
    started = time.monotonic()
    faulty(rule_model(rule(name=SONNET, timeout=5)).ask(PROMPT), "overloaded")
    assert time.monotonic() - started < 2


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_nobody_listens(connect: Any) -> None:
    connect(f"http://127.0.0.1:{free_port()}")
    faulty(
        rule_model(rule(name=SONNET)).ask(PROMPT),
        "unavailable",
        "'anthropic_default'",
        "ConnectionRefused",
        "host",
    )


@pytest.fixture
def deaf() -> Iterator[str]:
    """Yield the URL of a host that answers no attempt to connect, as behind a firewall that drops."""
    with contextlib.ExitStack() as stack:
        listens = stack.enter_context(socket.socket())
        listens.bind(("127.0.0.1", 0))
        listens.listen(0)
        for _ in range(4):  # its queue is full then
            fills = stack.enter_context(socket.socket())
            fills.setblocking(False)
            fills.connect_ex(listens.getsockname())
        yield f"http://127.0.0.1:{listens.getsockname()[1]}"


def test_a_question_that_never_left_costs_nothing(deaf: str, connect: Any) -> None:
    connect(deaf)
    impatient = rule(name=SONNET)
    asked = rule_model(
        impatient.model_copy(update={"model": impatient.model.model_copy(update={"timeout": 2.0})})
    )
    call = asked.ask(PROMPT)
    faulty(call, "unavailable", "cannot be reached", "host")
    assert call.usd == 0


@pytest.mark.parametrize(
    ("host", "word"), [("http://no-such-host.invalid", "gaierror"), ("no-address", "protocol")]
)
def test_a_host_that_is_none(connect: Any, host: str, word: str) -> None:
    connect(host)
    faulty(rule_model(rule(name=SONNET)).ask(PROMPT), "unavailable", word, "host")


def test_a_proxy_of_the_worker_is_used(api: Api, connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connect("http://model.invalid")
    monkeypatch.setenv("HTTP_PROXY", api.url)
    monkeypatch.setenv("NO_PROXY", "")
    api.play(said(message()))
    assert rule_model(rule(name=SONNET)).ask(PROMPT).answer is not None
    assert api.headers[0]["host"] == "model.invalid"


def test_a_server_that_speaks_no_tls(api: Api, connect: Any) -> None:
    connect(api.url.replace("http:", "https:"))
    faulty(rule_model(rule(name=SONNET)).ask(PROMPT), "unavailable", "SSL", "host")


@pytest.mark.parametrize("settings", [{}, {"extra": {"model": "claude-opus-4-6"}}])
def test_which_model_is_asked(
    api: Api, connect: Any, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(api.url, **settings)
    of_connection = settings.get("extra", {}).get("model", "claude-opus-4-8")
    assert rule_model(rule()).name == of_connection
    monkeypatch.setenv("AIRFLOW__AGENTS__RULES_MODEL", "claude-haiku-4-5")
    assert rule_model(rule()).name == "claude-haiku-4-5"
    assert rule_model(rule(name=SONNET)).name == SONNET
    api.play(said(message()))
    rule_model(rule()).ask(PROMPT)
    assert api.requests[0]["model"] == "claude-haiku-4-5"


def test_the_connection_is_that_of_the_rule_or_the_option(
    api: Api, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInputError, match="'anthropic_default' of the rules' model does not exist"):
        rule_model(rule())
    connect(api.url)
    monkeypatch.setenv("AIRFLOW__AGENTS__ANTHROPIC_CONN_ID", "other")
    with pytest.raises(InvalidInputError, match="'other'"):
        rule_model(rule())
    assert rule_model(rule(connection="anthropic_default")).name


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"conn_type": "github"}, "is of type 'github'"),
        ({"extra": {"platform": "steam"}}, "Unknown Anthropic platform 'steam'"),
        ({"extra": {"platform": "bedrock", "aws_region": "eu-west-1", "model": SONNET}}, "not a valid Amazon Bedrock model"),
        ({"extra": {"workload_identity": {"organization_id": "o"}}}, "workload_identity configuration is missing"),
        ({"password": None}, "put one into its password"),
        ({"password": f"{KEY}\n"}, "holds a line break"),
    ],
)  # fmt: skip
def test_a_connection_that_cannot_be_used(
    api: Api, connect: Any, settings: dict[str, Any], words: str
) -> None:
    connect(api.url, **settings)
    with pytest.raises(InvalidInputError, match="'anthropic_default'") as caught:
        rule_model(rule()).ask(PROMPT)
    assert words in str(caught.value)
    assert KEY not in str(caught.value)
    # No traceback shows what the libraries said.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_key_is_told_nowhere(
    api: Api, model: RuleModel, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("anthropic", "httpx2", "httpcore2", "httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, logger=name)
    for handler in (said(message()), refusal(401, "authentication_error", f"no such key: {KEY}"), _html):
        api.play(handler)
        call = model.ask(PROMPT)
        assert KEY not in repr(call) + str(call)
    out, err = capfd.readouterr()
    assert KEY not in caplog.text + out + err
    assert KEY not in repr(model) + repr(vars(model)["_secrets"])


def test_questions_cost_what_the_installation_pays(
    api: Api, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(api.url)
    api.play(said(message()))
    monkeypatch.setenv("AIRFLOW__AGENTS__PRICES", '{"house-model": {"input": 1, "output": 4}}')
    call = rule_model(rule(name="house-model")).ask(PROMPT)
    assert call.usd == pytest.approx((900 + 60 * 4) / 1e6)
    unknown = rule_model(rule(name="who-knows")).ask(PROMPT)
    assert not unknown.priced
    assert unknown.usd == pytest.approx((900 * 15 + 60 * 75) / 1e6)
    monkeypatch.setenv("AIRFLOW__AGENTS__PRICES", "{")
    with pytest.raises(InvalidInputError, match=r"\[agents\] prices"):
        rule_model(rule(name=SONNET))


def test_the_stand_in_model_plays_it_all(connect: Any) -> None:
    """The demo's model, with its script: what the end-to-end tests are built on."""
    scenes = [
        {
            "name": "refuse",
            "when": {"fields": ["action"], "matches": "shop#1 "},
            "turns": [{"stop_reason": "refusal"}],
        },
        {
            "name": "merge",
            "when": {"fields": ["action", "reason"], "matches": "ciStatus: SUCCESS"},
            "turns": [
                {"calls": [{"tool": "StructuredOutput", "input": {"action": "merge", "reason": "Green."}}]}
            ],
        },
        {"name": "chatter", "when": {"fields": ["action"]}, "turns": [{"text": "Merge it."}]},
    ]

    async def play() -> list[ModelCall]:
        async with StandInModel(Script.of({"scenes": scenes}), api_key=KEY) as stand_in:
            connect(stand_in.url)
            asked = rule_model(rule(name=SONNET))
            text = replace(PROMPT, rule="Merge what is green. " * 400)
            prompts = [
                text,
                replace(text, facts="acme/shop#1 ciStatus: SUCCESS"),
                replace(text, facts="acme/shop#2 ciStatus: FAILURE"),
                text,
            ]
            return [await asyncio.to_thread(asked.ask, prompt) for prompt in prompts]

    merge, refused, chatter, again = asyncio.run(play())
    assert merge.answer is not None
    assert merge.answer.action == "merge"
    assert (refused.fault, chatter.fault) == ("refused", "malformed")
    assert (merge.tokens.cache_write > 1_024, again.tokens.cache_read) == (True, merge.tokens.cache_write)
