"""Where this gateway is, as its clients reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web


def git_root(request: web.Request) -> str:
    """Return ``http://127.0.0.1:PORT/NONCE/git``, the place that repositories are below, without a guess.

    Taken from the connection and the path of ``request``, never from its headers.

    :raises ConnectionResetError: if the client has gone.
    """
    return f"{own_root(request)}/git"


def own_root(request: web.Request) -> str:
    """Return ``http://127.0.0.1:PORT/NONCE``, without a guess.

    Taken from the connection and the path of ``request``, never from its headers.

    :raises ConnectionResetError: if the client has gone.
    """
    if request.transport is None:
        raise ConnectionResetError("the client has gone")
    host, port = request.transport.get_extra_info("sockname")[:2]
    nonce = request.rel_url.raw_path.split("/", 2)[1]
    return f"http://{host}:{port}/{nonce}"
