"""``/_demo`` levers: clock, limits, mergeability, webhooks and the saved state."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from demo.github.errors import ApiError, not_found

if TYPE_CHECKING:
    from demo.github.forge import Forge
    from demo.github.server import StandInGitHub


class Levers:
    """Endpoints that set how the stand-in behaves."""

    def __init__(self, server: StandInGitHub) -> None:
        self._server = server
        self._forge: Forge = server.forge

    def routes(self) -> list[web.RouteDef]:
        hook = "/_demo/webhooks/{id:\\d+}"
        return [
            web.get("/_demo/clock", self._clock),
            web.post("/_demo/clock", self._set_clock),
            web.get("/_demo/limits", self._limits),
            web.post("/_demo/limits", self._set_limits),
            web.delete("/_demo/limits", self._reset_limits),
            web.post("/_demo/mergeability", self._set_mergeability),
            web.get("/_demo/webhooks", self._webhooks),
            web.post("/_demo/webhooks", self._add_webhook),
            web.patch(hook, self._change_webhook),
            web.delete(hook, self._remove_webhook),
            web.post(f"{hook}/flush", self._flush_webhook),
            web.get("/_demo/deliveries", self._deliveries),
            web.post("/_demo/deliveries/{id:\\d+}/redeliver", self._redeliver),
            web.post("/_demo/snapshot", self._snapshot),
        ]

    async def _clock(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._forge.clock.describe())

    async def _set_clock(self, request: web.Request) -> web.StreamResponse:
        """Move or stop the clock: ``stopped`` (true or false), ``now`` (ISO 8601), ``advance`` (seconds)."""
        values, clock = await json_object(request), self._forge.clock
        if values.get("stopped") is True:
            clock.stop()
        try:
            if "now" in values:
                moment = datetime.fromisoformat(str(values["now"]))
                clock.set((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
            if "advance" in values:
                clock.advance(float(values["advance"]))
        except (ValueError, TypeError) as error:
            raise ApiError(422, f"'now' is ISO 8601 and 'advance' is in seconds: {error}") from None
        if values.get("stopped") is False:
            clock.run()
        return web.json_response(clock.describe())

    async def _limits(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._server.limits.report())

    async def _set_limits(self, request: web.Request) -> web.StreamResponse:
        """Change settings by their names in :class:`~demo.github.limits.LimitSettings`, and as wished what
        somebody has ``used``: {login: {core or graphql: n}}.
        """
        values, limits = dict(await json_object(request)), self._server.limits
        used = values.pop("used", {})
        limits.configure(values)
        for login, spent in used.items():
            for resource, points in spent.items():
                if resource not in ("core", "graphql") or not isinstance(points, int):
                    raise ApiError(422, "'used' is {login: {core or graphql: points}}.")
                limits.set_used(self._forge.store.user(str(login)), resource, points)
        return web.json_response(limits.report())

    async def _reset_limits(self, request: web.Request) -> web.StreamResponse:
        self._server.limits.reset()
        return web.Response(status=204)

    async def _set_mergeability(self, request: web.Request) -> web.StreamResponse:
        """Let ``mergeable`` of a ``repository`` be unknown for ``seconds`` after each push from now on;
        ``null``: as everywhere.
        """
        values = await json_object(request)
        repository = self._forge.store.repository(str(values["repository"]))
        if repository is None:
            raise not_found()
        name, seconds = repository.full_name.lower(), values.get("seconds")
        if seconds is None:
            self._forge.mergeability_delays.pop(name, None)
        elif isinstance(seconds, int | float) and seconds >= 0:
            self._forge.mergeability_delays[name] = float(seconds)
        else:
            raise ApiError(422, "'seconds' is a number, or null.")
        return web.json_response({"repository": repository.full_name, "seconds": seconds})

    async def _webhooks(self, request: web.Request) -> web.StreamResponse:
        return web.json_response([hook.describe() for hook in self._server.webhooks.hooks.values()])

    async def _add_webhook(self, request: web.Request) -> web.StreamResponse:
        """Register a receiver; see :class:`~demo.github.webhooks.Hook`."""
        hook = self._server.webhooks.add(dict(await json_object(request)))
        return web.json_response(hook.describe(), status=201)

    async def _change_webhook(self, request: web.Request) -> web.StreamResponse:
        hook = self._server.webhooks.change(_id(request), dict(await json_object(request)))
        return web.json_response(hook.describe())

    async def _remove_webhook(self, request: web.Request) -> web.StreamResponse:
        self._server.webhooks.remove(_id(request))
        return web.Response(status=204)

    async def _flush_webhook(self, request: web.Request) -> web.StreamResponse:
        self._server.webhooks.flush(_id(request))
        return web.Response(status=204)

    async def _deliveries(self, request: web.Request) -> web.StreamResponse:
        return web.json_response([delivery.describe() for delivery in self._server.webhooks.deliveries])

    async def _redeliver(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._server.webhooks.redeliver(_id(request)).describe(), status=202)

    async def _snapshot(self, request: web.Request) -> web.StreamResponse:
        """Write the state to the stand-in's folder now, for a start with ``--keep``."""
        self._server.save()
        return web.Response(status=204)


def _id(request: web.Request) -> int:
    return int(request.match_info["id"])


class _Values(dict[str, Any]):
    """A request's body; what it lacks is told to the caller."""

    def __missing__(self, key: str) -> Any:
        raise ApiError(422, f"{key!r} is missing.")


async def json_object(request: web.Request) -> dict[str, Any]:
    """Return the JSON object of a request; a key that it lacks is a 422 when it is looked up.

    :raises ApiError: 415 or 400, it is none.
    """
    if request.content_type != "application/json":
        raise ApiError(415, "Send application/json.")
    try:
        values = json.loads(await request.read())
    except ValueError:
        raise ApiError(400, "Problems parsing JSON") from None
    if not isinstance(values, dict):
        raise ApiError(400, "Body should be a JSON object")
    return _Values(values)
