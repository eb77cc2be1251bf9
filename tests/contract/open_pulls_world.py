"""A stand-in GitHub with open pull requests in several repositories, and a client on it over real HTTP."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.hooks.github import AgentsGitHubHook, GitHubCredential
from airflow_provider_agents.hooks.github_urls import github_urls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_agents.hooks.github_client import GitHubClient
    from demo.github.server import StandInGitHub

SHOP, DOCS, OTHER = "acme/shop", "acme/docs", "globex/site"
PEOPLE: dict[str, Any] = {"agent": "write", "alice": "maintain", "dependabot[bot]": "write", "eve": "read"}


class OpenPullsWorld:
    """The stand-in, and what people do there."""

    def __init__(self, server: StandInGitHub) -> None:
        self.server = server
        self.client: GitHubClient

    async def act(self, who: str, do: str, repository: str = SHOP, **values: Any) -> dict[str, Any]:
        """Let somebody do something."""
        return await self.server.act(who, do, repository, **values)

    async def pull(self, title: str = "Mend it", repository: str = SHOP, **values: Any) -> int:
        """Let somebody, alice if nobody is named as ``who``, open a pull request; return its number."""
        who = values.pop("who", "alice")
        labels = values.pop("labels", ())
        store = self.server.forge.store.repositories[repository.lower()]
        branch = values.pop("branch", f"work-{store.next_number()}")
        fork = bool(values.get("from_fork"))
        await self.act(
            who,
            "push_commit",
            repository,
            branch=branch,
            files={f"{branch}.txt": title},
            start="main",
            from_fork=fork,
        )
        made = await self.act(who, "open_pull", repository, title=title, head=branch, base="main", **values)
        if labels:
            await self.act("alice", "label", repository, number=made["number"], labels=list(labels))
        return int(made["number"])

    def pass_time(self, seconds: float) -> None:
        """Move the stand-in's clock on."""
        self.server.forge.clock.advance(seconds)

    def fault(self, action: Any, operation: str = "", *, times: int | None = 1) -> None:
        """Order a fault for requests of a GraphQL operation."""
        match = {"operation": operation} if operation else {}
        self.server.faults.add({"match": match, "times": times, "action": action})

    def spent(self) -> tuple[dict[str, int], int]:
        """Return how often each operation was asked for since the last time, and the points; forget both."""
        told = self.server.requests.describe()
        self.server.requests.clear()
        counts = {name.removeprefix("graphql "): count for name, count in told["counts"].items()}
        return counts, sum(told["points"].values())


def credential(server: StandInGitHub, token: str = "token-of-agent") -> GitHubCredential:
    """Return what a connection to the stand-in says."""
    return GitHubCredential(urls=github_urls(server.url), token=token)


@asynccontextmanager
async def open_pulls_world(server: StandInGitHub) -> AsyncIterator[OpenPullsWorld]:
    """Open a client on the stand-in, with two repositories of one owner and one of another."""
    world = OpenPullsWorld(server)
    server.add_token("agent", "token-of-agent")
    for name in (SHOP, DOCS, OTHER):
        await server.seed_synthetic(name, {"a.py": "1\n"}, permissions=PEOPLE)
    async with AgentsGitHubHook("unused").opened(credential(server)) as world.client:
        yield world
