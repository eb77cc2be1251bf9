"""The ledger on disk: one line of JSON for each event, appended; read again after a restart."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from agent_runner.contract import MAX_TERMINATION_MESSAGE_BYTES, Ledger, Push, Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

FILE_NAME = "ledger.jsonl"

_MAX_REFUSALS = 20
_MAX_REFUSAL_LINES = 1_000
_MAX_UNPRICED = 20
_MAX_TEXT = 300


class JournalError(Exception):
    """The ledger cannot be opened; the text names the file and the fault."""


class Journal:
    """All that the gateway saw, as a running :class:`Ledger` and as lines of a file.

    A line that a crash left unfinished is ignored and closed, so that the next event starts a line of its
    own.

    :param directory: where the file is; must exist.
    :param termination_log: file that holds the cut ledger at every moment, or ``None``. It is written in
        place, since it may be a mount.
    :raises JournalError: if the file cannot be read or opened.
    """

    def __init__(self, directory: Path, termination_log: Path | None = None) -> None:
        self._path = directory / FILE_NAME
        self._termination_log = termination_log
        self._ledger = Ledger()
        self._sent: dict[Push, None] = {}
        self._known: set[str] = set()
        self._refusals = 0
        self.fault: str | None = None
        """Why an event could not be written, once that happened. Nothing may be spent or pushed then: it
        would be forgotten at a restart."""
        try:
            self._load()
            self._file: BinaryIO = self._path.open("ab", buffering=0)
            self._close_torn_line()
        except OSError as error:
            raise JournalError(f"ledger {self._path}: {error.strerror or error}") from None
        self._publish()

    @property
    def ledger(self) -> Ledger:
        """The totals so far."""
        return self._ledger

    @property
    def own_commits(self) -> frozenset[str]:
        """Commits that this gateway has put on the work branch, before a restart too."""
        return frozenset(self._known)

    @property
    def unsettled(self) -> tuple[Push, ...]:
        """Pushes sent to the forge whose outcome is not known."""
        return tuple(self._sent)

    def model_call(
        self, *, model: str | None, status: int, tokens: Tokens, usd: float, unpriced: bool, estimated: bool
    ) -> None:
        """Note a finished call of the model API. Only those with status 200 count as calls in the totals.

        :param model: as the answer names it; ``None`` where it names none, as errors do.
        :param status: HTTP status of the answer; 0 where none came.
        :param unpriced: whether ``usd`` is at the fallback price.
        :param estimated: whether the answer broke off and its output was estimated.
        """
        self._append(
            "model_call",
            model=None if model is None else _text(model, 100),
            status=status,
            tokens=dataclasses.asdict(tokens),
            usd=usd,
            unpriced=unpriced,
            estimated=estimated,
        )

    def push_sent(self, push: Push) -> None:
        """Note, before it is sent, that ``push`` goes to the forge."""
        self._append("push_sent", **dataclasses.asdict(push))

    def push_accepted(self, push: Push) -> None:
        """Note that the forge has made ``push``."""
        self._append("push", **dataclasses.asdict(push))

    def push_rejected(self, push: Push, reason: str) -> None:
        """Note that the forge has not made ``push``."""
        self._append("push_rejected", **dataclasses.asdict(push), reason=_text(reason))

    def refusal(self, text: str) -> None:
        """Note what was refused, and why. The file takes a thousand of them: an agent may try for ever."""
        self._refusals += 1
        if self._refusals <= _MAX_REFUSAL_LINES:
            self._append("refusal", text=_text(text))
        else:
            self._apply({"event": "refusal", "text": _text(text)})
            self._publish()

    def close(self) -> None:
        """Write the termination message a last time and close the file."""
        self._publish()
        self._file.close()

    def _append(self, event: str, **values: object) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"event": event, "time": now, **values}
        # The totals first: what was spent counts, even where it cannot be written down.
        self._apply(line)
        try:
            data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
            if self._file.write(data) != len(data):
                raise OSError("no space left for a whole line")
        except OSError as error:
            self.fault = f"the gateway's ledger {self._path} cannot be written: {error.strerror or error}"
            log.error("%s", self.fault)
        self._publish()

    def _load(self) -> None:
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            for number, line in enumerate(file, start=1):
                try:
                    self._apply(json.loads(line))
                except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                    log.warning("ledger line %d is unreadable and not counted", number)

    def _close_torn_line(self) -> None:
        with self._path.open("rb") as file:
            if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n":
                self._file.write(b"\n")

    def _apply(self, line: Mapping[str, Any]) -> None:
        """Add one event to the totals; raise where the line is not one, without having added a part."""
        ledger = self._ledger
        match line["event"]:
            case "model_call":
                tokens = Tokens(**line["tokens"])
                unpriced = ledger.unpriced_models
                if line["unpriced"] and line["model"] not in unpriced and len(unpriced) < _MAX_UNPRICED:
                    unpriced += (str(line["model"]),)
                self._ledger = dataclasses.replace(
                    ledger,
                    usd=ledger.usd + float(line["usd"]),
                    tokens=ledger.tokens + tokens,
                    model_calls=ledger.model_calls + (line["status"] == 200),
                    unpriced_models=unpriced,
                )
            case "push_sent":
                self._sent[_push(line)] = None
            case "push":
                push = _push(line)
                self._sent.pop(push, None)
                self._known.add(push.new)
                self._ledger = dataclasses.replace(ledger, pushes=(*ledger.pushes, push))
            case "push_rejected":
                self._sent.pop(_push(line), None)
            case "refusal":
                refusals = (*ledger.refusals, str(line["text"]))[-_MAX_REFUSALS:]
                self._ledger = dataclasses.replace(ledger, refusals=refusals)

    def _publish(self) -> None:
        if self._termination_log is None:
            return
        data = termination_message(self._ledger)
        try:
            # Overwrites and then cuts, so that a kill in between leaves no empty file.
            handle = os.open(self._termination_log, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.pwrite(handle, data, 0)
                os.ftruncate(handle, len(data))
            finally:
                os.close(handle)
        except OSError as error:
            log.warning("termination log %s: %s", self._termination_log, error.strerror or error)


def termination_message(ledger: Ledger) -> bytes:
    """Return ``ledger`` as JSON of at most :data:`MAX_TERMINATION_MESSAGE_BYTES`.

    What does not fit is left out, oldest first: refusals, then pushes; the sums always stay.
    """
    while len(data := ledger.to_json().encode()) > MAX_TERMINATION_MESSAGE_BYTES:
        if ledger.refusals:
            ledger = dataclasses.replace(ledger, refusals=ledger.refusals[1:])
        elif len(ledger.pushes) > 1:
            ledger = dataclasses.replace(ledger, pushes=ledger.pushes[1:])
        else:
            ledger = dataclasses.replace(ledger, unpriced_models=ledger.unpriced_models[1:])
    return data


def _push(line: Mapping[str, Any]) -> Push:
    return Push(ref=str(line["ref"]), old=str(line["old"]), new=str(line["new"]))


def _text(text: str, limit: int = _MAX_TEXT) -> str:
    """Make a text fit for JSON: no lone surrogates, one line, at most ``limit`` characters."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return " ".join(cut.encode("utf-8", "replace").decode().split())
