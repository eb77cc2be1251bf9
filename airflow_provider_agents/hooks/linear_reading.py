"""The whole of a ticket of Linear: one query, and one more for each further page of a part of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from airflow_provider_agents.domain.tickets import (
    Attachment,
    LinkedTicket,
    TicketComment,
    TicketReading,
)
from airflow_provider_agents.domain.untrusted import one_line
from airflow_provider_agents.hooks.github_fields import mapping, moment, text
from airflow_provider_agents.hooks.linear_asks import asks_of, edits_of
from airflow_provider_agents.hooks.linear_claim import Viewer, claim_url, comment_ids, read_claim
from airflow_provider_agents.hooks.linear_entries import MOST_TITLE, entry_of, nodes
from airflow_provider_agents.hooks.linear_errors import refused
from airflow_provider_agents.hooks.linear_queries import CONNECTIONS, ISSUE, MORE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow_provider_agents.domain.source_definition import SourceDefinition
    from airflow_provider_agents.hooks.linear_transport import LinearTransport

MOST_PAGES = 20
"""Pages of 50 that are read of each part of a ticket; with more, it counts as not read."""
MOST_FILES = 50
UPLOAD_HOST = "uploads.linear.app"
"""Where Linear keeps files that people put into texts."""

_LINK = re.compile(r"\[([^\[\]\n]{0,300})\]\(\s*<?(https://[^\s<>()]{1,2000})>?[^()\n]{0,200}\)")


async def read_ticket(
    transport: LinearTransport, ticket: str, definition: SourceDefinition
) -> tuple[TicketReading, Viewer]:
    """Return a ticket, and who we are.

    :param ticket: its id or key.
    :raises LinearRefusalError: there is none.
    :raises ForgeError: it could not be read.
    """
    what = f"read ticket {one_line(ticket, 60)}"
    answer = await transport.query(ISSUE, {"id": ticket}, what)
    issue, viewer = mapping(answer.data.get("issue")), Viewer(mapping(answer.data.get("viewer")))
    # A hole in the answer might be the claim, or who asked: such a ticket is not read at all.
    if answer.errors or not issue or not viewer.id:
        raise refused(what, answer.errors)
    id_ = text(issue.get("id"))
    parts: dict[str, list[Mapping[str, Any]]] = {}
    missing: list[str] = []
    for name in (*CONNECTIONS, "labels"):
        parts[name], whole = await read_all(transport, id_, name, issue.get(name), what)
        if not whole:
            missing.append(f"{name}: there are more than are read")
    return _reading(issue, parts, viewer, definition, missing), viewer


async def read_all(
    transport: LinearTransport, ticket_id: str, name: str, first: Any, what: str
) -> tuple[list[Mapping[str, Any]], bool]:
    """Return all items of a part of a ticket, and whether these are all.

    :param name: of the part, as in ``MORE``.
    :param first: its first page.
    """
    found = nodes(first)
    page = mapping(mapping(first).get("pageInfo"))
    for _ in range(MOST_PAGES):
        after = text(page.get("endCursor"))
        if not page.get("hasNextPage") or not after:
            break
        answer = await transport.query(MORE[name], {"id": ticket_id, "after": after}, what)
        part = mapping(mapping(answer.data.get("issue")).get(name))
        if answer.errors or not part:
            raise refused(what, answer.errors)
        found += nodes(part)
        page = mapping(part.get("pageInfo"))
    return found, page.get("hasNextPage") is False


def _reading(
    issue: Mapping[str, Any],
    parts: Mapping[str, list[Mapping[str, Any]]],
    viewer: Viewer,
    definition: SourceDefinition,
    missing: list[str],
) -> TicketReading:
    entry = entry_of(issue, [text(label.get("name")) for label in parts["labels"]], definition)
    history = sorted(parts["history"], key=lambda node: (text(node.get("createdAt")), text(node.get("id"))))
    ours = [c for c in parts["comments"] if _is_status(c, comment_ids(entry.id), viewer)]
    comments = tuple(_comments([c for c in parts["comments"] if c not in ours]))
    claim, fault = read_claim(entry.id, parts["attachments"], viewer)
    body = text(issue.get("description"))
    return TicketReading(
        entry=entry,
        body=body,
        author=text(mapping(issue.get("creator")).get("id")),
        edits=edits_of(history),
        asks=asks_of(issue, parts["labels"], history, comments, definition.ask, viewer=viewer.id),
        comments=comments,
        attachments=tuple(_attachments(parts["attachments"], entry.id, body, comments)),
        links=tuple(_links(issue, parts)),
        state=_state(issue),
        claim=claim,
        missing=(*missing, *([fault] if fault else [])),
        fields={
            "state": text(mapping(issue.get("state")).get("name")),
            "team": text(mapping(issue.get("team")).get("key")),
            "project": text(mapping(issue.get("project")).get("name")),
            "priority": text(issue.get("priorityLabel")),
            "status_comment": text(ours[0].get("id")) if ours else "",
        },
    )


def _is_status(comment: Mapping[str, Any], ids: Sequence[str], viewer: Viewer) -> bool:
    return text(comment.get("id")) in ids and viewer.wrote(comment.get("user"))


def _comments(found: Sequence[Mapping[str, Any]]) -> Iterator[TicketComment]:
    """Yield people's comments, oldest first. Linear lets nobody but its author edit a comment."""
    ordered = [(at, text(c.get("id")), c) for c in found if (at := moment(c.get("createdAt")))]
    for at, key, comment in sorted(ordered, key=lambda item: item[:2]):
        author = text(mapping(comment.get("user")).get("id"))
        yield TicketComment(key=key, author=author, body=text(comment.get("body")), at=at)


