"""One authenticated HTTP session with one Argo CD: timeouts, bounds, retries, readings that never raise."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_agents import __version__
from airflow_provider_agents.domain.argocd_application import ApplicationReading
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks.argocd_errors import ArgoCdAnswerError, answer_error, fault_kind
from airflow_provider_agents.hooks.argocd_parse import reading, workload, workload_nodes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession

    from airflow_provider_agents.domain.argocd_application import Workload
    from airflow_provider_agents.hooks.argocd_credential import ArgoCdCredential

MOST_BYTES = 16 * 1024 * 1024
"""Longest answer that is taken into memory; an application with thousands of resources has a few of them."""
RETRY_DELAYS = (0.5, 2.0)
"""Seconds before each further attempt that found Argo CD unavailable."""
MOST_WAIT = 10.0
"""Seconds that Argo CD may ask for before the next attempt; beyond that the call fails."""
AT_ONCE = 4
"""Calls of one session that are under way at a time."""
MOST_SECONDS = 45.0
"""Time for all readings of one call: an Argo CD that hangs is not to hold up what can do without it."""
MOST_WORKLOADS = 50


@asynccontextmanager
async def open_argocd(
    credential: ArgoCdCredential, *, timeout_seconds: float = 10.0
) -> AsyncIterator[ArgoCdClient]:
    """Open a session with the Argo CD of ``credential`` and close it at the end.

    Redirects are not followed, so the token goes to no other host. Proxies are taken from the usual environment
    variables.

    :param timeout_seconds: bound of each HTTP exchange, from connecting to the last byte.
    :raises InvalidInputError: the certificate authority cannot be read.
    """
    import aiohttp

    checked = credential.ssl()

    async def authorized(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        # Not as a header of the session: a .netrc on the machine would be in its way, or take its place.
        request.headers["Authorization"] = f"Bearer {credential.token}"
        return await handler(request)

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=checked),
        headers={"User-Agent": f"airflow-provider-agents/{__version__}", "Accept": "application/json"},
        timeout=aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=min(5.0, timeout_seconds)),
        middlewares=(authorized,),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=True,
    ) as session:
        yield ArgoCdClient(session, credential)


class ArgoCdClient:
    """Reads from one Argo CD; made by :func:`open_argocd`. It changes nothing there."""

    def __init__(self, session: ClientSession, credential: ArgoCdCredential) -> None:
        self._session = session
        self._credential = credential
        self._places = asyncio.Semaphore(AT_ONCE)

    def __repr__(self) -> str:
        return f"<ArgoCdClient {self._credential.url}>"

    async def application(self, name: str, *, refresh: bool = False) -> ApplicationReading:
        """Return the reading of an application; a fault is in the reading, none is raised.

        :param refresh: have Argo CD look at git before it answers, instead of within its own interval (three minutes).
        """
        what = f"read the application {name}"
        try:
            body = await self._get(self._path(name), what, {"refresh": "normal"} if refresh else {})
            try:
                return reading(body, name, datetime.now(UTC))
            except ValueError as error:
                raise ArgoCdAnswerError(f"Argo CD could not {what}: {error}") from None
        except ForgeError as error:
            return ApplicationReading(
                name=name, observed_at=datetime.now(UTC), fault=str(error), fault_kind=fault_kind(error)
            )

    async def applications(
        self, names: Iterable[str], *, refresh: bool = False
    ) -> dict[str, ApplicationReading]:
        """Return a reading for each of ``names``, a few of them read at a time; as :meth:`application`.

        What was not read after :data:`MOST_SECONDS` has that as its fault.
        """
        deadline = asyncio.get_running_loop().time() + MOST_SECONDS

        async def bounded(name: str) -> ApplicationReading:
            try:
                async with asyncio.timeout_at(deadline):
                    return await self.application(name, refresh=refresh)
            except TimeoutError:
                fault = f"Argo CD could not read the application {name}: no time was left of {MOST_SECONDS:.0f} s for all"
                return ApplicationReading(
                    name=name, observed_at=datetime.now(UTC), fault=fault, fault_kind="unavailable"
                )

        wanted = list(dict.fromkeys(names))
        found = await asyncio.gather(*map(bounded, wanted))
        return dict(zip(wanted, found, strict=True))

    async def workloads(self, name: str) -> tuple[Workload, ...]:
        """Return what an application runs in copies: wanted and available ones, at most :data:`MOST_WORKLOADS`.

        What is deployed in git and not in the cluster is not among them.

        :raises ForgeError: it could not be read in whole; the message says why.
        """
        what = f"read what the application {name} runs"
        tree = await self._get(f"{self._path(name)}/resource-tree", what, {})
        nodes = workload_nodes(tree)
        if len(nodes) > MOST_WORKLOADS:
            raise ArgoCdAnswerError(
                f"Argo CD could not {what}: it has {len(nodes)} workloads, more than {MOST_WORKLOADS}"
            )
        answers = await asyncio.gather(*(self._resource(name, node, what) for node in nodes))
        found = (workload(node, answer) for node, answer in zip(nodes, answers, strict=True))
        return tuple(one for one in found if one is not None)

    async def user(self) -> str:
        """Return the name of the token's account.

        :raises ForgeAccessError: the token is not accepted.
        :raises ForgeError: it could not be asked.
        """
        answer = await self._get("/api/v1/session/userinfo", "say who we are", {}, scoped=False)
        if not answer.get("loggedIn"):
            # This call answers 200 to anybody.
            raise ForgeAccessError(
                "Argo CD does not accept the token. Make a new one (argocd account generate-token) and put it into the "
                "connection's password"
            )
        return str(answer.get("username") or "")[:200]

    async def _resource(self, name: str, node: Mapping[str, Any], what: str) -> Mapping[str, Any]:
        wanted = {
            "resourceName": "name",
            "namespace": "namespace",
            "group": "group",
            "version": "version",
            "kind": "kind",
        }
        values = {key: str(node.get(source) or "") for key, source in wanted.items()}
        return await self._get(f"{self._path(name)}/resource", what, values)

    def _path(self, name: str) -> str:
        return f"/api/v1/applications/{quote(name, safe='')}"

    async def _get(
        self, path: str, what: str, values: Mapping[str, str], *, scoped: bool = True
    ) -> Mapping[str, Any]:
        """Return the object at ``path``, after at most two further attempts while Argo CD is unavailable."""
        where = {"appNamespace": self._credential.namespace, "project": self._credential.project}
        params = {**values, **({key: value for key, value in where.items() if value} if scoped else {})}
        for delay in RETRY_DELAYS:
            try:
                return await self._exchange(path, what, params)
            except ForgeRateLimitedError as error:
                wait = (
                    (error.retry_at - datetime.now(UTC)).total_seconds() if error.retry_at else MOST_WAIT + 1
                )
                if wait > MOST_WAIT:
                    raise
                await asyncio.sleep(max(wait, delay))
            except ForgeUnavailableError:
                await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311
        return await self._exchange(path, what, params)

    async def _exchange(self, path: str, what: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        import aiohttp

        try:
            async with (
                self._places,
                self._session.get(
                    self._credential.url + path,
                    params=params,
                    allow_redirects=False,
                ) as response,
            ):
                status, told = response.status, response.headers
                body = await self._body(response, what)
        except aiohttp.ClientConnectorCertificateError as error:
            raise ForgeAccessError(
                f"Argo CD could not be asked to {what}: its certificate is not trusted ({self._fault(error)}). Put the "
                "certificate of its authority into the connection's extra (`ca_file` or `ca_certificate`)"
            ) from None
        except aiohttp.ClientSSLError as error:
            raise ForgeAccessError(
                f"Argo CD could not be asked to {what}: no TLS at this address ({self._fault(error)}). Check scheme and port "
                "of the connection's host"
            ) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Neither its repr nor its cause goes on: those of aiohttp hold the request's headers.
            raise ForgeUnavailableError(
                f"Argo CD could not be reached to {what}: {self._fault(error)}"
            ) from None
        if problem := answer_error(what, status, told, body, datetime.now(UTC)):
            raise problem
        found: Mapping[str, Any] = body
        return found

    def _fault(self, error: Exception) -> str:
        return self._credential.hide(f"{type(error).__name__}: {error}".rstrip(": "))[:300]

    async def _body(self, response: ClientResponse, what: str) -> Any:
        """Read a body within bounds; JSON is decoded, all else is text."""
        data = bytearray()
        async for chunk in response.content.iter_chunked(65_536):
            data += chunk
            if len(data) > MOST_BYTES:
                raise ArgoCdAnswerError(
                    f"Argo CD could not {what}: the answer is longer than {MOST_BYTES:,} bytes"
                )
        text = self._credential.hide(bytes(data).decode(errors="replace"))
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
