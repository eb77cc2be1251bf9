"""The ledger on disk: one line of JSON for each event, appended; read again after a restart."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO

from agent_runner.contract import MAX_TERMINATION_MESSAGE_BYTES, Ledger, Push, Settled, Tokens
from agent_runner.gateway.totals import Totals, read

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from agent_runner.gateway.budget import Amount

log = logging.getLogger(__name__)

_MAX_REFUSAL_LINES = 1_000
_MAX_MCP_LINES = 5_000
_MAX_TEXT = 300
_MAX_MODEL = 100
_MODELS_KEPT = 5
"""How many models stay in a termination message that is too long."""


class JournalError(Exception):
    """The ledger cannot be opened; the text names the file and the fault."""


def ledger_file(directory: Path, pod: str) -> Path:
    """Return where the gateway of ``pod`` keeps its ledger."""
    return directory / f"{pod}.jsonl"


class Journal:
    """All that the gateway saw, as a running :class:`Ledger` and as lines of a file.

    A line that a crash left unfinished is ignored and closed, so that the next event starts a line of its
    own.

    :param path: the file, see :func:`ledger_file`; its directory must exist.
    :param termination_log: file that holds the cut ledger at every moment, or ``None``. It is written in
        place, since it may be a mount.
    :raises JournalError: if the file cannot be read or opened.
    """

    def __init__(self, path: Path, termination_log: Path | None = None) -> None:
        self._path = path
        self._termination_log = termination_log
        self._totals = Totals()
        self._refusals = 0
        self._mcp_calls = 0
        self._budget_parts: set[str] = set()
        self.fault: str | None = None
        """Why an event could not be written, once that happened. Nothing may be spent or pushed then: it
        would be forgotten at a restart."""
        try:
            self._load()
            self._file: BinaryIO = self._path.open("ab", buffering=0)
            self._close_torn_line()
            _sync_directory(self._path.parent)
        except OSError as error:
            raise JournalError(f"ledger {self._path}: {error.strerror or error}") from None
        self._publish()

    @property
    def ledger(self) -> Ledger:
        """The totals so far."""
        return self._totals.ledger()

    @property
    def spent(self) -> Amount:
        """What all model calls cost; those without an end count at their estimate."""
        return self._totals.spent

    @property
    def settled(self) -> Mapping[str, Settled]:
        """What earlier pods of the task were found to have spent, by pod."""
        return self._totals.settled

    @property
    def own_commits(self) -> frozenset[str]:
        """Commits that this gateway has put on the work branch, before a restart too."""
        return frozenset(push.new for push in self._totals.pushes)

    @property
    def unsettled(self) -> tuple[Push, ...]:
        """Pushes sent to the forge whose outcome is not known."""
        return self._totals.unsettled_pushes

    def model_call_begun(self, *, model: str, tokens: Tokens, usd: float, unpriced: bool) -> str:
        """Note, before it is sent, a call of the model API; :meth:`sync` before sending it.

        Without an end it counts at the estimate for ever.

        :param tokens: the estimate, as is ``usd``.
        :param unpriced: whether ``usd`` is at the fallback price.
        :returns: the id of the call, for its end.
        """
        call = secrets.token_hex(8)
        self._append(
            "model_call_begun",
            id=call,
            model=_text(model, _MAX_MODEL) or "unknown",
            estimate_usd=usd,
            estimate_tokens=dataclasses.asdict(tokens),
            unpriced=unpriced,
        )
        return call

    def model_call(
        self,
        call: str,
        *,
        model: str | None,
        status: int,
        tokens: Tokens,
        usd: float,
        unpriced: bool,
        estimated: bool,
    ) -> None:
        """Note the end of a call, in place of its estimate. Only those with status 200 count as calls.

        :param call: its id, from :meth:`model_call_begun`.
        :param model: as the answer names it; ``None`` where no model was used, as in errors.
        :param status: HTTP status of the answer; 0 where none came.
        :param unpriced: whether ``usd`` is at the fallback price.
        :param estimated: whether the answer broke off and a part was estimated.
        """
        self._append(
            "model_call",
            id=call,
            model=None if model is None else _text(model, _MAX_MODEL) or "unknown",
            status=status,
            tokens=dataclasses.asdict(tokens),
            usd=usd,
            unpriced=unpriced,
            estimated=estimated,
        )

    def budget_refusal(self, part: str, text: str) -> None:
        """Note that a call was refused because the budget is spent. The first of each kind makes a line.

        :param part: which part of the budget: ``USD`` or ``tokens``.
        """
        if part in self._budget_parts:
            self._totals.budget_refusals += 1
            self._publish()
        else:
            self._budget_parts.add(part)
            self._append("budget_refusal", text=_text(text))

    def settle(self, settled: Settled) -> None:
        """Note what an earlier pod of the task spent."""
        self._append("settled", **dataclasses.asdict(settled))

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
            self._totals.apply({"event": "refusal", "text": _text(text)})
            self._publish()

    def mcp_call(self, server: str, *, tool: str, outcome: str, seconds: float) -> None:
        """Note a call of a tool of an MCP server. The file takes some thousands of them.

        :param outcome: ``answered``, ``failed`` or ``refused``.
        """
        self._mcp_calls += 1
        values = {
            "server": server,
            "tool": _text(tool, _MAX_MODEL),
            "outcome": outcome,
            "seconds": round(seconds, 3),
        }
        if self._mcp_calls <= _MAX_MCP_LINES:
            self._append("mcp_call", **values)
        else:
            self._totals.apply({"event": "mcp_call", **values})
            self._publish()

    async def sync(self) -> None:
        """Wait until all events so far are on the disk, so that they outlive the node; else set :attr:`fault`."""
        try:
            await asyncio.to_thread(os.fsync, self._file.fileno())
        except (OSError, ValueError) as error:
            self._failed(error)

    def close(self) -> None:
        """Write the termination message a last time and close the file."""
        self._publish()
        self._file.close()

    def _append(self, event: str, **values: object) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"event": event, "time": now, **values}
        # The totals first: what was spent counts, even where it cannot be written down.
        self._totals.apply(line)
        try:
            data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
            if self._file.write(data) != len(data):
                raise OSError("no space left for a whole line")
        except OSError as error:
            self._failed(error)
        self._publish()

    def _failed(self, error: Exception) -> None:
        words = error.strerror if isinstance(error, OSError) else None
        text = f"the gateway's ledger {self._path} cannot be written: {words or error}"
        log.error("%s", text)
        self.fault = self.fault or text

    def _load(self) -> None:
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            read(file, self._totals)

    def _close_torn_line(self) -> None:
        with self._path.open("rb") as file:
            if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n":
                self._file.write(b"\n")

    def _publish(self) -> None:
        if self._termination_log is None:
            return
        data = termination_message(self.ledger)
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

    What does not fit is left out in this order: refusals and pushes but the last, oldest first; models and
    their names, cheapest first; MCP servers; settled pods, which then stay unsettled. The sums always stay.
    """
    while len(data := ledger.to_json().encode()) > MAX_TERMINATION_MESSAGE_BYTES:
        if ledger.refusals:
            ledger = dataclasses.replace(ledger, refusals=ledger.refusals[1:])
        elif len(ledger.pushes) > 1:
            ledger = dataclasses.replace(ledger, pushes=ledger.pushes[1:])
        elif len(ledger.models) > _MODELS_KEPT:
            ledger = dataclasses.replace(ledger, models=ledger.models[:-1])
        elif ledger.unpriced_models:
            ledger = dataclasses.replace(ledger, unpriced_models=ledger.unpriced_models[:-1])
        elif ledger.models:
            ledger = dataclasses.replace(ledger, models=ledger.models[:-1])
        elif ledger.mcp:
            ledger = dataclasses.replace(ledger, mcp=ledger.mcp[:-1])
        else:
            ledger = dataclasses.replace(ledger, settled=ledger.settled[:-1])
    return data


def _sync_directory(directory: Path) -> None:
    """Make the file's entry in its directory outlive the node, where the file system can do that."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        log.debug("%s cannot be synchronised: %s", directory, error.strerror)
    finally:
        os.close(handle)


def _text(text: str, limit: int = _MAX_TEXT) -> str:
    """Make a text fit for JSON: no lone surrogates, one line, at most ``limit`` characters."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return " ".join(cut.encode("utf-8", "replace").decode().split())
