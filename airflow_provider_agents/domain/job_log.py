"""What of a long log tells why a check failed: :class:`JobLogReader`, which takes it in pieces.

A job's log runs to megabytes, and the failure stands in a few of its lines, often far from the end: later
steps, and the clean-up of each action, write after it. Kept are the lines that look like errors, each with
its surroundings, and the end. Memory stays within bounds whatever comes.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

MOST_READ_BYTES = 32 * 1024 * 1024
"""Of a log that is longer, the rest is not read."""
MOST_READ_LINES = 1_000_000
"""Likewise: tens of millions of empty lines would take a minute of computing."""
TAIL_BYTES = 8 * 1024
EXCERPT_BYTES = 12 * 1024
MOST_MATCHES = 60
LINE_CHARACTERS = 1_000
LINES_BEFORE = 2
LINES_AFTER = 6

_GAP = "[…]"
_MOST_PARTIAL_BYTES = 16 * 1024

# GitHub Actions puts a time before each line, and a byte order mark before the first.
_STAMP = re.compile(r"^\ufeff?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z ?")
_COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
# What a step runs stands before what it prints, in a group of its own.
_SCRIPT_BEGINS, _SCRIPT_ENDS = "##[group]Run ", "##[endgroup]"
_STRUCTURE = re.compile(r"^##\[(?:group|endgroup|section|debug)\]")
_COMMAND = re.compile(r"^(?:##\[command\]|\[command\])")
# Says no more than that the check failed.
_EXIT = re.compile(r"^##\[error\]Process completed with exit code \d+\.$")
_ERROR = "##[error]"
_CLEAN_UP = "Post job cleanup."

_NOTHING_WRONG = re.compile(
    r"\b(?:0|no|without(?: any)?|zero)\s+(?:\w+\s+)?(?:errors?|failures?|failed|failing)\b"
    r"|\b(?:errors?|failures?|failed)\s*[:=]\s*0\b"
    r"|\b(?:fail|continue)[-_](?:fast|on|ci|under)\b\S*"
    r"|--?[\w-]*(?:error|fail)[\w-]*",
    re.IGNORECASE,
)
_WRONG = re.compile(
    r"\b(?:error|errors|fatal|panic|panicked|fail|failed|failing|failure|failures|exception|traceback"
    r"|assertion|segfault|segmentation fault|core dumped|killed|aborted|timed out|timeout|not ok|cannot|can't"
    r"|could not|couldn't|unable to|undefined reference|command not found|no such (?:file|host)|permission denied"
    r"|refused|unresolved|reset by peer|hung up|unreachable|no space left|enospc|econn\w+|etimedout|enotfound"
    r"|eai_again|bad gateway|service unavailable|too ?many ?requests|rate limit)\b"
    r"|(?-i:\b[A-Za-z_]\w*(?:Error|Exception|Failure)\b|\bERR!)"
    r"|^E   |^\s*[✗✕✖✘×]\s|^FAIL(?:ED)?\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogExtract:
    """What was kept of a log. Raw text of outsiders, but without times, colours and marks of structure."""

    matches: tuple[str, ...] = ()
    """Lines that look like errors, each once, in their order; ``##[error]`` stands before GitHub's own."""
    excerpt: str = ""
    """Those lines with their surroundings, as far as they are not in :attr:`tail`."""
    tail: str = ""
    """The end."""
    cut: bool = False
    """Whether the log was longer than is read."""


@dataclass(slots=True)
class _Kept:
    """Numbered lines: the first ones up to half of a bound, and the last ones up to the other half."""

    most_bytes: int
    first: list[tuple[int, str]] = field(default_factory=list)
    last: deque[tuple[int, str]] = field(default_factory=deque)
    _first_bytes: int = 0
    _last_bytes: int = 0

    def add(self, number: int, line: str) -> None:
        size = len(line.encode(errors="ignore")) + 1
        if not self.last and self._first_bytes + size <= self.most_bytes // 2:
            self.first.append((number, line))
            self._first_bytes += size
            return
        self.last.append((number, line))
        self._last_bytes += size
        while self._last_bytes > self.most_bytes // 2 and len(self.last) > 1:
            self._last_bytes -= len(self.last.popleft()[1].encode(errors="ignore")) + 1

    def text(self, before: int) -> str:
        """Return the lines numbered below ``before``, with a mark at each gap."""
        parts: list[str] = []
        expected = None
        for number, line in (*self.first, *self.last):
            if number >= before:
                break
            if expected is not None and number != expected:
                parts.append(_GAP)
            parts.append(line)
            expected = number + 1
        return "\n".join(parts)


