"""Which lines of a pull request can carry a remark: those that its diff shows.

GitHub refuses a whole review for one remark at any other line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

DiffLines = Mapping[str, frozenset[int]]
"""Path → lines of the new version that the diff shows."""

_HUNK = re.compile(r"@@ -\d+(?:,\d+)? \+(\d+)(?:,\d+)? @@")


def shown_lines(patch: str) -> frozenset[int]:
    """Return the lines of the new version that a patch shows: added ones and those around them.

    :param patch: of one file, in the unified format, without the ``---`` and ``+++`` lines, as GitHub gives it.
    """
    lines: set[int] = set()
    line: int | None = None
    # Not splitlines(), which also ends lines at form feeds and the like.
    for text in patch.split("\n"):
        if hunk := _HUNK.match(text):
            line = int(hunk[1])
        elif line is not None and (text[:1] in ("+", " ") or text == ""):
            lines.add(line)
            line += 1
    # What follows the last line end is no line.
    if line is not None and patch.endswith("\n"):
        lines.discard(line - 1)
    return frozenset(lines)
