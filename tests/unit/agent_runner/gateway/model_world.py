"""A scripted model API on 127.0.0.1, a gateway before it, and a client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web
from yarl import URL

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from agent_runner.gateway.server import Gateway

KEY = "sk-canary"
BODY = json.dumps({"model": "claude-opus-5-5", "stream": True}).encode()


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)


def start(model: str = "claude-opus-5-5") -> dict[str, Any]:
    usage = {"input_tokens": 1_000_000, "output_tokens": 1}
    return {"type": "message_start", "message": {"type": "message", "model": model, "usage": usage}}


TEXT = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x" * 300}}
DELTA = {"type": "message_delta", "usage": {"output_tokens": 500}}
STOP = {"type": "message_stop"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """A scripted Messages API."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.stack = stack
        self.seen: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.answer: Handler = self.stream
        self.url = ""
        self.go_on = asyncio.Event()

    async def start(self) -> None:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.2)
        await runner.setup()
        self.stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        self.bodies.append(await request.read())
        return await self.answer(request)

    async def stream(self, request: web.Request, *, model: str = "claude-opus-5-5") -> web.StreamResponse:
        response = await self.begin(request)
        await response.write(sse(start(model), TEXT, DELTA, STOP))
        return response

    async def begin(self, request: web.Request) -> web.StreamResponse:
        headers = {
            "Content-Type": "text/event-stream; charset=utf-8",
            "request-id": "r1",
            "Set-Cookie": "a=b",
        }
        response = web.StreamResponse(headers={**headers, "anthropic-ratelimit-tokens-remaining": "7"})
        await response.prepare(request)
        return response


async def post(
    client: aiohttp.ClientSession,
    gateway: Gateway,
    path: str = "v1/messages",
    *,
    data: bytes = BODY,
    method: str = "POST",
    api: str = "anthropic",
    headers: dict[str, str] | None = None,
) -> tuple[aiohttp.ClientResponse, bytes]:
    url = URL(f"{gateway.url}/{api}/{path}", encoded=True)
    async with asyncio.timeout(20), client.request(method, url, data=data, headers=headers) as answer:
        return answer, await answer.read()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)
