from __future__ import annotations

import asyncio
import dataclasses
import errno
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from model_world import DELTA, STOP, TEXT, Api, post, sse, start, until

from agent_runner import contract
from agent_runner.contract import Budget, Ledger, Reserve, Settled, Tokens
from agent_runner.gateway import journal, relay, server
from agent_runner.gateway.journal import Journal, ledger_file
from agent_runner.gateway.server import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AsyncExitStack
    from pathlib import Path

    from agent_runner.gateway.settings import Settings

OPUS = json.dumps({"model": "claude-opus-5-5", "stream": True, "max_tokens": 32_000}).encode()
GPT = json.dumps({"model": "gpt-5.5", "stream": True, "max_output_tokens": 32_000}).encode()
ESTIMATE = 0.0201
"""Of a first call of :data:`OPUS`: about 20 tokens of prompt, and 1,000 of output at 20 USD a million. It may
take up to 0.64 USD."""


def answer_events(output: int) -> bytes:
    usage = {"input_tokens": 10, "output_tokens": 1}
    message = {"type": "message", "model": "claude-opus-5-5", "usage": usage}
    begin = {"type": "message_start", "message": message}
    return sse(begin, TEXT, {"type": "message_delta", "usage": {"output_tokens": output}}, STOP)


@pytest.fixture
def limited(settings: Settings, stack: AsyncExitStack) -> Callable[..., Any]:
    async def start_gateway(**budget: Any) -> Gateway:
        assert settings.config
        config = dataclasses.replace(settings.config, budget=Budget(**budget))
        return await stack.enter_async_context(Gateway(dataclasses.replace(settings, config=config)))

    return start_gateway


class Held:
    """Answers each request when it is told to."""

    def __init__(self, api: Api, output: int = 1_000) -> None:
        self.running = self.most = self.ended = 0
        self.output = output
        self.go: asyncio.Queue[None] = asyncio.Queue()
        self._api = api
        api.answer = self.answer

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.running += 1
        self.most = max(self.most, self.running)
        response = await self._api.begin(request)
        await self.go.get()
        self.running -= 1
        self.ended += 1
        await response.write(answer_events(self.output))
        return response


# Refusals


async def test_a_spent_budget_refuses_in_the_form_of_each_api(
    limited: Callable[..., Any], api: Api, client: aiohttp.ClientSession, settings: Settings
) -> None:
    gateway = await limited(usd=0.01)
    (settings.secrets_dir / contract.SECRET_KEY_OPENAI).write_text("o-key")
    answer, body = await post(client, gateway, data=OPUS)
    words = "agent gateway: the budget of this task is spent: 0.0100 USD allowed to this step, 0.0000 spent, and this call needs about "
    assert answer.status == 402
    error = json.loads(body)
    assert error["error"]["message"] == words + "0.0201; raise budget_usd"
    assert error == {
        "type": "error",
        "error": {"type": "billing_error", "message": words + "0.0201; raise budget_usd"},
    }
    answer, body = await post(client, gateway, "v1/responses", api="openai", data=GPT)
    assert answer.status == 400
    assert json.loads(body)["error"] == {
        "message": words + "0.0301; raise budget_usd",
        "type": "insufficient_quota",
        "param": None,
        "code": "budget_exhausted",
    }
    assert api.seen == []
    assert gateway.ledger.budget_refusals == 2
    assert len(gateway.ledger.refusals) == 1
    assert gateway.ledger.usd == 0


async def test_tokens_are_a_budget_too(
    limited: Callable[..., Any], api: Api, client: aiohttp.ClientSession
) -> None:
    gateway = await limited(tokens=1_100)
    api.answer = lambda request: web_stream(api, request, answer_events(200))
    assert (await post(client, gateway, data=OPUS))[0].status == 200
    assert gateway.ledger.tokens == Tokens(input=10, output=200)
    # The estimate has learnt: no longer 1,000 tokens of output.
    statuses = [(await post(client, gateway, data=OPUS))[0].status for _ in range(6)]
    assert statuses == [200, 200, 200, 200, 402, 402]
    assert gateway.ledger.tokens.output == 1_000
    assert "tokens allowed" in gateway.ledger.refusals[0]


async def web_stream(api: Api, request: web.Request, data: bytes) -> web.StreamResponse:
    response = await api.begin(request)
    await response.write(data)
    return response


