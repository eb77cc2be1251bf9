"""Who asked for an agent, and who changed the text: from an issue's changelog and comments.

An entry of the changelog is one act of one person; it never changes. What an issue was made with is no change:
it is worked out from the oldest changes, and is its maker's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.commands import asks_for_agent
from airflow_provider_agents.domain.tickets import Ask, AskKind, Edit, TicketComment
from airflow_provider_agents.hooks.github_fields import mapping
from airflow_provider_agents.hooks.jira_adf import adf_text
from airflow_provider_agents.hooks.jira_client import person_id
from airflow_provider_agents.hooks.jira_fields import (
    author_of,
    labels_of,
    mappings,
    moment,
    names_of,
    status_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from airflow_provider_agents.domain.source_definition import SourceDefinition


def comment_of(comment: Mapping[str, Any]) -> TicketComment:
    """Return a comment of somebody."""
    author, editor = person_id(comment.get("author")), person_id(comment.get("updateAuthor"))
    return TicketComment(
        key=str(comment.get("id") or ""),
        author=author,
        body=adf_text(comment.get("body")),
        at=moment(comment.get("created")),
        edited_by=editor if editor != author else "",
    )


def edits_of(histories: Iterable[Mapping[str, Any]]) -> tuple[Edit, ...]:
    """Return the changes of summary and description, oldest first."""
    edits = {
        (person_id(history.get("author")), moment(history.get("created")))
        for history in histories
        for item in mappings(history.get("items"))
        if _field(item) in ("summary", "description")
    }
    return tuple(Edit(by=by, at=at) for by, at in sorted(edits, key=lambda edit: (edit[1], edit[0])))


@dataclass(frozen=True, slots=True)
class _Change:
    """One field that one person changed."""

    key: str
    by: str
    at: datetime
    item: Mapping[str, Any]

    @property
    def field(self) -> str:
        return _field(self.item)


def asks_of(
    definition: SourceDefinition,
    issue: Mapping[str, Any],
    histories: Sequence[Mapping[str, Any]],
    comments: Iterable[TicketComment],
    me: str,
) -> tuple[Ask, ...]:
    """Return all asks of an issue, oldest first; those too that hold no more.

    :param histories: the whole changelog, in any order.
    :param comments: without ours.
    :param me: our own id: that we move an issue is no ask, nor does it take one back.
    """
    changes = [
        _Change(
            str(history.get("id")), person_id(history.get("author")), moment(history.get("created")), item
        )
        for history in sorted(histories, key=lambda history: moment(history.get("created")))
        for item in mappings(history.get("items"))
    ]
    fields = mapping(issue.get("fields"))
    wanted = _Wanted(definition, fields)
    asks = list(_made_with(wanted, str(issue.get("id") or ""), fields, changes, me))
    for place, change in enumerate(changes, 1):
        for kind, what in wanted.in_change(change.item):
            if kind == "state" and change.by == me:
                continue
            key = f"{change.key}:{kind}:{what.casefold()}"
            gone = _is_withdrawn(kind, what, changes[place:], me)
            asks.append(_ask(key, kind, change.by, change.at, what, withdrawn=gone))
    asks += [
        Ask(key=comment.key, kind="command", by=comment.author, at=comment.at)
        for comment in comments
        if asks_for_agent(comment.body) and not comment.edited_by
    ]
    # Twice the same label in one act is one ask.
    return tuple(sorted({ask.key: ask for ask in asks}.values(), key=lambda ask: (ask.at, ask.key)))


def _is_withdrawn(kind: AskKind, what: str, later: Iterable[_Change], me: str) -> bool:
    """Tell whether somebody took the label off again, unassigned the issue, or moved it on."""
    if kind == "label":
        return any(
            change.field == "labels"
            and what.casefold() not in str(change.item.get("toString") or "").casefold().split()
            for change in later
        )
    if kind == "assignee":
        return any(change.field == "assignee" for change in later)
    return kind == "state" and any(change.field == "status" and change.by != me for change in later)


def _ask(key: str, kind: AskKind, by: str, at: datetime, what: str, *, withdrawn: bool) -> Ask:
    label = what if kind == "label" else ""
    return Ask(key=key, kind=kind, by=by, at=at, label=label, withdrawn=withdrawn)


class _Wanted:
    """What a definition takes for an ask, in the words of a changelog."""

    def __init__(self, definition: SourceDefinition, fields: Mapping[str, Any]) -> None:
        rules = definition.ask
        self.labels = {label.casefold() for label in rules.labels}
        self.states = {state.casefold() for state in rules.states}
        self.assignees = {name.casefold() for name in rules.assignees}
        # A changelog knows people by id; the assignee of now is known by e-mail address too.
        now = {name.casefold() for name in names_of(fields.get("assignee"))}
        if now & self.assignees:
            self.assignees |= now

    def in_labels(self, labels: Iterable[str]) -> list[tuple[AskKind, str]]:
        return [("label", label) for label in labels if label.casefold() in self.labels]

    def in_assignee(self, person: str) -> list[tuple[AskKind, str]]:
        return [("assignee", person)] if person.casefold() in self.assignees else []

    def in_state(self, name: str) -> list[tuple[AskKind, str]]:
        return [("state", name)] if name.casefold() in self.states else []

    def in_change(self, item: Mapping[str, Any]) -> list[tuple[AskKind, str]]:
        before, after = str(item.get("fromString") or ""), str(item.get("toString") or "")
        match _field(item):
            case "labels":
                known = {label.casefold() for label in before.split()}
                return self.in_labels(label for label in after.split() if label.casefold() not in known)
            case "assignee":
                return self.in_assignee(str(item.get("to") or ""))
            case "status":
                return self.in_state(after)
        return []


def _made_with(
    wanted: _Wanted, id_: str, fields: Mapping[str, Any], changes: Sequence[_Change], me: str
) -> Iterable[Ask]:
    """Yield the asks that an issue was made with: what it has now, or had before the first change of it."""
    first: dict[str, Mapping[str, Any]] = {}
    for change in changes:
        first.setdefault(change.field, change.item)
    labels: Iterable[str] = labels_of(fields)
    if "labels" in first:
        labels = str(first["labels"].get("fromString") or "").split()
    assignee = person_id(fields.get("assignee"))
    if "assignee" in first:
        assignee = str(first["assignee"].get("from") or "")
    state = status_name(fields)
    if "status" in first:
        state = str(first["status"].get("fromString") or "")
    by, at = author_of(fields), moment(fields.get("created"))
    for kind, what in (*wanted.in_labels(labels), *wanted.in_assignee(assignee), *wanted.in_state(state)):
        key = f"made-{id_}:{kind}:{what.casefold()}"
        yield _ask(key, kind, by, at, what, withdrawn=_is_withdrawn(kind, what, changes, me))


def _field(item: Mapping[str, Any]) -> str:
    return str(item.get("fieldId") or item.get("field") or "").casefold()
