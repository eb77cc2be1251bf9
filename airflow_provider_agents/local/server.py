"""The HTTP side: routes of the Kubernetes API, and errors as ``Status`` objects."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web

from airflow_provider_agents.local.api_errors import KINDS, ApiError

if TYPE_CHECKING:
    from aiohttp.typedefs import Middleware

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY = 3 * 1024 * 1024
"""Largest request, in bytes, as with a real API server."""

_LOCAL_NAMES = {"127.0.0.1", "localhost", "[::1]"}


def respond(body: Any, status: int = 200) -> web.Response:
    """Return a JSON answer."""
    return web.Response(body=json.dumps(body).encode(), status=status, content_type="application/json")


async def read_json(request: web.Request) -> Any:
    """Return the body of a request; ``None`` if it is empty.

    :raises ApiError: 400, if it is no JSON; 413, if it is too large.
    """
    try:
        text = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        message = f"Request entity too large: limit is {MAX_BODY}"
        raise ApiError(413, "RequestEntityTooLarge", message) from error
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise ApiError(400, "BadRequest", f"the body of the request is not JSON: {error}") from error


def flag(request: web.Request, name: str) -> bool:
    """Return a boolean parameter, written as Python or Go write it.

    :raises ApiError: 400, if it is neither true nor false.
    """
    text = request.query.get(name, "").lower()
    if text in ("", "false", "0"):
        return False
    if text in ("true", "1"):
        return True
    raise ApiError(400, "BadRequest", f"{name}: {request.query[name]!r} is not a boolean")


def number(request: web.Request, name: str, *, least: int = 0) -> int | None:
    """Return a whole number from the parameters; ``None`` if it is absent.

    :raises ApiError: 400, if it is not a number or too small.
    """
    text = request.query.get(name)
    if text is None or text == "":
        return None
    try:
        value = int(text)
    except ValueError as error:
        raise ApiError(400, "BadRequest", f"{name}: {text!r} is not a whole number") from error
    if value < least:
        raise ApiError(400, "BadRequest", f"{name}: {value} must be greater than or equal to {least}")
    return value


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests of web pages, even with the token: whoever may create a pod may run any command.

    A browser names the page in ``Origin``, and a name that was made to point at this machine in ``Host``.
    """
    host = urlsplit(f"//{request.host}").netloc.rpartition(":")[0] or request.host
    if "Origin" in request.headers or host not in _LOCAL_NAMES:
        raise ApiError(
            403, "Forbidden", "the local runtime answers programs on this machine only, no web pages"
        )
    return await handler(request)


@web.middleware
async def errors_as_status(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error with a ``Status`` object."""
    try:
        return await handler(request)
    except (ConnectionError, TimeoutError):
        raise
    except Exception as error:  # every fault has to reach the client in the form that it understands
        refusal = _as_api_error(request, error)
        return respond(refusal.status(), refusal.code)


def _as_api_error(request: web.Request, error: Exception) -> ApiError:
    match error:
        case ApiError():
            return error
        case web.HTTPNotFound():
            return ApiError(404, "NotFound", "the server could not find the requested resource")
        case web.HTTPMethodNotAllowed():
            message = "the server does not allow this method on the requested resource"
            return ApiError(405, "MethodNotAllowed", message)
        case web.HTTPException():
            return ApiError(error.status, error.reason, error.text or error.reason)
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return ApiError(500, "InternalError", f"Internal error occurred: {type(error).__name__}: {error}")


async def version(request: web.Request) -> web.Response:
    """Answer ``/version``."""
    return respond(
        {
            "major": "1",
            "minor": "34",
            "gitVersion": "v1.34.0+local",
            "gitCommit": "",
            "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "",
            "compiler": "",
            "platform": "local",
        }
    )


async def healthy(request: web.Request) -> web.Response:
    """Answer ``/healthz``, ``/livez`` and ``/readyz``."""
    return web.Response(text="ok")


async def core_versions(request: web.Request) -> web.Response:
    """Answer ``/api``, for clients that discover what is served."""
    return respond({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})


async def groups(request: web.Request) -> web.Response:
    """Answer ``/apis``: what there is beside the core."""
    listed = []
    for name in ("storage.k8s.io", "authorization.k8s.io", "networking.k8s.io"):
        served = {"groupVersion": f"{name}/v1", "version": "v1"}
        listed.append({"name": name, "versions": [served], "preferredVersion": served})
    return respond({"kind": "APIGroupList", "apiVersion": "v1", "groups": listed})


async def resources(request: web.Request) -> web.Response:
    """Answer ``/api/v1``."""
    verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    served = [
        {"name": name, "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": verbs}
        for name, kind in KINDS.items()
    ]
    served.append(
        {"name": "pods/log", "singularName": "", "namespaced": True, "kind": "Pod", "verbs": ["get"]}
    )
    return respond({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": served})


def make_application(check: Middleware) -> web.Application:
    """Return an application with what does not depend on any object.

    :param check: refuses requests of those who may not use the API.
    """
    application = web.Application(middlewares=[errors_as_status, guard, check], client_max_size=MAX_BODY)
    application.router.add_get("/version", version)
    application.router.add_get("/version/", version)
    for path in ("/healthz", "/livez", "/readyz"):
        application.router.add_get(path, healthy)
    application.router.add_get("/api", core_versions)
    application.router.add_get("/apis", groups)
    application.router.add_get("/api/v1", resources)
    return application
