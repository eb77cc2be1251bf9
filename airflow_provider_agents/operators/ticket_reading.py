"""How a run reads its ticket: once, at its start, with the check whether it may begin."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_agents import settings
from airflow_provider_agents.domain.coding_task import Ticket
from airflow_provider_agents.domain.intake import Terms, people_needed, verify_start
from airflow_provider_agents.domain.ticket_content import (
    FileSource,
    people_of_content,
    ticket_content,
    visible_files,
)
from airflow_provider_agents.domain.untrusted import one_line
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeUnavailableError,
    InvalidInputError,
    TaskStoppedError,
)
from airflow_provider_agents.operators.ticket_sources import issues_of, load_definition, source_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_agents.domain.authority_rules import AuthorityRules, Standing
    from airflow_provider_agents.domain.coding_task_request import CodingTaskRequest
    from airflow_provider_agents.domain.source_definition import SourceDefinition
    from airflow_provider_agents.domain.ticket_content import TicketContent
    from airflow_provider_agents.domain.tickets import SourceKind, TicketReading
    from airflow_provider_agents.hooks.ticket_source import TicketSource

log = logging.getLogger(__name__)

READING_SECONDS = 120.0
_AT_ONCE = 4


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
    source = source_for(definition, authority)
    return asyncio.run(_read(source, definition, named, request, run_id, authority))


def connection_of(definition: SourceDefinition) -> str:
    """Return the Airflow connection of a source."""
    usual = {
        "github": settings.text("github_conn_id", "github_default"),
        "linear": "linear_default",
        "jira": "jira_default",
    }
    return definition.connection or usual.get(definition.source, "")


async def _read(
    source: TicketSource,
    definition: SourceDefinition,
    named: str,
    request: CodingTaskRequest,
    run_id: str,
    authority: AuthorityRules | None,
) -> ReadTicket:
    async with asyncio.timeout(READING_SECONDS), source.open() as opened:
        reading = (await opened.read([named]))[named]
        if isinstance(reading, ForgeAccessError):
            field = "ticket_id" if request.ticket_source else "issue_number"
            raise InvalidInputError([f"{field}: {reading}"])
        if isinstance(reading, ForgeError):
            raise reading
        terms = Terms.of(definition, source.host, authority)
        standings = {}
        if request.ticket_source:
            people = people_needed(reading, request.ticket_asks)
            standings = {person: await opened.standing(person, request.repository) for person in people}
            _check(reading, standings, terms, request, run_id)
        elif reading.fields.get("state") == "CLOSED":
            raise InvalidInputError(
                [f"issue_number: #{request.issue_number} is closed; reopen it or start from a prompt"]
            )
        heard = await _standings(opened, people_of_content(reading), request.repository, standings)
    content = await _content(reading, heard, terms.authority, definition, request.repository)
    return ReadTicket(
        ticket=_ticket(reading, request, definition.kind, content),
        reading=reading,
        standings=standings,
        authority=terms.authority if request.ticket_source else None,
    )


async def _standings(
    source: TicketSource, people: Iterable[str], repository: str, known: Mapping[str, Standing]
) -> dict[str, Standing]:
    """Return what the writers of comments and owners of files are; whom the source does not know is left out."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(person: str) -> Standing | None:
        async with room:
            try:
                return await source.standing(person, repository)
            except ForgeAccessError as error:
                log.info("%s is not heard: %s", one_line(person, 60), error)
                return None

    asked = [person for person in people if person not in known]
    found = await asyncio.gather(*map(one, asked))
    return {**known, **{who: what for who, what in zip(asked, found, strict=True) if what is not None}}


async def _content(
    reading: TicketReading,
    standings: Mapping[str, Standing],
    rules: AuthorityRules,
    definition: SourceDefinition,
    repository: str,
) -> TicketContent:
    """Return what the agent is shown of a ticket, its text files fetched."""
    from airflow_provider_agents.hooks.attachment_access import open_access
    from airflow_provider_agents.hooks.attachments import fetch_files

    wanted = visible_files(reading, standings, rules)
    if not wanted:
        return ticket_content(reading, standings, rules)
    access = await open_access(definition, connection_of(definition), repository)
    files = await fetch_files(wanted, access)
    source = FileSource(how=access.images, listed=access.places.listed, own=access.places.own)
    content = ticket_content(reading, standings, rules, files, source)
    for each in content.named:
        log.info("The file %s is not handed over: %s.", each.name, each.reason)
    return content


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


def _ticket(
    reading: TicketReading, request: CodingTaskRequest, kind: SourceKind, content: TicketContent
) -> Ticket:
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
        content=content,
    )
