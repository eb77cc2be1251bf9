"""Faults on request, for tests and demonstrations, and what runs at present."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.local.api_errors import ApiError, bad_request
from airflow_provider_agents.local.pod import Stop
from airflow_provider_agents.local.server import number, respond

if TYPE_CHECKING:
    from aiohttp import web

    from airflow_provider_agents.local.container import Container
    from airflow_provider_agents.local.outage import Outage
    from airflow_provider_agents.local.pods import Pods
    from airflow_provider_agents.local.scheduling import Scheduling


class FaultRoutes:
    """Serves ``/_local``: no part of Kubernetes."""

    def __init__(self, pods: Pods, scheduling: Scheduling, outage: Outage) -> None:
        self._pods = pods
        self._scheduling = scheduling
        self._outage = outage

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        pod = "/_local/pods/{namespace}/{name}"
        router.add_get("/_local/processes", self._processes)
        router.add_post("/_local/outage", self._begin_outage)
        router.add_post("/_local/unschedulable", self._refuse_pods)
        router.add_post(f"{pod}/evict", self._evict)
        router.add_post(f"{pod}/node-shutdown", self._shut_down)
        router.add_post(f"{pod}/kill", self._kill)
        router.add_post(f"{pod}/oom", self._oom)

    async def _processes(self, request: web.Request) -> web.Response:
        return respond({"processes": self._pods.processes()})

    async def _begin_outage(self, request: web.Request) -> web.Response:
        """Let the API be away: ``?kind=unavailable|reset|hang&seconds=``; 0 seconds ends it."""
        kind, seconds = request.query.get("kind", "unavailable"), number(request, "seconds")
        self._outage.begin(kind, 60 if seconds is None else seconds)
        return respond({"outage": kind, "seconds": seconds})

    async def _refuse_pods(self, request: web.Request) -> web.Response:
        """Let no node take new pods: ``?message=``, as the scheduler words it; empty: the node takes them."""
        self._scheduling.refusal = request.query.get("message", "")
        return respond({"refusal": self._scheduling.refusal})

    async def _shut_down(self, request: web.Request) -> web.Response:
        """End the pod as a node does that is shut down in an orderly way."""
        lifecycle = self._pods.lifecycle(request.match_info["namespace"], request.match_info["name"])
        message = "Pod was terminated in response to imminent node shutdown."
        lifecycle.stop(Stop(lifecycle.own_grace, "Terminated", message, disruption=True))
        return respond({"ended": lifecycle.name})

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