def _attachments(
    found: Sequence[Mapping[str, Any]], ticket_id: str, body: str, comments: Sequence[TicketComment]
) -> Iterator[Attachment]:
    """Yield what is attached, without our claim, and then the files in the texts, each once in each of them."""
    seen = {(claim_url(ticket_id), "")}
    listed = [
        (text(node.get("title")), text(node.get("url")), "", text(mapping(node.get("creator")).get("id")))
        for node in found
    ]
    for key, words in [("", body), *((comment.key, comment.body) for comment in comments)]:
        listed += [
            (name, url, key, "")
            for name, url in _LINK.findall(words)
            if urlsplit(url).hostname == UPLOAD_HOST
        ]
    for name, url, comment, author in listed:
        if url and (url, comment) not in seen and len(seen) <= MOST_FILES:
            seen.add((url, comment))
            yield Attachment(name=name, url=url, comment=comment, author=author)


def _links(issue: Mapping[str, Any], parts: Mapping[str, list[Mapping[str, Any]]]) -> Iterator[LinkedTicket]:
    for relation in parts["inverseRelations"]:
        blocks = text(relation.get("type")) == "blocks"
        yield from _link(relation.get("issue"), "depends_on" if blocks else "mentioned")
    for relation in parts["relations"]:
        yield from _link(relation.get("relatedIssue"), "mentioned")
    yield from _link(issue.get("parent"), "parent")
    children = sorted(parts["children"], key=lambda node: (_order(node), text(node.get("identifier"))))
    for place, child in enumerate(children):
        yield from _link(child, "child", place)


def _order(node: Mapping[str, Any]) -> float:
    order = node.get("subIssueSortOrder")
    return float(order) if isinstance(order, int | float) else float("inf")


def _link(
    node: Any, relation: Literal["depends_on", "parent", "child", "mentioned"], order: int | None = None
) -> Iterator[LinkedTicket]:
    other = mapping(node)
    if key := text(other.get("identifier")):
        yield LinkedTicket(
            key=key,
            title=one_line(text(other.get("title")), MOST_TITLE),
            state=_state(other),
            relation=relation,
            order=order,
        )


def _state(node: Mapping[str, Any]) -> Literal["open", "done", "cancelled", "unknown"]:
    kind = text(mapping(node.get("state")).get("type"))
    if node.get("trashed") or kind in ("canceled", "duplicate"):
        return "cancelled"
    if kind == "completed":
        return "done"
    return "open" if kind else "unknown"
