"""A model API that streams as many events as it is asked for, in a process of its own.

``python -m tests.bench.model_server`` prints its port and serves until its standard input ends. The number of
events is the request's ``max_tokens``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

USAGE = {"input_tokens": 10, "output_tokens": 1}
START = {"type": "message_start", "message": {"type": "message", "model": "claude-haiku-4-5", "usage": USAGE}}
DELTA = {
    "type": "content_block_delta",
    "index": 0,
    "delta": {"type": "text_delta", "text": "some words of it "},
}
END = {"type": "message_delta", "usage": {"output_tokens": 100}}


def event(value: Mapping[str, object]) -> bytes:
    return f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode()


async def answer(request: web.Request) -> web.StreamResponse:
    count = (await request.json())["max_tokens"]
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(event(START))
    delta = event(DELTA)
    for _ in range(count):
        await response.write(delta)
    await response.write(event(END))
    return response


async def serve() -> None:
    app = web.Application()
    app.router.add_post("/v1/messages", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve())
