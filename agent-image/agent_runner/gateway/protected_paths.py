"""Which paths of a repository are protected: patterns, compared so that no spelling of a path slips by.

A decision about values: no git, no file system.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ANY_FOLDERS = "**"

# macOS' file system skips these in names.
_IGNORED = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")


class ProtectedPaths:
    """Patterns of paths that may not be changed.

    A pattern is anchored at the top of the repository. ``**`` stands for any number of folders, ``*`` and
    ``?`` for characters within one name; all other characters stand for themselves. A pattern that fits a
    folder protects everything below it.

    Names are compared as the most forgiving file systems do: without regard to case, to the form of their
    Unicode characters, and to what Windows and macOS drop from them.

    :param patterns: e.g. ``.github/workflows/**``; those without a name in them protect nothing.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        # A folder that is protected as a whole is so with or without a ``/**`` at the end.
        split = (tuple(_folded(name) for name in pattern.split("/") if name) for pattern in patterns)
        self._patterns = tuple(_compiled(parts) for parts in split if parts)

    def __bool__(self) -> bool:
        """Whether anything is protected."""
        return bool(self._patterns)

    def covers(self, path: str, *, leads_elsewhere: bool = False) -> bool:
        """Return whether a change of ``path`` is a change of something protected.

        :param path: of an entry that is no folder; bytes that are not UTF-8 as surrogate escapes.
        :param leads_elsewhere: whether the entry is a symbolic link or a submodule. Such a one is covered,
            too, where a folder is due that protected paths lie in.
        """
        names = tuple(_folded(name) for name in path.split("/"))
        return any(
            _fits(pattern, names) or (leads_elsewhere and _leads_to(pattern, names))
            for pattern in self._patterns
        )


_Part = re.Pattern[str] | None
"""Fits one name; ``None``: any number of folders."""


def _compiled(parts: tuple[str, ...]) -> tuple[_Part, ...]:
    while len(parts) > 1 and parts[-1] == _ANY_FOLDERS:
        parts = parts[:-1]
    return tuple(None if part == _ANY_FOLDERS else _name_pattern(part) for part in parts)


def _name_pattern(part: str) -> re.Pattern[str]:
    # What fnmatch makes of it takes no long time to compare, however long a name is.
    return re.compile(fnmatch.translate(part.replace("[", "[[]")))


def _fits(pattern: tuple[_Part, ...], names: tuple[str, ...]) -> bool:
    """Return whether ``pattern`` fits the path or one of the folders that it lies in."""
    # Where in the names each way of reading the pattern so far has come to.
    places = {0}
    for part in pattern:
        if part is None:
            places = set(range(min(places, default=len(names) + 1), len(names) + 1))
        else:
            places = {at + 1 for at in places if at < len(names) and part.fullmatch(names[at])}
    return bool(places)


def _leads_to(pattern: tuple[_Part, ...], names: tuple[str, ...]) -> bool:
    """Return whether the path is that of a folder which what the pattern protects lies in."""
    if len(names) >= len(pattern):
        return False
    return all(
        part is not None and part.fullmatch(name)
        for part, name in zip(pattern[: len(names)], names, strict=True)
    )


def _folded(name: str) -> str:
    text = _IGNORED.sub("", unicodedata.normalize("NFKC", name)).casefold()
    return unicodedata.normalize("NFKC", text).rstrip(". ") or name
