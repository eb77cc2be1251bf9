"""One authenticated session with one Jira, Cloud or Data Center.

The client is that of Airflow's own Jira provider (``apache-airflow-providers-atlassian-jira`` with
``atlassian-python-api``), so that a connection of its type ``jira`` serves both, and both deployments are
known to it. It is synchronous: each call runs in a thread. What it would do by itself is switched off, since
it would repeat writes and sleep as long as a header says: here reads are repeated, a stated number of times.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.hooks.jira_errors import answer_error, not_json
from airflow_provider_agents.hooks.jira_session import AnswerTooLongError, bounded_session

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from atlassian.rest_client import AtlassianRestAPI
    from requests import Response

PACKET_SECONDS = 20
"""Longest wait for a connection, and for each packet of an answer."""
CALL_SECONDS = 60.0
"""Longest that one exchange takes."""
MOST_BYTES = 32 * 1024 * 1024
"""Longest body that is taken into memory."""
READ_RETRY_DELAYS = (0.5, 2.0)
"""Seconds before each further attempt at a read that found Jira unavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JiraCredential:
    """What a connection of type ``jira`` says."""

    url: str
    """Base URL, without a slash at its end."""
    login: str = ""
    """E-mail address (Cloud) or user name, of whom ``token`` is; empty: ``token`` is a personal access token."""
    token: str = field(repr=False)
    verify: bool = True
    """Whether the server's certificate is checked."""

    @property
    def host(self) -> str:
        """Return what the ids of this Jira are unique within: its host, and its path where it has one."""
        parts = urlsplit(self.url)
        return f"{parts.netloc}{parts.path}".lower()


