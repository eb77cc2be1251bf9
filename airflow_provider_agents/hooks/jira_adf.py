"""Text of Jira's document format (ADF, what Cloud's version 3 gives) as Markdown, for a prompt.

Deterministic, since approvals are held to a hash of it. Nodes that are not known give the text inside them.
Data Center gives wiki markup, which is text already.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

MOST_DEPTH = 60
"""Nodes within nodes that are followed; a person's document has some ten."""
TOO_DEEP = "[more is nested here than is read]"

Node = Mapping[str, Any]

_CARDS = frozenset({"inlineCard", "blockCard", "embedCard"})
_TASK_MARKS = {"DONE": "[x]", "TODO": "[ ]"}


def adf_text(document: Any) -> str:
    """Return a document's text; a string is returned as it is, nothing as an empty string."""
    if document is None:
        return ""
    if isinstance(document, str):
        return document.replace("\r\n", "\n").strip()
    return _blocks(document, 0).strip()


def _children(node: Any) -> list[Node]:
    content = node.get("content") if isinstance(node, Mapping) else None
    return [child for child in content if isinstance(child, Mapping)] if isinstance(content, list) else []


def _attribute(node: Node, name: str) -> str:
    attributes = node.get("attrs")
    value = attributes.get(name) if isinstance(attributes, Mapping) else None
    return "" if value is None else str(value)


def _blocks(node: Any, depth: int, between: str = "\n\n") -> str:
    """Return the children of a node that holds blocks."""
    if depth > MOST_DEPTH:
        return TOO_DEEP
    parts: list[str] = []
    inline: list[Node] = []
    for child in [*_children(node), None]:
        if child is not None and str(child.get("type")) in _INLINE:
            inline.append(child)
            continue
        if inline:
            parts.append(_inline({"content": inline}, depth))
            inline = []
        if child is not None:
            parts.append(_block(child, depth + 1))
    return between.join(part for part in parts if part.strip())


def _block(node: Node, depth: int) -> str:
    writer = _BLOCKS.get(str(node.get("type")))
    return writer(node, depth) if writer is not None else _blocks(node, depth)


def _inline(node: Any, depth: int) -> str:
    if depth > MOST_DEPTH:
        return TOO_DEEP
    return "".join(_leaf(child, depth + 1) for child in _children(node))


def _leaf(node: Node, depth: int) -> str:
    kind = str(node.get("type"))
    if kind == "text":
        return _marked(str(node.get("text") or ""), node.get("marks"))
    if kind == "hardBreak":
        return "\n"
    if kind == "mention":
        name = _attribute(node, "text").lstrip("@") or _attribute(node, "id")
        return f"@{name}"
    if kind == "emoji":
        return _attribute(node, "text") or _attribute(node, "shortName")
    if kind == "date":
        return _date(_attribute(node, "timestamp"))
    if kind == "status":
        return f"[{_attribute(node, 'text')}]"
    if kind in _CARDS:
        return _attribute(node, "url")
    if kind in ("media", "mediaInline"):
        return _media(node, depth)
    if kind == "placeholder":
        return _attribute(node, "text")
    if kind in ("extension", "inlineExtension"):
        return _attribute(node, "text") or f"[{_attribute(node, 'extensionKey') or 'extension'}]"
    return _inline(node, depth)


def _marked(text: str, marks: Any) -> str:
    for mark in marks if isinstance(marks, list) else []:
        kind = mark.get("type") if isinstance(mark, Mapping) else None
        if kind == "code":
            text = f"`{text}`"
        elif kind == "strong":
            text = f"**{text}**"
        elif kind == "em":
            text = f"*{text}*"
        elif kind == "strike":
            text = f"~~{text}~~"
        elif kind == "link" and (href := _attribute(mark, "href")) and href != text:
            text = f"[{text}]({href})"
    return text


def _date(timestamp: str) -> str:
    try:
        return f"{datetime.fromtimestamp(int(timestamp) / 1000, UTC):%Y-%m-%d}"
    except (ValueError, OverflowError, OSError):
        return timestamp


def _paragraph(node: Node, depth: int) -> str:
    return _inline(node, depth)


def _heading(node: Node, depth: int) -> str:
    level = _attribute(node, "level")
    return f"{'#' * (int(level) if level in ('1', '2', '3', '4', '5', '6') else 1)} {_inline(node, depth)}"


