from __future__ import annotations

import io
import re

import pytest

from demo.stages import Stage
from demo.terminal import Style, Terminal, duration, printable, strip

LIVE = Style(live=True, color=True)
PLAIN = Style()


class Screen:
    """As much of a terminal as the strip uses: lines, up, clear to the end."""

    def __init__(self) -> None:
        self.lines: list[str] = [""]
        self.row = 0

    def feed(self, text: str) -> list[str]:
        for part in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
            if part == "\n":
                self.row += 1
                if self.row == len(self.lines):
                    self.lines.append("")
            elif part == "\r":
                pass  # only ever written before everything below is cleared
            elif match := re.fullmatch(r"\x1b\[(\d+)A", part):
                self.row -= int(match[1])
            elif part == "\x1b[J":
                del self.lines[self.row + 1 :]
                self.lines[self.row] = ""
            elif not part.startswith("\x1b"):
                self.lines[self.row] += part
        return self.lines


class Tty(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


STAGES = [
    Stage(name="plan", state="done", seconds=12.4, usd=0.01),
    Stage(name="implement 1", state="running", seconds=3.0),
    Stage(name="test 1", state="pending"),
]


def show(terminal: Terminal, stages: list[Stage] = STAGES, seconds: float = 15, usd: float = 0.0123) -> None:
    terminal.show(stages, seconds=seconds, usd=usd)


def test_the_strip_is_redrawn_in_place_and_lines_stay_above_it():
    stream, screen = io.StringIO(), Screen()
    terminal = Terminal(stream, style=LIVE, width=60)
    terminal.line("hello")
    show(terminal)
    show(terminal, seconds=16)
    terminal.line("still here")
    show(terminal, seconds=17)
    lines = screen.feed(stream.getvalue())
    assert lines[:2] == ["hello", "still here"]
    assert lines[2] == "✓ plan 12s  ▸ implement 1 3s  · test 1"
    assert lines[3].endswith("17s  $0.0123")
    assert lines[4:] == [""]


def test_a_strip_that_gets_shorter_leaves_nothing_behind():
    stream, screen = io.StringIO(), Screen()
    terminal = Terminal(stream, style=LIVE, width=24)
    show(terminal)
    show(terminal, STAGES[:1])
    assert len(screen.feed(stream.getvalue())) == 3  # strip, footer, cursor


def test_what_was_kept_is_not_drawn_over():
    stream, screen = io.StringIO(), Screen()
    terminal = Terminal(stream, style=LIVE, width=60)
    show(terminal)
    terminal.keep()
    terminal.line("over")
    lines = screen.feed(stream.getvalue())
    assert lines[0].startswith("✓ plan")
    assert lines[2] == "over"


@pytest.mark.parametrize("columns", [1, 20, 25, 40, 200])
def test_no_line_of_the_strip_is_wider_than_the_terminal(columns: int):
    long = [*STAGES, Stage(name="a stage with quite a long name", state="failed", seconds=4000)]
    lines = strip(long, PLAIN, columns)
    assert all(len(line) <= max(columns, 20) for line in lines)
    assert "plan" in lines[0]


def test_without_redrawing_each_change_is_one_line():
    stream = io.StringIO()
    terminal = Terminal(stream, style=PLAIN)
    show(terminal)
    show(terminal)
    show(terminal, [STAGES[0], Stage(name="implement 1", state="failed", seconds=65)], seconds=80)
    assert stream.getvalue().splitlines() == [
        "[   15s] ✓ plan: finished in 12s, $0.0123 so far",
        "[   15s] ▸ implement 1: started",
        "[ 1m20s] ✗ implement 1: FAILED in 1m05s",
    ]
    assert "\x1b" not in stream.getvalue()


def test_colours_only_where_they_are_wanted():
    assert Style.of(Tty(), {"TERM": "xterm"}) == Style(live=True, color=True)
    assert Style.of(Tty(), {"TERM": "xterm", "NO_COLOR": "1"}) == Style(live=True, color=False)
    assert Style.of(Tty(), {"TERM": "xterm", "NO_COLOR": ""}).color
    assert Style.of(Tty(), {"TERM": "dumb"}) == Style()
    assert Style.of(Tty(), {}) == Style()


def test_a_stream_that_is_no_terminal_is_not_redrawn():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    assert Style.of(stream, {"TERM": "xterm"}) == Style()


def test_an_ascii_terminal_gets_ascii():
    bytes_written = io.BytesIO()
    stream = io.TextIOWrapper(bytes_written, encoding="ascii")
    terminal = Terminal(stream)
    terminal.line("wait … für")
    show(terminal)
    assert bytes_written.getvalue().decode("ascii").splitlines()[:2] == [
        "wait ... f?r",
        "[   15s] + plan: finished in 12s, $0.0123 so far",
    ]


def test_text_of_others_cannot_steer_the_terminal():
    assert printable("a\x1b[2J\x9b1A\rb\x07\u202ec\td\n") == "a[2J1Abc\td\n"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (59.9, "59s"), (60, "1m00s"), (3725, "62m05s")])
def test_durations(seconds: float, text: str):
    assert duration(seconds) == text
