"""An API server that is away for a while, on request: what its clients must survive."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from airflow_provider_agents.local.api_errors import ApiError, bad_request

if TYPE_CHECKING:
    from airflow_provider_agents.local.server import Handler

KINDS = ("unavailable", "reset", "hang")


class Outage:
    """Keeps the API from answering. Pods go on meanwhile, and ``/_local`` answers always."""

    def __init__(self) -> None:
        self._kind = ""
        self._until = 0.0

    def begin(self, kind: str, seconds: float) -> None:
        """Begin an outage, or change the one that is on.

        :param kind: ``unavailable`` answers 503, ``reset`` breaks the connection, ``hang`` does not answer.
        :param seconds: how long; 0 ends it.
        :raises ApiError: 400, if there is no such kind.
        """
        if kind not in KINDS:
            raise bad_request(f"kind {kind!r}: choose one of {', '.join(KINDS)}")
        self._kind = kind
        self._until = asyncio.get_running_loop().time() + seconds

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let an outage happen to a request."""
        remaining = self._until - asyncio.get_running_loop().time()
        if remaining <= 0 or request.path.startswith("/_local/"):
            return await handler(request)
        if self._kind == "hang":
            await asyncio.sleep(remaining)
        if self._kind != "unavailable" and request.transport is not None:
            request.transport.abort()
            raise ConnectionResetError("an outage on request")
        raise ApiError(503, "ServiceUnavailable", "the API is away for a while, on request")
