"""Tickets of Linear in a list: which to ask for, and what one of them is to us."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.tickets import TicketEntry
from airflow_provider_agents.domain.untrusted import one_line
from airflow_provider_agents.exceptions import ForgeUnavailableError
from airflow_provider_agents.hooks.github_fields import mapping, moment, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from airflow_provider_agents.domain.source_definition import SourceDefinition

CLOSED_TYPES = frozenset({"completed", "canceled", "duplicate"})
"""Types of states in which nothing is left to do on a ticket."""
MOST_TITLE = 300


def scope_of(definition: SourceDefinition) -> str:
    """Return a digest of all that decides what an entry is: a cursor of another scope is worth nothing."""
    parts = definition.model_dump(mode="json", include={"ask", "works_in", "priority"})
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def asked_filter(definition: SourceDefinition, teams: Sequence[str]) -> dict[str, Any]:
    """Return the filter of open tickets of ``teams`` that somebody asked an agent for, by whatever way."""
    ask = definition.ask
    ways: list[dict[str, Any]] = [{"comments": {"some": {"body": {"startsWith": "/agent"}}}}]
    if ask.labels:
        ways.append({"labels": {"some": {"or": [{"name": {"eqIgnoreCase": name}} for name in ask.labels]}}})
    for name in ask.assignees:
        who: dict[str, Any] = {"email": {"eqIgnoreCase": name}} if "@" in name else {"id": {"eq": name}}
        ways += [{"assignee": who}, {"delegate": who}]
    ways += [{"state": {"name": {"eqIgnoreCase": name}}} for name in ask.states]
    return {
        "team": {"key": {"in": list(teams)}},
        "state": {"type": {"nin": sorted(CLOSED_TYPES)}},
        "or": ways,
    }


def changed_filter(teams: Sequence[str], since: datetime) -> dict[str, Any]:
    """Return the filter of tickets of ``teams`` to which anything happened since, archived ones too."""
    at = {"gte": since.isoformat()}
    return {
        "team": {"key": {"in": list(teams)}},
        "or": [{"updatedAt": at}, {"archivedAt": at}, {"comments": {"some": {"updatedAt": at}}}],
    }


def entry_of(node: Mapping[str, Any], labels: Sequence[str], definition: SourceDefinition) -> TicketEntry:
    """Return a ticket as a line of a list.

    :param node: as of the fragment ``AgentsEntry``.
    :param labels: names of all its labels.
    :raises ForgeUnavailableError: the node lacks what every ticket has.
    """
    created, updated = moment(node.get("createdAt")), moment(node.get("updatedAt"))
    id_, key = text(node.get("id")), text(node.get("identifier"))
    if created is None or updated is None or not id_ or not key:
        raise ForgeUnavailableError(f"Linear's answer about ticket {key or id_ or '?'} is incomplete")
    commented = [moment(c.get("updatedAt")) for c in nodes(node.get("recent"))]
    return TicketEntry(
        id=id_,
        key=key,
        title=one_line(text(node.get("title")), MOST_TITLE),
        url=text(node.get("url")),
        created_at=created,
        updated_at=max([updated, *(at for at in commented if at is not None)]),
        actionable=_actionable(node, labels, definition),
        repository=_repository(node, labels, definition),
        labels=tuple(labels),
        priority=_priority(node, labels, definition),
    )


def nodes(connection: Any) -> list[Mapping[str, Any]]:
    """Return the objects of a GraphQL connection."""
    listed = mapping(connection).get("nodes")
    return [node for node in listed if isinstance(node, dict)] if isinstance(listed, list) else []


def label_names(connection: Any) -> tuple[str, ...]:
    """Return the names of a connection of labels."""
    return tuple(text(node.get("name")) for node in nodes(connection))


def any_of(names: Iterable[str], wanted: Iterable[str]) -> bool:
    """Tell whether one of ``names`` is wanted; case does not count."""
    return not {name.casefold() for name in names}.isdisjoint(name.casefold() for name in wanted)


def is_closed(node: Mapping[str, Any]) -> bool:
    """Tell whether nothing is left to do on a ticket, or it is gone."""
    gone = bool(node.get("trashed")) or node.get("archivedAt") is not None
    return gone or text(mapping(node.get("state")).get("type")) in CLOSED_TYPES


def _actionable(node: Mapping[str, Any], labels: Sequence[str], definition: SourceDefinition) -> bool:
    ask = definition.ask
    if is_closed(node) or any_of(labels, ask.unless):
        return False
    people = [
        text(mapping(node.get(role)).get(key)) for role in ("assignee", "delegate") for key in ("id", "email")
    ]
    return (
        any_of(labels, ask.labels)
        or any_of(filter(None, people), ask.assignees)
        or any_of([text(mapping(node.get("state")).get("name"))], ask.states)
        or bool(nodes(node.get("commands")))
    )


def _repository(node: Mapping[str, Any], labels: Sequence[str], definition: SourceDefinition) -> str:
    """Return the repository of the first rule that fits; a rule that names nothing fits every ticket."""
    project = text(mapping(node.get("project")).get("name"))
    for rule in definition.works_in:
        if (not rule.labels or any_of(labels, rule.labels)) and (
            not rule.projects or any_of([project], rule.projects)
        ):
            return rule.repository
    return ""


def _priority(node: Mapping[str, Any], labels: Sequence[str], definition: SourceDefinition) -> int:
    rules = definition.priority
    level = text(node.get("priorityLabel"))
    fitting = [number for name, number in rules.labels.items() if any_of(labels, [name])]
    fitting += [number for name, number in rules.fields.items() if any_of([level], [name])]
    return max(fitting, default=rules.default)
