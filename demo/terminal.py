"""What a person sees while the demo runs: lines, and below them a strip of stages that is kept up to date."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from demo.stages import Stage, StageState

_COLORS = {"pending": "2", "running": "36", "done": "32", "rejected": "33", "failed": "31"}
_MARKS: dict[StageState, str] = {"pending": "·", "running": "▸", "done": "✓", "rejected": "↻", "failed": "✗"}
_PLAIN_MARKS: dict[StageState, str] = {
    "pending": ".",
    "running": ">",
    "done": "+",
    "rejected": "~",
    "failed": "x",
}
_WORDS: dict[StageState, str] = {
    "pending": "to come",
    "running": "started",
    "done": "finished",
    "rejected": "finished, asks for another go",
    "failed": "FAILED",
}
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_GAP = "  "
_MIN_WIDTH = 20


def printable(text: str) -> str:
    """Return ``text`` without the characters that steer a terminal; others wrote it."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "", text)


def duration(seconds: float) -> str:
    """Return e.g. ``8s`` or ``2m05s``."""
    whole = int(seconds)
    return f"{whole}s" if whole < 60 else f"{whole // 60}m{whole % 60:02d}s"


def money(usd: float) -> str:
    """Return e.g. ``$0.0421``."""
    return f"${usd:.4f}"


@dataclass(frozen=True, slots=True)
class Style:
    """What the terminal can show."""

    live: bool = False
    """Lines can be drawn again in place."""
    color: bool = False
    unicode: bool = True

    @classmethod
    def of(cls, stream: TextIO, environment: Mapping[str, str] | None = None) -> Style:
        """Find out: colour and redrawing only on a terminal, colour not where ``NO_COLOR`` is set."""
        environment = os.environ if environment is None else environment
        live = stream.isatty() and environment.get("TERM", "dumb") != "dumb"
        try:
            "✓▸·↻✗⠋".encode(stream.encoding or "ascii")
            unicode = True
        except (UnicodeEncodeError, LookupError):
            unicode = False
        return cls(live=live, color=live and not environment.get("NO_COLOR"), unicode=unicode)

    def mark(self, state: StageState) -> str:
        return (_MARKS if self.unicode else _PLAIN_MARKS)[state]

    def paint(self, text: str, state: StageState) -> str:
        """Return ``text`` in the colour of ``state``, where there are colours."""
        return f"\x1b[{_COLORS[state]}m{text}\x1b[0m" if self.color else text

    def bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self.color else text

    def fits(self, text: str) -> str:
        """Return ``text`` with ASCII in place of what cannot be shown."""
        return text if self.unicode else text.replace("…", "...").encode("ascii", "replace").decode()


class Terminal:
    """Writes lines and the strip.

    :param stream: where to.
    :param style: what it can show; found out by default.
    :param width: columns; asked before every drawing by default.
    """

    def __init__(self, stream: TextIO, *, style: Style | None = None, width: int | None = None) -> None:
        self._stream = stream
        self.style = style or Style.of(stream)
        self._width = width
        self._drawn = 0
        self._last: dict[str, StageState] = {}
        self._spinner = itertools.cycle(_SPINNER if self.style.unicode else "|/-\\")

    def line(self, text: str = "") -> None:
        """Write a line that stays, above the strip."""
        self._erase()
        self._stream.write(self.style.fits(text) + "\n")
        self._stream.flush()

    def show(self, stages: Sequence[Stage], *, seconds: float, usd: float) -> None:
        """Bring the strip up to date; without redrawing: write a line for each stage that changed.

        :param seconds: since the run began.
        :param usd: what it cost so far.
        """
        if not self.style.live:
            self._write_changes(stages, seconds, usd)
            return
        footer = f"{next(self._spinner)} {duration(seconds)}  {money(usd)}"
        # One column stays free: a full line makes some terminals wrap, and the next redraw miss by one.
        columns = (self._width or shutil.get_terminal_size().columns) - 1
        lines = [*strip(stages, self.style, columns), footer[:columns]]
        self._erase()
        self._stream.write("".join(f"{line}\n" for line in lines))
        self._stream.flush()
        self._drawn = len(lines)

    def keep(self) -> None:
        """Leave the strip where it is; what comes next is written below."""
        self._drawn = 0

    def _erase(self) -> None:
        if self._drawn:
            self._stream.write(f"\x1b[{self._drawn}A\r\x1b[J")
            self._drawn = 0

    def _write_changes(self, stages: Iterable[Stage], seconds: float, usd: float) -> None:
        for stage in stages:
            if self._last.get(stage.name, "pending") == stage.state:
                continue
            self._last[stage.name] = stage.state
            took = f" in {duration(stage.seconds)}" if stage.seconds and stage.state != "running" else ""
            cost = f", {money(usd)} so far" if stage.usd else ""
            mark = self.style.mark(stage.state)
            self.line(f"[{duration(seconds):>6}] {mark} {stage.name}: {_WORDS[stage.state]}{took}{cost}")


def strip(stages: Sequence[Stage], style: Style, columns: int) -> list[str]:
    """Return the stages as lines of at most ``columns`` columns."""
    columns = max(columns, _MIN_WIDTH)
    lines: list[str] = []
    current, used = "", 0
    for stage in stages:
        took = f" {duration(stage.seconds)}" if stage.seconds is not None else ""
        text = f"{style.mark(stage.state)} {stage.name}{took}"[:columns]
        if used and used + len(_GAP) + len(text) > columns:
            lines.append(current)
            current, used = "", 0
        gap = _GAP if used else ""
        current += gap + style.paint(text, stage.state)
        used += len(gap) + len(text)
    return [*lines, current] if used else lines
