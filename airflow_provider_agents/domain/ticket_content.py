"""What of a ticket reaches the agent beside its title and its body: comments, files, linked tickets.

:func:`ticket_content` chooses, once, when the run is accepted; :func:`ticket_text` writes it into a prompt. Both are
pure. Who may be heard is the installation's rule ``context``; what is left out is said, with the reason.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from agent_runner.contract import MOST_IMAGES, image_stem
from airflow_provider_agents.domain.attachment_files import MAX_TEXT_BYTES
from airflow_provider_agents.domain.authority import may
from airflow_provider_agents.domain.untrusted import clean, clip, fence, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_agents.domain.attachment_files import FetchedFile
    from airflow_provider_agents.domain.authority_rules import AuthorityRules, Standing
    from airflow_provider_agents.domain.coding_task import Ticket
    from airflow_provider_agents.domain.tickets import Attachment, TicketComment, TicketReading

MOST_COMMENTS = 30
MAX_COMMENT_BYTES = 8_000
MAX_COMMENTS_BYTES = 40_000
"""Of all comments together."""
MOST_LINKS = 40
MOST_NAMED = 30
"""Files that are only named."""
MOST_PEOPLE = 60
"""People whose standing is asked for, for their comments and files."""
MAX_BODY_BYTES = 66_000
MOST_BYTES = 140_000
"""Of :func:`ticket_text`, as it counts in a step's specification: as JSON."""