async def test_counting_is_free_while_something_is_left(
    limited: Callable[..., Any], api: Api, client: aiohttp.ClientSession
) -> None:
    async def count(_: web.Request) -> web.Response:
        return web.json_response({"input_tokens": 5})

    gateway = await limited(usd=0.021)
    api.answer = count
    path = "v1/messages/count_tokens"
    assert (await post(client, gateway, path, data=OPUS))[0].status == 200
    assert gateway.ledger.usd == 0
    api.answer = lambda request: web_stream(api, request, answer_events(2_000))
    assert (await post(client, gateway, data=OPUS))[0].status == 200
    answer, body = await post(client, gateway, path, data=OPUS)
    assert answer.status == 402
    assert "the budget of this task is spent" in json.loads(body)["error"]["message"]
    assert gateway.ledger.budget_refusals == 1


async def test_lost_pods_are_taken_off_at_the_start(
    limited: Callable[..., Any], settings: Settings, client: aiohttp.ClientSession
) -> None:
    lost = Journal(ledger_file(settings.ledger_dir, "lost"))
    lost.model_call_begun(model="m", tokens=Tokens(output=7), usd=0.9, unpriced=False)
    gateway = await limited(
        usd=2.0, unsettled=(Reserve(pod="lost", usd=5.0, tokens=1), Reserve(pod="gone", usd=1.09, tokens=3))
    )
    assert gateway.ledger.settled == (
        Settled(pod="lost", usd=0.9, tokens=7, known=True),
        Settled(pod="gone", usd=1.09, tokens=3, known=False),
    )
    assert gateway.ledger.usd == 0
    answer, body = await post(client, gateway, data=OPUS)
    assert answer.status == 402
    assert "0.0100 USD allowed to this step" in json.loads(body)["error"]["message"]


# Several calls at once


async def test_near_the_end_calls_run_one_by_one(
    limited: Callable[..., Any], api: Api, client: aiohttp.ClientSession
) -> None:
    gateway = await limited(usd=0.07)
    held = Held(api)
    requests = [asyncio.create_task(post(client, gateway, data=OPUS)) for _ in range(6)]
    for done in range(3):
        await until(lambda expected=done: held.running == 1 and held.ended == expected)
        held.go.put_nowait(None)
    answers = [answer.status for answer, _ in await asyncio.gather(*requests)]
    # 0.07 is three calls of 0.02 and a rest that is too little for a fourth.
    assert sorted(answers) == [200, 200, 200, 402, 402, 402]
    assert held.most == 1
    assert gateway.ledger.usd == pytest.approx(3 * 0.02004)


async def test_with_plenty_left_calls_run_side_by_side(
    limited: Callable[..., Any], api: Api, client: aiohttp.ClientSession
) -> None:
    gateway = await limited(usd=10)
    held = Held(api)
    requests = [asyncio.create_task(post(client, gateway, data=OPUS)) for _ in range(6)]
    await until(lambda: held.running == 6)
    assert gateway.ledger.usd == pytest.approx(6 * ESTIMATE, rel=0.01)
    for _ in range(6):
        held.go.put_nowait(None)
    assert {answer.status for answer, _ in await asyncio.gather(*requests)} == {200}


async def test_the_apis_share_one_budget(
    limited: Callable[..., Any], api: Api, client: aiohttp.ClientSession, settings: Settings
) -> None:
    (settings.secrets_dir / contract.SECRET_KEY_OPENAI).write_text("o-key")
    gateway = await limited(usd=0.045)
    api.answer = lambda request: web_stream(api, request, answer_events(1_000))
    assert (await post(client, gateway, data=OPUS))[0].status == 200
    assert (await post(client, gateway, "v1/responses", api="openai", data=GPT))[0].status == 400


async def test_a_client_that_goes_away_while_waiting_leaves_the_queue(
    limited: Callable[..., Any],
    api: Api,
    client: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "_LOOK_SECONDS", 0.01)
    gateway = await limited(usd=0.07)
    held = Held(api)
    gate = gateway._models["anthropic"]._book._gate
    first = asyncio.create_task(post(client, gateway, data=OPUS))
    await until(lambda: held.running == 1)
    second = asyncio.create_task(post(client, gateway, data=OPUS))
    await until(lambda: gate.waiting == 1)
    third = asyncio.create_task(post(client, gateway, data=OPUS))
    await until(lambda: gate.waiting == 2)
    second.cancel()
    await until(lambda: gate.waiting == 1)
    for _ in range(2):
        held.go.put_nowait(None)
    assert [(await task)[0].status for task in (first, third)] == [200, 200]
    assert len(api.seen) == 2
    assert gateway.ledger.model_calls == 2


