from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from model_world import BODY, DELTA, KEY, STOP, TEXT, Api, post, sse, start, until

from agent_runner import contract
from agent_runner.contract import Ledger, ModelUse, Tokens
from agent_runner.gateway import model_proxy, relay, server
from agent_runner.gateway.server import Gateway

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from agent_runner.gateway.settings import Settings


# Passing through


async def test_a_stream_passes_unchanged_and_is_metered(
    api: Api, gateway: Gateway, client: aiohttp.ClientSession
) -> None:
    answer, body = await post(client, gateway)
    assert answer.status == 200
    assert body == sse(start(), TEXT, DELTA, STOP)
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["request-id"] == "r1"
    assert answer.headers["anthropic-ratelimit-tokens-remaining"] == "7"
    assert "Set-Cookie" not in answer.headers
    tokens = Tokens(input=1_000_000, output=500)
    use = ModelUse(model="claude-opus-5-5", calls=1, usd=4.01, tokens=tokens)
    assert gateway.ledger == Ledger(usd=4.01, tokens=tokens, model_calls=1, models=(use,))


async def test_headers_of_the_client_are_chosen(
    api: Api, gateway: Gateway, client: aiohttp.ClientSession
) -> None:
    await post(
        client,
        gateway,
        "v1/messages?beta=true&x=%2F",
        headers={
            "x-api-key": "theirs",
            "Authorization": "Bearer theirs",
            "Cookie": "c=d",
            "Accept-Encoding": "gzip, br",
            "anthropic-version": "2023-06-01",
            "anthropic-beta": "one,two",
            "Content-Type": "application/json",
            "User-Agent": "claude-cli/1",
            "X-Forwarded-For": "1.2.3.4",
        },
    )
    (seen,) = api.seen
    assert seen.raw_path == "/v1/messages?beta=true&x=%2F"
    assert api.bodies == [BODY]
    assert {name.lower(): value for name, value in seen.headers.items()} == {
        "host": api.url.removeprefix("http://"),
        "accept": "*/*",
        "accept-encoding": "identity",
        "anthropic-beta": "one,two",
        "anthropic-version": "2023-06-01",
        "content-length": str(len(BODY)),
        "content-type": "application/json",
        "user-agent": "claude-cli/1",
        "x-api-key": KEY,
    }


async def test_chunks_arrive_before_the_answer_ends(
    api: Api, gateway: Gateway, client: aiohttp.ClientSession
) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        response = await api.begin(request)
        await response.write(sse(start()))
        await api.go_on.wait()
        await response.write(sse(DELTA))
        return response

    api.answer = slow
    async with client.post(f"{gateway.url}/anthropic/v1/messages", data=BODY) as answer:
        first = await asyncio.wait_for(answer.content.readany(), 10)
        assert first == sse(start())
        api.go_on.set()
        assert await answer.content.read() == sse(DELTA)


async def test_plain_answers_and_errors_pass(
    api: Api, gateway: Gateway, client: aiohttp.ClientSession
) -> None:
    message = {**start()["message"], "model": "claude-opus-5-5"}

    async def plain(_: web.Request) -> web.Response:
        return web.json_response(message)

    async def busy(_: web.Request) -> web.Response:
        headers = {"retry-after": "2", "x-should-retry": "true"}
        return web.json_response({"type": "error"}, status=529, headers=headers)

    api.answer = plain
    answer, body = await post(client, gateway)
    assert json.loads(body) == message
    assert gateway.ledger.tokens == Tokens(input=1_000_000, output=1)
    api.answer = busy
    answer, body = await post(client, gateway)
    assert (answer.status, json.loads(body)) == (529, {"type": "error"})
    assert answer.headers["retry-after"] == "2"
    assert answer.headers["x-should-retry"] == "true"
    assert gateway.ledger.model_calls == 1


async def test_counting_tokens_is_free(api: Api, gateway: Gateway, client: aiohttp.ClientSession) -> None:
    async def count(_: web.Request) -> web.Response:
        return web.json_response({"input_tokens": 5})

    api.answer = count
    answer, body = await post(client, gateway, "v1/messages/count_tokens")
    assert (answer.status, json.loads(body)) == (200, {"input_tokens": 5})
    assert gateway.ledger == Ledger()


