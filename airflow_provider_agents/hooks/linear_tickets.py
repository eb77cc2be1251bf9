"""Linear as a source of tickets: see :class:`~airflow_provider_agents.hooks.ticket_source.TicketSource`."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.exceptions import ForgeError
from airflow_provider_agents.hooks.linear import AgentsLinearHook
from airflow_provider_agents.hooks.linear_claim import read_viewer, write_claim, write_comment
from airflow_provider_agents.hooks.linear_listing import list_tickets
from airflow_provider_agents.hooks.linear_people import read_standing
from airflow_provider_agents.hooks.linear_reading import read_ticket
from airflow_provider_agents.hooks.linear_states import close_to, move_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from airflow_provider_agents.domain.authority_rules import Standing
    from airflow_provider_agents.domain.source_definition import SourceDefinition
    from airflow_provider_agents.domain.tickets import Claim, SourceKind, Stage, TicketReading
    from airflow_provider_agents.hooks.linear_claim import Viewer
    from airflow_provider_agents.hooks.linear_transport import LinearTransport
    from airflow_provider_agents.hooks.ticket_source import Listing

MOST_AT_ONCE = 4
"""Tickets that are read at a time."""
MOST_KEPT = 1_000
"""People whose standing is kept while a session is open."""


class LinearTickets:
    """The tickets of Linear that a definition names.

    :param definition: with ``source: linear``.
    :param connection: Airflow connection of type ``linear``.
    :param timeout_seconds: bound of each HTTP exchange.
    """

    kind: SourceKind = "linear"
    host = ""

    def __init__(
        self, definition: SourceDefinition, *, connection: str, timeout_seconds: float = 30.0
    ) -> None:
        self._definition = definition
        self._hook = AgentsLinearHook(connection, timeout_seconds=timeout_seconds)
        self._open: LinearTransport | None = None
        self._viewer: Viewer | None = None
        self._standings: dict[str, Standing] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[LinearTickets]:
        """Open the session; inside it the other methods work."""
        async with self._hook.client() as transport:
            self._open = transport
            try:
                yield self
            finally:
                self._open = None
                self._standings.clear()

    async def fetch(self, cursor: Mapping[str, Any] | None) -> Listing:
        """List the tickets that changed since ``cursor``; without one, all that are actionable."""
        return await list_tickets(self._transport, self._definition, cursor)

    async def read(self, ids: Sequence[str]) -> dict[str, TicketReading | ForgeError]:
        """Read tickets whole, by their ids or keys; one that cannot be read is an error of its own."""
        room = asyncio.Semaphore(MOST_AT_ONCE)

        async def one(id_: str) -> TicketReading | ForgeError:
            async with room:
                try:
                    reading, self._viewer = await read_ticket(self._transport, id_, self._definition)
                except ForgeError as error:
                    return error
                return reading

        wanted = list(dict.fromkeys(ids))
        return dict(zip(wanted, await asyncio.gather(*map(one, wanted)), strict=True))

    async def standing(self, person: str, repository: str) -> Standing:
        """Say what somebody is to the workspace; Linear knows no right to ``repository``."""
        if person not in self._standings:
            rules, us = self._definition.authority, await self._us()
            found = await read_standing(self._transport, person, rules, viewer=us.id)
            if len(self._standings) < MOST_KEPT:
                self._standings[person] = found
            return found
        return self._standings[person]

    async def write_status(self, ticket: TicketReading, claim: Claim, text: str) -> str:
        """Write the claim, and then our one comment, or bring them up to date; return the comment's URL."""
        id_, key = ticket.entry.id, ticket.entry.key
        us = await self._us()
        await write_claim(self._transport, id_, key, claim, us)
        known = str(ticket.fields.get("status_comment") or "")
        url = await write_comment(self._transport, id_, key, text, us, known=known)
        return url or ticket.entry.url

    async def move(self, ticket: TicketReading, stage: Stage) -> None:
        """Move the ticket to the state that the definition names for ``stage``; without one, do nothing.

        A ticket that somebody closed stays closed.
        """
        if name := getattr(self._definition.stages, stage):
            await move_to(self._transport, ticket.entry.id, ticket.entry.key, name)

    async def close(self, ticket: TicketReading) -> None:
        """Close the ticket as done; one that is closed stays closed."""
        await close_to(self._transport, ticket.entry.id, ticket.entry.key, self._definition.stages.done)

    async def _us(self) -> Viewer:
        """Return who we are, which every reading of a ticket says besides."""
        if self._viewer is None:
            self._viewer = await read_viewer(self._transport)
        return self._viewer

    @property
    def _transport(self) -> LinearTransport:
        if self._open is None:
            raise RuntimeError("the ticket source is not open: use `async with source.open()`")
        return self._open
