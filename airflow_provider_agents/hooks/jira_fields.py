"""Parts of a ticket from the JSON of a Jira issue: pure functions, to which any field may be absent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_agents.domain.tickets import Attachment, LinkedTicket, TicketEntry
from airflow_provider_agents.exceptions import ForgeUnavailableError
from airflow_provider_agents.hooks.github_fields import mapping
from airflow_provider_agents.hooks.jira_client import person_id

if TYPE_CHECKING:
    from airflow_provider_agents.domain.source_definition import SourceDefinition

ENTRY_FIELDS = ("summary", "status", "labels", "assignee", "priority", "components", "created", "updated")
READING_FIELDS = (
    *ENTRY_FIELDS,
    "description",
    "creator",
    "attachment",
    "issuelinks",
    "parent",
    "subtasks",
    "issuetype",
    "project",
)

# What stands between two issues, in the words of the types that Jira brings and of a common further one.
_DEPENDS = frozenset({"is blocked by", "depends on"})
_UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)

LinkState = Literal["open", "done", "cancelled", "unknown"]


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """Return the mappings of a list."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def moment(value: Any) -> datetime:
    """Return a time of Jira's, timezone-aware; the year 1970 where it is none."""
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return _UNKNOWN
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def is_done(fields: Mapping[str, Any]) -> bool:
    """Tell whether an issue's status is of the category that Jira counts as done."""
    return _category(fields) == "done"


def _category(fields: Mapping[str, Any]) -> str:
    return str(mapping(mapping(fields.get("status")).get("statusCategory")).get("key") or "")


def status_name(fields: Mapping[str, Any]) -> str:
    """Return the name of an issue's status."""
    return str(mapping(fields.get("status")).get("name") or "")


