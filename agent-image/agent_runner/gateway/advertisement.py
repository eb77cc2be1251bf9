"""What the forge offers: its list of refs, read and cut."""

from __future__ import annotations

from agent_runner.gateway.pkt_line import FLUSH, PktLineError, PktLineReader, encode

WITHHELD = ("push-cert", "push-options")
"""Capabilities taken out of the receive-pack advertisement. git then says by itself that the receiving end
does not support them."""

_MAX_PREAMBLE_BYTES = 4 * 65_520


class AdvertisementFilter:
    """Takes :data:`WITHHELD` out of a receive-pack advertisement (protocol v0) while it streams.

    Only the packets up to the first ref are looked at; everything behind is passed on as it comes.
    """

    def __init__(self) -> None:
        self._packets = PktLineReader()
        self._done = False
        self._size = 0

    def feed(self, chunk: bytes) -> bytes:
        """Add a chunk; return the bytes that may go to the client now.

        :raises PktLineError: if this is no advertisement of the expected form.
        """
        if self._done:
            return chunk
        self._packets.feed(chunk)
        out = b""
        while not self._done and (packet := self._packets.next()) is not None:
            self._size += len(packet)
            if self._size > _MAX_PREAMBLE_BYTES:
                raise PktLineError("no first ref where one is due")
            if b"\0" in packet:
                packet = _without(packet)
                self._done = True
            out += packet
        return out + self._take_rest() if self._done else out

    def finish(self) -> None:
        """Say that the advertisement has ended.

        :raises PktLineError: if it ended before the capabilities came.
        """
        if not self._done:
            raise PktLineError("the advertisement ended before its first ref")

    def _take_rest(self) -> bytes:
        rest, self._packets = self._packets.rest, PktLineReader()
        return rest


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
