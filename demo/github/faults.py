"""Faults on order: what networks, overload and other people do to a client at the worst moment.

A fault is ``{"match": …, "times": n, "chance": p, "action": …}``. It applies to the next ``times`` requests
(1; ``null`` for ever) that fit all of its match, to each with probability ``chance`` (1). A match has
``method``, ``path`` (a regular expression, found anywhere in the path), ``operation`` (name of the GraphQL
operation), ``repository`` (``owner/name``) and ``number`` (of the issue or pull request that it is about),
``reads`` (true: only what changes nothing; false: only what changes something). Actions:

- ``{"status": 502, "body": …, "headers": {…}}``: answer this, without processing; with ``"after": true``
  process first, so that the effect is there and its answer is lost;
- ``"drop_before"``: close the connection without processing;
- ``"drop_after"``: process, then close the connection without an answer;
- ``{"delay_seconds": s}``: process after that time;
- ``{"secondary_limit": 403 or 429, "retry_after": s or null}``: refuse as one who asks too fast;
- ``"primary_limit"``: refuse as if the hour's points were spent, with the headers that say so;
- ``{"stale_seconds": s}``: answer a read from the state as it was ``s`` seconds ago;
- ``{"before": "push_commit", "as": …, …}``: let somebody act first, see :mod:`demo.github.acts`;
- ``{"move_head_before": {"as": login}}``: push somebody's commit onto the branch of the pull request that
  the request is about, then process;
- ``{"partial": ["repository", "pullRequest"], "message": …, "type": …}``: process a GraphQL request, then
  take that part of the data away and say so in ``errors``. A part of the path may be the index in a list, or
  ``{"id": …}`` for the item at the place of that id among the ``ids`` asked for;
- ``"crash_before"``, ``"crash_after"``: kill the stand-in, before or after it processed the request.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from demo.github.acts import ACTS, act
from demo.github.errors import ApiError
from demo.github.graphql import is_mutation
from demo.github.limits import SECONDARY_MESSAGE, SECONDARY_PLACE
from demo.github.request_subject import GRAPHQL_PATH, Subject, json_body, subject_of
from demo.github.requests_log import FACTS
from demo.github.state import PullRequest

if TYPE_CHECKING:
    from demo.github.forge import Forge

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MAX_DELAY_SECONDS = 600.0
MAX_STALE_SECONDS = 3600.0
WORDS = frozenset({"drop_before", "drop_after", "crash_before", "crash_after", "primary_limit"})
KINDS = frozenset(
    {"status", "delay_seconds", "before", "move_head_before", "partial", "secondary_limit", "stale_seconds"}
)
MATCHES = frozenset({"method", "path", "operation", "repository", "number", "reads"})


@dataclass(kw_only=True)
class Fault:
    """One fault that waits for its requests."""

    method: str | None
    path: re.Pattern[str] | None
    operation: str | None
    repository: str | None
    number: int | None
    reads: bool | None
    left: int | None
    """How often it still applies; ``None`` for ever."""
    chance: float
    action: dict[str, Any] | str

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Fault:
        """Read a fault from JSON.

        :raises ApiError: 422 with what is wrong with it.
        """
        match: dict[str, Any] = values.get("match") or {}
        action: Any = values.get("action")
        if unknown := set(match) - MATCHES:
            raise ApiError(
                422, f"A match has {', '.join(sorted(MATCHES))}, not {', '.join(sorted(unknown))}."
            )
        _check_action(action)
        try:
            path = re.compile(match["path"]) if match.get("path") else None
        except re.error as error:
            raise ApiError(422, f"The path of the match is no regular expression: {error}") from None
        times, chance = values.get("times", 1), values.get("chance", 1.0)
        if times is not None and (not isinstance(times, int) or times < 1):
            raise ApiError(422, "'times' is a positive number, or null for ever.")
        if not isinstance(chance, int | float) or not 0 < chance <= 1:
            raise ApiError(422, "'chance' is a number above 0, of 1 at the most.")
        return cls(
            method=str(match["method"]).upper() if match.get("method") else None,
            path=path,
            operation=match.get("operation"),
            repository=str(match["repository"]).lower() if match.get("repository") else None,
            number=match.get("number"),
            reads=match.get("reads"),
            left=times,
            chance=float(chance),
            action=action,
        )

    def fits(self, method: str, path: str, operation: str, reads: bool, subject: Subject) -> bool:
        if self.method is not None and self.method != method:
            return False
        if self.path is not None and not self.path.search(path):
            return False
        if self.reads is not None and self.reads is not reads:
            return False
        if self.repository is not None and self.repository not in subject.repositories:
            return False
        if self.number is not None and self.number not in subject.numbers:
            return False
        return self.operation is None or self.operation == operation

    def describe(self) -> dict[str, Any]:
        """Return the fault as JSON."""
        match = {
            "method": self.method,
            "path": self.path.pattern if self.path else None,
            "operation": self.operation,
            "repository": self.repository,
            "number": self.number,
            "reads": self.reads,
        }
        return {"match": match, "times": self.left, "chance": self.chance, "action": self.action}


def _check_action(action: Any) -> None:
    if not (action in WORDS if isinstance(action, str) else isinstance(action, dict) and KINDS & set(action)):
        raise ApiError(
            422, f"An action is {', '.join(sorted(WORDS))} or has one of {', '.join(sorted(KINDS))}."
        )
    if not isinstance(action, dict):
        return
    if "before" in action and action["before"] not in ACTS:
        raise ApiError(422, f"'before' is one of {', '.join(ACTS)}.")
    if "secondary_limit" in action and action["secondary_limit"] not in (403, 429):
        raise ApiError(422, "'secondary_limit' is 403 or 429.")
    seconds = action.get("stale_seconds", 1)
    if not isinstance(seconds, int | float) or not 0 < seconds <= MAX_STALE_SECONDS:
        raise ApiError(422, f"'stale_seconds' is above 0, and {MAX_STALE_SECONDS:g} at the most.")


class Faults:
    """All faults that wait, the oldest first; a request meets one at the most.

    :param ordered: told of each new fault.
    :param crash: kills the stand-in.
    """

    def __init__(
        self, forge: Forge, *, ordered: Callable[[Fault], None], crash: Callable[[], None], seed: int = 0
    ) -> None:
        self._forge = forge
        self._ordered = ordered
        self._crash = crash
        self._waiting: list[Fault] = []
        self._random = random.Random(seed)

    def add(self, values: dict[str, Any]) -> None:
        """Order a fault; see the module for its form.

        :raises ApiError: 422 with what is wrong with it.
        """
        fault = Fault.parse(values)
        self._waiting.append(fault)
        self._ordered(fault)

    def clear(self) -> None:
        self._waiting.clear()

    def describe(self) -> list[dict[str, Any]]:
        return [fault.describe() for fault in self._waiting]

    async def handle(self, request: web.Request, operation: str, handler: Handler) -> web.StreamResponse:
        """Process a request with the fault that fits it, if any."""
        fault = await self._take(request, operation) if self._waiting else None
        if fault is None:
            return await handler(request)
        if isinstance(fault.action, str):
            return await self._by_word(fault.action, request, handler)
        action = fault.action
        if "status" in action:
            if action.get("after"):
                await handler(request)
            return _canned(action)
        if "secondary_limit" in action:
            wait = action.get("retry_after")
            raise ApiError(
                int(action["secondary_limit"]),
                SECONDARY_MESSAGE,
                documentation_url=SECONDARY_PLACE,
                headers=None if wait is None else {"retry-after": str(wait)},
            )
        if "stale_seconds" in action:
            FACTS.get().stale_seconds = float(action["stale_seconds"])
        if "delay_seconds" in action:
            await self._forge.clock.sleep(min(float(action["delay_seconds"]), MAX_DELAY_SECONDS))
        if "before" in action:
            await act(self._forge, {**action, "do": action["before"]})
        if "move_head_before" in action:
            await self._move_head(request, dict(action["move_head_before"] or {}))
        response = await handler(request)
        if "partial" in action and isinstance(response, web.Response):
            return _partial(response, action, (await json_body(request)).get("variables") or {})
        return response

    async def _by_word(self, word: str, request: web.Request, handler: Handler) -> web.StreamResponse:
        if word == "primary_limit":
            FACTS.get().limit_spent = True
            return await handler(request)
        what, when = word.split("_")
        if when == "after":
            await handler(request)
        if what == "crash":
            self._crash()
        return drop(request)

    async def _take(self, request: web.Request, operation: str) -> Fault | None:
        reads, subject = await _reads(request), await subject_of(self._forge.store, request)
        for fault in self._waiting:
            fits = fault.fits(request.method, request.path, operation, reads, subject)
            if fits and (fault.chance == 1 or self._random.random() < fault.chance):
                if fault.left is not None:
                    fault.left -= 1
                    if not fault.left:
                        self._waiting.remove(fault)
                return fault
        return None

    async def _move_head(self, request: web.Request, values: dict[str, Any]) -> None:
        """Push a commit onto the branch of the pull request that the request is about."""
        subject = await subject_of(self._forge.store, request)
        pull = next((item for item in subject.items if isinstance(item, PullRequest)), None)
        if pull is None:
            raise ApiError(422, "move_head_before fits requests that name a pull request.")
        where = {"repository": pull.repository.full_name, "number": pull.number}
        await act(self._forge, {**where, **values, "do": "push_commit"})


async def _reads(request: web.Request) -> bool:
    """Say whether a request changes nothing."""
    if request.path != GRAPHQL_PATH:
        return request.method in ("GET", "HEAD")
    return not is_mutation(await json_body(request))


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


def _partial(response: web.Response, action: dict[str, Any], variables: dict[str, Any]) -> web.Response:
    answer = json.loads(response.text or "{}")
    path = [_step(step, variables) for step in action["partial"]]
    place = answer.get("data")
    for key in path[:-1]:
        place = _child(place, key)
    if _child(place, path[-1]) is not None:
        place[path[-1]] = None
    error = {"path": path, "message": str(action.get("message") or "Something went wrong")}
    if action.get("type"):
        error["type"] = str(action["type"])
    answer.setdefault("errors", []).append(error)
    kept = {name: value for name, value in response.headers.items() if name.lower().startswith("x-")}
    return web.json_response(answer, status=response.status, headers=kept)


def _step(step: Any, variables: dict[str, Any]) -> Any:
    """Return a key or an index; ``{"id": …}`` is where that id stands in the list of ids asked for."""
    if not isinstance(step, dict):
        return step
    for value in variables.values():
        if isinstance(value, list) and step.get("id") in value:
            return value.index(step["id"])
    return -1


def _child(place: Any, key: Any) -> Any:
    if isinstance(place, dict):
        return place.get(key)
    if isinstance(place, list) and isinstance(key, int) and 0 <= key < len(place):
        return place[key]
    return None
