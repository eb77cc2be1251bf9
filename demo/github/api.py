"""The doors of REST and GraphQL: who asks, whether they may ask now, and which state they are shown."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from aiohttp import web

from demo.github.access import api_user, token_of
from demo.github.errors import DOCUMENTATION, ApiError
from demo.github.graphql import is_mutation, perform
from demo.github.graphql_cost import MUTATION_SECONDARY_POINTS, QUERY_SECONDARY_POINTS
from demo.github.requests_log import FACTS
from demo.github.rest import PREFIX, Call, Endpoint

if TYPE_CHECKING:
    from demo.github.faults import Handler
    from demo.github.forge import Forge
    from demo.github.job_logs import JobLogs
    from demo.github.limits import RateLimits
    from demo.github.staleness import Replica
    from demo.github.state import User

REST_CHANGE_POINTS = 5
"""What a change over REST counts towards the points of a minute."""


class Api:
    """Answers the requests of both interfaces, each with its limits and their headers."""

    def __init__(self, forge: Forge, limits: RateLimits, replica: Replica, logs: JobLogs) -> None:
        self._forge = forge
        self._limits = limits
        self._replica = replica
        self._logs = logs

    def rest(self, endpoint: Endpoint) -> Handler:
        """Return the handler of one REST endpoint."""

        async def handle(request: web.Request) -> web.StreamResponse:
            header, facts = request.headers.get("Authorization"), FACTS.get()
            user = api_user(self._forge.store, header, documentation_url=DOCUMENTATION)
            facts.user = user
            if request.path == f"{PREFIX}/rate_limit":
                response = await endpoint(Call(self._forge, request, user, self._limits, self._logs))
                response.headers.update(self._limits.headers(user, "core"))
                return response
            if facts.limit_spent:
                raise self._limits.exhausted(user, "core")
            reads = request.method == "GET"
            points, creates = (1 if reads else REST_CHANGE_POINTS), request.method == "POST"
            with self._limits.admit(user, "core", points, creates=creates):
                self._limits.spend(user, "core", 1)
                self._limits.count(token_of(header), "core", 1)
                forge, seen_by = self._as_seen(user) if reads else (self._forge, user)
                response = await endpoint(Call(forge, request, seen_by, self._limits, self._logs))
            response = _conditional(request, response)
            if response.status == 304:
                self._limits.refund(user, "core")
            response.headers.update(self._limits.headers(user, "core"))
            return response

        return handle

    async def graphql(self, request: web.Request) -> web.StreamResponse:
        """Answer a GraphQL request."""
        place, header = "https://docs.github.com/graphql", request.headers.get("Authorization")
        user = api_user(self._forge.store, header, documentation_url=place)
        facts = FACTS.get()
        facts.user = user
        try:
            body = json.loads(await request.read())
        except ValueError:
            raise ApiError(400, "Problems parsing JSON", documentation_url=place) from None
        if not isinstance(body, dict):
            raise ApiError(400, "A query attribute must be specified and must be a string.")
        changes = is_mutation(body)
        points = MUTATION_SECONDARY_POINTS if changes else QUERY_SECONDARY_POINTS
        with self._limits.admit(user, "graphql", points, creates=changes):
            before = self._limits.describe(user, "graphql")["used"]
            try:
                if facts.limit_spent:
                    raise self._limits.exhausted(user, "graphql")
                forge, seen_by = (self._forge, user) if changes else self._as_seen(user)
                answer = await perform(forge, self._limits, seen_by, body)
            except ApiError as error:
                # GitHub tells a spent limit of GraphQL with status 200.
                answer = {"errors": [{"type": error.kind, "message": error.message}]}
                headers = {**self._limits.headers(user, "graphql"), **error.headers}
            else:
                headers = self._limits.headers(user, "graphql")
            facts.points = max(self._limits.describe(user, "graphql")["used"] - before, 0)
            self._limits.count(token_of(header), "graphql", facts.points)
        return web.json_response(answer, headers=headers)

    def _as_seen(self, user: User) -> tuple[Forge, User]:
        """Return the state that a read shall see, and ``user`` as that state knows them."""
        seconds = FACTS.get().stale_seconds
        return self._replica.view(seconds, user) if seconds else (self._forge, user)


def _conditional(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Give an answer its ETag, and answer 304 where the client has it already."""
    if request.method != "GET" or response.status != 200 or not isinstance(response, web.Response):
        return response
    body = response.body if isinstance(response.body, bytes) else b""
    etag = f'W/"{hashlib.sha256(body).hexdigest()}"'
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = "private, max-age=60, s-maxage=60"
    if request.headers.get("If-None-Match") == etag:
        kept = {name: value for name, value in response.headers.items() if not name.startswith("Content-")}
        return web.Response(status=304, headers=kept)
    return response
