"""What a push asks for: the section before the pack of a ``git-receive-pack`` request."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agent_runner.gateway.pkt_line import FLUSH, PktLineError, PktLineReader

MAX_SECTION_BYTES = 1 << 20
"""Most bytes of commands that are read; some 10,000 refs."""

ZERO_ID = "0" * 40
"""Stands for "no object": the old id of a created ref, the new id of a deleted one."""

_OBJECT_ID = re.compile(rb"[0-9a-f]{40}")
_REF = re.compile(rb"[^\x00-\x20\x7f]+")


class PushRequestError(ValueError):
    """The request is no push that this gateway understands; the text says why."""


@dataclass(frozen=True, slots=True)
class Command:
    """One ref that the client wants moved from ``old`` to ``new``."""

    old: str
    new: str
    ref: str
    """Full name; bytes that are not UTF-8 are kept as surrogate escapes."""

    @property
    def is_delete(self) -> bool:
        return self.new == ZERO_ID

    @property
    def is_create(self) -> bool:
        return self.old == ZERO_ID


@dataclass(frozen=True, slots=True)
class PushRequest:
    """The commands of a push, and the bytes they came in, to be forwarded unchanged."""

    commands: tuple[Command, ...]
    capabilities: frozenset[str]
    """Names of what the client chose from the advertisement, without values (``agent=…`` is ``agent``)."""
    raw: bytes
    """All bytes read so far: the section and whatever of the pack arrived with it."""
    pack_offset: int = 0
    """Where the pack begins, counted from the start of the request's body."""

    @property
    def reports_status(self) -> bool:
        """Whether the client reads an outcome for each ref."""
        return not self.capabilities.isdisjoint({"report-status", "report-status-v2"})

    @property
    def side_band(self) -> bool:
        """Whether the answer is multiplexed."""
        return "side-band-64k" in self.capabilities

    @property
    def has_options(self) -> bool:
        """Whether push options follow the commands."""
        return "push-options" in self.capabilities


class PushRequestReader:
    """Reads a :class:`PushRequest` from the chunks of a request body.

    Stricter than ``git receive-pack`` itself, so that nothing can be read here in one way and there in
    another: ids are 40 lower-case hex digits, ref names have no control characters, capabilities come
    with the first command only, a ref is named once.
    """

    def __init__(self) -> None:
        self._packets = PktLineReader()
        self._raw = bytearray()
        self._taken = 0
        self._commands: list[Command] = []
        self._capabilities: frozenset[str] = frozenset()

    @property
    def raw(self) -> bytes:
        """All bytes fed so far."""
        return bytes(self._raw)

    @property
    def is_probe(self) -> bool:
        """Whether the body so far is the lone flush that git sends ahead of a chunked push."""
        return self._raw == FLUSH

    def feed(self, chunk: bytes) -> PushRequest | None:
        """Add a chunk; return the request once its section is complete, else ``None``.

        :raises PushRequestError: if the bytes are no push, or the section exceeds
            :data:`MAX_SECTION_BYTES`.
        """
        self._raw += chunk
        self._packets.feed(chunk)
        try:
            while (packet := self._packets.next()) is not None:
                self._taken += len(packet)
                if packet == FLUSH:
                    return self._finish()
                self._take(packet[4:])
        except PktLineError as error:
            raise PushRequestError(str(error)) from None
        if len(self._raw) > MAX_SECTION_BYTES:
            raise PushRequestError(f"the list of refs is longer than {MAX_SECTION_BYTES:,} bytes")
        return None

    def _finish(self) -> PushRequest | None:
        if self._taken > MAX_SECTION_BYTES:
            raise PushRequestError(f"the list of refs is longer than {MAX_SECTION_BYTES:,} bytes")
        if not self._commands:
            if self.is_probe:
                return None
            raise PushRequestError("no ref is named")
        return PushRequest(tuple(self._commands), self._capabilities, self.raw, self._taken)

    def _take(self, line: bytes) -> None:
        if line.startswith(b"push-cert"):
            raise PushRequestError("a push certificate is not supported: push without --signed")
        if not self._commands and line.startswith(b"shallow "):
            if not _OBJECT_ID.fullmatch(line.removeprefix(b"shallow ").removesuffix(b"\n")):
                raise PushRequestError(f"{line[:100]!r} is not a shallow commit")
            return
        line, nul, capabilities = line.partition(b"\0")
        if nul:
            if self._commands:
                raise PushRequestError("capabilities after the first ref")
            # git separates them by spaces; a second NUL would hide what follows it from receive-pack.
            if b"\0" in capabilities:
                raise PushRequestError("a NUL within the capabilities")
            # receive-pack takes "push-options=x" for "push-options", too.
            names = (word.partition(b"=")[0] for word in capabilities.split())
            self._capabilities = frozenset(name.decode("utf-8", "surrogateescape") for name in names)
        else:
            line = line.removesuffix(b"\n")
        old, new, ref = line[:40], line[41:81], line[82:]
        if (
            not _OBJECT_ID.fullmatch(old)
            or not _OBJECT_ID.fullmatch(new)
            or line[40:41] != b" "
            or line[81:82] != b" "
            or not _REF.fullmatch(ref)
        ):
            raise PushRequestError(f"{line[:200]!r} is not a ref update with SHA-1 ids")
        command = Command(old.decode(), new.decode(), ref.decode("utf-8", "surrogateescape"))
        if command.is_create and command.is_delete:
            raise PushRequestError(f"{printable(command.ref)} neither exists nor is created")
        if any(command.ref == other.ref for other in self._commands):
            raise PushRequestError(f"{printable(command.ref)} is named twice")
        self._commands.append(command)


def printable(text: str, limit: int = 200) -> str:
    """Return ``text`` for a message or a log line: one line of ASCII, at most ``limit`` characters."""
    cut = text if len(text) <= limit else text[: limit - 1] + "~"
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in cut)
