"""Control calls below ``/_demo``: what a scenario does to the stand-in from another process."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from aiohttp import web

from demo.argocd.faults import Fault
from demo.argocd.follower import Follower
from demo.argocd.state import HEALTHS, Application

if TYPE_CHECKING:
    from demo.argocd.server import StandInArgoCd

_LOOPBACK = ("127.0.0.1", "::1")
_PLAIN = {
    one.name
    for one in fields(Application)
    if one.name not in ("history", "rollout", "health_since", "reconciled_at")
}


class Control:
    """The calls; only from this machine.

    ========================================== ===================================================================
    ``PUT /_demo/applications/{name}``         make it: ``repo_url``, what else an application has, ``follow``
                                               (``api``, ``token``, ``repository``, ``branch``, ``interval``, …)
    ``POST /_demo/applications/{name}/health`` ``health``, ``message``, ``available``
    ``POST /_demo/applications/{name}/deploy`` ``revision``, ``health``, ``message``, ``seconds``
    ``GET /_demo/applications/{name}``         as the API gives it, without a token
    ``POST /_demo/faults``                     one :class:`~demo.argocd.faults.Fault`; ``DELETE``: none any more
    ``GET /_demo/requests``                    what was asked
    ``POST /_demo/clock``                      ``advance`` seconds, ``stop`` or ``run``
    ========================================== ===================================================================
    """

    def __init__(self, server: StandInArgoCd) -> None:
        self._server = server

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        one = "/_demo/applications/{name}"
        return [
            web.put(one, self._guarded(self._put)),
            web.get(one, self._guarded(self._read)),
            web.post(f"{one}/health", self._guarded(self._health)),
            web.post(f"{one}/deploy", self._guarded(self._deploy)),
            web.post("/_demo/faults", self._guarded(self._fault)),
            web.delete("/_demo/faults", self._guarded(self._no_faults)),
            web.get("/_demo/requests", self._guarded(self._requests)),
            web.post("/_demo/clock", self._guarded(self._clock)),
        ]

    def _guarded(self, endpoint: Any) -> Any:
        async def handle(request: web.Request) -> web.Response:
            if request.remote not in _LOOPBACK:
                return web.json_response({"message": "only from this machine"}, status=403)
            try:
                values = await request.json() if request.can_read_body else {}
                if not isinstance(values, dict):
                    raise TypeError("the body is not an object")
                return web.json_response(await endpoint(request, values))
            except KeyError as error:
                return web.json_response({"message": f"there is no {error}"}, status=404)
            except (TypeError, ValueError, json.JSONDecodeError) as error:
                return web.json_response({"message": str(error)}, status=422)

        return handle

    def _app(self, request: web.Request) -> Application:
        return self._server.applications[request.match_info["name"]]

    async def _put(self, request: web.Request, values: dict[str, Any]) -> Any:
        follow = values.pop("follow", None)
        if unknown := sorted(set(values) - (_PLAIN - {"name"})):
            raise ValueError(f"there is no {unknown[0]}")
        _check_health(values.get("health", "Healthy"))
        follower = Follower(**follow) if follow else None
        self._server.add(request.match_info["name"], follow=follower, **values)
        return {}

    async def _read(self, request: web.Request, _: dict[str, Any]) -> Any:
        return await self._server.reading(self._app(request).name)

    async def _health(self, request: web.Request, values: dict[str, Any]) -> Any:
        self._server.set_health(
            self._app(request).name,
            _check_health(values["health"]),
            str(values.get("message", "")),
            available=values.get("available"),
        )
        return {}

    async def _deploy(self, request: web.Request, values: dict[str, Any]) -> Any:
        self._app(request).deploy(
            str(values["revision"]),
            self._server.now(),
            health=_check_health(values.get("health", "Healthy")),
            message=str(values.get("message", "")),
            seconds=float(values.get("seconds", 0)),
        )
        return {}

    async def _fault(self, _: web.Request, values: dict[str, Any]) -> Any:
        self._server.faults.add(Fault(**values))
        return {}

    async def _no_faults(self, *_: Any) -> Any:
        self._server.faults.clear()
        return {}

    async def _requests(self, *_: Any) -> Any:
        return self._server.asked()

    async def _clock(self, _: web.Request, values: dict[str, Any]) -> Any:
        if values.get("stop"):
            self._server.clock.stop()
        if "advance" in values:
            self._server.clock.advance(float(values["advance"]))
        if values.get("run"):
            self._server.clock.run()
        return self._server.clock.describe()


def _check_health(word: Any) -> str:
    if word not in HEALTHS:
        raise ValueError(f"health is one of {', '.join(HEALTHS)}")
    return str(word)
