"""What a source definition says about one issue: whether an agent is asked for, and how soon."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.tickets import TicketEntry
from airflow_provider_agents.exceptions import ForgeUnavailableError
from airflow_provider_agents.hooks.github_fields import integer, mapping, moment, text

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_agents.domain.source_definition import SourceDefinition


class TicketRules:
    """The rules of a definition, with names made comparable: GitHub's do not tell letter cases apart."""

    def __init__(self, definition: SourceDefinition) -> None:
        self.labels = _folded(definition.ask.labels)
        self.assignees = _folded(definition.ask.assignees)
        self._unless = _folded(definition.ask.unless)
        self._priorities = {name.casefold(): number for name, number in definition.priority.labels.items()}
        self._default = definition.priority.default

    def asks_by_label(self, label: str) -> bool:
        """Tell whether the label asks for an agent."""
        return label.casefold() in self.labels

    def asks_by_assignee(self, login: str) -> bool:
        """Tell whether assigning to somebody asks for an agent."""
        return login.casefold() in self.assignees

    def actionable(
        self, state: str, labels: Iterable[str], assignees: Iterable[str], *, commanded: bool
    ) -> bool:
        """Tell whether a ticket is open and asked for.

        :param commanded: whether ``/agent`` stands in a comment of it.
        """
        named = _folded(labels)
        if state != "OPEN" or named & self._unless:
            return False
        return commanded or bool(named & self.labels) or bool(_folded(assignees) & self.assignees)

    def priority(self, labels: Iterable[str]) -> int:
        """Return the highest number that a label of the ticket has, else that of all others."""
        found = [self._priorities[name] for name in _folded(labels) if name in self._priorities]
        return max(found, default=self._default)

    def entry(
        self, node: Mapping[str, Any], repository: str, labels: tuple[str, ...], *, actionable: bool
    ) -> TicketEntry:
        """Return the entry of an issue.

        :param node: its ``id number title url createdAt updatedAt``.
        :param repository: ``owner/name``, as it is spelled now.
        :raises ForgeUnavailableError: the node is incomplete.
        """
        number, created, updated = (
            integer(node.get("number")),
            moment(node.get("createdAt")),
            moment(node.get("updatedAt")),
        )
        node_id = text(node.get("id"))
        if not node_id or number is None or created is None or updated is None:
            raise ForgeUnavailableError(f"GitHub's answer about an issue of {repository} is incomplete")
        return TicketEntry(
            id=node_id,
            key=f"{repository}#{number}",
            title=text(node.get("title")),
            url=text(node.get("url")),
            created_at=created,
            updated_at=updated,
            actionable=actionable,
            repository=repository,
            labels=labels,
            priority=self.priority(labels),
        )


def label_names(node: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the labels in a node.

    :raises ForgeUnavailableError: they are absent: without them nobody knows what keeps a ticket from being
        worked on.
    """
    return _names(node, "labels", "name")


def assignee_logins(node: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the logins of the assignees in a node.

    :raises ForgeUnavailableError: they are absent.
    """
    return _names(node, "assignees", "login")


def actor_login(actor: Any) -> str:
    """Return who did something, an app with its suffix ``[bot]``; empty for a deleted account.

    Empty, too, for who stands for somebody of another GitHub in what was imported from there: a person here may
    have the same login.
    """
    fields = mapping(actor)
    if fields.get("__typename") == "Mannequin":
        return ""
    login = text(fields.get("login"))
    if fields.get("__typename") == "Bot" and login and not login.endswith("[bot]"):
        return f"{login}[bot]"
    return login


def needed_moment(value: Any) -> datetime:
    """Return a point in time.

    :raises ForgeUnavailableError: it is none.
    """
    found = moment(value)
    if found is None:
        raise ForgeUnavailableError("GitHub's answer about an issue is incomplete: a time is missing")
    return found


def _names(node: Mapping[str, Any], connection: str, name: str) -> tuple[str, ...]:
    nodes = mapping(node.get(connection)).get("nodes")
    if not isinstance(nodes, list):
        raise ForgeUnavailableError(
            f"GitHub's answer about an issue is incomplete: its {connection} are missing"
        )
    return tuple(text(mapping(each).get(name)) for each in nodes if isinstance(each, Mapping))


def _folded(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.casefold() for name in names)
