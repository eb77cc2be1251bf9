"""Plain lines on standard output, which are the log of the pod and end up in the task log."""

from __future__ import annotations

import contextlib
import os
import re
import sys

from agent_runner.contract import RESULT_MARKER, StepResult

MAX_LINE = 500
"""Characters of one readable log line."""
MAX_OUTPUT_LINE = 4_000
"""Characters of one line of the test command's output."""

_ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)?"  # operating system command
    r"|\x1b[PX^_][^\x1b]{0,4096}(?:\x1b\\)?"  # device control and other strings
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # control sequence
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_NEUTRAL_MARKER = "[agents-result]"


def configure() -> None:
    """Make standard output take any text and show each line at once."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)


def plain(text: str) -> str:
    """Return ``text`` without terminal escapes and control characters, line ends and tabs excepted."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def one_line(text: str, limit: int = MAX_LINE) -> str:
    """Return ``text`` as one plain line of at most ``limit`` characters that cannot pass for a result.

    Looks at no more than a few times ``limit`` characters, so that a huge text costs nothing.
    """
    line = " ".join(plain(text[: 4 * limit + 1_000]).split())
    line = line.replace(RESULT_MARKER, _NEUTRAL_MARKER)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def output_line(text: str) -> str:
    """Return one line of a program's output, spaces kept, that cannot pass for a result."""
    line = plain(text[: 4 * MAX_OUTPUT_LINE]).replace("\n", " ").replace(RESULT_MARKER, _NEUTRAL_MARKER)
    return line if len(line) <= MAX_OUTPUT_LINE else line[: MAX_OUTPUT_LINE - 1] + "…"


def say(text: str) -> None:
    """Write one readable line."""
    _write(one_line(text))


def say_output(text: str) -> None:
    """Write one line of a program's output."""
    _write(output_line(text))


def announce(result: StepResult) -> None:
    """Write the marked line that holds the whole result; raise :class:`OSError` where that fails."""
    sys.stdout.write(f"{RESULT_MARKER}{result.to_json()}\n")
    sys.stdout.flush()


def discard() -> None:
    """Write nothing more: what could not be written would fail once more at exit and change the exit code."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _write(line: str) -> None:
    # A reader that went away must not end the step: its result also goes to the termination message.
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError:
        return
