"""A served Linear, and our source of tickets opened on it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, Connection
from linear_world import OUR_KEY, World, served

from airflow_provider_agents.domain.source_definition import SourceDefinition
from airflow_provider_agents.domain.tickets import Claim, ClaimedRun, TicketReading, run_id_of
from airflow_provider_agents.hooks import linear_transport
from airflow_provider_agents.hooks.linear_tickets import LinearTickets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from airflow_provider_agents.hooks.ticket_source import TicketSource

DEFINITION: dict[str, Any] = {
    "source": "linear",
    "teams": ["ENG"],
    "works_in": [{"repository": "acme/shop"}],
    "authority": {"start": {"association": ["member"]}},
}


def definition(**values: Any) -> SourceDefinition:
    """Return a definition of team ENG, with values changed."""
    return SourceDefinition.model_validate(DEFINITION | values)


def connect(monkeypatch: pytest.MonkeyPatch, world: World, key: str = OUR_KEY) -> None:
    """Let every connection lead to the world; reads are tried again without waiting."""

    async def found(conn_id: str) -> Connection:
        return Connection(conn_id=conn_id, conn_type="linear", host=world.url, password=key)

    monkeypatch.setattr(BaseHook, "aget_connection", staticmethod(found))
    monkeypatch.setattr(linear_transport, "READ_RETRY_DELAYS", (0.0, 0.0))


@asynccontextmanager
async def opened(
    monkeypatch: pytest.MonkeyPatch, world: World, *, timeout_seconds: float = 30.0, **values: Any
) -> AsyncIterator[TicketSource]:
    """Serve the world and open the source on it."""
    async with served(world):
        connect(monkeypatch, world)
        found = LinearTickets(
            definition(**values), connection="linear_default", timeout_seconds=timeout_seconds
        )
        async with found.open() as source:
            yield source


async def read_one(source: TicketSource, id_: str) -> TicketReading:
    """Read a ticket that can be read."""
    reading = (await source.read([id_]))[id_]
    assert isinstance(reading, TicketReading), reading
    return reading


def claim_for(reading: TicketReading, *, state: Any = "claimed") -> Claim:
    """Return a claim of one run that answers the ticket's first ask."""
    key = reading.asks[0].key
    return Claim(
        runs=(ClaimedRun(run_id=run_id_of("linear", reading.entry.id, key), asks=(key,), state=state),)
    )
