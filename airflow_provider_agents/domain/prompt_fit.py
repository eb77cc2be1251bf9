"""Prompts that are too long: what is cut, and how it is said.

Parts are cut by their priority: the least important first down to a rest, then away, until the prompt fits. Text
between the markers of :func:`~.untrusted.fence` keeps them, whatever is cut.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent_runner.contract import MAX_SPEC_BYTES
from agent_runner.contract.wire import to_line
from airflow_provider_agents.domain.untrusted import clip, fence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_provider_agents.domain.run_settings import ContextWindow

BYTES_PER_TOKEN = 4
"""Rough mean of English and code."""
WINDOW_SHARE = 4
"""The first message takes one part in this many of what the model keeps in mind: the rest is for its work."""

SPEC_BYTES = MAX_SPEC_BYTES - 16_000
"""For both prompts of a step's specification; the rest is for instructions, schema and names."""
RESUME_BYTES = SPEC_BYTES // 2
"""Of them, at the most for what is said to an agent whose session goes on."""

PARTS: Mapping[str, tuple[str, int]] = {
    "prompt": ("the task", 100_000),
    "ticket": ("the ticket", 40_000),
    "feedback": ("the feedback", 30_000),
    "description": ("the description of the pull request", 10_000),
    "decided": ("the decisions", 6_000),
    "reason": ("the reason", 2_000),
    "review_prompt": ("what to look at", 20_000),
    "findings": ("the findings of earlier reviews", 8_000),
    "plan": ("the plan", 8_000),
    "answers": ("the answers to earlier reviews", 6_000),
    "earlier_plan": ("the last plan", 8_000),
    "history": ("what was done so far", 4_000),
}
"""Variables that may be cut, the most important first: what they are called in the notice, and how many bytes each
keeps before any is left out altogether."""

_NOTICE_BYTES = 80
_LEAST_BYTES = 400
_HEADING = "## Left out\nThere was too much for one message. Of these parts only so much is above:"
_FENCED = re.compile(
    r'<untrusted id="(?P<id>[0-9a-f]{12})" source="(?P<source>[^"\n]*)">\n(?P<body>.*?)\n</untrusted id="(?P=id)">',
    re.DOTALL,
)
_LOG = re.compile(r"\b(log|output)\b")


class TooLongError(Exception):
    """What may not be cut is too long.

    :param size: bytes that would be needed.
    :param most: bytes that there are.
    """

    def __init__(self, size: int, most: int) -> None:
        super().__init__(f"{size:,} bytes, at most {most:,}, after everything that may be left out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A prompt that fits."""

    text: str
    left_out: tuple[str, ...] = ()
    """Which parts were cut, each as words for a person."""


def estimated_tokens(text: str) -> int:
    """Return about how many tokens a text has."""
    return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)


def window_bytes(context_window: ContextWindow | None) -> int:
    """Return how long a first message may be for a model, in bytes.

    :param context_window: the run's setting; ``None``: that of most models.
    """
    tokens = 1_000_000 if context_window == "1m" else 200_000
    return tokens * BYTES_PER_TOKEN // WINDOW_SHARE


def written_size(text: str) -> int:
    """Return how many bytes a text takes in a step's specification."""
    return len(to_line(text).encode()) - 2


def fit(render: Callable[[Mapping[str, Any]], str], values: Mapping[str, Any], most_bytes: int) -> Fitted:
    """Render a prompt, with as much of its parts as fits.

    :param render: makes the prompt of values; the same of the same ones.
    :param most_bytes: as of :func:`written_size`, at least some thousand.
    :raises TooLongError: what may not be cut is too long.
    """
    now = dict(values)
    text = render(now)
    if written_size(text) <= most_bytes:
        return Fitted(text=text)
    most = most_bytes - written_size(_notice(values, dict.fromkeys(PARTS, ""))) - _NOTICE_BYTES
    for away in (False, True):
        for name, (_, least) in reversed(tuple(PARTS.items())):
            rest = 0 if away else least
            over = written_size(text) - most
            have = _size(now.get(name))
            if over <= 0 or have <= rest:
                continue
            shorter = cut(str(values[name]), max(rest, have - over - _NOTICE_BYTES))
            tried = render({**now, name: shorter})
            if tried != text:  # else the template has no use for it
                now[name], text = shorter, tried
    if (size := written_size(text)) > most:
        raise TooLongError(size, most)
    return Fitted(text=text + _notice(values, now), left_out=tuple(_shortened(values, now)))


def cut(text: str, most_bytes: int) -> str:
    """Return the beginning of a text, with a notice of what is missing; every fence in it is closed.

    Of what a program wrote, the end is kept: it matters more.

    :param most_bytes: of UTF-8, for the result; less than a few hundred: nothing is kept.
    """
    size = _size(text)
    if size <= most_bytes:
        return text
    if most_bytes < _LEAST_BYTES:
        return ""
    room = most_bytes - _NOTICE_BYTES
    kept: list[str] = []
    for piece, found in _pieces(text):
        if _size(piece) > room:
            kept.append(_shorter(piece, found, room))
            break
        kept.append(piece)
        room -= _size(piece)
    short = "".join(kept).rstrip()
    return f"{short}\n\n[{size - _size(short):,} of {size:,} bytes are left out]".lstrip()


def _shorter(piece: str, found: re.Match[str] | None, room: int) -> str:
    if found is None:
        return piece.encode(errors="replace")[:room].decode(errors="ignore")
    source = found["source"]
    room -= _size(piece) - _size(found["body"]) + _NOTICE_BYTES
    if room <= 0:
        return ""
    log = _LOG.search(source) is not None
    body = clip(found["body"], room, keep="end" if log else "start")
    return fence(body, source, most_bytes=_size(body) + 1, log=log)


def _pieces(text: str) -> Iterator[tuple[str, re.Match[str] | None]]:
    """Yield the text in pieces, each with its match where it is a fence."""
    at = 0
    for found in _FENCED.finditer(text):
        if found.start() > at:
            yield text[at : found.start()], None
        yield found[0], found
        at = found.end()
    if at < len(text):
        yield text[at:], None


def _notice(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    lines = [f"- {line}" for line in _shortened(before, after)]
    return "\n" + "\n".join([_HEADING, *lines]) + "\n" if lines else ""


def _shortened(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name, (called, _) in PARTS.items():
        had, has = _size(before.get(name)), _size(after.get(name))
        if has < had:
            yield f"{called}: {has:,} of {had:,} bytes" if has else f"{called}: nothing of {had:,} bytes"


def _size(value: Any) -> int:
    return len(value.encode(errors="replace")) if isinstance(value, str) else 0
