"""How a run reads its ticket: once, at its start, with the check whether it may begin."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.coding_task import Ticket
from airflow_provider_agents.domain.intake import Terms, people_needed, verify_start
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeUnavailableError,
    InvalidInputError,
    TaskStoppedError,
)
from airflow_provider_agents.operators.ticket_sources import issues_of, load_definition, source_for

if TYPE_CHECKING:
    from airflow_provider_agents.domain.authority_rules import AuthorityRules, Standing
    from airflow_provider_agents.domain.coding_task_request import CodingTaskRequest
    from airflow_provider_agents.domain.tickets import SourceKind, TicketReading
    from airflow_provider_agents.hooks.ticket_source import TicketSource

READING_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTicket:
    """A ticket as a run read it."""

    ticket: Ticket
    reading: TicketReading
    standings: dict[str, Standing]
    """Of whoever asked, or changed the text since."""
    authority: AuthorityRules | None = None
    """Rules for all of the run, where the source's definition has its own."""


def read_ticket(
    request: CodingTaskRequest, *, run_id: str, github_conn_id: str, authority: AuthorityRules | None = None
) -> ReadTicket | None:
    """Read the ticket of a run; ``None`` where it has none.

    A ticket that a source brought is checked: whether an ask of it still counts, and whether the text is still
    the one that was asked for. An issue that a person named in Airflow needs no ask.

    :param authority: the rules of the repository, for a source whose definition has none of its own.
    :raises InvalidInputError: there is no such ticket or source, or it is closed.
    :raises TaskStoppedError: what the run was started for does not hold any more.
    :raises ForgeError: it could not be read.
    """
    if request.ticket_source:
        definition = load_definition(request.ticket_source)
        named = request.ticket_id or ""
    elif request.issue_number is not None:
        definition = issues_of(request.repository, github_conn_id)
        named = f"{request.repository}#{request.issue_number}"
    else:
        return None
    source = source_for(definition)
    reading, standings = asyncio.run(_read(source, named, request))
    rules = None
    if request.ticket_source:
        terms = Terms.of(definition, source.host, authority)
        rules = terms.authority
        _check(reading, standings, terms, request, run_id)
    elif reading.fields.get("state") == "CLOSED":
        raise InvalidInputError(
            [f"issue_number: #{request.issue_number} is closed; reopen it or start from a prompt"]
        )
    return ReadTicket(
        ticket=_ticket(reading, request, definition.source),
        reading=reading,
        standings=standings,
        authority=rules,
    )


async def _read(
    source: TicketSource, named: str, request: CodingTaskRequest
) -> tuple[TicketReading, dict[str, Standing]]:
    async with asyncio.timeout(READING_SECONDS), source.open() as opened:
        reading = (await opened.read([named]))[named]
        if isinstance(reading, ForgeAccessError):
            field = "ticket_id" if request.ticket_source else "issue_number"
            raise InvalidInputError([f"{field}: {reading}"])
        if isinstance(reading, ForgeError):
            raise reading
        people = people_needed(reading, request.ticket_asks) if request.ticket_source else ()
        return reading, {person: await opened.standing(person, request.repository) for person in people}


def _check(
    reading: TicketReading,
    standings: dict[str, Standing],
    terms: Terms,
    request: CodingTaskRequest,
    run_id: str,
) -> None:
    check = verify_start(
        reading,
        standings,
        terms,
        run_id=run_id,
        asks=request.ticket_asks,
        digest=request.ticket_digest or reading.digest,
    )
    if check.verdict == "stop":
        raise TaskStoppedError(check.why)
    if check.verdict == "unknown":
        raise ForgeUnavailableError(f"{reading.entry.key} could not be checked: {check.why}")
    if reading.entry.repository.lower() != request.repository.lower():
        raise InvalidInputError(
            [
                (
                    f"repository: {reading.entry.key} is worked on in {reading.entry.repository or 'no repository'} "
                    f"by tickets/{request.ticket_source}.yaml, not in {request.repository}"
                )
            ]
        )


def _ticket(reading: TicketReading, request: CodingTaskRequest, kind: SourceKind) -> Ticket:
    entry = reading.entry
    number = entry.key.rpartition("#")[2] if kind == "github" else ""
    return Ticket(
        number=int(number) if number.isdecimal() else None,
        kind=kind,
        source=request.ticket_source or "",
        id=entry.id,
        key=entry.key,
        title=entry.title,
        body=reading.body,
        url=entry.url,
        author=reading.author,
    )
