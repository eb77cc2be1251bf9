"""The answer to a push: reading the forge's, writing a refusal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent_runner.gateway.pkt_line import FLUSH, PktLineError, PktLineReader, encode
from agent_runner.gateway.push_request import PushRequest, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

RESULT_TYPE = "application/x-git-receive-pack-result"

_MAX_REFS = 20_000


@dataclass(slots=True)
class PushReport:
    """What the forge said about each ref of a push."""

    unpacked: bool = False
    accepted: set[str] = field(default_factory=set)
    rejected: dict[str, str] = field(default_factory=dict)
    complete: bool = False
    """Whether the report arrived to its end; otherwise the outcome is unknown."""


class PushReportReader:
    """Takes the report out of the answer's chunks, while these are passed on.

    Never raises: an answer that it cannot read leaves the report incomplete.

    :param side_band: whether the client asked for a multiplexed answer.
    """

    def __init__(self, *, side_band: bool) -> None:
        self.report = PushReport()
        self._side_band = side_band
        self._outer = PktLineReader()
        self._inner = PktLineReader() if side_band else self._outer
        self._broken = False

    def feed(self, chunk: bytes) -> None:
        """Add a chunk of the answer's body."""
        if self._broken or self.report.complete:
            return
        self._outer.feed(chunk)
        try:
            if self._side_band:
                while (packet := self._outer.next()) is not None:
                    if packet[4:5] == b"\x01":
                        self._inner.feed(packet[5:])
                    elif packet[4:5] == b"\x03":
                        self._broken = True
                        return
            while not self.report.complete and (packet := self._inner.next()) is not None:
                self._take(packet)
        except PktLineError:
            self._broken = True

    def _take(self, packet: bytes) -> None:
        report = self.report
        if packet == FLUSH:
            report.complete = True
            return
        text = packet[4:].decode("utf-8", "surrogateescape").removesuffix("\n")
        word, _, rest = text.partition(" ")
        if len(report.accepted) + len(report.rejected) >= _MAX_REFS:
            self._broken = True
        elif word == "unpack":
            report.unpacked = rest == "ok"
        elif word == "ok":
            report.accepted.add(rest)
        elif word == "ng":
            ref, _, reason = rest.partition(" ")
            report.rejected[ref] = reason


def refusal(request: PushRequest, reasons: Iterable[str], message: str) -> bytes:
    """Return the body that makes git print ``! [remote rejected] … (<reason>)`` for every ref.

    :param reasons: one for each command of ``request``, in their order.
    :param message: lines that git prints with ``remote:``, where the client takes a side band.
    """
    report = encode(b"unpack ok\n")
    for command, reason in zip(request.commands, reasons, strict=True):
        ref = command.ref.encode("utf-8", "surrogateescape")
        report += encode(b"ng %b %b\n" % (ref, printable(reason, 300).encode()))
    return _wrapped(request, report + FLUSH, message)


def acceptance(request: PushRequest) -> bytes:
    """Return the body that tells git that every ref was updated, where the forge's own report was lost."""
    report = encode(b"unpack ok\n")
    for command in request.commands:
        report += encode(b"ok %b\n" % command.ref.encode("utf-8", "surrogateescape"))
    return _wrapped(request, report + FLUSH, "")


def _wrapped(request: PushRequest, report: bytes, message: str) -> bytes:
    if not request.side_band:
        return report
    room = 60_000
    bands = [encode(b"\x02%b\n" % printable(line, 1_000).encode()) for line in message.splitlines()]
    bands += [encode(b"\x01" + report[at : at + room]) for at in range(0, len(report), room)]
    return b"".join(bands) + FLUSH
