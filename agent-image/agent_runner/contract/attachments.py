"""Files of tickets: which addresses may be asked for one, what counts as an image, how it is named on disk.

Both who fetches them hold to it: the worker (texts) and the gateway of a pod (images). Names and addresses are
outsiders' text; nothing of a name but letters and digits gets onto a disk, and nothing is asked of a host that is
not listed.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urljoin, urlsplit

MOST_IMAGES = 10
MAX_IMAGE_BYTES = 5 * 1024 * 1024
MAX_IMAGES_BYTES = 20 * 1024 * 1024
"""Of all images of a ticket together."""
MOST_REDIRECTS = 4
IMAGE_STEM_PATTERN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,58}[A-Za-z0-9])?")
"""Of a file's name on disk, without number and ending."""

ImageKind = Literal["png", "jpg", "gif", "webp"]
IMAGE_KINDS: dict[ImageKind, str] = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
}
"""Kinds that agents are given, by the ending of their files, and their media types. SVG is none: it is a program."""

_URL = re.compile(r"https?://[!#-;=?-\[\]_a-z~]{1,4000}", re.IGNORECASE)
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_PORTS = {"https": 443, "http": 80}


class FileRefusedError(Exception):
    """A file may not be fetched, or is not what it should be; the text says why, in our words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePlaces:
    """Where files may be fetched from. Places are ``host``, or ``host:port`` where the port is not the usual one."""

    listed: tuple[str, ...] = ()
    """Their addresses must be public ones: no name may lead into the network of the cluster."""
    own: tuple[str, ...] = ()
    """Those of the tracker itself, wherever it is; without TLS only on this machine."""

    def check(self, url: str) -> str:
        """Return the place of ``url``.

        :raises FileRefusedError: it may not be asked.
        """
        place, host = _place(url)
        if place not in self.own and place not in self.listed:
            raise FileRefusedError(f"it is at {place}, from where no files are fetched")
        if not url.lower().startswith("https:") and not (place in self.own and is_loopback(host)):
            raise FileRefusedError("its address is not https")
        if place not in self.own and not self.may_lead(host, host):
            raise FileRefusedError("its address is in a private network")
        return place

    def follow(self, url: str, location: str) -> str:
        """Return where a redirect of ``url`` leads, without its fragment.

        :raises FileRefusedError: it leads where nothing may be asked.
        """
        try:
            target = urljoin(url, location).partition("#")[0]
        except ValueError:
            raise FileRefusedError("it redirects to no valid address") from None
        try:
            self.check(target)
        except FileRefusedError as error:
            raise FileRefusedError(f"it redirects: {error}") from None
        return target

    def may_lead(self, host: str, address: str) -> bool:
        """Tell whether a connection for ``host`` may be made to ``address``; a name is not judged."""
        names = {_host_of(own) for own in self.own}
        return host.lower() in names or _public_or_name(address)


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketImage:
    """One image that a pod's gateway serves."""

    url: str
    auth: Literal["github", "none"] = "none"
    """``github``: the forge's credential, which goes to the forge itself and nowhere else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAccess:
    """The images of the task's ticket, and where they may be fetched from."""

    images: tuple[TicketImage, ...] = ()
    """Served as ``/attachments/1`` and so on."""
    places: FilePlaces = field(default_factory=FilePlaces)
    api_url: str = ""
    """The forge's REST API, which signs addresses of images that the forge keeps; empty: it does not."""


def place_of(url: str) -> str:
    """Return host and port of a URL, as :class:`FilePlaces` has them.

    :raises FileRefusedError: it is no URL that could be asked.
    """
    return _place(url)[0]


def image_kind(head: bytes) -> ImageKind | None:
    """Return which image begins with these bytes, 12 of which are enough; ``None``: none that agents are given."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    return None


def image_stem(name: str, url: str) -> str:
    """Return what an image is called on disk, without number and ending: a safe part of its name, and a digest
    of its address, by which a later step knows the file again.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"\.[A-Za-z0-9]{1,5}$", "", plain)
    safe = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:40].strip("-").lower()
    digest = hashlib.sha256(url.encode(errors="replace")).hexdigest()[:8]
    return f"{safe}-{digest}" if safe else digest


def image_file(number: int, stem: str, kind: ImageKind) -> str:
    """Return the name of an image's file, counted from 1."""
    return f"attachment-{number}-{stem}.{kind}"


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` is this machine."""
    return host in ("127.0.0.1", "localhost", "::1")


def _host_of(place: str) -> str:
    """Return the host of a place, an IPv6 address without its brackets."""
    return place[1:].partition("]")[0] if place.startswith("[") else place.partition(":")[0]


def _place(url: str) -> tuple[str, str]:
    """Return the place of a URL, and its host alone."""
    fault = FileRefusedError("its address is no plain web address")
    if not _URL.fullmatch(url):
        raise fault
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host = str(ipaddress.IPv6Address(host)) if ":" in host else host
    except ValueError:
        raise fault from None
    if "@" in parts.netloc or not (":" in host or _NAME.fullmatch(host)):
        raise fault
    usual = port is None or port == _PORTS[parts.scheme]
    return (f"[{host}]" if ":" in host else host) + ("" if usual else f":{port}"), host


def _public_or_name(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    if isinstance(found, ipaddress.IPv6Address):
        if found in ipaddress.IPv6Network("64:ff9b::/96"):  # NAT64: the last four bytes are meant
            found = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        else:
            found = found.ipv4_mapped or found.sixtofour or found
    return found.is_global and not found.is_multicast
