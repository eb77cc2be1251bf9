"""The contract of a ticket source: what the ticket sync asks of GitHub Issues, Linear, Jira or one of your own.

A source only reads and writes. Who may start a run, when, and which run is not its business: that is decided
once, for all sources, in :mod:`airflow_provider_agents.domain.intake`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from airflow_provider_agents.domain.authority_rules import Standing
    from airflow_provider_agents.domain.tickets import (
        Claim,
        SourceKind,
        Stage,
        TicketEntry,
        TicketReading,
    )
    from airflow_provider_agents.exceptions import ForgeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What changed since the cursor that was given."""

    entries: tuple[TicketEntry, ...]
    """New and changed tickets. Those that are not actionable any more are among them, so that they can be
    forgotten; without a cursor, actionable ones only."""
    cursor: Mapping[str, Any]
    """JSON-ready; give it to the next call. It overlaps by some seconds, so that nothing falls between."""
    complete: bool = False
    """Whether these are all actionable tickets there are: what is known and not among them is gone."""
    faults: tuple[str, ...] = ()
    """What could not be listed, one sentence each, e.g. one repository of many; its cursor did not move on."""


class TicketSource(Protocol):
    """A place where tickets are written, opened for one task with :meth:`open`.

    Every method raises :class:`~airflow_provider_agents.exceptions.ForgeError`: ``ForgeUnavailableError`` and
    ``ForgeRateLimitedError`` pass by themselves, ``ForgeAccessError`` needs a person. Writes are not repeated
    by the source; all of them may be called twice with the same values and then change nothing.
    """

    @property
    def kind(self) -> SourceKind:
        """What kind of tracker it is."""
        ...

    @property
    def host(self) -> str:
        """For :func:`~airflow_provider_agents.domain.tickets.run_id_of`; empty where ids are unique without it.

        Known once the source was open.
        """
        ...

    def open(self) -> AbstractAsyncContextManager[TicketSource]:
        """Open the session; inside it the other methods work."""
        ...

    async def fetch(self, cursor: Mapping[str, Any] | None) -> Listing:
        """List the tickets that changed since ``cursor``; without one, all that are actionable."""
        ...

    async def read(self, ids: Sequence[str]) -> dict[str, TicketReading | ForgeError]:
        """Read tickets whole, by their ids or keys; one that cannot be read is an error of its own."""
        ...

    async def standing(self, person: str, repository: str) -> Standing:
        """Say what somebody is to ``repository`` (``owner/name``), or to the source where that has no such right."""
        ...

    async def write_status(self, ticket: TicketReading, claim: Claim, text: str) -> str:
        """Write our one comment on the ticket, with the claim in it, or bring it up to date.

        :param ticket: read a moment ago.
        :param claim: replaces the one that is there.
        :param text: Markdown, ours; outsiders' words in it are already defused.
        :return: URL of the comment.
        """
        ...

    async def move(self, ticket: TicketReading, stage: Stage) -> None:
        """Move the ticket to the state that the definition names for ``stage``; without one, do nothing."""
        ...

    async def close(self, ticket: TicketReading) -> None:
        """Close the ticket as done; one that is closed stays closed."""
        ...
