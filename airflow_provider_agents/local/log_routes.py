"""The route of container logs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from aiohttp import web

from airflow_provider_agents.local import clock
from airflow_provider_agents.local.api_errors import bad_request
from airflow_provider_agents.local.logs import LogOptions
from airflow_provider_agents.local.server import flag, number

if TYPE_CHECKING:
    from airflow_provider_agents.local.pods import Pods


class LogRoutes:
    """Serves the logs of containers."""

    def __init__(self, pods: Pods) -> None:
        self._pods = pods

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the route."""
        router.add_get("/api/v1/namespaces/{namespace}/pods/{name}/log", self._read)

    async def _read(self, request: web.Request) -> web.StreamResponse:
        place = request.match_info
        options = _options(request)
        log_file = self._pods.log(
            place["namespace"],
            place["name"],
            request.query.get("container"),
            previous=flag(request, "previous"),
        )
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        async for piece in log_file.read(options):
            await response.write(piece)
        await response.write_eof()
        return response


def _options(request: web.Request) -> LogOptions:
    seconds, moment = number(request, "sinceSeconds", least=1), request.query.get("sinceTime")
    if seconds is not None and moment:
        raise bad_request("at most one of sinceTime and sinceSeconds may be given")
    since = None
    if seconds is not None:
        since = time.time_ns() - seconds * 1_000_000_000
    elif moment:
        try:
            since = clock.nanoseconds(moment)
        except ValueError as error:
            raise bad_request(f"sinceTime: {moment!r} is not a time as in RFC 3339") from error
    return LogOptions(
        follow=flag(request, "follow"),
        timestamps=flag(request, "timestamps"),
        since=since,
        tail=number(request, "tailLines"),
        limit=number(request, "limitBytes", least=1),
    )
