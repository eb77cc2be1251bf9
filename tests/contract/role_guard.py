"""A guard before the local pod runtime that lets through what a Role allows, as a cluster's authorization does.

It adds the runtime's token: kubectl sends none over plain HTTP.
"""

from __future__ import annotations

import asyncio
import re
import threading
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from airflow_provider_agents.local.runtime import LocalKubernetes

Json = dict[str, Any]
SECONDS = 30.0

_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?"
)
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def right(method: str, path: str, query: Any) -> tuple[str, str, str, str, str] | None:
    """Return namespace, group, resource, name and verb of a request; ``None`` for what everybody may read."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    verb, name = _VERBS[method], found["name"] or ""
    if not name and verb in ("get", "delete"):
        verb = {"get": "list", "delete": "deletecollection"}[verb]
    if query.get("watch") in ("1", "true", "True"):
        verb = "watch"
    resource = found["resource"] + (f"/{found['sub']}" if found["sub"] else "")
    return found["namespace"] or "", found["group"] or "", resource, name, verb


def allows(rules: list[Json], group: str, resource: str, name: str, verb: str) -> bool:
    """Say whether one of the rules of a Role allows a request."""
    return any(
        group in rule["apiGroups"]
        and resource in rule["resources"]
        and verb in rule["verbs"]
        and (not rule.get("resourceNames") or name in rule["resourceNames"])
        for rule in rules
    )


class RoleGuard:
    """Stands before a runtime, in a thread of its own.

    :param rules: of the Role that holds in ``namespace``; ``None``: everything is allowed.
    """

    def __init__(self, runtime: LocalKubernetes, namespace: str, rules: list[Json] | None) -> None:
        self._runtime, self._namespace, self.rules = runtime, namespace, rules
        self.used: set[tuple[str, str]] = set()
        self.refused: list[tuple[str, str]] = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._wait(self._start())

    def stop(self) -> None:
        self._wait(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    @property
    def kubeconfig(self) -> Json:
        """How a client reaches the runtime through the guard."""
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "guarded",
            "clusters": [{"name": "guarded", "cluster": {"server": self.url}}],
            "users": [{"name": "airflow", "user": {}}],
            "contexts": [
                {
                    "name": "guarded",
                    "context": {"cluster": "guarded", "user": "airflow", "namespace": self._namespace},
                }
            ],
        }

    def _wait(self, work: Awaitable[None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)  # type: ignore[arg-type]

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=SECONDS), auto_decompress=False
        )
        application = web.Application(client_max_size=4 * 1024 * 1024)
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self.url = f"http://127.0.0.1:{port}"

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _serve(self, request: web.Request) -> web.Response:
        asked = right(request.method, request.path, request.query)
        if asked is not None and not self._may(*asked):
            _, group, resource, name, verb = asked
            self.refused.append((verb, resource))
            message = (
                f'{resource} "{name}" is forbidden: User "airflow" cannot {verb} resource "{resource}" in API group '
                f'"{group}" in the namespace "{asked[0]}"'
            )
            status = {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "code": 403,
                "message": message,
            }
            return web.json_response(status | {"reason": "Forbidden"}, status=403)
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in ("host", "authorization", "connection", "content-length")
        }
        headers["Authorization"] = f"Bearer {self._runtime.token}"
        async with self._session.request(
            request.method,
            f"{self._runtime.url}{request.path_qs}",
            data=await request.read(),
            headers=headers,
        ) as answer:
            body = await answer.read()
            return web.Response(
                body=body, status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]}
            )

    def _may(self, namespace: str, group: str, resource: str, name: str, verb: str) -> bool:
        self.used.add((verb, resource))
        if self.rules is None:
            return True
        return namespace == self._namespace and allows(self.rules, group, resource, name, verb)
