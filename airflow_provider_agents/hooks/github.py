"""The Airflow hook that opens a :class:`~.github_client.GitHubClient` for a connection."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.hooks.github_urls import GitHubUrls, github_urls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from airflow.sdk import Connection

    from airflow_provider_agents.hooks.github_client import GitHubClient

T = TypeVar("T")

_APP_EXTRAS = ("app_id", "installation_id", "private_key", "key_path")


@dataclass(frozen=True, slots=True)
class GitHubCredential:
    """What a connection says: which GitHub, and the token for it (kept out of its ``repr``)."""

    urls: GitHubUrls
    token: str = field(repr=False)


class AgentsGitHubHook(BaseHook):
    """GitHub over asynchronous REST and GraphQL, which the hook of the GitHub provider offers neither of.

    It uses that provider's connection type ``github`` and registers none: ``password`` is the token, and
    ``host`` the REST base URL of a GitHub Enterprise Server (empty for github.com).

    :param github_conn_id: the connection.
    :param timeout_seconds: bound of each HTTP exchange.
    """

    conn_name_attr = "github_conn_id"
    default_conn_name = "github_default"
    conn_type = "github"

    def __init__(
        self, github_conn_id: str = default_conn_name, *, timeout_seconds: float = 30.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.github_conn_id = github_conn_id
        self.timeout_seconds = timeout_seconds

    def get_conn(self) -> GitHubCredential:
        """Return the credential of the connection; for workers, outside an event loop.

        :raises InvalidInputError: the connection is missing, has no token, or a host that is none.
        """
        try:
            return credential(self.get_connection(self.github_conn_id))
        except AirflowNotFoundException:
            raise _missing(self.github_conn_id) from None

    async def aget_conn(self) -> GitHubCredential:
        """Return the credential of the connection; for triggers, inside an event loop.

        :raises InvalidInputError: as :meth:`get_conn`.
        """
        try:
            return credential(await self.aget_connection(self.github_conn_id))
        except AirflowNotFoundException:
            raise _missing(self.github_conn_id) from None

    @asynccontextmanager
    async def client(self) -> AsyncIterator[GitHubClient]:
        """Open a session with a freshly read connection; close it at the end."""
        async with self._open(await self.aget_conn()) as client:
            yield client

    def run(self, work: Callable[[GitHubClient], Awaitable[T]]) -> T:
        """Do ``work`` with an open client and return its result; for operators in workers.

        The connection is read before the event loop starts, because Airflow's synchronous calls to its
        supervisor must not be made inside one.

        :param work: takes the client, e.g. ``lambda github: github.issue("acme/shop", 7)``.
        :raises RuntimeError: when an event loop runs already; use :meth:`client` there.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise RuntimeError("an event loop runs already: use `async with hook.client()` in it")
        found = self.get_conn()

        async def session() -> T:
            async with self._open(found) as client:
                return await work(client)

        return asyncio.run(session())

    @asynccontextmanager
    async def _open(self, found: GitHubCredential) -> AsyncIterator[GitHubClient]:
        from airflow_provider_agents.hooks.github_client import GitHubClient
        from airflow_provider_agents.hooks.github_transport import open_transport

        async with open_transport(found.urls, found.token, timeout_seconds=self.timeout_seconds) as transport:
            yield GitHubClient(transport)


def credential(connection: Connection) -> GitHubCredential:
    """Return what a connection of type ``github`` says.

    :raises InvalidInputError: it has no token, or a host that is none.
    """
    urls = github_urls(connection.host, connection.port)
    token = (connection.password or "").strip()
    if not token:
        name = connection.conn_id
        # The raw text: reading the decoded extra would call Airflow's supervisor, inside an event loop too.
        if any(f'"{key}"' in (connection.extra or "") for key in _APP_EXTRAS):
            fault = (
                f"connection {name!r} authenticates as a GitHub App (app_id in its extra), which is not "
                "supported yet; put a personal access token into its password"
            )
        else:
            fault = f"connection {name!r} has no token; put one into its password"
        raise InvalidInputError([fault])
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidInputError([f"connection {connection.conn_id!r}: its password is not a token"])
    return GitHubCredential(urls=urls, token=token)


def _missing(conn_id: str) -> InvalidInputError:
    fault = (
        f"there is no connection {conn_id!r}; create it, type GitHub, with the token as its password: "
        f"airflow connections add {conn_id} --conn-type github --conn-password TOKEN "
        "(and --conn-host https://ghes.example.com/api/v3 for a GitHub Enterprise Server)"
    )
    return InvalidInputError([fault])
