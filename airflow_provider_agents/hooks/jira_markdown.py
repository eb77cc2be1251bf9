"""The Markdown of our own comments, read into blocks: what Jira takes is no Markdown.

Only what our comments are written in: paragraphs, headings, lists, code, quotes, tables, rules, folds
(``<details>``), and in a line bold, italic, code and links. Anything else stays text, which is also what
outsiders' words in a comment come to.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Literal

BlockKind = Literal["paragraph", "heading", "bullets", "numbers", "code", "quote", "table", "rule", "fold"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Some characters of a line that look the same."""

    text: str
    bold: bool = False
    italic: bool = False
    code: bool = False
    href: str = ""
    """``http`` or ``https`` address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A part of a text."""

    kind: BlockKind
    runs: tuple[Run, ...] = ()
    """Of a paragraph (``\\n`` in a text is a line's end) and a heading."""
    text: str = ""
    """Of code; the title of a fold."""
    level: int = 0
    """Of a heading, 1 to 6."""
    language: str = ""
    items: tuple[tuple[Run, ...], ...] = ()
    """Of a list."""
    rows: tuple[tuple[tuple[Run, ...], ...], ...] = ()
    """Of a table: its first is the head."""
    blocks: tuple[Block, ...] = ()
    """Of a quote and a fold."""


