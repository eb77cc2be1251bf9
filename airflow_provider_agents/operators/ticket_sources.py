"""Which source a definition stands for, and which one a run's ticket is at."""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_agents import settings
from airflow_provider_agents.domain.config_files import source_definitions
from airflow_provider_agents.domain.source_definition import SourceDefinition
from airflow_provider_agents.exceptions import ForgeError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_agents.domain.authority_rules import AuthorityRules
    from airflow_provider_agents.domain.coding_task import CodingTask
    from airflow_provider_agents.domain.config_files import DefinitionFile
    from airflow_provider_agents.domain.tickets import TicketReading
    from airflow_provider_agents.hooks.ticket_source import TicketSource

T = TypeVar("T")

SESSION_SECONDS = 60.0
"""Bound of a conversation with a tracker about one ticket."""


def definition_files() -> list[DefinitionFile]:
    """Return the files of the installation's sources, by name, those with faults too."""
    folder = settings.config_folder()
    return source_definitions(folder) if folder else []


def load_definition(name: str) -> SourceDefinition:
    """Return the definition of the source ``name``, as its file is now.

    :raises InvalidInputError: there is no such file, or it has faults; each is named with file and line.
    """
    found = next((file for file in definition_files() if file.name == name), None)
    if found is None:
        raise InvalidInputError(
            [f"ticket source {name!r}: there is no tickets/{name}.yaml below `[agents] config_path`"]
        )
    if found.definition is None:
        raise InvalidInputError(list(found.faults))
    return found.definition


def issues_of(repository: str, connection: str) -> SourceDefinition:
    """Return the definition for a run that was started by hand with an issue of ``repository``."""
    return SourceDefinition(source="github", connection=connection, repositories=(repository,))


def source_for(definition: SourceDefinition, authority: AuthorityRules | None = None) -> TicketSource:
    """Return the source that a definition stands for; nothing is asked of it yet.

    :param authority: rules whose teams are to be known too, where the definition has none of its own.
    :raises InvalidInputError: its own class cannot be imported, or made.
    """
    match definition.kind:
        case "github":
            from airflow_provider_agents.hooks.github_tickets import GitHubTickets

            connection = definition.connection or settings.text("github_conn_id", "github_default")
            own = "authority" in definition.model_fields_set
            return GitHubTickets(definition, connection=connection, authority=None if own else authority)
        case "linear":
            from airflow_provider_agents.hooks.linear_tickets import LinearTickets

            return LinearTickets(definition, connection=definition.connection or "linear_default")
        case "jira":
            from airflow_provider_agents.hooks.jira_tickets import JiraTickets

            return JiraTickets(definition, connection=definition.connection or "jira_default")
        case "custom":
            return _own_class(definition)


def _own_class(definition: SourceDefinition) -> TicketSource:
    module, _, name = definition.source.rpartition(".")
    try:
        made = getattr(importlib.import_module(module), name)(definition, connection=definition.connection)
    except (ImportError, AttributeError, TypeError) as error:
        raise InvalidInputError([f"source: {definition.source} cannot be used: {error}"]) from error
    found: TicketSource = made
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketPlace:
    """Where the ticket of a run is."""

    repository: str
    """Of the run, ``owner/name``."""
    source: str = ""
    """Name of the source's definition; empty: an issue of the repository that a person named."""
    named: str
    """The tracker's id of the ticket, or its key."""


def place_of(task: CodingTask) -> TicketPlace | None:
    """Return where the ticket of an accepted task is; ``None``: it has none."""
    ticket, repository = task.ticket, task.request.repository
    if ticket is None:
        return None
    return TicketPlace(
        repository=repository, source=ticket.source, named=ticket.id or f"{repository}#{ticket.number}"
    )


def with_ticket(
    place: TicketPlace,
    github_conn_id: str,
    work: Callable[[TicketSource, TicketReading], Awaitable[T]],
    *,
    seconds: float = SESSION_SECONDS,
) -> T:
    """Read a ticket anew and do ``work`` with it; for workers, outside an event loop.

    :param github_conn_id: connection for an issue that a person named.
    :raises InvalidInputError: the definition of the source is gone, or has faults.
    :raises ForgeError: the tracker did not do what was asked.
    :raises TimeoutError: it took longer than ``seconds``.
    """
    definition = (
        load_definition(place.source) if place.source else issues_of(place.repository, github_conn_id)
    )

    async def session() -> T:
        async with asyncio.timeout(seconds), source_for(definition).open() as source:
            reading = (await source.read([place.named]))[place.named]
            if isinstance(reading, ForgeError):
                raise reading
            return await work(source, reading)

    return asyncio.run(session())
