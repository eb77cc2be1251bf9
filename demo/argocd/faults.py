"""Answers that the stand-in gives in the place of the right ones."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

MOST_DELAY_SECONDS = 60.0


@dataclass(kw_only=True)
class Fault:
    """One fault: what it fits and what it does."""

    path: str = "/api/"
    """Part of the paths that it fits."""
    times: int = 1
    status: int = 0
    """0: the right answer, after the delay."""
    body: Any = ""
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0
    drop: bool = False
    """Close the connection without an answer."""


class Faults:
    """The faults that wait for their request, in order."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Have a fault happen."""
        self._waiting.append(fault)

    def clear(self) -> None:
        """Have no fault happen any more."""
        self._waiting.clear()

    async def answer(self, request: web.Request) -> web.Response | None:
        """Return the wrong answer to a request; ``None`` where it gets the right one."""
        fault = next((one for one in self._waiting if one.path in request.path), None)
        if fault is None:
            return None
        fault.times -= 1
        if fault.times <= 0:
            self._waiting.remove(fault)
        if fault.delay_seconds:
            await asyncio.sleep(min(fault.delay_seconds, MOST_DELAY_SECONDS))
        if fault.drop:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if not fault.status:
            return None
        if isinstance(fault.body, str):
            return web.Response(status=fault.status, text=fault.body, headers=fault.headers)
        return web.json_response(fault.body, status=fault.status, headers=fault.headers)
