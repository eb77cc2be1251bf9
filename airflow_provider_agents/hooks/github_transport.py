"""One authenticated HTTP session with one GitHub: timeouts, bounds, redirects, retries of reads, typed errors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from airflow_provider_agents import __version__
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks.github_errors import (
    Operation,
    graphql_error,
    rate_limit_of,
    response_error,
)
from airflow_provider_agents.hooks.github_mutations import mutation_refused

if TYPE_CHECKING:
    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession
    from yarl import URL

    from airflow_provider_agents.hooks.github_models import RateLimit
    from airflow_provider_agents.hooks.github_urls import GitHubUrls

T = TypeVar("T")

API_VERSION = "2022-11-28"
MOST_BYTES = 32 * 1024 * 1024
"""Longest body that is taken into memory."""
MOST_REDIRECTS = 3
READ_RETRY_DELAYS = (0.5, 2.0)
"""Seconds before each further attempt at a read that found GitHub unavailable."""

TokenSource = Callable[[], Awaitable[str]]
"""Gives the token to send now: it may change while a session is open."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_METHOD_KEEPING_REDIRECTS = frozenset({307, 308})


@dataclass(frozen=True, slots=True)
class GraphQLAnswer:
    """Data of a GraphQL query, and the errors of the fields that are absent from it."""

    data: Mapping[str, Any]
    errors: tuple[Mapping[str, Any], ...] = ()


class Sink(Protocol):
    """Takes a body piece by piece."""

    def add(self, chunk: bytes) -> bool:
        """Take a piece; return whether more is wanted."""
        ...


S = TypeVar("S", bound=Sink)


class _Bearer:
    """The token in use, and those before it, all of which are kept out of messages.

    :param refused: told of a token that GitHub answered with 401.
    """

    def __init__(self, token: str | TokenSource, refused: Callable[[str], None] | None) -> None:
        self._source = token if callable(token) else None
        self._refused = refused
        self._used: deque[str] = deque([] if callable(token) else [token], maxlen=4)

    async def refresh(self) -> None:
        """Have the token that is to be sent now."""
        if self._source is not None:
            token = await self._source()
            if not self._used or self._used[-1] != token:
                self._used.append(token)

    def header(self) -> str:
        return f"Bearer {self._used[-1]}"

    def refused(self) -> None:
        if self._refused is not None:
            self._refused(self._used[-1])

    def hide(self, text: str) -> str:
        for token in self._used:
            text = text.replace(token, "***")
        return text


@asynccontextmanager
async def open_transport(
    urls: GitHubUrls,
    token: str | TokenSource,
    *,
    refused: Callable[[str], None] | None = None,
    timeout_seconds: float = 30.0,
) -> AsyncIterator[GitHubTransport]:
    """Open a session with the GitHub at ``urls`` and close it at the end.

    The token goes to the origin of ``urls.rest_url`` and nowhere else, whatever a redirect says. Proxies
    are taken from the usual environment variables, a private certificate authority from ``SSL_CERT_FILE``.

    :param token: or who gives it, asked before each request.
    :param refused: called with a token that GitHub answers with 401.
    :param timeout_seconds: bound of each HTTP exchange, from connecting to the last byte.
    """
    import aiohttp
    from yarl import URL

    origin = URL(urls.rest_url).origin()
    bearer = _Bearer(token, refused)

    async def send_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        if request.url.origin() == origin:
            request.headers["Authorization"] = bearer.header()
        try:
            return await handler(request)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            # On these two aiohttp sends PUT and DELETE a second time by itself; a merge is sent once.
            raise aiohttp.ClientConnectionError(f"{type(error).__name__}: {error}") from None

    async with aiohttp.ClientSession(
        headers={"User-Agent": f"airflow-provider-agents/{__version__}"},
        timeout=aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=min(10.0, timeout_seconds)),
        middlewares=(send_once,),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=True,
    ) as session:
        yield GitHubTransport(session, urls, bearer)


