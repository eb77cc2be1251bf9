"""A server of files on 127.0.0.1 that is as hostile as it is told to be, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import gzip
import struct
import zlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Handler = "Callable[[web.Request], Awaitable[web.StreamResponse]]"


def png(width: int = 2, height: int = 2, *, filler: int = 0) -> bytes:
    """Return a real image, with ``filler`` bytes in a private part of it."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x20\x80\xff" * width for _ in range(height))
    return (
        b"\x89PNG\r\n\x1a\n"
        + part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + (part(b"prVt", b"\1" * filler) if filler else b"")
        + part(b"IDAT", zlib.compress(rows))
        + part(b"IEND", b"")
    )


JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0" + b"\0" * 40
GIF = b"GIF89a\x01\0\x01\0\x80\0\0" + b"\0" * 30
WEBP = b"RIFF\x1a\0\0\0WEBPVP8 " + b"\0" * 20


@dataclass
class FileServer:
    """Answers each path as :attr:`answers` says; what has none is not there."""

    answers: dict[str, Any] = field(default_factory=dict)
    """By path: a body, a response, or a coroutine function that takes the request."""
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path and headers of each request."""
    url: str = ""

    @property
    def place(self) -> str:
        return self.url.removeprefix("http://")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.path_qs, dict(request.headers)))
        answer = self.answers.get(request.path)
        if answer is None:
            return web.Response(status=404, text="not here")
        if isinstance(answer, bytes):
            return web.Response(body=answer, content_type="application/octet-stream")
        if callable(answer):
            made: web.StreamResponse = await answer(request)
            return made
        return web.Response(**answer)

    def headers(self, name: str) -> list[str]:
        """Return the values of a header over all requests."""
        return [headers[name] for _, _, headers in self.seen if name in headers]

    def redirect(self, path: str, location: str, status: int = 302) -> None:
        self.answers[path] = {"status": status, "headers": {"Location": location}}


@asynccontextmanager
async def open_files() -> AsyncIterator[FileServer]:
    """Serve files until the end of the block."""
    server = FileServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


def endless(head: bytes, chunk: bytes = b"x" * 65_536) -> Any:
    """Return an answer that goes on until the client has gone."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            await response.write(head)
            for _ in range(2_000):
                await response.write(chunk)
        except (ConnectionError, asyncio.CancelledError):
            pass
        return response

    return answer


def slow(head: bytes) -> Any:
    """Return an answer that begins and then says nothing."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(head)
        await asyncio.sleep(60)
        return response

    return answer


def bomb(megabytes: int = 50) -> dict[str, Any]:
    """Return an answer that unpacks to many times its size."""
    return {
        "body": gzip.compress(b"a" * (megabytes << 20)),
        "headers": {"Content-Encoding": "gzip", "Content-Type": "text/plain"},
    }