def labels_of(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return an issue's labels."""
    found = fields.get("labels")
    return tuple(str(label) for label in found) if isinstance(found, list) else ()


def is_asked_for(definition: SourceDefinition, fields: Mapping[str, Any]) -> bool:
    """Tell whether label, assignee or status ask for an agent now, as the definition says."""
    rules = definition.ask
    return bool(
        _folded(rules.labels) & _folded(labels_of(fields))
        or _folded(rules.assignees) & _folded(names_of(fields.get("assignee")))
        or status_name(fields).casefold() in _folded(rules.states)
    )


def is_kept_out(definition: SourceDefinition, fields: Mapping[str, Any]) -> bool:
    """Tell whether a label keeps an issue from being worked on."""
    return bool(_folded(definition.ask.unless) & _folded(labels_of(fields)))


def names_of(user: Any) -> frozenset[str]:
    """Return the names by which a definition may mean a user; not the display name, which users choose."""
    found = mapping(user)
    return frozenset(
        str(found[name]) for name in ("accountId", "key", "name", "emailAddress") if found.get(name)
    )


def entry_of(
    definition: SourceDefinition, issue: Mapping[str, Any], base_url: str, *, commanded: bool
) -> TicketEntry:
    """Return an issue's line in a list.

    :param commanded: whether a comment asks for an agent, or may.
    :raises ForgeUnavailableError: the answer lacks what every issue has.
    """
    fields, id_, key = mapping(issue.get("fields")), str(issue.get("id") or ""), str(issue.get("key") or "")
    if not id_ or not key or not fields.get("updated") or not _category(fields):
        raise ForgeUnavailableError(
            f"Jira's answer about {key or 'an issue'} lacks its id, key, status or time"
        )
    labels = labels_of(fields)
    asked = commanded or is_asked_for(definition, fields)
    return TicketEntry(
        id=id_,
        key=key,
        title=str(fields.get("summary") or ""),
        url=f"{base_url}/browse/{key}",
        created_at=moment(fields.get("created")),
        updated_at=moment(fields.get("updated")),
        actionable=asked and not is_done(fields) and not is_kept_out(definition, fields),
        repository=_repository(definition, labels, fields),
        labels=labels,
        priority=_priority(definition, labels, fields),
    )


def _repository(definition: SourceDefinition, labels: Iterable[str], fields: Mapping[str, Any]) -> str:
    """Return where a ticket is worked on: by the first rule all of whose lists name something of it."""
    have_labels = _folded(labels)
    components = _folded(str(one.get("name") or "") for one in mappings(fields.get("components")))
    for rule in definition.works_in:
        if rule.labels and not _folded(rule.labels) & have_labels:
            continue
        if rule.projects and not _folded(rule.projects) & components:
            continue
        return rule.repository
    return ""


def _priority(definition: SourceDefinition, labels: Iterable[str], fields: Mapping[str, Any]) -> int:
    rules = definition.priority
    own = str(mapping(fields.get("priority")).get("name") or "").casefold()
    have = _folded(labels)
    fits = [number for label, number in rules.labels.items() if label.casefold() in have]
    fits += [number for name, number in rules.fields.items() if name.casefold() == own]
    return max(fits, default=rules.default)


def _folded(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.casefold() for name in names)


def attachments_of(fields: Mapping[str, Any]) -> tuple[Attachment, ...]:
    """Return an issue's files."""
    return tuple(
        Attachment(
            name=str(one.get("filename") or ""),
            url=str(one.get("content") or ""),
            content_type=str(one.get("mimeType") or ""),
            size=one["size"] if isinstance(one.get("size"), int) else None,
            author=person_id(one.get("author")),
        )
        for one in mappings(fields.get("attachment"))
        if one.get("content")
    )


def links_of(
    fields: Mapping[str, Any], children: Iterable[Mapping[str, Any]] = ()
) -> tuple[LinkedTicket, ...]:
    """Return the issues that an issue names: what it is linked with, its parent, its children in their order.

    :param children: issues below an epic; sub-tasks are in ``fields``.
    """
    links: dict[str, LinkedTicket] = {}
    for link in mappings(fields.get("issuelinks")):
        kind = mapping(link.get("type"))
        for side, words in (("inwardIssue", "inward"), ("outwardIssue", "outward")):
            other = mapping(link.get(side))
            if not other.get("key"):
                continue
            phrase = str(kind.get(words) or "").casefold()
            # In a Jira of another language the phrase is translated, the type's name mostly not.
            blocked = phrase in _DEPENDS or (side == "inwardIssue" and kind.get("name") == "Blocks")
            found = _linked(other, "depends_on" if blocked else "mentioned")
            if blocked or found.key not in links:
                links[found.key] = found
    parent = mapping(fields.get("parent"))
    if parent.get("key") and str(parent["key"]) not in links:
        links[str(parent["key"])] = _linked(parent, "parent")
    for order, child in enumerate([*mappings(fields.get("subtasks")), *children]):
        found = _linked(child, "child", order)
        if found.key and links.get(found.key, found).relation in ("child", "mentioned"):
            links[found.key] = found
    return tuple(links.values())


def _linked(
    issue: Mapping[str, Any],
    relation: Literal["depends_on", "parent", "child", "mentioned"],
    order: int | None = None,
) -> LinkedTicket:
    fields = mapping(issue.get("fields"))
    return LinkedTicket(
        key=str(issue.get("key") or ""),
        title=str(fields.get("summary") or ""),
        state=state_of(fields),
        relation=relation,
        order=order,
    )


def state_of(fields: Mapping[str, Any]) -> LinkState:
    """Return what an issue is to those that depend on it; Jira does not tell dropped from done for sure."""
    if not (category := _category(fields)):
        return "unknown"
    return "done" if category == "done" else "open"


def is_ticket(value: str) -> bool:
    """Tell whether ``value`` can be an issue's id or key, so that it goes nowhere else in a path or a query."""
    return re.fullmatch(r"[0-9]{1,19}|[A-Za-z][A-Za-z0-9_]{0,254}-[0-9]{1,19}", value) is not None


def author_of(fields: Mapping[str, Any]) -> str:
    """Return the id of who made the issue: not the reporter, whom its maker may choose."""
    return person_id(fields.get("creator"))
