"""Which issues are to be looked at: those that are asked for, or those that changed."""

from __future__ import annotations

import hashlib
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.commands import asks_for_agent
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks.github_batches import check_not_too_much, in_batches
from airflow_provider_agents.hooks.github_errors import Operation, absent
from airflow_provider_agents.hooks.github_fields import mapping, moment, text
from airflow_provider_agents.hooks.github_ticket_looks import NEEDS, Look, read_looks, since_text
from airflow_provider_agents.hooks.github_ticket_queries import DETAILS, DETAILS_BATCH
from airflow_provider_agents.hooks.github_ticket_rules import assignee_logins, label_names
from airflow_provider_agents.hooks.ticket_source import Listing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from airflow_provider_agents.domain.source_definition import AskRules, SourceDefinition
    from airflow_provider_agents.domain.tickets import TicketEntry
    from airflow_provider_agents.hooks.github_ticket_looks import Found, Node
    from airflow_provider_agents.hooks.github_ticket_rules import TicketRules
    from airflow_provider_agents.hooks.github_transport import GitHubTransport

CURSOR_VERSION = 1
FIRST_WINDOW = timedelta(days=7)
"""How far back commands are looked for where there is no cursor."""

_logger = logging.getLogger(__name__)


class TicketListing:
    """Lists the tickets of a definition's repositories, of any number of owners.

    :param transports: session of each repository, by its name as the definition spells it.
    """

    def __init__(
        self, definition: SourceDefinition, rules: TicketRules, transports: Mapping[str, GitHubTransport]
    ) -> None:
        self._definition = definition
        self._rules = rules
        self._transports = transports
        self._digest = _digest(definition.ask)
        self.node_ids: dict[str, str] = {}
        """Names of the definition by the node id of their repository, as far as they were seen."""
        self.homes: dict[str, str] = {}
        """Repository of each ticket that was listed, as the definition spells it, by the ticket's node id."""

    async def listing(self, cursor: Mapping[str, Any] | None) -> Listing:
        """Return what changed since the cursor, and without one what is open and asked for.

        A repository that the cursor does not know is listed as without one; so are all, beside their changes,
        where the definition asks by other labels or assignees than it did.

        :raises ForgeRateLimitedError: a rate limit is used up.
        :raises ForgeError: no repository could be listed; the first one's error.
        """
        known = _places(cursor)
        found: dict[str, Found] = {}
        entries: dict[str, TicketEntry] = {}
        for transport in dict.fromkeys(self._transports.values()):
            names = [name for name, its in self._transports.items() if its is transport]
            looks = [look for name in names for look in self._looks(name, known)]
            here = await read_looks(transport, looks)
            for name, one in here.items():
                one.fault = one.fault or _replaced(name, one, known)
            whole = {name: one for name, one in here.items() if one.fault is None}
            for name, entry in await self._entries(transport, whole):
                self.homes[entry.id] = name
                # Without a cursor nobody knows of what is not to be worked on.
                if entry.actionable or name.lower() in known:
                    entries.setdefault(entry.id, entry)
            found |= here
        return self._listing(found, entries.values(), known)

    def _listing(
        self,
        found: Mapping[str, Found],
        entries: Iterable[TicketEntry],
        known: Mapping[str, Mapping[str, str]],
    ) -> Listing:
        places: dict[str, Mapping[str, str]] = {}
        faults: list[ForgeError] = []
        spoiled: set[str] = set()
        for name, one in found.items():
            if one.fault is not None:
                faults.append(one.fault)
                spoiled.add(one.name)
                if name.lower() in known:
                    places[name.lower()] = known[name.lower()]
                continue
            if one.name.lower() != name.lower():
                _logger.warning("%s is named %s now: change the definition", name, one.name)
            self.node_ids[one.node_id] = name
            places[name.lower()] = {"id": one.node_id, "since": one.since, "ask": self._digest}
        if faults and len(faults) == len(found):
            raise faults[0]
        return Listing(
            entries=tuple(entry for entry in entries if entry.repository not in spoiled),
            cursor={"version": CURSOR_VERSION, "repositories": places},
            complete=not known and not faults,
            faults=tuple(str(fault) for fault in faults),
        )

    def _looks(self, name: str, known: Mapping[str, Mapping[str, str]]) -> Iterator[Look]:
        place = known.get(name.lower())
        recently = since_text(datetime.now(UTC) - FIRST_WINDOW)
        # Nothing lists comments: who asked by a command alone is found by having changed.
        yield Look(repository=name, since=place["since"] if place else recently)
        if not place or place["ask"] != self._digest:
            # One label a list: whether several in a filter mean any or all of them, GitHub does not say.
            yield from (Look(repository=name, label=label) for label in self._definition.ask.labels)
            yield from (Look(repository=name, assignee=login) for login in self._definition.ask.assignees)

    async def _entries(
        self, transport: GitHubTransport, found: Mapping[str, Found]
    ) -> list[tuple[str, TicketEntry]]:
        """Return the entries of what was found, each with its repository.

        A repository of which one cannot be made gets its fault.
        """
        entries: list[tuple[str, TicketEntry]] = []
        wanted = {
            node_id: name
            for name, one in found.items()
            for node_id, node in one.changed.items()
            if node.get("state") == "OPEN" and node_id not in one.asked
        }
        details: dict[str, Node | ForgeError | None]
        try:
            details = await _read_details(transport, list(wanted))
        except ForgeRateLimitedError:
            raise
        except ForgeError as error:
            details = dict.fromkeys(wanted, error)
        for name, one in found.items():
            try:
                entries += [(name, self._asked(node, one.name)) for node in one.asked.values()]
                for node_id, node in one.changed.items():
                    if node_id not in one.asked:
                        entry = self._changed(node, details.get(node_id), one.name)
                        entries.append((name, entry))
            except ForgeError as error:
                _logger.warning("listing %s: %s", name, error)
                one.fault = error
        return entries

    def _asked(self, node: Node, repository: str) -> TicketEntry:
        labels = label_names(node)
        actionable = self._rules.actionable("OPEN", labels, (), commanded=True)
        return self._rules.entry(node, repository, labels, actionable=actionable)

    def _changed(self, node: Node, detail: Node | ForgeError | None, repository: str) -> TicketEntry:
        if isinstance(detail, ForgeError):
            raise detail
        # Closed, or gone since the list was read.
        if detail is None:
            return self._rules.entry(node, repository, (), actionable=False)
        labels = label_names(detail)
        actionable = self._rules.actionable(
            text(detail.get("state")), labels, assignee_logins(detail), commanded=_commanded(detail)
        )
        return self._rules.entry(detail, repository, labels, actionable=actionable)


