"""From the nodes of one issue to the reading of a ticket."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.commands import asks_for_agent
from airflow_provider_agents.domain.tickets import (
    Ask,
    Attachment,
    Claim,
    Edit,
    LinkedTicket,
    TicketComment,
    TicketReading,
)
from airflow_provider_agents.exceptions import ForgeUnavailableError
from airflow_provider_agents.hooks.github_fields import GHOST, integer, mapping, moment, text
from airflow_provider_agents.hooks.github_ticket_claim import DamagedClaimError, claim_in, is_status, joined
from airflow_provider_agents.hooks.github_ticket_rules import (
    actor_login,
    assignee_logins,
    label_names,
    needed_moment,
)
from airflow_provider_agents.hooks.github_ticket_text import attachments_in

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from airflow_provider_agents.hooks.github_ticket_rules import TicketRules

Node = Mapping[str, Any]

MOST_FILES = 100
"""Files that a reading names, of all texts of an issue."""


@dataclass(slots=True)
class RawTicket:
    """What was read of one issue, all pages together."""

    node: Node
    events: list[Node]
    comments: list[Node]
    children: list[Node]
    missing: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        return text(self.node.get("id"))

    @property
    def repository(self) -> str:
        """``owner/name`` as it is spelled now."""
        return text(mapping(self.node.get("repository")).get("nameWithOwner"))

    @property
    def is_public(self) -> bool:
        """Whether everybody can read it, and so what its run writes."""
        return mapping(self.node.get("repository")).get("isPrivate") is False

    @property
    def key(self) -> str:
        return f"{self.repository}#{integer(self.node.get('number')) or 0}"


def parse_ticket(
    raw: RawTicket,
    rules: TicketRules,
    links: Sequence[LinkedTicket],
    missing: Sequence[str],
    web_host: str,
    hosts: Collection[str],
) -> TicketReading:
    """Return the reading of an issue.

    :param links: what its text, its parent and its sub-issues lead to.
    :param missing: what of the links could not be read.
    :param web_host: of this GitHub's pages.
    :param hosts: further hosts whose links are files.
    :raises ForgeUnavailableError: the answer is incomplete.
    """
    node = raw.node
    body = node.get("body")
    if not isinstance(body, str):
        raise ForgeUnavailableError(f"GitHub's answer about {raw.key} is incomplete: its body is missing")
    labels, assignees = label_names(node), assignee_logins(node)
    notes = [*raw.missing, *missing]
    claim, status = _claim(raw.comments, notes)
    asks = _asks(raw, rules, claim)
    commanded = any(ask.kind == "command" for ask in asks)
    actionable = rules.actionable(text(node.get("state")), labels, assignees, commanded=commanded)
    comments = tuple(_comment(each) for each in raw.comments if each.get("viewerDidAuthor") is not True)
    return TicketReading(
        entry=rules.entry(node, raw.repository, labels, actionable=actionable),
        body=body,
        author=actor_login(node.get("author")) or GHOST,
        edits=_edits(raw),
        asks=asks,
        comments=comments,
        attachments=_attachments(body, comments, web_host, hosts),
        links=tuple(links),
        state=issue_state(node.get("state"), node.get("stateReason")),
        claim=claim,
        missing=tuple(dict.fromkeys(notes)),
        fields={
            "state": text(node.get("state")),
            "assignees": list(assignees),
            "status_comment": text(status.get("url")),
            "archived": mapping(node.get("repository")).get("isArchived") is True,
        },
    )


def _attachments(
    body: str, comments: Sequence[TicketComment], web_host: str, hosts: Collection[str]
) -> tuple[Attachment, ...]:
    """Return the files that the issue's text names, and then those of its comments, each with its comment."""
    found = list(attachments_in(body, web_host, hosts))
    for comment in comments:
        found += [
            dataclasses.replace(each, comment=comment.key)
            for each in attachments_in(comment.body, web_host, hosts)
        ]
    return tuple(found[:MOST_FILES])


def associations(raw: RawTicket) -> dict[str, str]:
    """Return what GitHub calls each author on the ticket, in its own words (``MEMBER``), by login in lower case."""
    return {
        login.lower(): text(node.get("authorAssociation"))
        for node in (raw.node, *raw.comments)
        if (login := actor_login(node.get("author")))
    }


def linked_issue(
    node: Any, relation: Any, visible: Collection[str], order: int | None = None, *, in_public: bool = False
) -> LinkedTicket | None:
    """Return a parent or sub-issue; ``None`` where the node is none.

    :param visible: repositories, in lower case, whose tickets may be shown though they are private.
    :param in_public: whether the issue itself is of a public repository, where no private title belongs.
    """
    fields = mapping(node)
    repository, number = mapping(fields.get("repository")), integer(fields.get("number"))
    name = text(repository.get("nameWithOwner"))
    if not name or number is None:
        return None
    public = repository.get("isPrivate") is False
    shown = public or name.lower() in visible
    return LinkedTicket(
        key=f"{name}#{number}",
        title=text(fields.get("title")) if public or (shown and not in_public) else "",
        state=issue_state(fields.get("state"), fields.get("stateReason")) if shown else "unknown",
        relation=relation,
        order=order,
    )