async def test_unknown_models_are_charged_at_the_dearest_price(
    api: Api, gateway: Gateway, client: aiohttp.ClientSession
) -> None:
    api.answer = lambda request: api.stream(request, model="other-1")
    await post(client, gateway)
    assert gateway.ledger.unpriced_models == ("other-1",)
    assert gateway.ledger.models[0].unpriced
    assert gateway.ledger.usd == pytest.approx(15 + 500 * 75 / 1e6)


# Faults


@pytest.mark.parametrize("linger", [True, False])
async def test_a_client_that_goes_away_does_not_stop_the_metering(
    api: Api, gateway: Gateway, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, linger: bool
) -> None:
    monkeypatch.setattr(relay, "LINGER_SECONDS", 30 if linger else 0.2)

    async def slow(request: web.Request) -> web.StreamResponse:
        response = await api.begin(request)
        await response.write(sse(start(), TEXT))
        await api.go_on.wait()
        # Two writes: the gateway finds the client gone at the first.
        await response.write(sse(TEXT))
        await asyncio.sleep(0.05)
        if not linger:
            await asyncio.sleep(5)
        await response.write(sse(DELTA, STOP))
        return response

    api.answer = slow
    answer = await client.post(f"{gateway.url}/anthropic/v1/messages", data=BODY)
    await answer.content.readany()
    answer.close()
    api.go_on.set()
    await until(lambda: gateway.ledger.model_calls)
    # Beyond the time limit: an estimate, 600 bytes of text at 3 bytes a token.
    assert gateway.ledger.tokens == Tokens(input=1_000_000, output=500 if linger else 200)


async def test_an_answer_that_breaks_off_is_cut_for_the_client_too(
    api: Api, gateway: Gateway, client: aiohttp.ClientSession
) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = await api.begin(request)
        await response.write(sse(start(), TEXT))
        await asyncio.sleep(0.05)
        assert request.transport
        request.transport.abort()
        return response

    api.answer = cut
    with pytest.raises(aiohttp.ClientError):
        await post(client, gateway)
    await until(lambda: gateway.ledger.model_calls)
    assert gateway.ledger.tokens == Tokens(input=1_000_000, output=100)


