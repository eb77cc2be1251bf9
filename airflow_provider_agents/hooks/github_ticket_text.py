"""What a text on GitHub refers to: files, other tickets, and ``/agent`` at the beginning of a comment.

The text is untrusted; nothing of it is followed here.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from airflow_provider_agents.domain.tickets import Attachment
from airflow_provider_agents.domain.untrusted import clean, one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

MOST_ATTACHMENTS = 50
MOST_MENTIONS = 20
"""Tickets that a text merely names, of which the state is asked for."""

_CODE = re.compile(
    r"^ {0,3}(```+|~~~+).*?(?:^ {0,3}\1[^\n]*$|\Z)|(?<!`)(`+)(?!`).*?(?<!`)\2(?!`)",
    re.DOTALL | re.MULTILINE,
)

_NAME = r"[A-Za-z0-9][\w.-]*/[\w.-]+"
_NAMED = re.compile(rf"(?<![\w/&#.-])(?P<repository>{_NAME})?#(?P<number>\d{{1,9}})\b")
_URL = re.compile(
    rf"https?://(?P<host>[\w.:-]+)/(?P<repository>{_NAME})/(?:issues|pull)/(?P<number>\d{{1,9}})\b"
)
_ONE = rf"(?:https?://[\w.:-]+/{_NAME}/(?:issues|pull)/\d{{1,9}}\b|(?:{_NAME})?#\d{{1,9}}\b)"
_DEPENDS = re.compile(
    rf"\b(?:depends\s+on|blocked\s+by)\b\s*:?\s*(?P<list>{_ONE}(?:\s*(?:,|;|&|\band\b)+\s*{_ONE})*)",
    re.IGNORECASE,
)

_IMAGE = re.compile(
    r"!\[(?P<name>[^\]\n]{0,300})\]\(\s*<?(?P<url>https?://[^\s)>]{1,2000}+)>?[^)\n]{0,300}+\)"
)
_LINK = re.compile(
    r"(?<!!)\[(?P<name>[^\]\n]{0,300})\]\(\s*<?(?P<url>https?://[^\s)>]{1,2000}+)>?[^)\n]{0,300}+\)"
)
_TAG = re.compile(r"<(?P<tag>img|a|video|source)\b(?P<attributes>[^>]{0,1000})>", re.IGNORECASE)
_ATTRIBUTE = re.compile(
    r"(?P<key>src|href|alt)\s*=\s*(?:\"(?P<a>[^\"]*)\"|'(?P<b>[^']*)'|(?P<c>[^\s>]+))", re.IGNORECASE
)
_BARE = re.compile(r"https?://[^\s<>()\[\]\"'`]{1,2000}")

_UPLOADS = re.compile(
    r"/(?:user-attachments/(?:assets|files)/|[\w.-]+/[\w.-]+/(?:assets|files)/\d+/|storage/user/)"
)
"""Paths below a GitHub's own web address under which people's files are."""
_PUBLIC_FILE_HOSTS = frozenset(
    {
        "user-images.githubusercontent.com",
        "private-user-images.githubusercontent.com",
        "raw.githubusercontent.com",
    }
)


class Reference(NamedTuple):
    """Another ticket, as a text names it."""

    repository: str
    """``owner/name``; the ticket's own where the text names none."""
    number: int

    @property
    def key(self) -> str:
        return f"{self.repository}#{self.number}"


class NamedTicket(NamedTuple):
    """A ticket that a text names, and as what."""

    reference: Reference
    relation: Literal["depends_on", "mentioned"]


def named_tickets(text: str, repository: str, web_host: str) -> tuple[NamedTicket, ...]:
    """Return the tickets that a text names, those first that it depends on, each once.

    Code and what its reader does not see are passed over.

    :param repository: where the text stands: ``#7`` is of this one.
    :param web_host: of this GitHub's pages, with a port where it has one.
    """
    seen = _CODE.sub(" ", clean(text))
    found: dict[Reference, NamedTicket] = {}
    for clause in _DEPENDS.finditer(seen):
        for reference in _references(clause["list"], repository, web_host):
            found[reference] = NamedTicket(reference, "depends_on")
    mentions = 0
    for reference in _references(seen, repository, web_host):
        if reference not in found and mentions < MOST_MENTIONS:
            mentions += 1
            found[reference] = NamedTicket(reference, "mentioned")
    return tuple(found.values())


def _references(text: str, repository: str, web_host: str) -> Iterator[Reference]:
    """Yield the tickets named in ``text``, in order; one of another spelling of a name is the same."""
    places = [(m.start(), m) for m in _NAMED.finditer(text)]
    places += [(m.start(), m) for m in _URL.finditer(text) if m["host"].lower() == web_host.lower()]
    for _, found in sorted(places, key=lambda place: place[0]):
        name, number = (found["repository"] or repository).lower(), int(found["number"])
        if number > 0 and not name.endswith(("/.", "/..")):
            yield Reference(repository if name == repository.lower() else name, number)


def attachments_in(text: str, web_host: str, hosts: Collection[str] = ()) -> tuple[Attachment, ...]:
    """Return the files that a text refers to, in order, each address once; at most :data:`MOST_ATTACHMENTS`.

    Files are images wherever they are, and links to where GitHub keeps what people upload or to ``hosts``.
    Whether one may be fetched is not decided here.

    :param web_host: of this GitHub's pages, with a port where it has one.
    :param hosts: further hosts whose links are files.
    """
    seen = clean(text)
    places: list[tuple[int, str, str, bool]] = []
    places += [(m.start(), m["url"], m["name"], True) for m in _IMAGE.finditer(seen)]
    places += [(m.start(), m["url"], m["name"], False) for m in _LINK.finditer(seen)]
    for tag in _TAG.finditer(seen):
        given = {
            a["key"].lower(): html.unescape(a["a"] or a["b"] or a["c"] or "")
            for a in _ATTRIBUTE.finditer(tag["attributes"])
        }
        url = given.get("src") or given.get("href") or ""
        places.append((tag.start(), url, given.get("alt", ""), tag["tag"].lower() != "a"))
    places += [(m.start(), m[0].rstrip(".,;:!?*_"), "", False) for m in _BARE.finditer(seen)]
    # A bare address within a link or tag comes after it, and is no other file.
    places.sort(key=lambda place: place[0])
    found: dict[str, Attachment] = {}
    for _, url, name, image in places:
        if url not in found and len(found) < MOST_ATTACHMENTS and _is_file(url, image, web_host, hosts):
            found[url] = Attachment(name=one_line(name) or _last_part(url), url=url)
    return tuple(found.values())


def _is_file(url: str, image: bool, web_host: str, hosts: Collection[str]) -> bool:
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.password:
        return False
    if image or host in _PUBLIC_FILE_HOSTS or host in {known.lower() for known in hosts}:
        return True
    own = web_host.lower()
    if host == f"media.{own.partition(':')[0]}":
        return True
    return parts.netloc.lower() == own and _UPLOADS.match(parts.path) is not None


def _last_part(url: str) -> str:
    return one_line(unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])) or "file"