def jira_credential(connection: Connection) -> JiraCredential:
    """Read a connection.

    :raises InvalidInputError: it has no host that is an address, or no token.
    """
    conn_id = connection.conn_id
    faults = []
    host = (connection.host or "").strip().rstrip("/")
    url = host if "://" in host else f"https://{host}"
    parts = urlsplit(url)
    if (
        not host
        or parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.query
        or parts.username
    ):
        faults.append(
            f"connection {conn_id!r}: its host must be the base URL of Jira, e.g. https://acme.atlassian.net"
        )
    elif connection.port and not parts.port:
        url = f"{parts.scheme}://{parts.hostname}:{connection.port}{parts.path}"
    if not connection.password:
        faults.append(
            f"connection {conn_id!r}: its password must be an API token (Cloud, with the e-mail address as login) "
            "or a personal access token (Data Center, without a login)"
        )
    try:
        extra = json.loads(connection.extra or "{}")
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        faults.append(f"connection {conn_id!r}: its extra must be a JSON object")
    if faults:
        raise InvalidInputError(faults)
    verify = extra.get("verify", True) if isinstance(extra, dict) else True
    return JiraCredential(
        url=url, login=connection.login or "", token=connection.password or "", verify=verify is not False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class JiraServer:
    """What Jira says of itself when a session is opened."""

    cloud: bool
    base_url: str
    """Where people see it, without a slash at its end."""
    time: datetime
    """By its own clock, when the session was opened; timezone-aware. See :meth:`JiraClient.now`."""
    me: str
    """Id of the user that the connection is of."""


class JiraClient:
    """Calls Jira's REST API, version 3 of Cloud, version 2 of Data Center; raises the tree of ``ForgeError``.

    Use :func:`open_jira`.
    """

    server: JiraServer

    def __init__(self, library: AtlassianRestAPI) -> None:
        self._library = library
        self._version = 2
        self._turn = asyncio.Lock()  # a session of requests is used by one thread at a time

    async def hello(self) -> None:
        """Ask what this Jira is and who we are to it.

        :raises ForgeAccessError: it does not know us, or is no Jira.
        """
        told = await self.get("serverInfo", what="say what it is")
        # Nobody's login is not refused everywhere: Cloud answers a search of nobody with an empty list.
        heard = time.monotonic()
        me = await self.get("myself", what="say who the connection's user is")
        if not isinstance(told, Mapping) or not isinstance(me, Mapping):
            raise not_json("say what it is")
        self.server = JiraServer(
            cloud=told.get("deploymentType") == "Cloud",
            base_url=str(told.get("baseUrl") or self._library.url).rstrip("/"),
            time=_moment(told.get("serverTime")),
            me=person_id(me),
        )
        self._version = 3 if self.server.cloud else 2
        self._heard = heard

    def now(self) -> datetime:
        """Return the present time by Jira's clock, rather too early than too late."""
        return self.server.time + timedelta(seconds=time.monotonic() - self._heard)

    async def get(self, *path: str, what: str, **params: str | int) -> Any:
        """Read; see :meth:`call`."""
        return await self.call("GET", *path, what=what, params=params, read=True)

    async def search(self, body: Mapping[str, Any]) -> Any:
        """Search with JQL: one page.

        :param body: as the API of this deployment takes it.
        """
        path = ("search", "jql") if self.server.cloud else ("search",)
        return await self.call("POST", *path, what="search with the source's JQL", body=body, read=True)

    async def call(
        self,
        method: str,
        *path: str,
        what: str,
        params: Mapping[str, str | int] | None = None,
        body: Any = None,
        read: bool = False,
    ) -> Any:
        """Do one exchange and return the decoded body, ``None`` where it is empty.

        :param path: parts below the API's root; each is quoted.
        :param what: what it is for, in the infinitive, for messages.
        :param read: it changes nothing: where Jira is unavailable it is repeated, see
            :data:`READ_RETRY_DELAYS`.
        """
        for delay in (*(READ_RETRY_DELAYS if read else ()), None):
            try:
                return await self._once(method, path, what, params, body)
            except ForgeRateLimitedError:
                raise
            except ForgeUnavailableError:
                if delay is None:
                    raise
                await asyncio.sleep(delay)
        raise AssertionError("the last attempt returns or raises")

    async def _once(
        self, method: str, path: tuple[str, ...], what: str, params: Mapping[str, str | int] | None, body: Any
    ) -> Any:
        import requests

        resource = "/".join(quote(part, safe="") for part in path)
        url = self._library.resource_url(resource, api_root="rest/api", api_version=self._version)

        def exchange() -> Response:
            return self._library.request(
                method, path=url, params=dict(params or {}), data=body, advanced_mode=True
            )

        try:
            async with self._turn, asyncio.timeout(2 * CALL_SECONDS):
                response = await asyncio.to_thread(exchange)
        except requests.exceptions.SSLError as error:
            raise ForgeAccessError(
                f"Jira could not {what}: its certificate is not trusted ({_short(error)}). Put its authority's "
                "certificate into REQUESTS_CA_BUNDLE"
            ) from None
        except AnswerTooLongError as error:
            raise ForgeError(f"Jira could not {what}: the answer was not read to its end, {error}") from None
        except (requests.exceptions.RequestException, TimeoutError) as error:
            raise ForgeUnavailableError(f"Jira could not {what}: {_short(error)}") from None
        content = _decoded(response)
        fault = answer_error(what, response.status_code, response.headers, content, datetime.now(UTC))
        if fault is not None:
            raise fault
        if isinstance(content, str):
            if content.strip():
                raise not_json(what)
            return None
        return content


@asynccontextmanager
async def open_jira(credential: JiraCredential) -> AsyncIterator[JiraClient]:
    """Open a session and close it at the end.

    :raises InvalidInputError: the library is not installed.
    :raises ForgeError: Jira does not answer, or does not know us.
    """
    try:
        from atlassian import Jira
    except ImportError:
        raise InvalidInputError(
            ["a Jira source needs the extra `jira`: pip install 'airflow-provider-agents[jira]'"]
        ) from None
    session = bounded_session(MOST_BYTES, CALL_SECONDS)
    library = Jira(
        credential.url,
        username=credential.login or None,
        password=credential.token if credential.login else None,
        token=None if credential.login else credential.token,
        session=session,
        timeout=PACKET_SECONDS,
        backoff_and_retry=False,
        retry_with_header=False,
    )
    library.verify_ssl = credential.verify
    try:
        client = JiraClient(library)
        await client.hello()
        yield client
    finally:
        await asyncio.to_thread(library.close)


def person_id(user: Any) -> str:
    """Return the id of a user as Jira gives it: account id (Cloud), key or name (Data Center); empty: none."""
    if not isinstance(user, Mapping):
        return ""
    return str(user.get("accountId") or user.get("key") or user.get("name") or "")


def _moment(value: Any) -> datetime:
    try:
        return datetime.fromisoformat(str(value)).astimezone(UTC)
    except ValueError:
        return datetime.now(UTC)


def _decoded(response: Response) -> Any:
    """Return the body: decoded where it is JSON, else as text."""
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return response.text


def _short(error: BaseException) -> str:
    """Return what an error says, without the address, in which a library might quote parameters."""
    cause = getattr(error.args[0], "reason", None) if error.args else None
    return f"{type(error).__name__}: {type(cause).__name__ if cause is not None else 'no answer'}"