# What a call is charged


async def test_the_estimate_is_written_before_the_request_goes_out(
    limited: Callable[..., Any], api: Api, client: aiohttp.ClientSession, settings: Settings
) -> None:
    gateway = await limited()
    seen: list[dict[str, Any]] = []

    async def look(request: web.Request) -> web.StreamResponse:
        text = ledger_file(settings.ledger_dir, "pod").read_text()
        seen.extend(json.loads(line) for line in text.splitlines())
        return await web_stream(api, request, answer_events(3))

    api.answer = look
    await post(client, gateway, data=OPUS)
    (begun,) = seen
    assert begun["event"] == "model_call_begun"
    assert begun["model"] == "claude-opus-5-5"
    assert begun["estimate_usd"] == pytest.approx(ESTIMATE, rel=0.01)
    assert begun["estimate_tokens"]["output"] == 1_000
    assert gateway.ledger.usd == pytest.approx((10 * 4 + 3 * 20) / 1e6)


async def test_what_the_disk_does_not_keep_is_not_sent(
    limited: Callable[..., Any],
    api: Api,
    client: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway = await limited(usd=1)
    kept = []
    monkeypatch.setattr(journal.os, "fsync", kept.append)

    async def look(request: web.Request) -> web.StreamResponse:
        assert len(kept) == 1, "written down, but not yet on the disk"
        return await web_stream(api, request, answer_events(3))

    api.answer = look
    assert (await post(client, gateway, data=OPUS))[0].status == 200

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(journal.os, "fsync", fail)
    spent = gateway.ledger.usd
    answer, body = await post(client, gateway, data=OPUS)
    assert answer.status == 400
    assert "cannot be written: Input/output error" in json.loads(body)["error"]["message"]
    assert len(api.seen) == 1
    assert gateway.ledger.usd == spent


@pytest.mark.parametrize(
    ("status", "body", "content_type"),
    [
        (200, sse({"type": "error", "error": {"type": "overloaded_error"}}), "text/event-stream"),
        (400, b'{"type":"error"}', "application/json"),
        (429, b'{"type":"error"}', "application/json"),
        (529, b"", "text/plain"),
        (401, b"{}", "application/json"),
        (307, b"", "text/plain"),
    ],
)
async def test_errors_cost_nothing(
    limited: Callable[..., Any],
    api: Api,
    client: aiohttp.ClientSession,
    status: int,
    body: bytes,
    content_type: str,
) -> None:
    gateway = await limited(usd=0.021)

    async def fail(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body, content_type=content_type)

    api.answer = fail
    for _ in range(3):
        assert (await post(client, gateway, data=OPUS))[0].status != 402
    assert len(api.seen) == 3
    assert gateway.ledger.usd == 0
    assert gateway.ledger.models == ()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{}", {"Content-Type": "application/json"}),
        (b"", {"Content-Type": "text/event-stream"}),
        (b"zipped", {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}),
    ],
)
async def test_an_answer_that_tells_no_use_is_charged_at_the_estimate(
    limited: Callable[..., Any],
    api: Api,
    client: aiohttp.ClientSession,
    body: bytes,
    headers: dict[str, str],
) -> None:
    gateway = await limited(usd=1)

    async def silent(_: web.Request) -> web.Response:
        return web.Response(body=body, headers=headers)

    api.answer = silent
    await post(client, gateway, data=OPUS)
    await until(lambda: gateway.ledger.model_calls)
    assert gateway.ledger.usd == pytest.approx(ESTIMATE, rel=0.01)


async def test_no_answer_at_all_may_have_cost_all_of_it(
    limited: Callable[..., Any], api: Api, client: aiohttp.ClientSession
) -> None:
    gateway = await limited(usd=1)

    async def vanish(request: web.Request) -> web.StreamResponse:
        assert request.transport
        request.transport.abort()
        return web.Response()

    api.answer = vanish
    answer, body = await post(client, gateway, data=OPUS)
    assert answer.status == 502
    assert "the connection broke off" in json.loads(body)["error"]["message"]
    assert gateway.ledger.usd == pytest.approx(ESTIMATE, rel=0.01)
    assert gateway.ledger.model_calls == 0