class JobLogReader:
    """Takes a log piece by piece; bytes that are no UTF-8 are replaced."""

    def __init__(self) -> None:
        self._partial = b""
        self._read = 0
        self._number = 0
        self._matches: list[str] = []
        self._late_matches: deque[str] = deque(maxlen=MOST_MATCHES // 2)
        self._seen: set[str] = set()
        self._kept = _Kept(EXCERPT_BYTES)
        self._before: deque[tuple[int, str]] = deque(maxlen=LINES_BEFORE)
        self._after = 0
        self._tail: deque[tuple[int, str]] = deque()
        self._tail_bytes = 0
        self._cleaning_up = False
        self._in_script = False

    def add(self, chunk: bytes) -> bool:
        """Take a piece; return whether more of the log is wanted."""
        self._read += len(chunk)
        *whole, self._partial = (self._partial + chunk).split(b"\n")
        for line in whole:
            self._line(line)
        # A line without end must not grow without bound.
        self._partial = self._partial[:_MOST_PARTIAL_BYTES]
        return not self._full

    def extract(self) -> LogExtract:
        """Return what was kept, once all was added."""
        if self._partial:
            self._line(self._partial)
            self._partial = b""
        first_of_tail = self._tail[0][0] if self._tail else self._number
        return LogExtract(
            matches=(*self._matches, *self._late_matches),
            excerpt=self._kept.text(first_of_tail),
            tail="\n".join(line for _, line in self._tail),
            cut=self._full,
        )

    @property
    def _full(self) -> bool:
        return self._read >= MOST_READ_BYTES or self._number >= MOST_READ_LINES

    def _line(self, raw: bytes) -> None:
        line = _plain(raw)
        if line.startswith((_SCRIPT_BEGINS, _SCRIPT_ENDS)):
            self._in_script = line.startswith(_SCRIPT_BEGINS)
        if _STRUCTURE.match(line):
            return
        if line == _CLEAN_UP:
            self._cleaning_up = True
        if line.startswith(_ERROR):
            self._in_script = False
        wrong = not self._in_script and looks_wrong(line)
        if self._cleaning_up and not wrong:
            # What actions do after the job would fill the tail, and is never why it failed.
            return
        self._number += 1
        self._window(line, wrong=wrong)
        self._tail.append((self._number, line))
        self._tail_bytes += len(line.encode(errors="ignore")) + 1
        while self._tail_bytes > TAIL_BYTES and len(self._tail) > 1:
            self._tail_bytes -= len(self._tail.popleft()[1].encode(errors="ignore")) + 1

    def _window(self, line: str, *, wrong: bool) -> None:
        if wrong:
            self._match(line)
            for number, earlier in self._before:
                self._kept.add(number, earlier)
            self._before.clear()
            self._after = LINES_AFTER + 1
        if self._after:
            self._after -= 1
            self._kept.add(self._number, line)
        else:
            self._before.append((self._number, line))

    def _match(self, line: str) -> None:
        if line in self._seen or _EXIT.match(line):
            return
        if len(self._matches) < MOST_MATCHES // 2:
            self._matches.append(line)
            self._seen.add(line)
        elif line not in self._late_matches:
            self._late_matches.append(line)


def looks_wrong(line: str) -> bool:
    """Tell whether a line of a log looks like one that tells of an error; of one too many rather than few."""
    if _COMMAND.match(line):
        return False
    return _WRONG.search(line) is not None and _WRONG.search(_NOTHING_WRONG.sub(" ", line)) is not None


def _plain(raw: bytes) -> str:
    text = raw[:_MOST_PARTIAL_BYTES].decode(errors="replace").rstrip("\r")
    # Progress bars write over their line: its last state is what a person saw.
    text = text.rsplit("\r", 1)[-1]
    text = _COLOUR.sub("", _STAMP.sub("", text))
    return text[:LINE_CHARACTERS].rstrip()
