"""Faults of claims on request, for tests and demonstrations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.local.claims import RESOURCE
from airflow_provider_agents.local.server import respond

if TYPE_CHECKING:
    from aiohttp import web

    from airflow_provider_agents.local.claims import Claims
    from airflow_provider_agents.local.objects import ObjectStore


class ClaimFaultRoutes:
    """Serves ``/_local/persistentvolumeclaims``: no part of Kubernetes."""

    def __init__(self, claims: Claims, store: ObjectStore) -> None:
        self._claims = claims
        self._store = store

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        claim = f"/_local/{RESOURCE}/{{namespace}}/{{name}}"
        router.add_post(f"{claim}/unbind", self._unbind)
        router.add_post(f"{claim}/bind", self._bind)

    async def _unbind(self, request: web.Request) -> web.Response:
        """Let the claim be Pending, so that pods with it cannot be scheduled."""
        return self._set(request, bound=False)

    async def _bind(self, request: web.Request) -> web.Response:
        """Bind the claim again, with what was in it."""
        return self._set(request, bound=True)

    def _set(self, request: web.Request, *, bound: bool) -> web.Response:
        claim = self._store.get(RESOURCE, request.match_info["namespace"], request.match_info["name"])
        return respond(self._claims.set_bound(claim, bound=bound))