def _digest(ask: AskRules) -> str:
    """Return a hash of what issues are listed by."""
    rules = json.dumps([sorted(ask.labels), sorted(ask.assignees)])
    return hashlib.sha256(rules.encode()).hexdigest()[:8]


def _places(cursor: Mapping[str, Any] | None) -> dict[str, Mapping[str, str]]:
    """Return where each repository was left; a cursor of another making knows of none."""
    fields = mapping(cursor)
    if fields.get("version") != CURSOR_VERSION:
        return {}
    return {
        str(name): {key: text(mapping(place).get(key)) for key in ("id", "since", "ask")}
        for name, place in mapping(fields.get("repositories")).items()
        if moment(mapping(place).get("since")) and mapping(place).get("id")
    }


def _replaced(name: str, found: Found, known: Mapping[str, Mapping[str, str]]) -> ForgeError | None:
    """Return the fault of a name that belongs to another repository than before."""
    place = known.get(name.lower())
    if place is None or not found.node_id or place["id"] == found.node_id:
        return None
    return ForgeAccessError(
        f"{name} is another repository than it was: the name was given away. Correct the definition; where this "
        "is meant, delete the Airflow Variable in which the source keeps its place"
    )


def _commanded(detail: Node) -> bool:
    """Tell whether ``/agent`` may stand in a comment; in doubt yes, and the reading of the whole says."""
    comments = mapping(detail.get("comments"))
    nodes = comments.get("nodes")
    if not isinstance(nodes, list) or mapping(comments.get("pageInfo")).get("hasPreviousPage") is not False:
        return True
    return any(
        asks_for_agent(text(mapping(node).get("body"))) and mapping(node).get("viewerDidAuthor") is not True
        for node in nodes
    )


async def _read_details(
    transport: GitHubTransport, ids: Sequence[str]
) -> dict[str, Node | ForgeError | None]:
    """Read labels, assignees and last comments of issues; ``None`` for one that is gone."""

    async def read(batch: Sequence[str]) -> dict[str, Node | ForgeError | None]:
        operation = Operation(f"look at {len(batch)} issues", NEEDS)
        answer = await transport.query(DETAILS, {"ids": list(batch)}, operation)
        check_not_too_much(batch, operation, answer.errors)
        nodes = answer.data.get("nodes")
        if not isinstance(nodes, list) or len(nodes) != len(batch):
            raise ForgeUnavailableError(f"GitHub's answer to {operation.what} is incomplete")
        found: dict[str, Node | ForgeError | None] = {}
        for i, node_id in enumerate(batch):
            errors = [error for error in answer.errors if error_of_node(error, i)]
            gone = nodes[i] is None and all(error.get("type") == "NOT_FOUND" for error in errors)
            found[node_id] = None if gone else absent(operation, errors) if errors else mapping(nodes[i])
        return found

    return await in_batches(ids, DETAILS_BATCH, read) if ids else {}


def error_of_node(error: Mapping[str, Any], index: int) -> bool:
    """Tell whether an error of a GraphQL answer is about the node at ``index``, or names no place at all."""
    path = error.get("path")
    return not isinstance(path, list) or not path or path[:2] == ["nodes", index]
