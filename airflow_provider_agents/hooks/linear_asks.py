"""Who asked for an agent on a ticket of Linear, and who changed its text: read from the ticket's history.

Linear keeps no entry for what a ticket was created with. What its history does not explain was there from the
beginning, and is its creator's ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_agents.domain.commands import asks_for_agent
from airflow_provider_agents.domain.tickets import Ask, Edit
from airflow_provider_agents.hooks.github_fields import mapping, moment, text
from airflow_provider_agents.hooks.linear_entries import any_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from airflow_provider_agents.domain.source_definition import AskRules
    from airflow_provider_agents.domain.tickets import AskKind, TicketComment

_Field = Literal["Assignee", "Delegate", "State"]
"""As the history names it behind ``from`` and ``to``."""
_ROLES: tuple[_Field, ...] = ("Assignee", "Delegate")


def asks_of(
    issue: Mapping[str, Any],
    labels: Sequence[Mapping[str, Any]],
    history: Sequence[Mapping[str, Any]],
    comments: Sequence[TicketComment],
    rules: AskRules,
    *,
    viewer: str,
) -> tuple[Ask, ...]:
    """Return all asks, oldest first; those too that hold no more.

    :param labels: that the ticket has now, with ``id`` and ``name``.
    :param history: all of it, oldest first.
    :param comments: without ours.
    :param viewer: our own id at Linear: that we move a ticket is no ask, nor does it take one back.
    """
    found: list[Ask] = []
    for place, entry in enumerate(history, 1):
        found += _of_entry(entry, history[place:], issue, rules, viewer)
    found += _from_the_beginning(issue, labels, history, rules, viewer)
    found += [
        Ask(key=comment.key, kind="command", by=comment.author, at=comment.at)
        for comment in comments
        if asks_for_agent(comment.body)
    ]
    return tuple(sorted(found, key=lambda ask: (ask.at, ask.key)))


def edits_of(history: Sequence[Mapping[str, Any]]) -> tuple[Edit, ...]:
    """Return the changes of title and body, oldest first.

    Linear puts a person's changes of some minutes into one entry, so each counts from its last moment.
    """
    found: list[Edit] = []
    for entry in history:
        at = moment(entry.get("updatedAt")) or moment(entry.get("createdAt"))
        if at is None:
            continue
        people: list[str] = []
        if entry.get("updatedDescription"):
            listed = entry.get("descriptionUpdatedBy")
            writers = [text(mapping(user).get("id")) for user in listed] if isinstance(listed, list) else []
            people += writers or [text(entry.get("actorId"))]
        if text(entry.get("fromTitle")):
            people.append(text(entry.get("actorId")))
        found += [Edit(by=person, at=at) for person in dict.fromkeys(people)]
    return tuple(sorted(found, key=lambda edit: edit.at))


def _of_entry(
    entry: Mapping[str, Any],
    later: Sequence[Mapping[str, Any]],
    issue: Mapping[str, Any],
    rules: AskRules,
    viewer: str,
) -> Iterator[Ask]:
    at, by, key = moment(entry.get("createdAt")), text(entry.get("actorId")), text(entry.get("id"))
    if at is None or not key:
        return
    for label in _objects(entry.get("addedLabels")):
        if any_of([text(label.get("name"))], rules.labels):
            yield _ask(key, "label", label, by, at, withdrawn=_is_taken_off(label, later))
    for role in _ROLES:
        person = mapping(entry.get(f"to{role}"))
        if _is_wanted(person, rules):
            gone = _is_unassigned(issue, person, role, later)
            yield _ask(key, "assignee", person, by, at, withdrawn=gone)
    state = mapping(entry.get("toState"))
    # What nobody moved, an integration did, for instance when a pull request was opened; or we, as an app.
    if any_of([text(state.get("name"))], rules.states) and by not in ("", viewer):
        yield _ask(key, "state", state, by, at, withdrawn=_is_moved_on(later, viewer))


def _from_the_beginning(
    issue: Mapping[str, Any],
    labels: Sequence[Mapping[str, Any]],
    history: Sequence[Mapping[str, Any]],
    rules: AskRules,
    viewer: str,
) -> Iterator[Ask]:
    at, by = moment(issue.get("createdAt")), text(mapping(issue.get("creator")).get("id"))
    if at is None:
        return
    for label in _first_labels(labels, history):
        if any_of([text(label.get("name"))], rules.labels):
            yield _ask("created", "label", label, by, at, withdrawn=_is_taken_off(label, history))
    for role in _ROLES:
        person = _first(issue, history, role)
        if _is_wanted(person, rules):
            gone = _is_unassigned(issue, person, role, history)
            yield _ask("created", "assignee", person, by, at, withdrawn=gone)
    state = _first(issue, history, "State")
    if any_of([text(state.get("name"))], rules.states) and by:
        yield _ask("created", "state", state, by, at, withdrawn=_is_moved_on(history, viewer))


def _first_labels(
    labels: Sequence[Mapping[str, Any]], history: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return the labels that the ticket was created with: of which the history tells a removal first, or nothing."""
    seen: set[str] = set()
    found: list[Mapping[str, Any]] = []
    for entry in history:
        added = _objects(entry.get("addedLabels"))
        seen |= {text(label.get("id")) for label in added}
        for label in _objects(entry.get("removedLabels")):
            if text(label.get("id")) not in seen:
                seen.add(text(label.get("id")))
                found.append(label)
    return found + [label for label in labels if text(label.get("id")) not in seen]


def _first(
    issue: Mapping[str, Any], history: Sequence[Mapping[str, Any]], field: _Field
) -> Mapping[str, Any]:
    """Return who was assigned, or the state, when the ticket was created; empty: nobody."""
    for entry in history:
        if _changes(entry, field):
            return mapping(entry.get(f"from{field}"))
    return mapping(issue.get(field.lower()))


def _changes(entry: Mapping[str, Any], field: _Field) -> bool:
    return any(entry.get(f"{end}{field}") or entry.get(f"{end}{field}Id") for end in ("from", "to"))


def _is_unassigned(
    issue: Mapping[str, Any], person: Mapping[str, Any], role: _Field, later: Iterable[Mapping[str, Any]]
) -> bool:
    """Tell whether the ticket was taken from ``person`` again: who gets it back was asked by somebody else."""
    # What one person does and undoes within minutes may leave nothing in the history.
    gone = text(mapping(issue.get(role.lower())).get("id")) != text(person.get("id"))
    return gone or any(_changes(entry, role) for entry in later)


def _is_taken_off(label: Mapping[str, Any], later: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether the label was taken off again: who puts it back asks anew."""
    return any(
        text(gone.get("id")) == text(label.get("id"))
        for entry in later
        for gone in _objects(entry.get("removedLabels"))
    )


def _is_moved_on(later: Iterable[Mapping[str, Any]], viewer: str) -> bool:
    """Tell whether anybody but us moved the ticket to another state."""
    return any(_changes(entry, "State") and text(entry.get("actorId")) != viewer for entry in later)


def _is_wanted(person: Mapping[str, Any], rules: AskRules) -> bool:
    return any_of(filter(None, (text(person.get("id")), text(person.get("email")))), rules.assignees)


def _ask(
    event: str, kind: AskKind, about: Mapping[str, Any], by: str, at: datetime, *, withdrawn: bool = False
) -> Ask:
    label = text(about.get("name")) if kind == "label" else ""
    # One entry of the history may hold several changes, and a ticket is created with several.
    key = f"{event}:{kind}:{text(about.get('id'))}"
    return Ask(key=key, kind=kind, by=by, at=at, label=label, withdrawn=withdrawn)


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