class GitHubTransport:
    """Sends requests to one GitHub; made by :func:`open_transport`.

    Reads are tried again, at most twice, when GitHub is unavailable. Writes are sent once: a lost answer is
    reported as :class:`~airflow_provider_agents.exceptions.ForgeUnavailableError`, and the caller looks
    whether the write happened.
    """

    def __init__(self, session: ClientSession, urls: GitHubUrls, bearer: _Bearer) -> None:
        self._session = session
        self._urls = urls
        self._bearer = bearer
        self.clock_ahead = timedelta()
        """How far GitHub's clock was ahead of this machine's in the last answer."""
        self.rate_limit: RateLimit | None = None
        """What the last GraphQL answer said of the budget; ``None`` where none said anything."""

    @property
    def rest_url(self) -> str:
        """Base URL of the REST interface: tells one GitHub from another."""
        return self._urls.rest_url

    def __repr__(self) -> str:
        return f"<GitHubTransport {self._urls.rest_url}>"

    async def read(self, path: str, operation: Operation, params: Mapping[str, str] | None = None) -> Any:
        """Return the JSON of a REST resource.

        :param path: below the REST base URL, already percent-encoded: ``/repos/acme/shop/pulls``.
        :raises ForgeError: one of its subclasses, see ``exceptions.py``.
        """
        return await self._retrying(lambda: self._json("GET", self._rest(path, params), operation))

    async def write(
        self, method: str, path: str, operation: Operation, body: Mapping[str, Any] | None = None
    ) -> Any:
        """Change a REST resource, once, and return the answer's JSON (``None`` where it is empty).

        :raises ForgeConflictError: GitHub answered 405, 409 or 422.
        :raises ForgeUnavailableError: the answer was lost or a server error: it may have happened.
        """
        return await self._json(method, self._rest(path), operation, body)

    async def answer(
        self, method: str, path: str, operation: Operation, body: Mapping[str, Any] | None = None
    ) -> tuple[int, Mapping[str, str], Any]:
        """Return status, headers and body of whatever GitHub answers, for who has own words for refusals.

        For calls that may be repeated: they are tried again as reads are, when GitHub is unavailable.

        :raises ForgeUnavailableError: GitHub could not be reached, or answered with a server error.
        """

        async def once() -> tuple[int, Mapping[str, str], Any]:
            status, headers, answer = await self._exchange(method, self._rest(path), operation, body)
            if status >= 500:
                raise response_error(operation, status, headers, answer, datetime.now(UTC))
            return status, headers, answer

        return await self._retrying(once)

    async def query(self, document: str, variables: Mapping[str, Any], operation: Operation) -> GraphQLAnswer:
        """Return the answer to a GraphQL query; partial data is an answer, with its errors beside it."""

        async def once() -> GraphQLAnswer:
            from yarl import URL

            body = {"query": document, "variables": dict(variables)}
            url = URL(self._urls.graphql_url, encoded=True)
            status, headers, answer = await self._exchange("POST", url, operation, body, query=True)
            if status != 200 or not isinstance(answer, Mapping):
                raise response_error(operation, status, headers, answer, datetime.now(UTC))
            listed = answer.get("errors")
            errors = tuple(e for e in listed if isinstance(e, Mapping)) if isinstance(listed, list) else ()
            data = answer.get("data")
            if error := graphql_error(operation, data, errors, headers, datetime.now(UTC)):
                raise error
            return GraphQLAnswer(data=data if isinstance(data, Mapping) else {}, errors=errors)

        return await self._retrying(once)

    async def mutate(
        self, document: str, variables: Mapping[str, Any], operation: Operation
    ) -> Mapping[str, Any]:
        """Send a GraphQL mutation, once, and return its data.

        :raises ForgeConflictError: GitHub says that the object is not in a state for it.
        :raises ForgeAccessError: there is no such object, or the credential may not do it.
        :raises ForgeUnavailableError: the answer was lost or tells of a fault: it may have happened.
        """
        from yarl import URL

        body = {"query": document, "variables": dict(variables)}
        url = URL(self._urls.graphql_url, encoded=True)
        status, headers, answer = await self._exchange("POST", url, operation, body)
        if status != 200:
            raise response_error(operation, status, headers, answer, datetime.now(UTC))
        if not isinstance(answer, Mapping):
            answer = {}
        data, listed = answer.get("data"), answer.get("errors")
        errors = [e for e in listed if isinstance(e, Mapping)] if isinstance(listed, list) else []
        if limited := graphql_error(operation, {}, errors, headers, datetime.now(UTC)):
            raise limited
        if errors or not isinstance(data, Mapping):
            raise mutation_refused(operation, errors)
        return data

    async def stream(self, path: str, operation: Operation, new_sink: Callable[[], S]) -> S:
        """Return a sink that was given all of a text, piece by piece; GitHub may keep it on another host.

        A redirect to another host is followed without the credential.

        :param new_sink: makes the sink of one attempt; its ``add`` returns whether it wants more.
        """

        async def once() -> S:
            sink = new_sink()
            status, headers, answer = await self._exchange("GET", self._rest(path), operation, sink=sink)
            if status != 200:
                raise response_error(operation, status, headers, answer, datetime.now(UTC))
            return sink

        return await self._retrying(once)

    def _rest(self, path: str, params: Mapping[str, str] | None = None) -> URL:
        from yarl import URL

        return URL(self._urls.rest_url + path, encoded=True).update_query(dict(params or {}))

    async def _json(
        self, method: str, url: URL, operation: Operation, body: Mapping[str, Any] | None = None
    ) -> Any:
        status, headers, answer = await self._exchange(method, url, operation, body)
        if not 200 <= status < 300:
            raise response_error(operation, status, headers, answer, datetime.now(UTC))
        if isinstance(answer, str):
            if answer.strip():
                raise ForgeUnavailableError(
                    f"GitHub could not {operation.what}: the answer is not JSON; does a proxy answer in its place?"
                )
            return None
        return answer

    async def _retrying(self, once: Callable[[], Awaitable[T]]) -> T:
        for delay in READ_RETRY_DELAYS:
            try:
                return await once()
            except ForgeRateLimitedError:
                raise
            except ForgeUnavailableError:
                await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311
        return await once()

    async def _exchange(
        self,
        method: str,
        url: URL,
        operation: Operation,
        body: Mapping[str, Any] | None = None,
        *,
        query: bool = False,
        sink: Sink | None = None,
    ) -> tuple[int, Mapping[str, str], Any]:
        """Send one request, follow its redirects, and return status, headers and decoded body.

        :param query: a POST that changes nothing.
        :param sink: where a successful body goes, piece by piece, instead of into the answer.
        """
        import aiohttp

        await self._bearer.refresh()
        try:
            for _ in range(MOST_REDIRECTS + 1):
                async with self._session.request(
                    method, url, json=body, headers=self._headers(url), allow_redirects=False
                ) as response:
                    if response.status not in _REDIRECTS:
                        self._note(response)
                        return response.status, response.headers, await self._body(response, operation, sink)
                    url = self._redirected(method, response, operation, elsewhere=sink is not None)
            fault = f"more than {MOST_REDIRECTS} redirects"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Neither its repr nor its cause goes on: those of aiohttp hold the request's headers.
            fault = f"{type(error).__name__}: {error}".removeprefix("ClientConnectionError: ").rstrip(": ")
            fault = self._bearer.hide(fault)
        lost = "" if query or method == "GET" else "; it may have happened all the same"
        raise ForgeUnavailableError(f"GitHub could not be reached to {operation.what}: {fault}{lost}")

    def _note(self, response: ClientResponse) -> None:
        if response.status == 401:
            self._bearer.refused()
        with contextlib.suppress(TypeError, ValueError, IndexError):
            theirs = parsedate_to_datetime(response.headers.get("Date", ""))
            self.clock_ahead = theirs - datetime.now(UTC)
        if response.headers.get("X-RateLimit-Resource") == "graphql":
            self.rate_limit = rate_limit_of(response.headers, datetime.now(UTC)) or self.rate_limit

    def _headers(self, url: URL) -> dict[str, str]:
        from yarl import URL

        if url.origin() != URL(self._urls.rest_url).origin():
            return {}
        return {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": API_VERSION}

    async def _body(self, response: ClientResponse, operation: Operation, sink: Sink | None) -> Any:
        """Read a body within bounds; JSON is decoded, all else is text."""
        if sink is not None and response.status == 200:
            async for chunk in response.content.iter_chunked(65_536):
                if not sink.add(chunk):
                    break
            return ""
        data = bytearray()
        async for chunk in response.content.iter_chunked(65_536):
            data += chunk
            if len(data) > MOST_BYTES:
                raise ForgeUnavailableError(
                    f"GitHub could not {operation.what}: the answer is longer than {MOST_BYTES:,} bytes"
                )
        text = self._bearer.hide(bytes(data).decode(errors="replace"))
        try:
            return json.loads(text)
        except ValueError:
            return text

    def _redirected(
        self, method: str, response: ClientResponse, operation: Operation, *, elsewhere: bool
    ) -> URL:
        """Return where a redirect leads, if it may be followed.

        :param elsewhere: another host is allowed; it does not get the credential.
        """
        from yarl import URL

        try:
            target = response.url.join(URL(response.headers.get("Location", ""), encoded=True))
            same_origin = target.origin() == response.url.origin()
        except ValueError:
            raise ForgeAccessError(
                f"GitHub could not {operation.what}: it redirects to no valid address"
            ) from None
        if method != "GET" and response.status not in _METHOD_KEEPING_REDIRECTS:
            raise ForgeAccessError(
                f"GitHub could not {operation.what}: HTTP {response.status} redirects a write. "
                "Was the repository renamed? Use its present name"
            )
        if not same_origin and not (elsewhere and target.scheme in ("https", "http")):
            raise ForgeAccessError(
                f"GitHub could not {operation.what}: it redirects to {target.host}, which may not get the "
                "credential. Correct the host of the connection"
            )
        return target
