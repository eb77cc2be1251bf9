"""Logs of jobs at addresses that need no credential and soon expire, as GitHub's storage serves them."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from demo.github.check_state import CheckRun
    from demo.github.forge import Forge

VALID_SECONDS = 60.0


class JobLogs:
    """Hands out addresses and serves what is behind them."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        self._published: dict[str, tuple[float, CheckRun]] = {}

    def publish(self, run: CheckRun) -> str:
        """Return an address of the log of ``run`` that works for a minute."""
        now = time.monotonic()
        self._published = {key: value for key, value in self._published.items() if value[0] > now}
        key = secrets.token_urlsafe(16)
        self._published[key] = (now + VALID_SECONDS, run)
        return self._forge.link("_logs", key)

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/_logs/{key}", self._serve)]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        until, run = self._published.get(request.match_info["key"], (0.0, None))
        if run is None or until < time.monotonic():
            return web.Response(status=403, text="The address has expired.\n")
        headers = {"X-Content-Type-Options": "nosniff"}
        return web.Response(text=run.log or "", content_type="text/plain", headers=headers)
