"""The Airflow hook of Linear: what a connection of type ``linear`` says, and a session with it."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_agents.exceptions import AgentsError, ForgeAccessError, InvalidInputError
from airflow_provider_agents.hooks.github_fields import mapping, text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow.sdk import Connection

    from airflow_provider_agents.hooks.linear_transport import LinearTransport

API_URL = "https://api.linear.app/graphql"
_KEY_PREFIX = "lin_api_"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class LinearCredential:
    """What a connection says: where Linear's API is, and the key or token for it, kept out of its ``repr``."""

    url: str
    secret: str = field(repr=False)

    @property
    def authorization(self) -> str:
        """Return the header's value: a personal API key as it is, an OAuth token as a bearer."""
        return self.secret if self.secret.startswith(_KEY_PREFIX) else f"Bearer {self.secret}"

    def hide(self, words: str) -> str:
        """Return ``words`` without the secret."""
        return words.replace(self.secret, "***")


class AgentsLinearHook(BaseHook):
    """Linear over its GraphQL API, asynchronously.

    Connection type ``linear``: ``password`` is a personal API key (``lin_api_…``) or an OAuth token, ``host``
    the API's URL where it is not ``https://api.linear.app/graphql``.

    :param linear_conn_id: the connection.
    :param timeout_seconds: bound of each HTTP exchange.
    """

    conn_name_attr = "linear_conn_id"
    default_conn_name = "linear_default"
    conn_type = "linear"
    hook_name = "Linear"

    def __init__(
        self, linear_conn_id: str = default_conn_name, *, timeout_seconds: float = 30.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.linear_conn_id = linear_conn_id
        self.timeout_seconds = timeout_seconds

    def get_conn(self) -> LinearCredential:
        """Return what the connection says; outside an event loop. Asks Linear nothing.

        :raises InvalidInputError: the connection is missing, has no key, or a host that is none.
        """
        try:
            return credential(self.get_connection(self.linear_conn_id))
        except AirflowNotFoundException:
            raise _missing(self.linear_conn_id) from None

    async def aget_conn(self) -> LinearCredential:
        """Return what the connection says; inside an event loop. Asks Linear nothing.

        :raises InvalidInputError: as :meth:`get_conn`.
        """
        try:
            return credential(await self.aget_connection(self.linear_conn_id))
        except AirflowNotFoundException:
            raise _missing(self.linear_conn_id) from None

    @asynccontextmanager
    async def client(self) -> AsyncIterator[LinearTransport]:
        """Open a session with a freshly read connection; close it at the end."""
        from airflow_provider_agents.hooks.linear_transport import open_linear

        async with open_linear(await self.aget_conn(), timeout_seconds=self.timeout_seconds) as transport:
            yield transport

    def test_connection(self) -> tuple[bool, str]:
        """Ask Linear who we are, for the button in Airflow's UI; return whether it works, and what it said."""
        try:
            return True, asyncio.run(self._who(self.get_conn()))
        except AgentsError as error:
            return False, str(error)

    async def _who(self, found: LinearCredential) -> str:
        from airflow_provider_agents.hooks.linear_queries import VIEWER
        from airflow_provider_agents.hooks.linear_transport import open_linear

        async with open_linear(found, timeout_seconds=self.timeout_seconds) as transport:
            answer = await transport.query(VIEWER, {}, "say who we are")
        viewer = mapping(answer.data.get("viewer"))
        if not text(viewer.get("id")):
            raise ForgeAccessError("Linear did not say who we are; check the key of the connection")
        workspace = text(mapping(viewer.get("organization")).get("name"))
        kind = "app" if viewer.get("app") else "user"
        return f"{kind} {text(viewer.get('name'))!r} of the workspace {workspace!r}"


def credential(connection: Connection) -> LinearCredential:
    """Return what a connection of type ``linear`` says.

    :raises InvalidInputError: it has no key, or a host that is none.
    """
    name = connection.conn_id
    secret = re.sub(r"^bearer(\s+|$)", "", (connection.password or "").strip(), flags=re.IGNORECASE)
    if not secret:
        fault = f"connection {name!r} has no key; put a personal API key or an OAuth token into its password"
        raise InvalidInputError([fault])
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise InvalidInputError([f"connection {name!r}: its password is neither an API key nor a token"])
    return LinearCredential(url=_url(connection.host, connection.port, name), secret=secret)


def _url(host: str | None, port: int | None, name: str) -> str:
    written = (host or "").strip()
    if not written:
        return API_URL
    parts = urlsplit(written if "://" in written else f"https://{written}")
    try:
        machine, number = (parts.hostname or "").lower(), parts.port or port
    except ValueError:
        raise _bad_host(name, "its port is not a number") from None
    if not machine or parts.scheme not in ("https", "http"):
        raise _bad_host(name, "it is not an https address")
    if parts.scheme == "http" and machine not in _LOOPBACK:
        raise _bad_host(name, "the key would go over the network in the clear: use https")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise _bad_host(
            name, "it holds more than scheme, host, port and path; the key belongs into the password"
        )
    place = (f"[{machine}]" if ":" in machine else machine) + (f":{number}" if number else "")
    return f"{parts.scheme}://{place}{parts.path.rstrip('/') or '/graphql'}"


def _bad_host(name: str, fault: str) -> InvalidInputError:
    return InvalidInputError([f"host of the connection {name!r}: {fault}; empty means {API_URL}"])


def _missing(conn_id: str) -> InvalidInputError:
    fault = (
        f"there is no connection {conn_id!r}; create it, type Linear, with an API key as its password: "
        f"airflow connections add {conn_id} --conn-type linear --conn-password lin_api_…"
    )
    return InvalidInputError([fault])
