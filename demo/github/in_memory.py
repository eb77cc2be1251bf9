"""The stand-in without a network: real HTTP between an aiohttp client and the server, passed on in memory.

For tests that play thousands of histories, also on an event loop whose time is not the machine's::

    server = StandInGitHub(None, mergeability_delay=0)
    async with InMemoryGitHub(server) as network, aiohttp.ClientSession(connector=network.connector()) as session:
        await session.get(f"{server.url}/api/v3/user", headers=...)

Code that opens sessions of its own gets there with :meth:`InMemoryGitHub.everywhere`.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from aiohttp import BaseConnector
from aiohttp.client_proto import ResponseHandler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiohttp import ClientTimeout, web
    from aiohttp.client import ClientRequest
    from aiohttp.tracing import Trace

    from demo.github.server import StandInGitHub

URL = "http://127.0.0.1:9"
"""What the server calls itself; nothing listens there."""


class InMemoryGitHub:
    """Serves one stand-in to connectors of this process.

    To be entered as a context; the server is stopped at the end.
    """

    def __init__(self, server: StandInGitHub) -> None:
        self._server = server
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> InMemoryGitHub:
        self._runner = await self._server.set_up()
        self._server.forge.url = URL
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        await self._server.stop()

    def connector(self) -> InMemoryConnector:
        """Return a connector for one session."""
        factory = self._runner.server if self._runner else None
        if factory is None:
            raise RuntimeError(
                "Enter the InMemoryGitHub first: async with InMemoryGitHub(server) as network."
            )
        return InMemoryConnector(factory)

    @contextmanager
    def everywhere(self) -> Iterator[None]:
        """Let every aiohttp session that is opened inside, by whomever, talk to the server alone."""
        with patch("aiohttp.client.TCPConnector", lambda **_: self.connector()):
            yield


class InMemoryConnector(BaseConnector):
    """Connects to one server in this process, whatever address is asked for.

    :param factory: makes the server's side of a connection.
    """

    allowed_protocol_schema_set = frozenset({"", "http"})

    def __init__(self, factory: Callable[[], asyncio.Protocol]) -> None:
        super().__init__(limit=0)
        self._serve = factory

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109
    ) -> ResponseHandler:
        loop = asyncio.get_running_loop()
        client, server = ResponseHandler(loop), self._serve()
        ends = _Transport(client), _Transport(server)
        ends[0].peer, ends[1].peer = ends[1], ends[0]
        server.connection_made(ends[1])
        client.connection_made(ends[0])
        return client


class _Transport(asyncio.Transport):
    """One end of a connection: what is written arrives at the other end at the loop's next turn."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": ("127.0.0.1", 9), "sockname": ("127.0.0.1", 9)})
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._closing = False
        self.peer: _Transport | None = None

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if not self._closing and self.peer is not None and data:
            self._loop.call_soon(self.peer.receive, bytes(data))

    def receive(self, data: bytes) -> None:
        if not self._closing:
            self._protocol.data_received(data)

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Close both ends; what was written before still arrives."""
        if not self._closing:
            self._loop.call_soon(self._lose)
            if self.peer is not None:
                self._loop.call_soon(self.peer.lose)
            self._closing = True

    def abort(self) -> None:
        self.close()

    def lose(self) -> None:
        """Learn that the other end is closed."""
        if not self._closing:
            self._closing = True
            self._lose()

    def pause_reading(self) -> None:
        """Do nothing: bodies here are small."""

    def resume_reading(self) -> None:
        """Do nothing: it was never paused."""

    def is_reading(self) -> bool:
        return not self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: nothing is buffered."""

    def get_write_buffer_size(self) -> int:
        return 0

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def _lose(self) -> None:
        self._protocol.connection_lost(None)
