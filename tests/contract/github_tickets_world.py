"""A stand-in GitHub with tickets on it, and the source that reads them over real HTTP."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.source_definition import SourceDefinition
from airflow_provider_agents.domain.tickets import Claim, ClaimedRun, TicketReading
from airflow_provider_agents.hooks.github import GitHubCredential
from airflow_provider_agents.hooks.github_tickets import GitHubTickets
from airflow_provider_agents.hooks.github_urls import github_urls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from demo.github.server import StandInGitHub

SHOP, DOCS = "acme/shop", "acme/docs"
PEOPLE: dict[str, Any] = {"agent": "write", "alice": "maintain", "bob": "triage", "eve": "read"}


class TicketWorld:
    """The stand-in, the definition, and the source that is open on it."""

    def __init__(self, server: StandInGitHub) -> None:
        self.server = server
        self.tickets: GitHubTickets

    async def act(self, who: str, do: str, repository: str = SHOP, **values: Any) -> dict[str, Any]:
        """Let somebody do something."""
        return await self.server.act(who, do, repository, **values)

    async def issue(self, title: str = "It breaks", repository: str = SHOP, **values: Any) -> str:
        """Let eve open an issue; return its node id."""
        values = {"who": "eve", "labels": (), "body": "", **values}
        who, labels = values.pop("who"), values.pop("labels")
        made = await self.act(who, "open_issue", repository, title=title, **values)
        if labels:
            await self.act("alice", "label", repository, number=made["number"], labels=list(labels))
        return str(made["node_id"])

    async def read(self, node_id: str) -> TicketReading:
        """Read one ticket that is there."""
        found = (await self.tickets.read([node_id]))[node_id]
        assert isinstance(found, TicketReading), found
        return found

    def pass_time(self, seconds: float) -> None:
        """Move the stand-in's clock on."""
        self.server.forge.clock.advance(seconds)

    def fault(self, action: Any, operation: str = "", *, times: int | None = 1) -> None:
        """Order a fault for requests of a GraphQL operation."""
        match = {"operation": operation} if operation else {}
        self.server.faults.add({"match": match, "times": times, "action": action})

    def counts(self) -> dict[str, int]:
        """Return how often each operation was asked for since the last time, and forget it."""
        log = self.server.requests
        counted: dict[str, int] = log.describe()["counts"]
        log.clear()
        return {name.removeprefix("graphql "): count for name, count in counted.items()}

    def bodies(self, number: int = 1, repository: str = SHOP) -> list[str]:
        """Return the bodies of the agent's comments on an issue."""
        issue = self.server.forge.store.repositories[repository].issues[number]
        return [comment.body for comment in issue.comments if comment.author.login == "agent"]


def definition(**values: Any) -> SourceDefinition:
    """Return a definition of the two repositories, with what is given changed."""
    return SourceDefinition(**{"source": "github", "repositories": (SHOP, DOCS), **values})


def credential(server: StandInGitHub, token: str = "token-of-agent") -> GitHubCredential:
    """Return what a connection to the stand-in says."""
    return GitHubCredential(urls=github_urls(server.url), token=token)


@asynccontextmanager
async def ticket_world(server: StandInGitHub, **values: Any) -> AsyncIterator[TicketWorld]:
    """Open a source on the stand-in, with two repositories where there are none yet."""
    world = TicketWorld(server)
    if not server.forge.store.repositories:
        server.add_token("agent", "token-of-agent")
        for name in (SHOP, DOCS):
            await server.seed_synthetic(name, {"a.py": "1\n"}, permissions=PEOPLE)
    source = GitHubTickets(definition(**values), connection="unused", credential=credential(server))
    async with source.open() as world.tickets:
        yield world


def claim(run_id: str = "run-1", *asks: str, state: Any = "claimed") -> Claim:
    """Return a claim of one run."""
    return Claim(runs=(ClaimedRun(run_id=run_id, asks=asks or ("ask-1",), state=state),))
