"""The answer to a client that waits: where it waits for long, signs of life are sent ahead."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from aiohttp import web

from agent_runner.gateway.pkt_line import encode
from agent_runner.gateway.push_report import RESULT_TYPE

if TYPE_CHECKING:
    from types import TracebackType

BEAT_SECONDS = 5.0
"""As often as git's own server shows life. git gives up on a connection that is silent for as long as
``http.lowSpeedTime``."""

_BEAT = encode(b"\x01")


class HeldAnswer:
    """Sends empty packets to the client of a push from the entry of the context until :meth:`take`.

    :param side_band: whether the client reads packets; without them it gets no sign of life.
    """

    def __init__(self, request: web.Request, *, side_band: bool) -> None:
        self._request = request
        self._side_band = side_band
        self._response: web.StreamResponse | None = None
        self._beating: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._side_band:
            self._beating = asyncio.create_task(self._beat())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.take()

    async def take(self) -> web.StreamResponse | None:
        """End the signs of life; return the answer, if it was begun, to be gone on with."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
            self._beating = None
        return self._response if self._response is not None and self._response.prepared else None

    async def _beat(self) -> None:
        # A client that has gone is noticed by who writes the rest.
        with suppress(ConnectionError):
            await asyncio.sleep(BEAT_SECONDS)
            headers = {"Content-Type": RESULT_TYPE, "Cache-Control": "no-cache"}
            self._response = response = web.StreamResponse(headers=headers)
            await response.prepare(self._request)
            while True:
                await response.write(_BEAT)
                await asyncio.sleep(BEAT_SECONDS)
