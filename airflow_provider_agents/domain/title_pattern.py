"""Which regular expressions a rule may hold titles against.

Titles are written by outsiders, and Python's ``re`` knows no time limit: an expression that can divide a title in many
ways tries them all on one that is made not to fit. So the ways are counted, and an expression with too many is refused.
The count is an upper bound: a few expressions that would be harmless are refused, too, and have a form that is not.
"""

from __future__ import annotations

import re
import warnings
from re import _constants as constants  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MOST_CHARACTERS = 200
"""Of an expression."""
TITLE_CHARACTERS = 256
"""Longest title at GitHub."""
MOST_WAYS = TITLE_CHARACTERS**3
"""Ways to divide a title that an expression may have to try: three open quantifiers, about a tenth of a second."""

_IGNORES_CASE = re.compile(r"\(\?[a-zA-Z]*i")
"""Anywhere in the expression: then it is taken to hold everywhere."""
_FEW = 10
"""Repetitions that are counted one by one; more of them are taken as without end."""
_OF_A_RANGE = 256
"""Characters that a longer range is known by: it may overlap with a class such as `\\w` in its middle alone."""
_REPEATS = frozenset({constants.MAX_REPEAT, constants.MIN_REPEAT, constants.POSSESSIVE_REPEAT})
_LOOKS = frozenset({constants.ASSERT, constants.ASSERT_NOT})
_CATEGORIES = {
    constants.CATEGORY_DIGIT: r"\d",
    constants.CATEGORY_NOT_DIGIT: r"\D",
    constants.CATEGORY_SPACE: r"\s",
    constants.CATEGORY_NOT_SPACE: r"\S",
    constants.CATEGORY_WORD: r"\w",
    constants.CATEGORY_NOT_WORD: r"\W",
}


def pattern_fault(pattern: str) -> str:
    """Return why an expression cannot be used on titles; empty: it can."""
    if len(pattern) > MOST_CHARACTERS:
        return f"has more than {MOST_CHARACTERS} characters"
    try:
        with warnings.catch_warnings():  # of forms that a later Python may read differently
            warnings.simplefilter("ignore")
            tree = parser.parse(pattern)
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is not a regular expression: {error}"
    counting = _Counting(tree, ignore_case=bool(_IGNORES_CASE.search(pattern)))
    try:
        ways = counting.sequence(tree)
    except _RefusedError as refused:
        return str(refused)
    if ways > MOST_WAYS:
        return (
            "can divide a title in too many ways, which takes minutes on a title that is made for it; use at the most "
            "three of `*` and `+`: it only has to fit the beginning, so the rest can be left out"
        )
    return ""


class _RefusedError(Exception):
    pass


def _named(part: Any) -> Iterator[int]:
    """Yield the characters that an expression names, and some out of each range."""
    if not isinstance(part, tuple | list | parser.SubPattern):
        return
    kind, value = part if len(part) == 2 else (None, None)
    if kind is constants.LITERAL or kind is constants.NOT_LITERAL:
        yield value
    elif kind is constants.RANGE:
        first, last = value
        yield from range(first, last + 1, 1 + (last - first) // _OF_A_RANGE)
        yield last
    else:
        for inner in part:
            yield from _named(inner)


class _Counting:
    """Counts the ways in which parts of an expression can match."""

    def __init__(self, tree: Any, *, ignore_case: bool) -> None:
        # Characters that tell sets apart: the usual ones, and those that the expression names, however it writes them.
        self._alphabet = frozenset(map(chr, (*range(0x180), *_named(tree))))
        self._ignore_case = ignore_case

    def sequence(self, items: Iterable[tuple[Any, Any]]) -> int:
        ways = 1
        for kind, value in items:
            ways = min(ways * self._ways(kind, value), MOST_WAYS + 1)
        return ways

    def _ways(self, kind: Any, value: Any) -> int:
        if kind in _REPEATS:
            return self._repeat(*value)
        if kind is constants.SUBPATTERN:
            return self.sequence(value[3])
        if kind is constants.ATOMIC_GROUP:
            return self.sequence(value)
        if kind in _LOOKS:
            return self.sequence(value[1])
        if kind is constants.BRANCH:
            return self._branches(value[1])
        if kind in (constants.GROUPREF, constants.GROUPREF_EXISTS):
            raise _RefusedError("refers back to a group, which is not supported; write the text out")
        return 1

    def _repeat(self, least: int, most: int, body: Any) -> int:
        inner = self.sequence(body)
        open_ended = most is constants.MAXREPEAT or most > _FEW
        if inner > 1 and open_ended:
            raise _RefusedError(
                "repeats a group that can itself match in several ways, as `(a+)*` and `(a|ab)*` do; that takes "
                "exponential time on a title that is made for it. Repeat single characters or fixed texts only"
            )
        if open_ended:
            return TITLE_CHARACTERS
        return int((most - least + 1) * inner ** max(most, 1))

    def _branches(self, branches: list[Any]) -> int:
        seen: set[str] = set()
        apart = True
        for branch in branches:
            first, maybe_empty = self._first(branch)
            apart = apart and not maybe_empty and seen.isdisjoint(first)
            seen |= first
        ways = [self.sequence(branch) for branch in branches]
        return max(ways) if apart else sum(ways)

    def _first(self, items: Iterable[tuple[Any, Any]]) -> tuple[set[str], bool]:
        """Return the characters that a part can begin with, and whether it can be empty."""
        found: set[str] = set()
        for kind, value in items:
            first, maybe_empty = self._first_of(kind, value)
            found |= first
            if not maybe_empty:
                return found, False
        return found, True

    def _first_of(self, kind: Any, value: Any) -> tuple[set[str], bool]:
        if kind in _REPEATS:
            first, maybe_empty = self._first(value[2])
            return first, maybe_empty or value[0] == 0
        if kind is constants.SUBPATTERN:
            return self._first(value[3])
        if kind is constants.ATOMIC_GROUP:
            return self._first(value)
        if kind is constants.BRANCH:
            parts = [self._first(branch) for branch in value[1]]
            return set().union(*(first for first, _ in parts)), any(empty for _, empty in parts)
        if kind in _LOOKS or kind is constants.AT:
            return set(), True
        return self._set(kind, value), False

    def _set(self, kind: Any, value: Any) -> set[str]:
        """Return what a single character of an expression stands for."""
        if kind is constants.ANY:
            return set(self._alphabet)
        if kind is constants.LITERAL:
            return self._cased({chr(value)})
        if kind is constants.NOT_LITERAL:
            return set(self._alphabet) - self._cased({chr(value)})
        found: set[str] = set()
        negated = False
        for part, inner in value:
            if part is constants.NEGATE:
                negated = True
            elif part is constants.RANGE:
                found |= {char for char in self._alphabet if inner[0] <= ord(char) <= inner[1]}
            elif part is constants.CATEGORY:
                meant = re.compile(_CATEGORIES[inner])
                found |= {char for char in self._alphabet if meant.match(char)}
            else:
                found.add(chr(inner))
        found = self._cased(found)
        return set(self._alphabet) - found if negated else found

    def _cased(self, chars: set[str]) -> set[str]:
        if not self._ignore_case:
            return chars
        return chars | {char.lower() for char in chars} | {char.upper() for char in chars}
