"""Which issues are new or changed, from a cursor to the next one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.hooks.github_fields import mapping
from airflow_provider_agents.hooks.jira_fields import ENTRY_FIELDS, entry_of
from airflow_provider_agents.hooks.jira_query import (
    OVERLAP,
    changed_query,
    commanded_query,
    open_query,
    scope_of,
)
from airflow_provider_agents.hooks.jira_search import Found, search
from airflow_provider_agents.hooks.ticket_source import Listing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_agents.domain.source_definition import SourceDefinition
    from airflow_provider_agents.domain.tickets import TicketEntry
    from airflow_provider_agents.hooks.jira_client import JiraClient

MOST_REMEMBERED = 2_000
"""Issues whose last state a cursor carries through the overlap, so that they are not listed again."""


async def list_issues(
    client: JiraClient, definition: SourceDefinition, cursor: Mapping[str, Any] | None
) -> Listing:
    """List what changed since ``cursor``; without one, or with one of another definition, all that is asked for.

    :raises ForgeError: Jira did not answer to the end, or does not take the JQL.
    """
    began, scope = client.now(), scope_of(definition)
    since = _since(cursor, scope, began)
    if since is None:
        found = await _all(client, definition)
    else:
        found = await _changed(client, definition, began - since)
    if found.moved:
        faults = ("The list of issues changed while it was read, and is read again.",)
        return Listing(entries=tuple(found.items), cursor=dict(cursor or {}), faults=faults)
    entries = {entry.id: entry for entry in found.items}
    seen = mapping(cursor.get("seen")) if cursor is not None and since is not None else {}
    recent = [entry for entry in entries.values() if entry.updated_at >= began - 2 * OVERLAP]
    kept = {entry.id: _stamp(entry) for entry in recent} if len(recent) <= MOST_REMEMBERED else {}
    return Listing(
        entries=tuple(entry for entry in entries.values() if seen.get(entry.id) != _stamp(entry)),
        cursor={"scope": scope, "at": began.isoformat(), "seen": kept},
        complete=since is None,
    )


async def _all(client: JiraClient, definition: SourceDefinition) -> Found[TicketEntry]:
    def take(issue: Mapping[str, Any]) -> TicketEntry:
        return entry_of(definition, issue, client.server.base_url, commanded=True)

    found = await search(client, open_query(definition), ENTRY_FIELDS, take)
    return Found([entry for entry in found.items if entry.actionable], found.moved)


async def _changed(client: JiraClient, definition: SourceDefinition, age: timedelta) -> Found[TicketEntry]:
    def take(issue: Mapping[str, Any]) -> tuple[TicketEntry, TicketEntry | None]:
        silent, told = (
            entry_of(definition, issue, client.server.base_url, commanded=commanded)
            for commanded in (False, True)
        )
        return silent, told if told.actionable and not silent.actionable else None

    found = await search(client, changed_query(definition, age), ENTRY_FIELDS, take)
    commanded: frozenset[str] = frozenset()
    if any(told is not None for _, told in found.items):
        ids = await search(
            client, commanded_query(definition, age), ("status",), lambda one: str(one.get("id"))
        )
        commanded = frozenset(ids.items)
    entries = [told if told is not None and told.id in commanded else silent for silent, told in found.items]
    return Found(entries, found.moved)


def _since(cursor: Mapping[str, Any] | None, scope: str, now: datetime) -> datetime | None:
    """Return when the listing of a cursor began; ``None`` where everything is to be listed."""
    if cursor is None or cursor.get("scope") != scope:
        return None
    try:
        since = datetime.fromisoformat(str(cursor.get("at")))
    except ValueError:
        return None
    # The clocks of a Jira's nodes differ a little.
    return min(since, now) if since.tzinfo and since <= now + OVERLAP else None


def _stamp(entry: TicketEntry) -> str:
    return f"{entry.updated_at.isoformat()} {int(entry.actionable)}"
