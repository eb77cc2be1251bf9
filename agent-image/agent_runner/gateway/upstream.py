"""The way out: one HTTP session to the forge and to the model API."""

from __future__ import annotations

import os
import urllib.request
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECT_SECONDS = 20.0
"""Limit for a connection, its TLS handshake included."""

IDLE_SECONDS = 600.0
"""Limit for silence of the other side: models may think, forges may index, for minutes."""

TOTAL_SECONDS = 3_600.0
"""Limit for a whole request."""


class Upstream:
    """An HTTP client that leaves bodies as they are, follows no redirect and keeps no cookie.

    Honours ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY`` of its environment, but no ``.netrc``.
    """

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent",),
        )

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        data: Any = None,
    ) -> aiohttp.ClientResponse:
        """Send a request and return the answer once its headers are there; the caller closes it.

        :param url: taken as it is, without any quoting.
        :param data: bytes, an async iterator of bytes, or nothing.
        :raises aiohttp.ClientError: if it cannot be reached or breaks off.
        :raises TimeoutError: after a limit.
        """
        target = URL(url, encoded=True)
        return await self._session.request(
            method,
            target,
            headers={**headers, "Accept-Encoding": "identity"},
            data=data,
            allow_redirects=False,
            proxy=proxy_for(target),
            timeout=aiohttp.ClientTimeout(
                total=TOTAL_SECONDS, sock_connect=CONNECT_SECONDS, connect=60, sock_read=IDLE_SECONDS
            ),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()


def proxy_for(url: URL) -> str | None:
    """Return the proxy that this container's environment names for ``url``."""
    if not url.host or urllib.request.proxy_bypass(f"{url.host}:{url.port}"):
        return None
    return urllib.request.getproxies().get(url.scheme)


def never_sent(error: BaseException) -> bool:
    """Whether a request that failed with ``error`` cannot have reached the other side."""
    return isinstance(
        error,
        aiohttp.ClientConnectorError
        | aiohttp.ClientHttpProxyError
        | aiohttp.ConnectionTimeoutError
        | aiohttp.InvalidURL,
    )


def words(error: BaseException) -> str:
    """Say what went wrong with a request; without its URL, headers or body."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return f"no connection within {CONNECT_SECONDS:.0f} s"
        case TimeoutError():
            return "no answer in time"
        case aiohttp.ClientConnectorCertificateError():
            return "its TLS certificate is not trusted here"
        case aiohttp.ClientSSLError():
            return "the TLS handshake failed"
        case aiohttp.ClientConnectorDNSError():
            return "its host name does not resolve"
        case aiohttp.ClientProxyConnectionError():
            return "the proxy is not reachable"
        case aiohttp.ClientConnectorError():
            return os.strerror(error.os_error.errno) if error.os_error.errno else "no connection"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | aiohttp.ClientPayloadError():
            return "the connection broke off"
        case aiohttp.InvalidURL():
            return "its URL is not valid"
        case _:
            return type(error).__name__
