"""A text that is too long for one comment, as several: cut between lines, each part with its number."""

from __future__ import annotations

import re

MOST_CHARACTERS = 60_000
"""GitHub takes 65,536 characters; the rest is for marks and hidden markers."""

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_ROOM_FOR_MARKS = 200
"""For a part's number, and for closing and opening a code block at a cut."""


def comment_parts(text: str, most: int = MOST_CHARACTERS) -> tuple[str, ...]:
    """Return ``text`` as bodies of comments of at most ``most`` characters.

    A text that fits stays as it is. Otherwise each part says ``Part i of n``. The cuts are between lines;
    a line that is longer than a comment is cut by itself. A code block that spans a cut is closed before
    it and opened again behind it, so that every part reads alone.

    :param most: at least 1,000.
    """
    if most < 1_000:
        raise ValueError(f"most must be at least 1,000, not {most}")
    if len(text) <= most:
        return (text,)
    pieces = _pieces(text, most - _ROOM_FOR_MARKS)
    return tuple(f"*Part {i} of {len(pieces)}*\n\n{piece}" for i, piece in enumerate(pieces, 1))


def _pieces(text: str, room: int) -> list[str]:
    pieces: list[str] = []
    lines: list[str] = []
    size, fence = 0, ""
    for line in _short_lines(text, room):
        if lines and size + len(line) + 1 > room:
            pieces.append("\n".join([*lines, *([_closing(fence)] if fence else [])]))
            lines = [fence] if fence else []
            size = sum(len(kept) + 1 for kept in lines)
        lines.append(line)
        size += len(line) + 1
        fence = _fence_after(fence, line)
    return [*pieces, "\n".join(lines)]


def _short_lines(text: str, room: int) -> list[str]:
    # A line that opens a code block again takes its own place in the part.
    longest = room - _ROOM_FOR_MARKS
    return [line[i : i + longest] for line in text.split("\n") for i in range(0, max(len(line), 1), longest)]


def _fence_after(fence: str, line: str) -> str:
    """Return the line that opened the code block in which the text is after ``line``; empty outside one."""
    found = _FENCE.match(line)
    if found is None:
        return fence
    if not fence:
        # What is between backticks in its own opening line is code in a line, not a block.
        is_block = not (found[1][0] == "`" and "`" in found[2])
        return line.strip()[: _ROOM_FOR_MARKS // 4] if is_block else ""
    mark = _closing(fence)
    closes = found[1][0] == mark[0] and len(found[1]) >= len(mark) and not found[2].strip()
    return "" if closes else fence


def _closing(fence: str) -> str:
    found = _FENCE.match(fence)
    return found[1] if found else "```"