def issue_state(state: Any, reason: Any) -> Any:
    """Return ``open``, ``done``, ``cancelled`` or ``unknown`` for GitHub's two words."""
    if state == "OPEN":
        return "open"
    if state != "CLOSED":
        return "unknown"
    return "cancelled" if reason in ("NOT_PLANNED", "DUPLICATE") else "done"


def _claim(comments: Sequence[Node], notes: list[str]) -> tuple[Claim | None, Node]:
    """Return the claim and the comment that holds it; of several, which a race may leave, all claims together."""
    found: list[Claim] = []
    first: Node = {}
    for comment in comments:
        body = text(comment.get("body"))
        if comment.get("viewerDidAuthor") is not True or not is_status(body):
            continue
        first = first or comment
        try:
            found.append(claim_in(body))
        except DamagedClaimError:
            notes.append(
                f"our comment {text(comment.get('url'))} was edited, and what it keeps cannot be read: restore it "
                "from its history, or delete it to begin anew"
            )
    return (joined(found) if found else None), first


def _asks(raw: RawTicket, rules: TicketRules, claim: Claim | None) -> tuple[Ask, ...]:
    found: list[Ask] = []
    assigned = {login.casefold() for login in assignee_logins(raw.node)}
    transferred: datetime | None = None
    for place, event in enumerate(raw.events, 1):
        kind, at = event.get("__typename"), needed_moment(event.get("createdAt"))
        by, key = actor_login(event.get("actor")), text(event.get("id"))
        label = text(mapping(event.get("label")).get("name"))
        if kind == "LabeledEvent" and rules.asks_by_label(label):
            gone = _is_unlabeled(label, raw.events[place:])
            found.append(Ask(key=key, kind="label", by=by, at=at, label=label, withdrawn=gone))
        elif kind == "AssignedEvent" and rules.asks_by_assignee(actor_login(event.get("assignee"))):
            person = actor_login(event.get("assignee")).casefold()
            gone = person not in assigned or _is_unassigned(person, raw.events[place:])
            found.append(Ask(key=key, kind="assignee", by=by, at=at, withdrawn=gone))
        elif kind == "TransferredEvent":
            transferred = max(at, transferred or at)
    for comment in raw.comments:
        if comment.get("viewerDidAuthor") is True or _edited_by(comment) is not None:
            continue
        if asks_for_agent(text(comment.get("body"))):
            at, by = needed_moment(comment.get("createdAt")), actor_login(comment.get("author"))
            found.append(Ask(key=text(comment.get("id")), kind="command", by=by, at=at))
    if transferred is not None and claim is not None and claim.runs:
        # A transfer gives events and comments new ids: what was asked before it was answered before it.
        found = [ask for ask in found if ask.at > transferred]
    return tuple(sorted(found, key=lambda ask: ask.at))


def _is_unlabeled(label: str, later: Sequence[Node]) -> bool:
    """Tell whether the label was taken off again: who puts it back asks anew."""
    return any(
        event.get("__typename") == "UnlabeledEvent"
        and text(mapping(event.get("label")).get("name")).casefold() == label.casefold()
        for event in later
    )


def _is_unassigned(person: str, later: Sequence[Node]) -> bool:
    """Tell whether the issue was taken from somebody again: who gives it back asks anew.

    :param person: login in folded case.
    """
    return any(
        event.get("__typename") == "UnassignedEvent"
        and actor_login(event.get("assignee")).casefold() == person
        for event in later
    )


def _edits(raw: RawTicket) -> tuple[Edit, ...]:
    created = moment(raw.node.get("createdAt"))
    found = {
        Edit(by=actor_login(event.get("actor")), at=needed_moment(event.get("createdAt")))
        for event in raw.events
        if event.get("__typename") == "RenamedTitleEvent"
    }
    listed = mapping(raw.node.get("userContentEdits")).get("nodes")
    for each in listed if isinstance(listed, list) else []:
        at = moment(mapping(each).get("editedAt"))
        # The first of them is the text as it was written.
        if at is not None and at != created:
            found.add(Edit(by=actor_login(mapping(each).get("editor")), at=at))
    if (last := moment(raw.node.get("lastEditedAt"))) is not None:
        found.add(Edit(by=actor_login(raw.node.get("editor")), at=last))
    return tuple(sorted(found, key=lambda edit: (edit.at, edit.by)))


def _comment(node: Node) -> TicketComment:
    return TicketComment(
        key=text(node.get("id")),
        author=actor_login(node.get("author")) or GHOST,
        body=text(node.get("body")),
        at=needed_moment(node.get("createdAt")),
        edited_by=_edited_by(node) or "",
    )


def _edited_by(comment: Node) -> str | None:
    """Return who edited a comment last; ``None`` where nobody did but its author."""
    if not isinstance(comment.get("editor"), Mapping):
        return None
    editor = actor_login(comment.get("editor"))
    return None if editor == actor_login(comment.get("author")) else editor or GHOST
