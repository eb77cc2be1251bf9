"""JSON over HTTP with the standard library: the demo's programs start fast, and need no client of their own."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT_SECONDS = 30.0
MAX_BYTES = 64 << 20

# Loopback is never reached through a proxy, whatever the environment says.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class HttpError(RuntimeError):
    """A server answered with an error.

    :param status: HTTP status.
    :param body: what it said.
    """

    def __init__(self, method: str, url: str, status: int, body: str) -> None:
        self.status = status
        self.body = body
        super().__init__(f"{method} {url}: HTTP {status}: {body[:2_000]}")


def call(
    method: str,
    url: str,
    body: Any = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> Any:
    """Send a request and return the JSON that was answered, ``None`` for an empty answer.

    :param body: sent as JSON, if not ``None``.
    :param timeout: seconds that one read or write may take.
    :raise HttpError: the status is 400 or above.
    :raise OSError: no connection, or no answer in time.
    :raise ValueError: the answer is not JSON.
    """
    data = None if body is None else json.dumps(body).encode()
    all_headers = {"Accept": "application/json", **({"Content-Type": "application/json"} if data else {})}
    all_headers |= headers or {}
    request = urllib.request.Request(url, data=data, headers=all_headers, method=method)
    try:
        with _opener.open(request, timeout=timeout) as response:
            text = response.read(MAX_BYTES)
    except urllib.error.HTTPError as error:
        with error:
            raise HttpError(method, url, error.code, error.read(20_000).decode(errors="replace")) from None
    return json.loads(text) if text else None
