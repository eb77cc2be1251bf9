"""Keeps the machine's ``.netrc`` out of our requests.

aiohttp takes proxies from the environment only together with ``.netrc``, whose passwords it then sends to whatever
host is named there, and refuses requests that bear an ``Authorization`` of their own beside one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

AUTHORIZATION = "X-Agents-Authorization"
"""Header that a request is given in the place of ``Authorization``; it does not leave this process."""


async def own_authorization(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Send what :data:`AUTHORIZATION` says as the request's only authorization: a middleware of aiohttp's."""
    request.headers.pop("Authorization", None)
    if told := request.headers.pop(AUTHORIZATION, None):
        request.headers["Authorization"] = told
    return await handler(request)