_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)\s*$")
_HEADING = re.compile(r" {0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_RULE = re.compile(r" {0,3}(?:-\s*){3,}$| {0,3}(?:\*\s*){3,}$| {0,3}(?:_\s*){3,}$")
_BULLET = re.compile(r"\s*[-*+]\s+(.*)$")
_NUMBER = re.compile(r"\s*\d{1,9}[.)]\s+(.*)$")
_QUOTE = re.compile(r" {0,3}> ?(.*)$")
_DELIMITER = re.compile(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$")
_FOLD = re.compile(r"\s*<details[^>]*>\s*(?:<summary>(.*?)</summary>)?\s*(.*)$", re.IGNORECASE)
_FOLD_END = re.compile(r"(.*?)</details>\s*$", re.IGNORECASE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_TAG = re.compile(r"</?(?:sub|sup|b|i|em|strong|br|p|summary|details)\s*/?>", re.IGNORECASE)

_INLINE = re.compile(
    r"""
      \\(?P<escaped>[!-/:-@\[-`{-~])
    | (?P<ticks>`+)(?P<code>.+?)(?<!`)(?P=ticks)(?!`)
    | \*\*(?P<bold>(?=\S).+?(?<=\S))\*\*
    | (?<![\w*])\*(?P<star>(?=[^\s*]).*?(?<=[^\s*]))\*(?![\w*])
    | (?<!\w)_(?P<under>(?=[^\s_]).*?(?<=[^\s_]))_(?!\w)
    | \[(?P<label>[^\[\]\n]+)\]\((?P<href>https?://[^\s()<>]+)\)
    | <(?P<auto>https?://[^\s<>]+)>
    | (?P<url>https?://[^\s<>()\[\]|`"']*[^\s<>()\[\]|`"'.,;:!?*_])
    """,
    re.VERBOSE | re.DOTALL,
)
_MOST_NESTING = 4


def read_markdown(text: str) -> tuple[Block, ...]:
    """Return the blocks of a Markdown text; never fails."""
    return _blocks(_COMMENT.sub("", text.replace("\r\n", "\n")).split("\n"), 0)


def _blocks(lines: list[str], nested: int) -> tuple[Block, ...]:
    found: list[Block] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif fence := _FENCE.match(line):
            end = _closing(lines, at + 1, fence[1])
            found.append(Block(kind="code", text="\n".join(lines[at + 1 : end]), language=fence[2]))
            at = end + 1
        elif (fold := _FOLD.match(line)) and nested < _MOST_NESTING:
            inner, at = _fold(lines, at + 1, fold[2])
            title = html.unescape(_TAG.sub("", fold[1] or "")).strip()
            found.append(Block(kind="fold", text=title or "Details", blocks=_blocks(inner, nested + 1)))
        elif heading := _HEADING.match(line):
            found.append(Block(kind="heading", level=len(heading[1]), runs=read_line(heading[2])))
            at += 1
        elif _RULE.match(line):
            found.append(Block(kind="rule"))
            at += 1
        elif _QUOTE.match(line) and nested < _MOST_NESTING:
            inner, at = _while(lines, at, _QUOTE)
            found.append(Block(kind="quote", blocks=_blocks(inner, nested + 1)))
        elif _BULLET.match(line):
            items, at = _while(lines, at, _BULLET)
            found.append(Block(kind="bullets", items=tuple(read_line(item) for item in items)))
        elif _NUMBER.match(line):
            items, at = _while(lines, at, _NUMBER)
            found.append(Block(kind="numbers", items=tuple(read_line(item) for item in items)))
        elif "|" in line and at + 1 < len(lines) and "|" in lines[at + 1] and _DELIMITER.match(lines[at + 1]):
            end = at + 2
            while end < len(lines) and "|" in lines[end]:
                end += 1
            rows = [lines[at], *lines[at + 2 : end]]
            found.append(Block(kind="table", rows=tuple(_cells(row) for row in rows)))
            at = end
        else:
            end = at + 1
            while end < len(lines) and not _starts_block(lines[end]):
                end += 1
            text = "\n".join(part.strip() for part in lines[at:end])
            if runs := read_line(text):
                found.append(Block(kind="paragraph", runs=runs))
            at = end
    return tuple(found)


def _starts_block(line: str) -> bool:
    patterns = (_FENCE, _FOLD, _HEADING, _RULE, _QUOTE, _BULLET, _NUMBER)
    return not line.strip() or any(pattern.match(line) for pattern in patterns)


def _closing(lines: list[str], at: int, fence: str) -> int:
    """Return where a code block ends; one that is never closed ends with the text."""
    for place in range(at, len(lines)):
        found = _FENCE.match(lines[place])
        if found and found[1][0] == fence[0] and len(found[1]) >= len(fence) and not found[2]:
            return place
    return len(lines)


def _fold(lines: list[str], at: int, first: str) -> tuple[list[str], int]:
    """Return the lines of a fold and where it ends."""
    inner = [first]
    if end := _FOLD_END.match(first):
        return [end[1]], at
    for place in range(at, len(lines)):
        if end := _FOLD_END.match(lines[place]):
            return [*inner, end[1]], place + 1
        inner.append(lines[place])
    return inner, len(lines)


def _while(lines: list[str], at: int, pattern: re.Pattern[str]) -> tuple[list[str], int]:
    """Return what follows the marks of successive lines, continuations joined, and where they end."""
    items: list[str] = []
    while at < len(lines):
        if found := pattern.match(lines[at]):
            items.append(found[1])
        elif lines[at].startswith("  ") and lines[at].strip() and pattern is not _QUOTE:
            items[-1] += f"\n{lines[at].strip()}"
        else:
            break
        at += 1
    return items, at


def _cells(row: str) -> tuple[tuple[Run, ...], ...]:
    cells = re.split(r"(?<!\\)\|", row.strip().removeprefix("|").removesuffix("|"))
    return tuple(read_line(cell.replace("\\|", "|").strip()) for cell in cells)


def read_line(text: str) -> tuple[Run, ...]:
    """Return the runs of a line, or of several that make one paragraph."""
    return tuple(run for run in _runs(text, Run(text=""), 0) if run.text)


def _runs(text: str, style: Run, nested: int) -> list[Run]:
    runs: list[Run] = []
    at = 0
    for found in _INLINE.finditer(text) if nested < _MOST_NESTING else ():
        runs.append(_styled(text[at : found.start()], style))
        at = found.end()
        parts = found.groupdict()
        if parts["escaped"]:
            runs.append(_styled(parts["escaped"], style, plain=True))
        elif parts["code"] is not None:
            runs.append(Run(text=parts["code"].strip() or parts["code"], code=True, href=style.href))
        elif parts["bold"] is not None:
            runs += _runs(parts["bold"], _with(style, bold=True), nested + 1)
        elif (italic := parts["star"] or parts["under"]) is not None:
            runs += _runs(italic, _with(style, italic=True), nested + 1)
        elif parts["href"]:
            runs += _runs(parts["label"], _with(style, href=html.unescape(parts["href"])), nested + 1)
        else:
            url = html.unescape(parts["auto"] or parts["url"])
            runs.append(Run(text=url, bold=style.bold, italic=style.italic, href=style.href or url))
    return [*runs, _styled(text[at:], style)]


def _with(style: Run, *, bold: bool = False, italic: bool = False, href: str = "") -> Run:
    return Run(text="", bold=style.bold or bold, italic=style.italic or italic, href=style.href or href)


def _styled(text: str, style: Run, *, plain: bool = False) -> Run:
    shown = text if plain else html.unescape(_TAG.sub("", text))
    return Run(text=shown, bold=style.bold, italic=style.italic, href=style.href)
