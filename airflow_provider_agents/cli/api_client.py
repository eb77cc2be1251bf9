"""A client of Airflow's public REST API: what the commands for runs are made of."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

REQUEST_SECONDS = 30.0
"""Limit of each wait for the server within a request."""
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 120.0
"""Limit of a whole answer."""
MOST_BYTES = 64 * 1024 * 1024
"""Largest answer that is read."""
MOST_PAGES = 200
"""Pages of one list; a page has up to 100 entries."""

_PAUSES = (0.5, 2.0)
READ_TRIES = len(_PAUSES) + 1
"""How often a read is tried. What changes something is sent once."""
_LONGEST_PAUSE = 10.0
_PASSING = frozenset({429, 502, 503, 504})


class ApiError(Exception):
    """Airflow did not do what was asked; the message says what to do about it.

    :param status: of the answer; ``None``: there was none, so that a change may or may not have been made.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Tokens(Protocol):
    """Gives the token of the requests."""

    def token(self) -> str:
        """Return the token.

        :raises ApiError: there is none.
        """

    def renewed(self) -> str | None:
        """Return another token in place of one that was refused; ``None``: there is no other."""


class AirflowApi:
    """Sends requests below ``/api/v2``.

    :param url: root of the api-server, e.g. ``https://airflow.example.com``.
    :param sleep: takes the pauses between two tries.
    """

    def __init__(self, url: str, tokens: Tokens, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.url = url.rstrip("/")
        self._tokens = tokens
        self._sleep = sleep
        self._http = http_client()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """Return what a read answers; it is tried again where that may help.

        :param query: parameters; those that are ``None`` are left out.
        :raises ApiError: it did not work.
        """
        given = {name: value for name, value in query.items() if value is not None}
        return self._read("GET", path, given, None)

    def search(self, path: str, body: Any) -> Any:
        """Return what a read answers that has more to say than fits an address; as :meth:`get`.

        :param path: of an endpoint that changes nothing.
        :raises ApiError: it did not work.
        """
        return self._read("POST", path, {}, body)

    def _read(self, method: str, path: str, query: dict[str, Any], body: Any) -> Any:
        for pause in (*_PAUSES, None):
            try:
                return self._send(method, path, query, body)
            except _PassingError as error:
                if pause is None:
                    raise ApiError(str(error), error.status) from None
                self._sleep(min(error.retry_after or pause, _LONGEST_PAUSE))
        raise AssertionError("unreachable")

    def optional(self, path: str, **query: Any) -> Any:
        """Return what :meth:`get` does, or ``None`` if there is no such thing."""
        try:
            return self.get(path, **query)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def change(self, method: str, path: str, body: Any, **query: Any) -> Any:
        """Change something; sent once.

        :raises ApiError: it did not work; without a status, it is unknown whether it did.
        """
        try:
            return self._send(method, path, query, body)
        except _PassingError as error:
            raise ApiError(str(error), error.status) from None

    def pages(self, path: str, key: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Yield all entries of a list, page by page.

        :param key: of the answer, under which its entries are.
        :raises ApiError: as :meth:`get`, or there are more than ``MOST_PAGES`` pages.
        """
        seen = 0
        for _ in range(MOST_PAGES):
            answer = self.get(path, **{"limit": 100, **query, "offset": seen})
            entries = answer.get(key) if isinstance(answer, dict) else None
            if not isinstance(entries, list):
                raise ApiError(f"{self.url}{path}: the answer has no list {key!r}; is this Airflow 3.3?")
            yield from entries
            seen += len(entries)
            if not entries or seen >= int(answer.get("total_entries") or 0):
                return
        raise ApiError(f"{self.url}{path}: more than {MOST_PAGES} pages")

    def _send(self, method: str, path: str, query: dict[str, Any], body: Any) -> Any:
        try:
            status, headers, content = self._exchange(method, path, query, body, self._tokens.token())
            if status == 401 and (token := self._tokens.renewed()):
                status, headers, content = self._exchange(method, path, query, body, token)
        except _no_answer() as error:
            text = str(error) or type(error).__name__
            raise _PassingError(f"Airflow at {self.url} does not answer ({text}); is it up?") from None
        if status < 300:
            return parse(content, self.url)
        if status in _PASSING:
            pause = headers.get("retry-after", "")
            message = f"Airflow at {self.url} is overloaded or down (status {status}); try again later"
            raise _PassingError(message, status, float(pause) if pause.isdigit() else None)
        raise ApiError(refusal(self.url, method, path, status, headers, content), status)

    def _exchange(
        self, method: str, path: str, query: dict[str, Any], body: Any, token: str
    ) -> tuple[int, httpx.Headers, bytes]:
        return exchange(
            self._http,
            method,
            f"{self.url}/api/v2{path}",
            query=query,
            body=body,
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
        )


class _PassingError(Exception):
    """The same read may work a little later."""

    def __init__(self, message: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


def part(name: str) -> str:
    """Return a name as one part of a path."""
    # A name of dots would be taken for a way through the path.
    return quote(name, safe="~").replace(".", "%2E") if set(name) <= {"."} else quote(name, safe="~")


def http_client() -> httpx.Client:
    """Return a client that follows no redirect, which would take the token along."""
    import httpx

    return httpx.Client(
        follow_redirects=False, timeout=httpx.Timeout(REQUEST_SECONDS, connect=CONNECT_SECONDS)
    )


def exchange(
    client: httpx.Client,
    method: str,
    url: str,
    *,
    query: dict[str, Any] | None = None,
    body: Any = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, httpx.Headers, bytes]:
    """Send a request and read its answer, both bounded in time and size.

    :raises httpx.HTTPError: there was no answer.
    :raises ApiError: it is too large.
    """
    import httpx

    deadline = time.monotonic() + ANSWER_SECONDS
    content = bytearray()
    arguments: dict[str, Any] = {"params": query or None, "headers": headers}
    if body is not None:
        arguments["json"] = body
    with client.stream(method, url, **arguments) as answer:
        for chunk in answer.iter_bytes():
            content += chunk
            if len(content) > MOST_BYTES:
                raise ApiError(f"{url}: the answer is larger than {MOST_BYTES // 1024 // 1024} MB")
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout(f"the answer took longer than {ANSWER_SECONDS:.0f} s")
        return answer.status_code, answer.headers, bytes(content)


def parse(content: bytes, url: str) -> Any:
    """Return an answer's JSON.

    :raises ApiError: it is none.
    """
    if not content.strip():
        return None
    try:
        return json.loads(content)
    except ValueError:
        message = f"{url} does not answer as Airflow's API does; correct AIRFLOW_AGENTS_API_URL"
        raise ApiError(message) from None


def refusal(url: str, method: str, path: str, status: int, headers: Any, content: bytes) -> str:
    """Return what a refusal says, and what to do about it."""
    said = _detail(content)
    if status < 400:
        target = headers.get("location", "somewhere else")
        return f"{url} redirects to {target}; put the address of Airflow itself into AIRFLOW_AGENTS_API_URL"
    if status == 401:
        return (
            f"Airflow at {url} refuses the credential{said and f' ({said})'}: it is wrong or has expired; "
            "set AIRFLOW_AGENTS_API_TOKEN, or AIRFLOW_AGENTS_API_USERNAME and _PASSWORD, anew"
        )
    if status == 403:
        return f"this user may not {method} {path}{said and f' ({said})'}; it takes another role in Airflow"
    if status == 404:
        return said or f"{url}{path} does not exist"
    return f"{method} {path}: status {status}{said and f': {said}'}"


def _detail(content: bytes) -> str:
    """Return what an error answer says, as one line."""
    try:
        detail = json.loads(content)["detail"]
    except (ValueError, KeyError, TypeError):
        return ""
    if isinstance(detail, list):
        return "; ".join(
            f"{'.'.join(str(each) for each in item.get('loc', ()))}: {item.get('msg')}"
            for item in detail
            if isinstance(item, dict)
        )
    if isinstance(detail, dict):
        detail = detail.get("reason") or detail.get("message") or json.dumps(detail)
    return " ".join(str(detail).split())[:2_000]


def _no_answer() -> tuple[type[Exception], ...]:
    import httpx

    return (httpx.TransportError, httpx.InvalidURL)
