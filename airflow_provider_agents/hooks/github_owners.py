"""Reading repositories of several owners with one connection: a GitHub App has a token for each of them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_agents.exceptions import ForgeError
from airflow_provider_agents.hooks.github import AgentsGitHubHook
from airflow_provider_agents.hooks.github_names import owner_and_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence

    from airflow_provider_agents.domain.open_pull_request import OpenPullRequest
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.hooks.github import GitHubCredential
    from airflow_provider_agents.hooks.github_client import GitHubClient
    from airflow_provider_agents.hooks.github_models import RateLimit
    from airflow_provider_agents.hooks.github_open_labels import LabelMemory
    from airflow_provider_agents.hooks.github_reading import Ref

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")
T = TypeVar("T")


class OwnersClient:
    """The calls of :class:`~.github_client.GitHubClient` that are about many repositories, of any owners.

    With a token all go through one session. With a GitHub App each owner has its own, opened when it is first needed,
    with a token for all that the App is installed on there; what is wrong with one of them is the fault of its
    repositories alone. Made by :func:`open_owners` and :func:`run_with_owners`.
    """

    def __init__(self, conn_id: str, credential: GitHubCredential, timeout_seconds: float = 30.0) -> None:
        self._conn_id = conn_id
        self._credential = credential
        self._timeout_seconds = timeout_seconds
        self._clients: dict[str, GitHubClient] = {}
        self._stack = AsyncExitStack()

    async def aclose(self) -> None:
        """End all sessions."""
        self._clients.clear()
        await self._stack.aclose()

    async def of(self, owner: str) -> GitHubClient:
        """Return the client for one owner's repositories; its calls are those of one session.

        :param owner: organisation or user, in any case.
        """
        key = owner.casefold() if self._credential.app is not None else ""
        if key not in self._clients:
            hook = AgentsGitHubHook(self._conn_id, owner=key, timeout_seconds=self._timeout_seconds)
            self._clients[key] = await self._stack.enter_async_context(hook.opened(self._credential))
        return self._clients[key]

    @property
    def rate_limit(self) -> RateLimit | None:
        """The budget of which the smallest share is left, of those that answers told of."""
        limits = [limit for client in self._clients.values() if (limit := client.rate_limit) is not None]
        return min(limits, key=lambda limit: limit.remaining / max(1, limit.limit), default=None)

    async def open_pull_requests(
        self, repositories: Sequence[str], labels: LabelMemory | None = None
    ) -> dict[str, tuple[OpenPullRequest, ...] | ForgeError]:
        """Return the open pull requests of each repository, or why they could not be read.

        :raises ForgeError: nothing could be read; of several owners' errors the first.
        """
        return await self._each(
            repositories, lambda name: name, lambda client, names: client.open_pull_requests(names, labels)
        )

    async def snapshots(self, refs: Sequence[Ref]) -> dict[Ref, PullRequestSnapshot | ForgeError]:
        """Return a full reading of each pull request, or why it could not be read.

        :raises ForgeError: as :meth:`open_pull_requests`.
        """
        return await self._each(refs, lambda ref: ref[0], lambda client, some: client.snapshots(some))

    async def organization_repositories(self, organization: str) -> tuple[str, ...]:
        """Return ``owner/name`` of an account's repositories that are neither archived nor forks."""
        return await (await self.of(organization)).organization_repositories(organization)

    async def _each(
        self,
        keys: Sequence[K],
        repository: Callable[[K], str],
        read: Callable[[GitHubClient, Sequence[K]], Awaitable[Mapping[K, V | ForgeError]]],
    ) -> dict[K, V | ForgeError]:
        groups: dict[str, list[K]] = {}
        for key in keys:
            owner = owner_and_name(repository(key))["owner"].casefold()
            groups.setdefault(owner if self._credential.app is not None else "", []).append(key)
        found: dict[K, V | ForgeError] = {}
        errors: list[ForgeError] = []
        for owner, group in groups.items():
            try:
                found.update(await read(await self.of(owner), group))
            except ForgeError as error:
                errors.append(error)
                found.update(dict.fromkeys(group, error))
        if errors and len(errors) == len(groups):
            raise errors[0]
        return found


@asynccontextmanager
async def open_owners(conn_id: str) -> AsyncIterator[OwnersClient]:
    """Open a client with a freshly read connection, in triggers; close its sessions at the end.

    :raises InvalidInputError: the connection is missing or unusable.
    """
    client = OwnersClient(conn_id, await AgentsGitHubHook(conn_id).aget_conn())
    try:
        yield client
    finally:
        await client.aclose()


def run_with_owners(conn_id: str, work: Callable[[OwnersClient], Awaitable[T]]) -> T:
    """Do ``work`` with a client and return its result; for operators in workers, outside an event loop.

    :raises InvalidInputError: the connection is missing or unusable.
    """
    credential = AgentsGitHubHook(conn_id).get_conn()

    async def session() -> T:
        client = OwnersClient(conn_id, credential)
        try:
            return await work(client)
        finally:
            await client.aclose()

    return asyncio.run(session())