def _code(node: Node, depth: int) -> str:
    text = "".join(str(child.get("text") or "") for child in _children(node))
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{_attribute(node, 'language')}\n{text}\n{fence}"


def _quote(node: Node, depth: int) -> str:
    return "\n".join(f"> {line}".rstrip() for line in _blocks(node, depth).split("\n"))


def _panel(node: Node, depth: int) -> str:
    kind = _attribute(node, "panelType")
    return _quote({"content": [{"type": "paragraph", "content": _label(kind)}, *_children(node)]}, depth)


def _label(kind: str) -> list[Node]:
    return [{"type": "text", "text": f"{kind.capitalize()}:"}] if kind else []


def _expand(node: Node, depth: int) -> str:
    title = _attribute(node, "title")
    return "\n\n".join(part for part in (f"**{title}**" if title else "", _blocks(node, depth)) if part)


def _list(node: Node, depth: int) -> str:
    ordered = node.get("type") == "orderedList"
    first = _attribute(node, "order")
    number = int(first) if first.isdecimal() and len(first) < 9 else 1
    items = []
    for place, item in enumerate(_children(node), number):
        mark = f"{place}. " if ordered else "- "
        items.append(_indented(mark, _tight(item, depth + 1)))
    return "\n".join(items)


def _tasks(node: Node, depth: int) -> str:
    lines = []
    for item in _children(node):
        if item.get("type") == node.get("type"):
            lines.append(_indented("  ", _tasks(item, depth + 1) if depth < MOST_DEPTH else TOO_DEEP))
            continue
        mark = _TASK_MARKS.get(_attribute(item, "state"), "[ ]") if node.get("type") == "taskList" else "=>"
        lines.append(_indented(f"- {mark} ", _tight(item, depth + 1)))
    return "\n".join(lines)


def _tight(item: Node, depth: int) -> str:
    """Return the blocks of a list's item, one below the other."""
    return _blocks(item, depth, between="\n")


def _indented(mark: str, text: str) -> str:
    return mark + text.replace("\n", "\n" + " " * len(mark))


def _table(node: Node, depth: int) -> str:
    rows = [
        [re.sub(r"\s*\n\s*", " ", _blocks(cell, depth + 2)).replace("|", "\\|") for cell in _children(row)]
        for row in _children(node)
    ]
    width = max((len(row) for row in rows), default=0)
    if not width:
        return ""
    lines = [f"| {' | '.join([*row, *[''] * (width - len(row))])} |" for row in rows]
    return "\n".join([lines[0], f"|{'---|' * width}", *lines[1:]])


def _media(node: Node, depth: int) -> str:
    name = _attribute(node, "alt") or _attribute(node, "url") or "file"
    return f"[attachment: {name}]"


def _media_group(node: Node, depth: int) -> str:
    return "\n".join(part for child in _children(node) if (part := _media_or_caption(child, depth + 1)))


def _media_or_caption(node: Node, depth: int) -> str:
    return _media(node, depth) if node.get("type") == "media" else _inline(node, depth)


def _rule(node: Node, depth: int) -> str:
    return "---"


def _extension(node: Node, depth: int) -> str:
    return _blocks(node, depth) or _leaf(node, depth)


def _card(node: Node, depth: int) -> str:
    return _leaf(node, depth)


_INLINE = frozenset(
    {
        "text",
        "hardBreak",
        "mention",
        "emoji",
        "date",
        "status",
        "inlineCard",
        "mediaInline",
        "placeholder",
        "inlineExtension",
    }
)

_BLOCKS: Mapping[str, Callable[[Node, int], str]] = MappingProxyType(
    {
        "paragraph": _paragraph,
        "heading": _heading,
        "codeBlock": _code,
        "blockquote": _quote,
        "panel": _panel,
        "expand": _expand,
        "nestedExpand": _expand,
        "bulletList": _list,
        "orderedList": _list,
        "taskList": _tasks,
        "decisionList": _tasks,
        "table": _table,
        "mediaSingle": _media_group,
        "mediaGroup": _media_group,
        "media": _media,
        "rule": _rule,
        "blockCard": _card,
        "embedCard": _card,
        "extension": _extension,
        "bodiedExtension": _extension,
    }
)
