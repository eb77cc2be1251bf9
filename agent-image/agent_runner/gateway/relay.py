"""Passing bodies through in pieces: bounded memory, backpressure, and an end even without a client."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from aiohttp import web

log = logging.getLogger(__name__)

T = TypeVar("T")

STALL_SECONDS = 600.0
"""Limit for a client that neither sends nor takes a byte."""

LINGER_SECONDS = 300.0
"""How long an answer is read on after its client has gone."""

DRAIN_BYTES = 256 << 20
DRAIN_SECONDS = 60.0
"""Caps for reading away the body of a refused request, so that the client gets to read the refusal."""


_LOOK_SECONDS = 0.5
"""How often a client is looked for while its request waits."""


class ClientGoneError(Exception):
    """The client went away while its request waited."""


async def while_connected(request: web.Request, waiting: Coroutine[Any, Any, T]) -> T:
    """Await ``waiting``, but cancel it when the client of ``request`` goes away.

    :raises ClientGoneError: then.
    """
    task = asyncio.ensure_future(waiting)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=_LOOK_SECONDS)
            if request.transport is None and not task.done():
                raise ClientGoneError
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class AnswerBrokenError(Exception):
    """The answer broke off after a part of it was passed on."""


async def relay(
    request: web.Request,
    response: web.StreamResponse,
    answer: aiohttp.ClientResponse,
    *,
    head: bytes = b"",
    observe: Callable[[bytes], None] | None = None,
    to_the_end: bool = False,
) -> None:
    """Pass the body of ``answer`` on to the client of ``request`` as it comes.

    :param head: passed on first.
    :param observe: sees each chunk before it is passed on.
    :param to_the_end: read on for :data:`LINGER_SECONDS` if the client goes away, for ``observe``.
    :raises AnswerBrokenError: if the answer breaks off; the client's connection is cut, so that it notices.
    """
    loop = asyncio.get_running_loop()
    client_there = True
    deadline: float | None = None
    try:
        async with asyncio.timeout(STALL_SECONDS):
            await response.prepare(request)
            if head:
                await response.write(head)
    except (ConnectionError, TimeoutError):
        client_there = False
    while client_there or to_the_end:
        if not client_there and deadline is None:
            deadline = loop.time() + LINGER_SECONDS
        try:
            async with asyncio.timeout_at(deadline):
                chunk = await answer.content.readany()
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            abort(request)
            raise AnswerBrokenError(str(error) or type(error).__name__) from error
        if not chunk:
            return
        if observe is not None:
            observe(chunk)
        if client_there:
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    await response.write(chunk)
            except (ConnectionError, TimeoutError):
                client_there = False
    abort(request)


def abort(request: web.Request) -> None:
    """Cut the client's connection: without it a broken answer would end like a whole one."""
    if request.transport is not None:
        request.transport.abort()


class RequestBody:
    """The body of a client's request, of which a first part was read already, as an upload.

    :param head: what was read; comes first, unchanged.
    """

    def __init__(self, request: web.Request, head: bytes = b"") -> None:
        self._content = request.content
        self._head = head
        self._reading = asyncio.Lock()
        self._draining = False

    @property
    def complete(self) -> bool:
        """Whether the client has sent the whole body and all of it was read."""
        return self._content.at_eof() and self._content.exception() is None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._head:
            yield self._head
        while not self._draining:
            # The upload may still wait here for the client when the answer has ended and drain() begins.
            async with self._reading, asyncio.timeout(STALL_SECONDS):
                chunk = b"" if self._draining else await self._content.readany()
            if not chunk:
                return
            yield chunk

    async def drain(self) -> bool:
        """Read the rest away, within the caps; return whether the end was reached.

        Where it was not, the connection is closed after the answer.
        """
        self._draining = True
        left = DRAIN_BYTES
        try:
            async with asyncio.timeout(DRAIN_SECONDS), self._reading:
                while left > 0:
                    chunk = await self._content.readany()
                    if not chunk:
                        return True
                    left -= len(chunk)
        except (TimeoutError, OSError, aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError):
            log.debug("the rest of a request was not read")
        return False
