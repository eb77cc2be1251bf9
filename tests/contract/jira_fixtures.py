"""A Jira source that talks to a stand-in Jira, on Cloud and on Data Center."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from jira_world import JiraWorld

from airflow_provider_agents.domain.source_definition import SourceDefinition
from airflow_provider_agents.domain.tickets import TicketReading
from airflow_provider_agents.hooks import jira_client
from airflow_provider_agents.hooks.jira_client import JiraCredential
from airflow_provider_agents.hooks.jira_tickets import JiraTickets

pytest.importorskip("atlassian", reason="needs the extra `jira`")

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
DEFINITION: dict[str, Any] = {
    "source": "jira",
    "jql": "project = SHOP",
    "works_in": [
        {"repository": "acme/web", "projects": ["Website"]},
        {"repository": "acme/ops", "labels": ["ops"], "projects": ["Servers"]},
        {"repository": "acme/shop"},
    ],
    "ask": {"labels": ["agent"], "assignees": ["robot@example.com"], "states": ["Queued"]},
    "authority": {"start": {"teams": ["Developers"], "users": ["boss@example.com"]}},
    "priority": {"labels": {"urgent": 100}, "fields": {"High": 50}, "default": 1},
    "stages": {"working": "In Progress", "in_review": "In Review"},
}


@asynccontextmanager
async def served(monkeypatch: pytest.MonkeyPatch, *, cloud: bool) -> AsyncIterator[JiraWorld]:
    """Serve a Jira with two people; reads are tried again without waiting."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(jira_client, "READ_RETRY_DELAYS", (0.0, 0.0))
    async with JiraWorld(cloud=cloud).serve() as world:
        world.user("alice", email="alice@example.com", groups=("developers", "jira-users"))
        world.user("eve", groups=("jira-users",))
        yield world


@asynccontextmanager
async def opened(world: JiraWorld, **changes: Any) -> AsyncIterator[JiraTickets]:
    definition = SourceDefinition.model_validate({**DEFINITION, **changes})
    source = JiraTickets(definition, connection="jira_default")
    source._credential = JiraCredential(url=world.url, login=world.login, token=world.token)
    async with source.open() as source:
        yield source


async def reading_of(source: JiraTickets, id_: str) -> TicketReading:
    found = (await source.read([id_]))[id_]
    assert isinstance(found, TicketReading), found
    return found


async def fetched(world: JiraWorld, cursor: Mapping[str, Any] | None, **changes: Any) -> Any:
    async with opened(world, **changes) as source:
        return await source.fetch(cursor)


# Listing