async def test_what_never_left_costs_nothing(
    settings: Settings, client: aiohttp.ClientSession, stack: AsyncExitStack
) -> None:
    assert settings.config
    config = dataclasses.replace(settings.config, anthropic_url="http://127.0.0.1:1")
    gateway = await stack.enter_async_context(Gateway(dataclasses.replace(settings, config=config)))
    assert (await post(client, gateway, data=OPUS))[0].status == 502
    assert gateway.ledger.usd == 0


async def test_an_end_before_any_answer_charges_the_estimate(
    limited: Callable[..., Any],
    api: Api,
    settings: Settings,
    client: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(server, "SHUTDOWN_SECONDS", 0.1)

    async def hang(_: web.Request) -> web.Response:
        await api.go_on.wait()
        return web.Response()

    api.answer = hang
    gateway = Gateway(settings)
    await gateway.start()
    request = asyncio.create_task(post(client, gateway, data=OPUS))
    await until(lambda: api.seen)
    await gateway.stop()
    with pytest.raises(aiohttp.ClientError):
        await request
    api.go_on.set()
    ledger = Ledger.from_json((tmp_path / "message").read_text())
    assert ledger.usd == pytest.approx(ESTIMATE, rel=0.01)
    events = ledger_file(settings.ledger_dir, "pod").read_text().splitlines()
    assert json.loads(events[-1])["event"] == "model_call"
    assert json.loads(events[-1])["estimated"] is True


async def test_a_compressed_request_is_refused_since_its_cost_cannot_be_foreseen(
    limited: Callable[..., Any], api: Api, client: aiohttp.ClientSession
) -> None:
    gateway = await limited()
    answer, body = await post(client, gateway, data=b"\x28\xb5", headers={"Content-Encoding": "zstd"})
    assert answer.status == 400
    assert "compressed" in json.loads(body)["error"]["message"]
    assert api.seen == []


async def test_absurd_counts_break_nothing(
    limited: Callable[..., Any], api: Api, client: aiohttp.ClientSession, settings: Settings
) -> None:
    gateway = await limited(usd=1)
    api.answer = lambda request: web_stream(api, request, answer_events(10**400))
    data = json.dumps({"model": "\ud800\n", "max_tokens": 10**400}).encode()
    assert (await post(client, gateway, data=data))[0].status == 200
    assert gateway.ledger.tokens.output == 10**9
    assert (await post(client, gateway, data=data))[0].status == 402
    assert Journal(ledger_file(settings.ledger_dir, "pod")).ledger.usd == gateway.ledger.usd


async def test_a_restart_remembers_what_is_spent(
    limited: Callable[..., Any], api: Api, settings: Settings, client: aiohttp.ClientSession
) -> None:
    before = Journal(ledger_file(settings.ledger_dir, "pod"))
    before.model_call_begun(model="m", tokens=Tokens(output=9), usd=0.99, unpriced=False)
    gateway = await limited(usd=1)
    answer, body = await post(client, gateway, data=OPUS)
    assert answer.status == 402
    assert "1.00 USD allowed to this step, 0.99 spent" in json.loads(body)["error"]["message"]


async def test_the_metering_goes_on_without_its_client_and_holds_the_budget(
    limited: Callable[..., Any], api: Api, client: aiohttp.ClientSession
) -> None:
    gateway = await limited(usd=0.03)

    async def slow(request: web.Request) -> web.StreamResponse:
        response = await api.begin(request)
        await response.write(sse(start(), TEXT))
        await api.go_on.wait()
        await response.write(sse(TEXT))
        await asyncio.sleep(0.05)
        await response.write(sse(DELTA, STOP))
        return response

    api.answer = slow
    answer = await client.post(f"{gateway.url}/anthropic/v1/messages", data=OPUS)
    await answer.content.readany()
    answer.close()
    waiting = asyncio.create_task(post(client, gateway, data=OPUS))
    await until(lambda: gateway._models["anthropic"]._book._gate.waiting)
    api.go_on.set()
    assert (await waiting)[0].status == 402
    assert gateway.ledger.usd == pytest.approx(4.01)
    assert len(api.seen) == 1
