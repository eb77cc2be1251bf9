"""What the forge offers: its list of refs, read and cut."""

from __future__ import annotations

from agent_runner.gateway.pkt_line import FLUSH, PktLineError, PktLineReader, encode

WITHHELD = ("push-cert", "push-options")
"""Capabilities taken out of the receive-pack advertisement. git then says by itself that the receiving end
does not support them."""

_MAX_PREAMBLE_BYTES = 4 * 65_520


class AdvertisementFilter:
    """Takes :data:`WITHHELD` out of a receive-pack advertisement (protocol v0).

    Only the packets up to the first ref, which carries the capabilities, are held and looked at.
    """

    def __init__(self) -> None:
        self._packets = PktLineReader()
        self._held = b""

    def feed(self, chunk: bytes, *, at_end: bool = False) -> bytes:
        """Add a chunk; return nothing until the first ref is there, then all so far without the withheld.

        What follows needs no filter.

        :param at_end: whether this was the last chunk.
        :raises PktLineError: if this is no advertisement, or it ends before its first ref.
        """
        self._packets.feed(chunk)
        while (packet := self._packets.next()) is not None:
            if b"\0" in packet:
                return self._held + _without(packet) + self._packets.rest
            self._held += packet
            if len(self._held) > _MAX_PREAMBLE_BYTES:
                break
        if at_end or len(self._held) > _MAX_PREAMBLE_BYTES:
            raise PktLineError("no first ref where one is due")
        return b""


def _without(packet: bytes) -> bytes:
    ref, _, capabilities = packet[4:].partition(b"\0")
    withheld = tuple(name.encode() for name in WITHHELD)
    ending = b"\n" if capabilities.endswith(b"\n") else b""
    kept = [word for word in capabilities.split() if word.split(b"=", 1)[0] not in withheld]
    return encode(ref + b"\0" + b" ".join(kept) + ending)


class RefFinder:
    """Finds the id of one ref in an advertisement (protocol v0) while it streams; holds one packet.

    :param ref: full name of the ref.
    """

    def __init__(self, ref: str) -> None:
        self._packets = PktLineReader()
        self._ref = ref.encode("utf-8", "surrogateescape")
        self._flushes = 0
        self.oid: str | None = None
        """Id of the ref, once seen."""

    @property
    def complete(self) -> bool:
        """Whether the ref was seen, or the list has ended without it."""
        return self.oid is not None or self._flushes >= 2

    def feed(self, chunk: bytes) -> None:
        """Add a chunk; raise :class:`PktLineError` if this is no advertisement."""
        self._packets.feed(chunk)
        while not self.complete and (packet := self._packets.next()) is not None:
            if packet == FLUSH:
                self._flushes += 1
                continue
            oid, _, name = packet[4:].partition(b"\0")[0].removesuffix(b"\n").partition(b" ")
            if name == self._ref and len(oid) == 40:
                self.oid = oid.decode("ascii", "replace")
