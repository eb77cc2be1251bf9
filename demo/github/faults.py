"""Faults on order: what networks, overload and other people do to a client at the worst moment.

A fault is ``{"match": …, "times": n, "action": …}``. It applies to the next ``times`` requests (1; ``null``
for ever) that fit all of its match: ``method``, ``path`` (a regular expression, found anywhere in the path)
and ``operation`` (name of the GraphQL operation). Actions:

- ``{"status": 502, "body": …, "headers": {…}}``: answer this, without processing;
- ``"drop_before"``: close the connection without processing;
- ``"drop_after"``: process, then close the connection without an answer;
- ``{"delay_seconds": s}``: process after that time;
- ``{"before": "push_commit", "as": …, …}``: let somebody act first, see :mod:`demo.github.acts`;
- ``{"move_head_before": {"as": login}}``: push somebody's commit onto the branch of the pull request that
  the request is about, then process;
- ``{"partial": ["repository", "pullRequest"], "message": …}``: process a GraphQL request, then take that
  part of the data away and say so in ``errors``.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from demo.github.acts import ACTS, act
from demo.github.errors import ApiError
from demo.github.state import PullRequest

if TYPE_CHECKING:
    from demo.github.forge import Forge

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MAX_DELAY_SECONDS = 600.0

_PULL_PATH = re.compile(r"/repos/(?P<repository>[^/]+/[^/]+)/pulls/(?P<number>\d+)")


@dataclass
class Fault:
    """One fault that waits for its requests."""

    method: str | None
    path: re.Pattern[str] | None
    operation: str | None
    left: int | None
    """How often it still applies; ``None`` for ever."""
    action: dict[str, Any] | str

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Fault:
        """Read a fault from JSON.

        :raises ApiError: 422 with what is wrong with it.
        """
        match, action = values.get("match") or {}, values.get("action")
        if unknown := set(match) - {"method", "path", "operation"}:
            raise ApiError(422, f"A match has method, path and operation, not {', '.join(sorted(unknown))}.")
        kinds = {"status", "delay_seconds", "before", "move_head_before", "partial"}
        if not (
            action in ("drop_before", "drop_after") or (isinstance(action, dict) and kinds & set(action))
        ):
            raise ApiError(
                422, f"An action is drop_before, drop_after or has one of {', '.join(sorted(kinds))}."
            )
        if isinstance(action, dict) and "before" in action and action["before"] not in ACTS:
            raise ApiError(422, f"'before' is one of {', '.join(ACTS)}.")
        try:
            path = re.compile(match["path"]) if match.get("path") else None
        except re.error as error:
            raise ApiError(422, f"The path of the match is no regular expression: {error}") from None
        times = values.get("times", 1)
        if times is not None and (not isinstance(times, int) or times < 1):
            raise ApiError(422, "'times' is a positive number, or null for ever.")
        method = str(match["method"]).upper() if match.get("method") else None
        return cls(method, path, match.get("operation"), times, action)

    def fits(self, method: str, path: str, operation: str) -> bool:
        if self.method is not None and self.method != method:
            return False
        if self.path is not None and not self.path.search(path):
            return False
        return self.operation is None or self.operation == operation

    def describe(self) -> dict[str, Any]:
        """Return the fault as JSON."""
        match = {
            "method": self.method,
            "path": self.path.pattern if self.path else None,
            "operation": self.operation,
        }
        return {"match": match, "times": self.left, "action": self.action}


class Faults:
    """All faults that wait, the oldest first; a request meets one at the most."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        self._waiting: list[Fault] = []

    def add(self, values: dict[str, Any]) -> None:
        """Order a fault; see the module for its form.

        :raises ApiError: 422 with what is wrong with it.
        """
        self._waiting.append(Fault.parse(values))

    def clear(self) -> None:
        self._waiting.clear()

    def describe(self) -> list[dict[str, Any]]:
        return [fault.describe() for fault in self._waiting]

    async def handle(self, request: web.Request, operation: str, handler: Handler) -> web.StreamResponse:
        """Process a request with the fault that fits it, if any."""
        fault = self._take(request, operation)
        if fault is None:
            return await handler(request)
        action = fault.action
        if action == "drop_before":
            return drop(request)
        if action == "drop_after":
            await handler(request)
            return drop(request)
        assert isinstance(action, dict)
        if "status" in action:
            return _canned(action)
        if "delay_seconds" in action:
            await asyncio.sleep(min(float(action["delay_seconds"]), MAX_DELAY_SECONDS))
        if "before" in action:
            await act(self._forge, {**action, "do": action["before"]})
        if "move_head_before" in action:
            await self._move_head(request, dict(action["move_head_before"] or {}))
        response = await handler(request)
        if "partial" in action and isinstance(response, web.Response):
            return _partial(
                response, list(action["partial"]), str(action.get("message") or "Something went wrong")
            )
        return response

    def _take(self, request: web.Request, operation: str) -> Fault | None:
        for fault in self._waiting:
            if fault.fits(request.method, request.path, operation):
                if fault.left is not None:
                    fault.left -= 1
                    if not fault.left:
                        self._waiting.remove(fault)
                return fault
        return None

    async def _move_head(self, request: web.Request, values: dict[str, Any]) -> None:
        """Push a commit onto the branch of the pull request that the request is about."""
        pull = await self._pull_of(request)
        if pull is None:
            raise ApiError(422, "move_head_before fits requests that name a pull request.")
        where = {"repository": pull.repository.full_name, "number": pull.number}
        await act(self._forge, {**where, **values, "do": "push_commit"})

    async def _pull_of(self, request: web.Request) -> PullRequest | None:
        if match := _PULL_PATH.search(request.path):
            repository = self._forge.store.repository(match["repository"])
            return repository.pulls.get(int(match["number"])) if repository else None
        try:
            body = json.loads(await request.read())
        except ValueError:
            return None
        for value in _leaves(body.get("variables")):
            found = self._forge.store.nodes.get(value)
            if isinstance(found, PullRequest):
                return found
        return None


def drop(request: web.Request) -> web.StreamResponse:
    """Close the connection; nothing more is written on it."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _canned(action: dict[str, Any]) -> web.Response:
    body = action.get("body", "")
    headers = {str(key): str(value) for key, value in (action.get("headers") or {}).items()}
    if isinstance(body, str):
        return web.Response(status=int(action["status"]), text=body, headers=headers)
    return web.json_response(body, status=int(action["status"]), headers=headers)


def _partial(response: web.Response, path: list[Any], message: str) -> web.Response:
    answer = json.loads(response.text or "{}")
    place = answer.get("data")
    for key in path[:-1]:
        place = place[key] if place else None
    if place:
        place[path[-1]] = None
    answer.setdefault("errors", []).append({"path": path, "message": message})
    return web.json_response(answer, status=response.status)


def _leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value] if isinstance(value, str) else []
