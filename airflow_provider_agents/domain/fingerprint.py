"""What tells one failure from another: :func:`fingerprint`.

Two runs of one failure differ in times, durations, temporary paths, ports, addresses and line numbers; two
failures differ in words. So everything that looks like the former is taken out, and the rest is hashed.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_agents.domain.feedback import FailingCheck, Feedback

_MOST_LINES = 200
"""Lines of one check that count."""
_MOST_CHARACTERS = 400
"""Of one line that count: a long one is data."""

_ERROR = re.compile(
    r"error|fail|exception|traceback|panic|fatal|assert|expected|undefined|not found|cannot|✗|✕|×|\bE\b",
    re.IGNORECASE,
)
_NOISE: tuple[tuple[re.Pattern[str], str], ...] = (
    # Order counts: the larger form first, before a smaller one takes a piece of it.
    (re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]"), ""),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?( ?(Z|[+-]\d\d:?\d\d))?"), "<time>"),
    (re.compile(r"\b\d\d?:\d\d:\d\d([.,]\d+)?\b"), "<time>"),
    (re.compile(r"\b[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "<hex>"),
    (
        re.compile(
            r"(/private)?(/var/folders|/tmp|/var/tmp|/dev/shm)(/[^\s:'\"),\]]*)?"
            r"|[A-Za-z]:\\(?:[^\s\\:'\"]+\\)*Temp\\[^\s:'\")]*",
            re.IGNORECASE,
        ),
        "<temp>",
    ),
    # Where the runner has its checkout.
    (re.compile(r"(/home/runner/work|/github/workspace|/builds)(/[^\s/:'\")]+){0,2}/"), ""),
    (re.compile(r"\b0[xX][0-9a-fA-F]+\b"), "<hex>"),
    (re.compile(r"\b(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{7,64}\b"), "<hex>"),
    (re.compile(r"\b\d+([.,]\d+)*\s?(ns|µs|us|ms|s|sec|secs|seconds?|m|min|minutes?|h)\b"), "<n>"),
    (re.compile(r"\d+([.,:]\d+)*"), "<n>"),
    (re.compile(r"[=_*~#.-]{4,}"), "-"),
    (re.compile(r"\s+"), " "),
)


def fingerprint(feedback: Feedback) -> str:
    """Return a stable name for the failure in ``feedback``: names of the failing checks and what they said.

    Empty where no check fails, or where none of them says anything: of two silent failures nobody can tell
    whether they are the same.
    """
    said = sorted(
        {(failing.check.name, line) for failing in feedback.failing_checks for line in _lines(failing)}
    )
    if not said:
        return ""
    names = sorted({failing.check.name for failing in feedback.failing_checks})
    text = "\x00".join([*names, "", *(f"{name}\x01{line}" for name, line in said)])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def normalised(line: str) -> str:
    """Return a line without what differs from run to run."""
    for pattern, instead in _NOISE:
        line = pattern.sub(instead, line)
    return line.strip()[:_MOST_CHARACTERS]


def _lines(failing: FailingCheck) -> list[str]:
    """Return the lines that say what failed, from the best source that has any."""
    remarks = [f"{a.path}: {a.message}" for a in failing.annotations]
    sources = (
        "\n".join((*failing.log_matches, *remarks)),
        failing.log_tail,
        failing.check.summary,
        failing.check.title,
    )
    for source in sources:
        if lines := list(_error_lines(source)):
            return lines[:_MOST_LINES]
    return []


def _error_lines(text: str) -> Iterator[str]:
    """Yield the lines that look like errors; where none does, all: then the words differ only here."""
    lines = [line for raw in text.splitlines() if (line := normalised(raw[:4_000]))]
    yield from [line for line in lines if _ERROR.search(line)] or lines
