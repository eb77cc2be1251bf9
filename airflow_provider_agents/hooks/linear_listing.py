"""Listing the tickets of Linear's teams: all that ask for an agent once, then what changed since."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.exceptions import ForgeAccessError, ForgeError
from airflow_provider_agents.hooks.github_fields import mapping, moment, text
from airflow_provider_agents.hooks.linear_entries import (
    any_of,
    asked_filter,
    changed_filter,
    entry_of,
    label_names,
    nodes,
    scope_of,
)
from airflow_provider_agents.hooks.linear_errors import refused
from airflow_provider_agents.hooks.linear_queries import (
    FIRST_CHANGES,
    ISSUES,
    PAGE,
    TEAMS,
    TEAMS_AT_ONCE,
)
from airflow_provider_agents.hooks.linear_reading import read_all
from airflow_provider_agents.hooks.ticket_source import Listing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_agents.domain.source_definition import SourceDefinition
    from airflow_provider_agents.domain.tickets import TicketEntry
    from airflow_provider_agents.hooks.linear_transport import LinearTransport

OVERLAP = timedelta(seconds=60)
"""How far a listing reaches back behind the one before."""
MOST_PAGES = 400
"""Pages of one listing: 40,000 tickets."""


async def list_tickets(
    transport: LinearTransport, definition: SourceDefinition, cursor: Mapping[str, Any] | None
) -> Listing:
    """List new and changed tickets of the definition's teams.

    The cursor holds for each team the time up to which it was listed. A team without one is listed in full;
    so is every team after a change of the definition, by which other tickets may count.

    :raises ForgeError: nothing could be listed.
    """
    scope = scope_of(definition)
    teams = tuple(dict.fromkeys(team.upper() for team in definition.teams))
    since = _since(cursor, scope, teams)
    faults: list[str] = []
    if unlisted := [team for team in teams if team not in since]:
        unknown = await _check(transport, unlisted, definition, whole=not since)
        faults += [
            f"{team}: Linear has no team with this key, or the credential may not see it" for team in unknown
        ]
        teams = tuple(team for team in teams if team not in unknown)
        if not teams:
            raise ForgeAccessError(f"Linear could not list tickets: {'; '.join(faults)}")
    entries: dict[str, TicketEntry] = {}
    done: dict[str, datetime] = {}
    for at, group in _groups(teams, since):
        started, problems = await _list(transport, definition, group, at, entries)
        faults += problems
        if reached := at if problems else started:
            done.update(dict.fromkeys(group, reached))
    return Listing(
        entries=tuple(entries.values()),
        cursor={"scope": scope, "since": {team: at.isoformat() for team, at in done.items()}},
        complete=not since and not faults,
        faults=tuple(faults),
    )


def _since(cursor: Mapping[str, Any] | None, scope: str, teams: Sequence[str]) -> dict[str, datetime]:
    if not cursor or cursor.get("scope") != scope:
        return {}
    kept = mapping(cursor.get("since"))
    return {team: at for team in teams if (at := moment(kept.get(team)))}


def _groups(teams: Sequence[str], since: Mapping[str, datetime]) -> list[tuple[datetime | None, list[str]]]:
    """Put together the teams that can be listed by one query: those without a time, and those of one time."""
    groups: dict[datetime | None, list[str]] = {}
    for team in teams:
        groups.setdefault(since.get(team), []).append(team)
    return list(groups.items())


async def _check(
    transport: LinearTransport, teams: Sequence[str], definition: SourceDefinition, *, whole: bool
) -> list[str]:
    """Return the teams that are not there: a filter by an unknown key or state finds nothing, silently.

    :param whole: these are all teams of the definition.
    :raises ForgeAccessError: a state that is to ask for an agent is one of no team.
    """
    found: list[Mapping[str, Any]] = []
    for begin in range(0, len(teams), TEAMS_AT_ONCE):
        some = teams[begin : begin + TEAMS_AT_ONCE]
        what = f"read the teams {', '.join(some)}"
        answer = await transport.query(TEAMS, {"keys": list(some)}, what)
        if answer.errors:
            raise refused(what, answer.errors)
        found += nodes(answer.data.get("teams"))
    states = [text(state.get("name")) for team in found for state in nodes(team.get("states"))]
    wrong = [name for name in definition.ask.states if not any_of([name], states)]
    if found and wrong and whole:
        known = ", ".join(repr(name) for name in dict.fromkeys(states))
        raise ForgeAccessError(
            f"the teams {', '.join(teams)} of Linear have no state {', '.join(map(repr, wrong))}; "
            f"correct `ask.states` of the ticket source to some of: {known}"
        )
    there = {text(team.get("key")) for team in found}
    return [team for team in teams if team not in there]


async def _list(
    transport: LinearTransport,
    definition: SourceDefinition,
    teams: Sequence[str],
    since: datetime | None,
    entries: dict[str, TicketEntry],
) -> tuple[datetime, list[str]]:
    """Add the tickets of ``teams`` to ``entries``; return from when the next listing is to go on, and faults."""
    what = f"list the tickets of {', '.join(teams)}"
    variables: dict[str, Any] = {
        "filter": asked_filter(definition, teams) if since is None else changed_filter(teams, since),
        "archived": since is not None,
    }
    # Linear counts what a query could return, and most looks find little.
    size = PAGE if since is None else FIRST_CHANGES
    faults: list[str] = []
    started: datetime | None = None
    after: str | None = None
    for _ in range(MOST_PAGES):
        answer = await transport.query(ISSUES, {**variables, "first": size, "after": after}, what)
        size = PAGE
        # What changes while the pages are read is listed the next time, so this one's beginning counts.
        started = started or answer.at - OVERLAP
        issues = mapping(answer.data.get("issues"))
        if answer.errors or not issues:
            faults.append(str(refused(what, answer.errors)))
        for node in nodes(issues):
            try:
                entry = entry_of(node, await _labels(transport, node, what), definition)
            except ForgeError as error:
                faults.append(str(error))
                continue
            if since is not None or entry.actionable:
                entries[entry.id] = entry
        page = mapping(issues.get("pageInfo"))
        after = text(page.get("endCursor"))
        if not page.get("hasNextPage") or not after:
            return started, faults[:10]
    return started or answer.at, [
        *faults[:10],
        f"{', '.join(teams)}: more than {MOST_PAGES * PAGE:,} tickets",
    ]


async def _labels(transport: LinearTransport, node: Mapping[str, Any], what: str) -> tuple[str, ...]:
    first = node.get("labels")
    if not mapping(mapping(first).get("pageInfo")).get("hasNextPage"):
        return label_names(first)
    found, _ = await read_all(transport, text(node.get("id")), "labels", first, what)
    return tuple(text(label.get("name")) for label in found)
