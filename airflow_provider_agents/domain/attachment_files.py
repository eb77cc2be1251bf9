"""Which files of a ticket are fetched and by whom, and what a fetched one is; the rest is only named.

A file is judged by its content: a name or a media type may say what not to ask for, but never makes a text or an
image of something else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from agent_runner.contract import FilePlaces, FileRefusedError, image_kind

if TYPE_CHECKING:
    from airflow_provider_agents.domain.tickets import Attachment

MOST_FILES = 20
"""Files of a ticket that are asked for; of further ones the names are told."""
MAX_TEXT_BYTES = 100_000
"""Of one text file, and of all of a ticket together."""

_IMAGE_ENDING = re.compile(r"\.(?:png|jpe?g|gif|webp)$", re.IGNORECASE)
_IMAGE_TYPE = re.compile(r"image/(?:png|jpe?g|gif|webp)\b", re.IGNORECASE)
_SVG = re.compile(
    r"\s*(?:<\?xml[^>]{0,500}>\s*)?(?:<!--.{0,2000}?-->\s*){0,3}(?:<!doctype[^>]{0,500}>\s*)?<svg[\s>]",
    re.IGNORECASE | re.DOTALL,
)
_GITHUB_IMAGE = re.compile(r"/(?:user-attachments|[\w.-]+/[\w.-]+)/assets/[\w./-]+")
_TEXT_TYPE = re.compile(
    r"text/.*|(?:application|binary)/octet-stream|application/(?:[\w.-]+\+)?(?:x-)?"
    r"(?:json|ndjson|xml|yaml|toml|javascript|typescript|sh|shellscript|sql|graphql|log|patch|diff|csv|tex|httpd-php)",
    re.IGNORECASE,
)
_PAGE_TYPE = re.compile(r"text/html|application/xhtml\+xml", re.IGNORECASE)
_PAGE_ENDING = re.compile(r"\.x?html?$", re.IGNORECASE)
_ODD_CONTROLS = re.compile(r"[\x01-\x07\x0e-\x1a\x1c-\x1f\x7f]")
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAccess:
    """Where the files of one ticket may be fetched from, and with what."""

    places: FilePlaces
    credential_place: str = ""
    """The only place that gets the tracker's credential, and never over a redirect; empty: none does."""
    authorization: str = field(default="", repr=False)
    """The header's value for it."""
    images: Literal["github", "signed", "public", ""] = ""
    """How a pod's gateway gets images: with the forge's credential, by addresses that the tracker signs when the pod
    is made, by public addresses; empty: not at all, they are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedFile:
    """What became of a file."""

    text: str = ""
    """Its content, where it is a text; untrusted."""
    image: bool = False
    """It may be an image: the gateway of the pod fetches it."""
    fault: str = ""
    """Why it is only named, in our words."""


def fetched_how(attachment: Attachment, access: FileAccess) -> Literal["text", "image"]:
    """Return how a file is fetched: as a text, now, or as an image, by the gateway of the pod.

    :raises FileRefusedError: it is not; the text says why.
    """
    access.places.check(attachment.url)
    path = urlsplit(attachment.url).path
    if "svg" in attachment.content_type.lower() or any(
        name.lower().endswith((".svg", ".svgz")) for name in (attachment.name, path)
    ):
        raise FileRefusedError("SVG is never handed over")
    if _IMAGE_TYPE.match(attachment.content_type) or _IMAGE_ENDING.search(attachment.name):
        image = True
    else:
        github = access.images == "github" and _GITHUB_IMAGE.fullmatch(path)
        image = bool(_IMAGE_ENDING.search(path) or github)
    if image:
        return "image"
    if attachment.size is not None and attachment.size > MAX_TEXT_BYTES:
        raise _too_large()
    return "text"


def check_type(content_type: str, url: str) -> None:
    """Check what a host says that a file is, before it is read.

    :raises FileRefusedError: it is neither a text nor an image.
    """
    kind = content_type.partition(";")[0].strip()
    if _PAGE_TYPE.fullmatch(kind) and not _PAGE_ENDING.search(urlsplit(url).path):
        raise FileRefusedError("its host answered with a web page in its place")
    if kind and not _TEXT_TYPE.fullmatch(kind) and not _IMAGE_TYPE.match(kind):
        raise FileRefusedError("it is neither a text nor an image")


def file_of(data: bytes, content_type: str = "") -> FetchedFile:
    """Return what a file is, by its content.

    :param data: all of it, at most one byte more than :data:`MAX_TEXT_BYTES`; of an image its beginning.
    :param content_type: what its host says that it is: what passes for an image must be one.
    :raises FileRefusedError: it is neither a text of that size nor an image.
    """
    if image_kind(data[:12]):
        return FetchedFile(image=True)
    if b"\0" in data or _IMAGE_TYPE.match(content_type):
        raise FileRefusedError("it is neither a text nor an image")
    if len(data) > MAX_TEXT_BYTES:
        raise _too_large()
    try:
        text = data.decode().removeprefix(_BYTE_ORDER_MARK)
    except UnicodeDecodeError:
        raise FileRefusedError("it is not a text in UTF-8") from None
    if _SVG.match(text):
        raise FileRefusedError("SVG is never handed over")
    if len(_ODD_CONTROLS.findall(text)) * 100 > len(text):
        raise FileRefusedError("it is neither a text nor an image")
    if not text.strip():
        raise FileRefusedError("it is empty")
    return FetchedFile(text=text)


def _too_large() -> FileRefusedError:
    return FileRefusedError(f"it is larger than {MAX_TEXT_BYTES // 1000} KB")
