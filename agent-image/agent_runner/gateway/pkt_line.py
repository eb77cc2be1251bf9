"""git's pkt-line framing, read strictly and incrementally.

A packet is four lower-case or upper-case hex digits of total length (the digits included) and the
payload. ``0000`` is a flush; the other special lengths (``0001`` to ``0003``) belong to protocol v2 and
never appear where this reader is used, so they are refused.
"""

from __future__ import annotations

import re

MAX_PACKET_BYTES = 65_520
"""Largest packet that git sends or accepts, its four digits included."""

FLUSH = b"0000"

_LENGTH = re.compile(rb"[0-9a-fA-F]{4}")


class PktLineError(ValueError):
    """Bytes that are no pkt-line; the text says what is wrong with them."""


def encode(payload: bytes) -> bytes:
    """Frame ``payload`` as one packet; raise :class:`PktLineError` if it is too long for one."""
    size = len(payload) + 4
    if size > MAX_PACKET_BYTES:
        raise PktLineError(f"a payload of {len(payload):,} bytes does not fit one packet")
    return b"%04x%b" % (size, payload)


class PktLineReader:
    """Cuts a byte stream into packets, however the stream is divided into chunks.

    Bytes after the last packet taken stay in :attr:`rest`, so that a caller may stop in mid-stream and
    pass the remainder on unchanged. Holds at most one chunk and one packet.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Add bytes of the stream."""
        self._buffer += chunk

    @property
    def rest(self) -> bytes:
        """The bytes fed and not yet taken."""
        return bytes(self._buffer)

    def next(self) -> bytes | None:
        """Take the next whole packet, framing included, or return ``None`` until more bytes are fed.

        :raises PktLineError: if the bytes at hand cannot be the start of a packet.
        """
        if len(self._buffer) < 4:
            return None
        digits = bytes(self._buffer[:4])
        if not _LENGTH.fullmatch(digits):
            raise PktLineError(f"{digits!r} is not a packet length")
        size = int(digits, 16)
        if size == 0:
            size = 4
        elif size < 4 or size > MAX_PACKET_BYTES:
            raise PktLineError(f"a packet of length {size} is not allowed here")
        if len(self._buffer) < size:
            return None
        packet = bytes(self._buffer[:size])
        del self._buffer[:size]
        return packet