_LEAST_BYTES = 600
"""Below this nothing more is begun."""
_COMMANDS = frozenset({"/agent", "/agent again"})
_RELATIONS = {
    "depends_on": "depends on",
    "parent": "is part of",
    "child": "has the part",
    "mentioned": "mentions",
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class ShownComment(_Part):
    """A comment that the agent is shown. Its text is untrusted, cleaned and cut."""

    author: str
    at: str
    """Day, ``2026-01-31``."""
    body: str
    outsider: bool = False
    """Its author is shown by the rules, but may not steer a run."""


class TicketText(_Part):
    """A text file. Untrusted."""

    name: str
    text: str
    author: str = ""


class TicketPicture(_Part):
    """An image that the gateway of each pod fetches."""

    name: str
    """Untrusted, one line."""
    stem: str
    """Of its file's name on disk; made by us."""
    url: str
    author: str = ""


class NamedFile(_Part):
    """A file that is not handed over."""

    name: str
    reason: str
    """In our words."""


class ShownLink(_Part):
    """A linked ticket."""

    key: str
    title: str = ""
    state: str = "unknown"
    relation: str = "mentioned"


class FileSource(_Part):
    """Where the images may be fetched from; see :class:`~.attachment_files.FileAccess`."""

    how: Literal["github", "signed", "public", ""] = ""
    listed: tuple[str, ...] = ()
    own: tuple[str, ...] = ()


class TicketContent(_Part):
    """What the agent is shown of a ticket, bounded; the value travels with the accepted task."""

    comments: tuple[ShownComment, ...] = ()
    """Oldest first."""
    texts: tuple[TicketText, ...] = ()
    images: tuple[TicketPicture, ...] = ()
    image_source: FileSource = FileSource()
    named: tuple[NamedFile, ...] = ()
    links: tuple[ShownLink, ...] = ()
    left_out: tuple[str, ...] = ()
    """What is not shown, one sentence each, in our words and without any outsider's."""


def people_of_content(reading: TicketReading) -> tuple[str, ...]:
    """Return the people whose standing :func:`ticket_content` needs, at most :data:`MOST_PEOPLE`, oldest first."""
    writers = [login for comment in reading.comments for login in (comment.author, comment.edited_by)]
    owners = [each.author for each in reading.attachments if each.author != reading.author]
    return tuple(dict.fromkeys(login for login in (*writers, *owners) if login))[:MOST_PEOPLE]


def visible_files(
    reading: TicketReading, standings: Mapping[str, Standing], rules: AuthorityRules
) -> tuple[Attachment, ...]:
    """Return the files that belong to what the agent is shown, each address once.

    Those of the ticket's own text, of comments that are shown, and those attached by its author or by people who
    may be heard.
    """
    shown = {comment.key for comment in _heard(reading, standings, rules)[:MOST_COMMENTS]}
    found: dict[str, Attachment] = {}
    for each in reading.attachments:
        heard = not each.author or each.author == reading.author or _may(each.author, standings, rules)
        if heard and (not each.comment or each.comment in shown):
            found.setdefault(each.url, each)
    return tuple(found.values())


def ticket_content(
    reading: TicketReading,
    standings: Mapping[str, Standing],
    rules: AuthorityRules,
    files: Mapping[str, FetchedFile] | None = None,
    image_source: FileSource | None = None,
) -> TicketContent:
    """Return what the agent is shown.

    :param standings: of :func:`people_of_content`; who is not among them is not heard.
    :param files: what became of the :func:`visible_files`, by address; one that is not among them is only named.
    :param image_source: where the images of ``files`` may be fetched from.
    """
    comments, left_out = _comments(reading, standings, rules)
    visible = visible_files(reading, standings, rules)
    texts, images, named = _sorted(visible, files or {}, _authors(visible, reading, standings))
    if hidden := len({each.url for each in reading.attachments}) - len(visible):
        left_out.append(f"{_count(hidden, 'file')} of people whose comments are not shown here.")
    if len(named) > MOST_NAMED:
        left_out.append(f"The names of {_count(len(named) - MOST_NAMED, 'further file')}.")
    links = [
        ShownLink(
            key=one_line(link.key, 150),
            title=one_line(link.title, 200),
            state=link.state,
            relation=link.relation,
        )
        for link in reading.links
    ]
    if len(links) > MOST_LINKS:
        left_out.append(f"{_count(len(links) - MOST_LINKS, 'further linked ticket')}.")
    return TicketContent(
        comments=tuple(comments),
        texts=tuple(texts),
        images=tuple(images),
        image_source=image_source if image_source is not None and images else FileSource(),
        named=tuple(named[:MOST_NAMED]),
        links=tuple(links[:MOST_LINKS]),
        left_out=tuple(left_out),
    )


def ticket_text(ticket: Ticket, *, most_bytes: int = MOST_BYTES) -> str:
    """Return the whole of a ticket for a prompt: each part fenced, with its source and its author.

    :param most_bytes: bound, as JSON counts; title and body always stand, cut to :data:`MAX_BODY_BYTES`.
    """
    source = f"{ticket.named}, written by {ticket.author or 'unknown'}"
    parts = _Parts(most_bytes)
    body = fence(f"{ticket.title}\n\n{ticket.body}", source, most_bytes=min(MAX_BODY_BYTES, most_bytes))
    parts.add(body)
    content = ticket.content
    _add_comments(parts, content.comments)
    if content.links:
        parts.fenced(
            "Tickets that it is linked with:", "\n".join(map(_link, content.links)), "linked tickets"
        )
    if content.images:
        lines = (f"- image {number}: {_of(each)}" for number, each in enumerate(content.images, 1))
        parts.fenced("Images, which are handed over as files:", "\n".join(lines), "names of images")
    if content.named:
        lines = (f"- {each.name}: {each.reason}" for each in content.named)
        parts.fenced("Files that are not handed over:", "\n".join(lines), "names of files")
    if content.texts:
        lines = (f"- file {number}: {_of(each)}" for number, each in enumerate(content.texts, 1))
        parts.fenced("Text files, which follow:", "\n".join(lines), "names of text files")
    for number, each in enumerate(content.texts, 1):
        parts.fenced("", each.text, f"file {number} of the ticket", most_bytes=MAX_TEXT_BYTES, log=True)
    missing = [
        *content.left_out,
        *([f"{_count(parts.omitted, 'part')} for want of room."] * bool(parts.omitted)),
    ]
    if missing:
        parts.add("Left out of the ticket:\n" + "\n".join(f"- {line}" for line in missing))
    return "\n\n".join(parts.texts)


class _Parts:
    """Collects texts up to a number of bytes, counted as JSON."""

    def __init__(self, most_bytes: int) -> None:
        self._room = most_bytes - _LEAST_BYTES
        self.texts: list[str] = []
        self.omitted = 0

    def add(self, text: str) -> None:
        self.texts.append(text)
        self._room -= _size(text)

    def fenced(
        self, heading: str, text: str, source: str, *, most_bytes: int = 40_000, log: bool = False
    ) -> None:
        """Add a fenced text, cut to what there is room for; none where there is too little."""
        most = min(most_bytes, self._room)
        while most >= _LEAST_BYTES:
            made = fence(text, source, most_bytes=most, log=log)
            whole = f"{heading}\n{made}" if heading else made
            if (size := _size(whole)) <= self._room:
                self.add(whole)
                return
            most = min(most - 1, int(most * self._room / size) - 200)
        self.omitted += 1


def _add_comments(parts: _Parts, comments: Iterable[ShownComment]) -> None:
    heading = "Comments, oldest first:"
    for comment in comments:
        known = "an outsider" if comment.outsider else "somebody who may steer this work"
        # A name stands last: whatever it is, it says nothing about who may do what.
        source = f"comment of {comment.at}, by {known}: {comment.author}"
        parts.fenced(heading, comment.body, source, most_bytes=MAX_COMMENT_BYTES + 200)
        heading = ""


def _comments(
    reading: TicketReading, standings: Mapping[str, Standing], rules: AuthorityRules
) -> tuple[list[ShownComment], list[str]]:
    """Return the comments that are shown, and what is to be said of the others."""
    heard = _heard(reading, standings, rules)
    shown: list[ShownComment] = []
    room = MAX_COMMENTS_BYTES
    for comment in heard[:MOST_COMMENTS]:
        body = clip(clean(comment.body), min(MAX_COMMENT_BYTES, max(0, room)))
        if room < _LEAST_BYTES:
            break
        room -= len(body.encode(errors="ignore"))
        shown.append(
            ShownComment(
                author=_name(comment.author, standings),
                at=f"{comment.at:%Y-%m-%d}",
                body=body,
                outsider=not may(standings[comment.author], "steer", rules),
            )
        )
    left_out = []
    if len(heard) > len(shown):
        left_out.append(f"{_count(len(heard) - len(shown), 'later comment')}.")
    written = [comment for comment in reading.comments if not _is_command(comment)]
    if unheard := len(written) - len(heard):
        left_out.append(f"{_count(unheard, 'comment')} of people who are not heard here.")
    return shown, left_out


def _heard(
    reading: TicketReading, standings: Mapping[str, Standing], rules: AuthorityRules
) -> list[TicketComment]:
    """Return the comments of people who may be heard, without bare commands, oldest first.

    One that somebody else edited is the word of both.
    """
    return [
        comment
        for comment in reading.comments
        if not _is_command(comment)
        and _may(comment.author, standings, rules)
        and (not comment.edited_by or _may(comment.edited_by, standings, rules))
    ]


def _is_command(comment: TicketComment) -> bool:
    """Tell whether a comment says nothing, or nothing but that an agent is asked for."""
    words = " ".join(clean(comment.body).split()).rstrip(".,:;!").casefold()
    return not words or words in _COMMANDS


def _may(person: str, standings: Mapping[str, Standing], rules: AuthorityRules) -> bool:
    standing = standings.get(person) if person else None
    return standing is not None and may(standing, "context", rules)


def _name(person: str, standings: Mapping[str, Standing]) -> str:
    standing = standings.get(person)
    return one_line((standing.login if standing else "") or person or "unknown", 60)


def _authors(
    attachments: Iterable[Attachment], reading: TicketReading, standings: Mapping[str, Standing]
) -> dict[str, str]:
    """Return whose each file is, by its address, as far as the source tells."""
    writers = {comment.key: comment.author for comment in reading.comments}
    people = {each.url: each.author or writers.get(each.comment, "") for each in attachments}
    return {url: _name(person, standings) for url, person in people.items() if person}


def _sorted(
    attachments: Iterable[Attachment], files: Mapping[str, FetchedFile], authors: Mapping[str, str]
) -> tuple[list[TicketText], list[TicketPicture], list[NamedFile]]:
    texts: list[TicketText] = []
    images: list[TicketPicture] = []
    named: list[NamedFile] = []
    room = MAX_TEXT_BYTES
    for each in attachments:
        name = one_line(each.name, 120) or "file"
        author = authors.get(each.url, "")
        fetched = files.get(each.url)
        if fetched is None:
            named.append(NamedFile(name=name, reason="there are more files than are asked for"))
        elif fetched.image and len(images) < MOST_IMAGES:
            stem = image_stem(name, each.url)
            images.append(TicketPicture(name=name, stem=stem, url=each.url, author=author))
        elif fetched.image:
            named.append(NamedFile(name=name, reason=f"more than {MOST_IMAGES} images"))
        elif fetched.text and (size := len(fetched.text.encode(errors="ignore"))) <= room:
            texts.append(TicketText(name=name, text=fetched.text, author=author))
            room -= size
        else:
            reason = fetched.fault or "the text files before it leave no room"
            named.append(NamedFile(name=name, reason=reason))
    return texts, images, named


def _of(each: TicketText | TicketPicture) -> str:
    return f"{each.name}, of {each.author}" if each.author else each.name


def _link(link: ShownLink) -> str:
    title = f": {link.title}" if link.title else ""
    return f"- {_RELATIONS.get(link.relation, 'mentions')} {link.key} ({link.state}){title}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _size(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode(errors="replace"))