async def test_stopping_meters_what_still_runs(
    api: Api,
    settings: Settings,
    client: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(server, "SHUTDOWN_SECONDS", 0.2)

    async def hang(request: web.Request) -> web.StreamResponse:
        response = await api.begin(request)
        await response.write(sse(start(), TEXT))
        await api.go_on.wait()
        return response

    api.answer = hang
    gateway = Gateway(settings)
    await gateway.start()
    async with client.post(f"{gateway.url}/anthropic/v1/messages", data=BODY) as answer:
        await answer.content.readany()
        async with asyncio.timeout(10):
            await gateway.stop()
    api.go_on.set()
    assert Ledger.from_json((tmp_path / "message").read_text()).tokens == Tokens(input=1_000_000, output=100)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "v1/messages", 404),
        ("POST", "v1/complete", 404),
        ("POST", "v1/messages/", 404),
        ("POST", "v1/messages/batches", 404),
        ("POST", "v1/files", 404),
        ("GET", "api/hello", 404),
    ],
)
async def test_other_paths_are_refused_in_the_form_of_the_api(
    api: Api, gateway: Gateway, client: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    answer, body = await post(client, gateway, path, method=method)
    assert answer.status == status
    assert json.loads(body)["error"]["type"] == "not_found_error"
    assert api.seen == []
    assert gateway.ledger.refusals == (f"model: {method} {path}: not served",)


async def test_a_missing_key_is_named_and_can_be_added(
    api: Api, gateway: Gateway, settings: Settings, client: aiohttp.ClientSession
) -> None:
    path = settings.secrets_dir / contract.SECRET_KEY_ANTHROPIC
    path.unlink()
    answer, body = await post(client, gateway)
    assert answer.status == 403
    assert json.loads(body) == {
        "type": "error",
        "error": {
            "type": "permission_error",
            "message": "agent gateway: no credential: key anthropic-api-key of secret agent-secrets "
            "does not exist; add it, or key anthropic-oauth-token",
        },
    }
    path.write_text("renewed")
    answer, _ = await post(client, gateway)
    assert answer.status == 200
    assert api.seen[0].headers["x-api-key"] == "renewed"


async def test_requests_are_bounded(api: Api, gateway: Gateway, client: aiohttp.ClientSession) -> None:
    answer, _ = await post(client, gateway, data=BODY + b" " * (5 << 20))
    assert answer.status == 200
    answer, body = await post(client, gateway, data=b"x" * (model_proxy.MAX_BODY_BYTES + 1))
    assert answer.status == 413
    assert json.loads(body)["error"]["type"] == "request_too_large"
    assert len(api.seen) == 1


@pytest.mark.parametrize(
    ("status", "headers", "expected", "kind"),
    [
        (401, {}, 403, "permission_error"),
        (307, {"Location": "http://127.0.0.1:1/"}, 400, "invalid_request_error"),
        (200, {"Content-Encoding": "gzip"}, 400, "invalid_request_error"),
    ],
)
async def test_answers_that_cannot_be_passed_on(
    api: Api,
    gateway: Gateway,
    client: aiohttp.ClientSession,
    status: int,
    headers: dict[str, str],
    expected: int,
    kind: str,
) -> None:
    async def wrong(_: web.Request) -> web.Response:
        return web.Response(status=status, body=b"{}", headers=headers)

    api.answer = wrong
    answer, body = await post(client, gateway)
    assert answer.status == expected
    assert json.loads(body)["error"]["type"] == kind
    assert KEY.encode() not in body


async def test_an_unreachable_api_is_said(
    settings: Settings, client: aiohttp.ClientSession, stack: AsyncExitStack
) -> None:
    assert settings.config
    config = dataclasses.replace(settings.config, anthropic_url="http://127.0.0.1:1")
    gateway = await stack.enter_async_context(Gateway(dataclasses.replace(settings, config=config)))
    answer, body = await post(client, gateway)
    assert answer.status == 502
    assert json.loads(body)["error"] == {
        "type": "api_error",
        "message": "agent gateway: the model API cannot be reached: Connection refused",
    }


# It always starts


async def test_an_unusable_configuration_is_said_to_both(
    settings: Settings, client: aiohttp.ClientSession, stack: AsyncExitStack
) -> None:
    broken = dataclasses.replace(settings, config=None, fault="gateway configuration: repository is missing")
    gateway = await stack.enter_async_context(Gateway(broken))
    assert settings.url_file.read_text() == gateway.url
    answer, body = await post(client, gateway)
    assert answer.status == 400
    assert "repository is missing" in json.loads(body)["error"]["message"]
    async with client.get(f"{gateway.url}/git/o/n.git/info/refs?service=git-upload-pack") as refs:
        assert refs.status == 403
        assert refs.content_type == "text/plain"
        assert "repository is missing" in await refs.text()
    assert gateway.ledger == Ledger()


async def test_an_unusable_ledger_is_said(
    settings: Settings, client: aiohttp.ClientSession, stack: AsyncExitStack, api: Api
) -> None:
    broken = dataclasses.replace(settings, ledger_dir=settings.ledger_dir / "none")
    gateway = await stack.enter_async_context(Gateway(broken))
    _, body = await post(client, gateway)
    assert "pod.jsonl: No such file or directory" in json.loads(body)["error"]["message"]
    assert api.seen == []


async def test_nothing_is_spent_once_the_ledger_cannot_be_written(
    gateway: Gateway, client: aiohttp.ClientSession, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gateway._journal
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(gateway._journal, "_file", full)
        for _ in range(2):
            answer, body = await post(client, gateway)
            assert answer.status == 400
            assert "cannot be written: No space left on device" in json.loads(body)["error"]["message"]
        monkeypatch.undo()
    assert api.seen == []
    assert gateway.ledger.usd == 0


async def test_an_internal_fault_is_an_answer_and_shows_no_content(
    gateway: Gateway,
    client: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(*_: object) -> web.StreamResponse:
        raise LookupError("canary")

    monkeypatch.setattr(model_proxy.ModelProxy, "handle", fail)
    answer, body = await post(client, gateway)
    assert answer.status == 500
    assert b"LookupError" in body
    assert b"canary" not in body
    assert "anthropic: LookupError at test_gateway_server.py:" in caplog.text
    assert "canary" not in caplog.text


async def test_log_lines_hold_no_secret_and_no_body(
    gateway: Gateway, client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "agent_runner")
    await post(client, gateway, data=BODY[:-1] + b', "system": "canary-body"}')
    assert "model: claude-opus-5-5 200" in caplog.text
    for word in (KEY, "canary-body", "xxxx", gateway.url.rsplit("/", 1)[1]):
        assert word not in caplog.text
