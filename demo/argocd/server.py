"""The stand-in as one HTTP server on loopback: :class:`StandInArgoCd`."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from demo.argocd.control import Control
from demo.argocd.faults import Faults
from demo.argocd.state import Application
from demo.argocd.views import application_json, resource_json, tree_json
from demo.github.clock import Clock

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from demo.argocd.follower import Follower

HOST = "127.0.0.1"
SHUTDOWN_SECONDS = 2.0
_NOT_FOUND, _DENIED, _UNAUTHENTICATED = 5, 7, 16
_STATUS = {_NOT_FOUND: 404, _DENIED: 403, _UNAUTHENTICATED: 401}
_PAGE = "<!doctype html><html><head><title>Argo CD</title></head><body></body></html>"


@dataclass(frozen=True, kw_only=True)
class Account:
    """Whose a token is."""

    name: str
    projects: tuple[str, ...] = ("*",)
    """In which it has the right ``applications, get``; ``*``: all."""

    def may(self, project: str) -> bool:
        """Return whether it may read applications of a project."""
        return "*" in self.projects or project in self.projects


@dataclass(kw_only=True)
class Asked:
    """A request that was made."""

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    status: int = 0


class StandInArgoCd:
    """An Argo CD in small: reading of applications, with faults, a clock and applications that follow git.

    :param host: address to listen on.
    :param port: 0 for a free one.
    :param tls: serve https with this; by default http.
    :param clock: its time; by default the machine's.
    """

    def __init__(
        self,
        *,
        host: str = HOST,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._address = (host, port)
        self._tls = tls
        self.clock = clock or Clock()
        self.url = ""
        """Root address, e.g. ``http://127.0.0.1:PORT``; empty before the start."""
        self.applications: dict[str, Application] = {}
        self.followers: dict[str, Follower] = {}
        self.accounts: dict[str, Account] = {}
        """By token."""
        self.faults = Faults()
        self.requests: list[Asked] = []
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> StandInArgoCd:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen.

        :raises OSError: the port is taken.
        """
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        await self._runner.setup()
        host, port = self._address
        await web.TCPSite(self._runner, host, port, ssl_context=self._tls).start()
        self.url = f"{'https' if self._tls else 'http'}://{host}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    def now(self) -> datetime:
        """Return the present time."""
        return self.clock.now()

    def add_token(
        self, name: str = "airflow", token: str | None = None, *, projects: tuple[str, ...] = ("*",)
    ) -> str:
        """Give an account a token, a random one where none is given, and return it."""
        chosen = token or secrets.token_hex(24)
        self.accounts[chosen] = Account(name=name, projects=projects)
        return chosen

    def add(self, name: str, repo_url: str, *, follow: Follower | None = None, **values: Any) -> Application:
        """Make an application.

        :param follow: has it synchronised with a branch.
        :param values: of :class:`~demo.argocd.state.Application`.
        """
        app = Application(name=name, repo_url=repo_url, **values)
        app.health_since = app.reconciled_at = self.now()
        self.applications[name] = app
        if follow is not None:
            self.followers[name] = follow
        return app

    def set_health(self, name: str, health: str, message: str = "", *, available: int | None = None) -> None:
        """Have an application be well or ill from now on, until its next deployment.

        :param available: copies; by default as the health says.
        """
        app = self.applications[name]
        app.rollout = None
        app.become(health, message, self.now())
        app.available = available

    async def reading(self, name: str, *, refresh: bool = False) -> dict[str, Any]:
        """Return an application as the API would, brought up to date; for tests and pages."""
        return application_json(await self._current(self.applications[name], refresh=refresh))

    async def _current(self, app: Application, *, refresh: bool) -> Application:
        if follower := self.followers.get(app.name):
            await follower.look(app, self.now(), refresh=refresh)
        elif refresh:
            app.reconciled_at = self.now()
        app.settle(self.now())
        return app

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._middleware])
        application.router.add_get("/api/v1/applications/{name}", self._guarded(self._get))
        application.router.add_get("/api/v1/applications/{name}/resource-tree", self._guarded(self._tree))
        application.router.add_get("/api/v1/applications/{name}/resource", self._guarded(self._resource))
        application.router.add_get("/api/v1/session/userinfo", self._user)
        application.add_routes(Control(self).routes())
        application.router.add_route("*", "/api/{rest:.*}", _no_route)
        # Whatever else is asked for is the page of the UI.
        application.router.add_get("/{rest:.*}", _page)
        return application

    @web.middleware
    async def _middleware(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path.startswith("/_demo"):
            return await handler(request)
        asked = Asked(method=request.method, path=request.path, query=dict(request.query))
        self.requests.append(asked)
        response = await self.faults.answer(request) or await handler(request)
        asked.status = response.status
        return response

    def asked(self) -> list[dict[str, Any]]:
        """Return the requests so far, JSON-ready."""
        return [asdict(one) for one in self.requests]

    def _account(self, request: web.Request) -> Account | None:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        return self.accounts.get(token) if kind == "Bearer" else None

    def _guarded(
        self, endpoint: Callable[[web.Request, Application], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Let through who may read the application that is asked for."""

        async def handle(request: web.Request) -> web.Response:
            account = self._account(request)
            if account is None:
                given = "Authorization" in request.headers
                return _refusal(
                    _UNAUTHENTICATED,
                    "invalid session: token is unverifiable" if given else "no session information",
                )
            name, project = request.match_info["name"], request.query.get("project", "")
            if project and not account.may(project):
                return _refusal(_DENIED, "permission denied")
            namespace = request.query.get("appNamespace", "") or "argocd"
            app = self.applications.get(name)
            visible = app is not None and app.namespace == namespace and account.may(app.project)
            if app is None or not visible or (project and app.project != project):
                # Who names no project is not told whether there is such an application.
                if project:
                    return _refusal(_NOT_FOUND, f'applications.argoproj.io "{name}" not found')
                return _refusal(_DENIED, "permission denied")
            return await endpoint(request, app)

        return handle

    async def _get(self, request: web.Request, app: Application) -> web.Response:
        refresh = request.query.get("refresh", "") in ("normal", "hard")
        return web.json_response(application_json(await self._current(app, refresh=refresh)))

    async def _tree(self, request: web.Request, app: Application) -> web.Response:
        return web.json_response(tree_json(await self._current(app, refresh=False)))

    async def _resource(self, request: web.Request, app: Application) -> web.Response:
        kind, name = request.query.get("kind", ""), request.query.get("resourceName", "")
        found = resource_json(await self._current(app, refresh=False), kind, name)
        if found is None:
            return _refusal(3, f"{kind} {name} not found as part of application {app.name}")
        return web.json_response(found)

    async def _user(self, request: web.Request) -> web.Response:
        account = self._account(request)
        if account is None:
            return web.json_response({})
        return web.json_response({"loggedIn": True, "username": account.name, "iss": "argocd"})


def _refusal(code: int, message: str) -> web.Response:
    body = {"error": message, "code": code, "message": message}
    return web.json_response(body, status=_STATUS.get(code, 400))


async def _no_route(_: web.Request) -> web.Response:
    return web.Response(status=404, text="Not Found\n")


async def _page(_: web.Request) -> web.Response:
    return web.Response(text=_PAGE, content_type="text/html")
