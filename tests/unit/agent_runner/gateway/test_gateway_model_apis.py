"""What is special to each model API at the gateway: credentials, headers, forms of errors, metering."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from model_world import BODY, KEY, Api, post, sse

from agent_runner import contract
from agent_runner.contract import Ledger, ModelUse, Tokens
from agent_runner.gateway.journal import ledger_file
from agent_runner.gateway.server import Gateway

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

    from agent_runner.gateway.settings import Settings

OPENAI_KEY = "sk-proj-canary"
OAUTH_TOKEN = "sk-ant-oat01-canary"
GPT = json.dumps({"model": "gpt-5.5", "stream": True, "input": []}).encode()
USAGE = {
    "input_tokens": 1_000_000,
    "input_tokens_details": {"cached_tokens": 400_000},
    "output_tokens": 1_000,
}
RESPONSE = {"id": "r", "model": "gpt-5.4-2026-03-05", "status": "completed", "usage": USAGE, "output": []}
EVENTS = (
    {"type": "response.created", "response": {"id": "r", "usage": None}},
    {"type": "response.output_text.delta", "delta": "done"},
    {"type": "response.completed", "response": RESPONSE},
)


@pytest.fixture
def keys(settings: Settings) -> Path:
    (settings.secrets_dir / contract.SECRET_KEY_OPENAI).write_text(OPENAI_KEY + "\n")
    return settings.secrets_dir


async def ask(client: aiohttp.ClientSession, gateway: Gateway, **more: Any) -> tuple[Any, bytes]:
    return await post(client, gateway, **{"path": "v1/responses", "api": "openai", "data": GPT, **more})


# OpenAI


@pytest.mark.usefixtures("keys")
async def test_a_streamed_response_passes_unchanged_and_is_metered(
    api: Api, gateway: Gateway, client: aiohttp.ClientSession
) -> None:
    async def stream(_: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "x-request-id": "req",
                "openai-processing-ms": "7",
                "x-ratelimit-remaining-tokens": "8",
                "Set-Cookie": "a=b",
            }
        )
        await response.prepare(_)
        for event in EVENTS:
            await response.write(sse(event))
        return response

    api.answer = stream
    answer, body = await ask(client, gateway)
    assert body == sse(*EVENTS)
    assert answer.headers["x-request-id"] == "req"
    assert answer.headers["openai-processing-ms"] == "7"
    assert answer.headers["x-ratelimit-remaining-tokens"] == "8"
    assert "Set-Cookie" not in answer.headers
    tokens = Tokens(input=600_000, cache_read=400_000, output=1_000)
    # The long prompt makes the call dearer: 5 and 0.5 USD a million, 22.5 of output.
    usd = 0.6 * 5 + 0.4 * 0.5 + 0.001 * 22.5
    assert gateway.ledger == Ledger(
        usd=pytest.approx(usd),
        tokens=tokens,
        model_calls=1,
        models=(ModelUse(model="gpt-5.4-2026-03-05", calls=1, usd=pytest.approx(usd), tokens=tokens),),
    )


@pytest.mark.usefixtures("keys")
async def test_a_plain_response_is_metered(api: Api, gateway: Gateway, client: aiohttp.ClientSession) -> None:
    async def plain(_: web.Request) -> web.Response:
        return web.json_response({**RESPONSE, "model": None})

    api.answer = plain
    answer, body = await ask(client, gateway)
    assert (answer.status, json.loads(body)["id"]) == (200, "r")
    # The answer names no model: what was asked for counts.
    assert [use.model for use in gateway.ledger.models] == ["gpt-5.5"]
    assert gateway.ledger.tokens.output == 1_000


@pytest.mark.usefixtures("keys")
async def test_headers_of_the_client_are_chosen(
    api: Api, gateway: Gateway, client: aiohttp.ClientSession
) -> None:
    await ask(
        client,
        gateway,
        headers={
            "Authorization": "Bearer theirs",
            "api-key": "theirs",
            "OpenAI-Organization": "theirs",
            "OpenAI-Beta": "responses=experimental",
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            "User-Agent": "codex_exec/0.163.0",
            "x-client-request-id": "c1",
            "session-id": "s1",
            "x-codex-turn-metadata": "{}",
        },
    )
    (seen,) = api.seen
    assert seen.path == "/v1/responses"
    assert api.bodies == [GPT]
    assert {name.lower(): value for name, value in seen.headers.items()} == {
        "host": api.url.removeprefix("http://"),
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "authorization": f"Bearer {OPENAI_KEY}",
        "content-length": str(len(GPT)),
        "content-type": "application/json",
        "openai-beta": "responses=experimental",
        "session-id": "s1",
        "user-agent": "codex_exec/0.163.0",
        "x-client-request-id": "c1",
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "v1/responses"),
        ("GET", "v1/models"),
        ("POST", "responses"),
        ("POST", "v1/responses/compact"),
        ("POST", "v1/chat/completions"),
        ("POST", "v1/files"),
    ],
)
async def test_other_paths_are_refused_in_the_form_of_the_api(
    keys: Path, api: Api, gateway: Gateway, client: aiohttp.ClientSession, method: str, path: str
) -> None:
    answer, body = await ask(client, gateway, method=method, path=path)
    assert answer.status == 404
    assert json.loads(body)["error"]["code"] == "not_served"
    assert json.loads(body)["error"]["message"] == "agent gateway: only POST v1/responses is served"
    assert api.seen == []


async def test_a_missing_key_ends_codex_at_once(
    api: Api, gateway: Gateway, client: aiohttp.ClientSession
) -> None:
    answer, body = await ask(client, gateway)
    # Of all statuses Codex repeats, this is none.
    assert answer.status == 400
    assert json.loads(body)["error"]["code"] == "model_credential"
    assert "key openai-api-key of secret agent-secrets does not exist; add it" in body.decode()
    assert api.seen == []


@pytest.mark.usefixtures("keys")
async def test_a_refused_key_is_named(api: Api, gateway: Gateway, client: aiohttp.ClientSession) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response(
            {"error": {"message": f"Incorrect API key provided: {OPENAI_KEY}"}}, status=401
        )

    api.answer = refuse
    answer, body = await ask(client, gateway)
    assert answer.status == 400
    assert json.loads(body)["error"]["code"] == "model_credential"
    assert b"openai-api-key of secret agent-secrets (HTTP 401)" in body
    assert OPENAI_KEY.encode() not in body


@pytest.mark.parametrize(("api_name", "path"), [("openai", "v1/responses"), ("anthropic", "v1/messages")])
@pytest.mark.usefixtures("keys")
async def test_being_busy_is_the_agents_to_hear(
    api: Api, gateway: Gateway, client: aiohttp.ClientSession, api_name: str, path: str
) -> None:
    async def busy(_: web.Request) -> web.Response:
        headers = {"retry-after": "17", "retry-after-ms": "17000", "x-should-retry": "true"}
        return web.Response(status=429, body=b'{"error": {"type":"rate_limit_error"}}\n', headers=headers)

    api.answer = busy
    answer, body = await post(client, gateway, path, api=api_name, data=GPT)
    assert (answer.status, body) == (429, b'{"error": {"type":"rate_limit_error"}}\n')
    assert answer.headers["retry-after"] == "17"
    assert answer.headers["x-should-retry"] == "true"
    assert len(api.seen) == 1, "nothing is repeated here"
    assert gateway.ledger.usd == 0


# Anthropic with a subscription


@pytest.mark.parametrize(
    ("sent", "beta"),
    [
        (None, "oauth-2025-04-20"),
        ("one, two", "one,two,oauth-2025-04-20"),
        ("oauth-2025-04-20,one", "oauth-2025-04-20,one"),
    ],
)
async def test_the_token_of_a_subscription_is_used_where_there_is_no_key(
    api: Api,
    gateway: Gateway,
    settings: Settings,
    client: aiohttp.ClientSession,
    sent: str | None,
    beta: str,
) -> None:
    (settings.secrets_dir / contract.SECRET_KEY_ANTHROPIC_OAUTH).write_text(OAUTH_TOKEN)
    await post(client, gateway)
    assert api.seen[0].headers["x-api-key"] == KEY
    assert "Authorization" not in api.seen[0].headers
    (settings.secrets_dir / contract.SECRET_KEY_ANTHROPIC).unlink()
    await post(client, gateway, headers={} if sent is None else {"anthropic-beta": sent})
    headers = api.seen[1].headers
    assert headers["Authorization"] == f"Bearer {OAUTH_TOKEN}"
    assert headers["anthropic-beta"] == beta
    assert "x-api-key" not in headers


async def test_a_refused_token_is_named(
    api: Api, gateway: Gateway, settings: Settings, client: aiohttp.ClientSession
) -> None:
    (settings.secrets_dir / contract.SECRET_KEY_ANTHROPIC).unlink()
    (settings.secrets_dir / contract.SECRET_KEY_ANTHROPIC_OAUTH).write_text(OAUTH_TOKEN)

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=401)

    api.answer = refuse
    answer, body = await post(client, gateway)
    assert answer.status == 403
    assert b"key anthropic-oauth-token of secret agent-secrets" in body


# Both


@pytest.mark.parametrize(
    ("base", "seen"), [("", "/v1/messages"), ("/team/gateway/", "/team/gateway/v1/messages")]
)
async def test_the_api_may_be_below_a_path(
    api: Api, settings: Settings, client: aiohttp.ClientSession, base: str, seen: str
) -> None:
    assert settings.config
    config = dataclasses.replace(settings.config, anthropic_url=api.url + base)
    async with Gateway(dataclasses.replace(settings, config=config)) as gateway:
        await post(client, gateway)
    assert api.seen[0].path == seen


async def test_no_credential_is_in_any_answer_log_line_or_ledger(
    keys: Path,
    api: Api,
    gateway: Gateway,
    settings: Settings,
    client: aiohttp.ClientSession,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.DEBUG)
    (keys / contract.SECRET_KEY_ANTHROPIC_OAUTH).write_text(OAUTH_TOKEN)
    bodies = []

    async def drop(request: web.Request) -> web.Response:
        assert request.transport
        request.transport.abort()
        return web.Response()

    async def echo(request: web.Request) -> web.Response:
        """As a careless proxy does: what it was sent, in a status that is not passed on."""
        return web.Response(status=401, text=str(dict(request.headers)))

    for handler in (api.stream, drop, echo):
        api.answer = handler
        for name, path, data in (("anthropic", "v1/messages", BODY), ("openai", "v1/responses", GPT)):
            bodies.append((await post(client, gateway, path, api=name, data=data))[1])
    (keys / contract.SECRET_KEY_ANTHROPIC).unlink()
    bodies.append((await post(client, gateway))[1])
    await asyncio.sleep(0)
    places = {
        "answers": b"".join(bodies).decode(),
        "log": caplog.text,
        "ledger": ledger_file(settings.ledger_dir, "pod").read_text(),
        "termination message": (tmp_path / "message").read_text(),
    }
    for place, text in places.items():
        for secret in (KEY, OPENAI_KEY, OAUTH_TOKEN, "Bearer", gateway.url.rsplit("/", 1)[1]):
            assert secret not in text, place
    assert len(api.seen) == 7
