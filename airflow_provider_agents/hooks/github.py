"""The Airflow hook that opens a :class:`~.github_client.GitHubClient` for a connection."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.hooks.github_app import OPERATOR_PERMISSIONS, GitHubApp, app_of
from airflow_provider_agents.hooks.github_names import owner_and_name
from airflow_provider_agents.hooks.github_urls import GitHubUrls, github_urls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from airflow.sdk import Connection

    from airflow_provider_agents.hooks.github_app import InstallationToken
    from airflow_provider_agents.hooks.github_client import GitHubClient

T = TypeVar("T")

MOST_REPOSITORIES = 500
"""Repositories that GitHub lets one token of an App name."""


@dataclass(frozen=True, slots=True)
class GitHubCredential:
    """What a connection says: which GitHub, and the token or the App for it.

    Secrets are kept out of its ``repr``. It has a token or an App, never both.
    """

    urls: GitHubUrls
    token: str = field(default="", repr=False)
    """The connection's password; empty for an App."""
    app: GitHubApp | None = None


class AgentsGitHubHook(BaseHook):
    """GitHub over asynchronous REST and GraphQL, which the hook of the GitHub provider offers neither of.

    It uses that provider's connection type ``github`` and registers none. ``host`` is the REST base URL of a
    GitHub Enterprise Server (empty for github.com). ``password`` is a token; without one, the extra names a
    GitHub App: ``app_id``, ``private_key`` or ``key_path``, and optionally ``installation_id`` and
    ``token_permissions``. An App's tokens are made when needed and kept in this process until five minutes
    before they expire; sessions that stay open go on with the next one.

    :param github_conn_id: the connection.
    :param repository: ``owner/name``, the only one that an App's token is good for. With neither this nor
        ``repositories`` it is good for all that the App is installed on, which needs ``installation_id`` or an
        App with only one installation.
    :param repositories: ``owner/name`` of several that an App's token is good for, all of one owner, at most
        :data:`MOST_REPOSITORIES`.
    :param owner: organisation or user account whose installation an App's token is for, where no repository is
        named.
    :param timeout_seconds: bound of each HTTP exchange.
    """

    conn_name_attr = "github_conn_id"
    default_conn_name = "github_default"
    conn_type = "github"

    def __init__(
        self,
        github_conn_id: str = default_conn_name,
        *,
        repository: str | None = None,
        repositories: Sequence[str] = (),
        owner: str = "",
        timeout_seconds: float = 30.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.github_conn_id = github_conn_id
        self.repositories = tuple(dict.fromkeys([*([repository] if repository else []), *repositories]))
        self.owner = owner
        self.timeout_seconds = timeout_seconds

    def get_conn(self) -> GitHubCredential:
        """Return what the connection says; for workers, outside an event loop. Asks GitHub nothing.

        :raises InvalidInputError: the connection is missing, has neither token nor App, or a host that is none.
        """
        try:
            return credential(self.get_connection(self.github_conn_id))
        except AirflowNotFoundException:
            raise _missing(self.github_conn_id) from None

    async def aget_conn(self) -> GitHubCredential:
        """Return what the connection says; for triggers, inside an event loop. Asks GitHub nothing.

        :raises InvalidInputError: as :meth:`get_conn`.
        """
        try:
            return credential(await self.aget_connection(self.github_conn_id))
        except AirflowNotFoundException:
            raise _missing(self.github_conn_id) from None

    @asynccontextmanager
    async def client(self) -> AsyncIterator[GitHubClient]:
        """Open a session with a freshly read connection; close it at the end."""
        async with self.opened(await self.aget_conn()) as client:
            yield client

    def run(self, work: Callable[[GitHubClient], Awaitable[T]]) -> T:
        """Do ``work`` with an open client and return its result; for operators in workers.

        The connection is read before the event loop starts, because Airflow's synchronous calls to its
        supervisor must not be made inside one.

        :param work: takes the client, e.g. ``lambda github: github.issue("acme/shop", 7)``.
        :raises RuntimeError: when an event loop runs already; use :meth:`client` there.
        """
        _no_loop("async with hook.client()")
        found = self.get_conn()

        async def session() -> T:
            async with self.opened(found) as client:
                return await work(client)

        return asyncio.run(session())

    def mint(self, repositories: Sequence[str], permissions: Mapping[str, str]) -> InstallationToken:
        """Have a new token of the connection's App made, for workers; Airflow's logs mask it.

        :param repositories: ``owner/name`` of all that it may touch, of one owner.
        :param permissions: all that it may do there: ``{"contents": "read"}``.
        :raises InvalidInputError: the connection has no App, or its ``token_permissions`` allow less.
        :raises ForgeError: GitHub made none; the message says why.
        """
        from airflow.sdk.log import mask_secret

        _no_loop("await hook.amint()")
        token = asyncio.run(self._mint(self.get_conn(), repositories, permissions))
        mask_secret(token.token)
        return token

    async def amint(self, repositories: Sequence[str], permissions: Mapping[str, str]) -> InstallationToken:
        """As :meth:`mint`, for triggers.

        The token is not masked: a triggerer lives long, and its masks would grow with every token.
        """
        return await self._mint(await self.aget_conn(), repositories, permissions)

    async def _mint(
        self, found: GitHubCredential, repositories: Sequence[str], permissions: Mapping[str, str]
    ) -> InstallationToken:
        from airflow_provider_agents.hooks.github_app_tokens import new_token

        if found.app is None:
            raise InvalidInputError([f"connection {self.github_conn_id!r} is no GitHub App: it has a token"])
        return await new_token(
            found.urls,
            found.app,
            repositories,
            found.app.permissions(permissions),
            timeout_seconds=self.timeout_seconds,
        )

    @asynccontextmanager
    async def opened(self, found: GitHubCredential) -> AsyncIterator[GitHubClient]:
        """Open a session with a credential that :meth:`get_conn` or :meth:`aget_conn` gave; close it at the end."""
        from airflow_provider_agents.hooks.github_app_tokens import forget, token_for
        from airflow_provider_agents.hooks.github_client import GitHubClient
        from airflow_provider_agents.hooks.github_transport import open_transport

        if found.app:
            _check_one_owner(self.repositories)

        async def of_app() -> str:
            assert found.app is not None
            wanted = found.app.token_permissions or OPERATOR_PERMISSIONS
            timeout = self.timeout_seconds
            made = await token_for(
                found.urls, found.app, self.repositories, wanted, owner=self.owner, timeout_seconds=timeout
            )
            return made.token

        async with open_transport(
            found.urls,
            of_app if found.app else found.token,
            refused=forget,
            timeout_seconds=self.timeout_seconds,
        ) as transport:
            yield GitHubClient(transport)


def credential(connection: Connection) -> GitHubCredential:
    """Return what a connection of type ``github`` says.

    :raises InvalidInputError: it has neither token nor App, or a host that is none.
    """
    urls = github_urls(connection.host, connection.port)
    token = (connection.password or "").strip()
    name = connection.conn_id
    if not token:
        if app := app_of(connection.extra, name):
            return GitHubCredential(urls=urls, app=app)
        raise InvalidInputError(
            [
                (
                    f"connection {name!r} has no token; put one into its password, or a GitHub App into its extra: "
                    '{"app_id": …, "private_key": …}'
                )
            ]
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidInputError([f"connection {name!r}: its password is not a token"])
    return GitHubCredential(urls=urls, token=token)


def _check_one_owner(repositories: Sequence[str]) -> None:
    """Check that one token of an App can be good for all of ``repositories``."""
    owners = sorted({owner_and_name(repository)["owner"].lower() for repository in repositories})
    if len(owners) > 1:
        fault = (
            f"a token of a GitHub App is for one owner, not for {', '.join(owners)}; open a client for each"
        )
        raise InvalidInputError([f"repositories: {fault}"])
    if len(repositories) > MOST_REPOSITORIES:
        fault = f"a token of a GitHub App is for at most {MOST_REPOSITORIES}, not {len(repositories)}"
        raise InvalidInputError([f"repositories: {fault}; open several clients"])


def _no_loop(instead: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"an event loop runs already: use `{instead}` in it")


def _missing(conn_id: str) -> InvalidInputError:
    fault = (
        f"there is no connection {conn_id!r}; create it, type GitHub, with the token as its password: "
        f"airflow connections add {conn_id} --conn-type github --conn-password TOKEN "
        "(and --conn-host https://ghes.example.com/api/v3 for a GitHub Enterprise Server)"
    )
    return InvalidInputError([fault])
