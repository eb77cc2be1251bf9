"""Faults on request, for tests and demonstrations, and what runs at present."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.local.api_errors import ApiError, bad_request
from airflow_provider_agents.local.pod import Stop
from airflow_provider_agents.local.server import respond

if TYPE_CHECKING:
    from aiohttp import web

    from airflow_provider_agents.local.container import Container
    from airflow_provider_agents.local.pods import Pods


class FaultRoutes:
    """Serves ``/_local``: no part of Kubernetes."""

    def __init__(self, pods: Pods) -> None:
        self._pods = pods

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        pod = "/_local/pods/{namespace}/{name}"
        router.add_get("/_local/processes", self._processes)
        router.add_post(f"{pod}/evict", self._evict)
        router.add_post(f"{pod}/kill", self._kill)
        router.add_post(f"{pod}/oom", self._oom)

    async def _processes(self, request: web.Request) -> web.Response:
        return respond({"processes": self._pods.processes()})

    async def _evict(self, request: web.Request) -> web.Response:
        """Evict the pod at once, as a node that runs out of memory does."""
        lifecycle = self._pods.lifecycle(request.match_info["namespace"], request.match_info["name"])
        message = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 0."
        lifecycle.stop(Stop(0.0, "Evicted", message, disruption=True))
        return respond({"evicted": lifecycle.name})

    async def _kill(self, request: web.Request) -> web.Response:
        """Kill the processes of one container, as a crash."""
        await self._kill_container(request, out_of_memory=False)
        return respond({"killed": request.query["container"]})

    async def _oom(self, request: web.Request) -> web.Response:
        """Kill the processes of one container as the kernel does when it is out of memory."""
        await self._kill_container(request, out_of_memory=True)
        return respond({"killed": request.query["container"]})

    async def _kill_container(self, request: web.Request, *, out_of_memory: bool) -> None:
        if not await self._container(request).kill(out_of_memory=out_of_memory):
            raise ApiError(409, "Conflict", f"container {request.query['container']} does not run")

    def _container(self, request: web.Request) -> Container:
        lifecycle = self._pods.lifecycle(request.match_info["namespace"], request.match_info["name"])
        name = request.query.get("container", "")
        if name not in lifecycle.containers:
            raise bad_request(f"say which container: ?container=, one of {', '.join(lifecycle.containers)}")
        return lifecycle.containers[name]
