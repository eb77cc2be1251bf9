"""What Jira's document format allows: which node may stand in which, for the nodes that our comments use."""

from __future__ import annotations

from typing import Any

_BLOCKS = {"paragraph", "heading", "bulletList", "orderedList", "codeBlock", "blockquote", "rule", "table"}
_MAY_HOLD: dict[str, set[str]] = {
    "doc": _BLOCKS | {"expand"},
    "expand": _BLOCKS,
    "paragraph": {"text", "hardBreak"},
    "heading": {"text", "hardBreak"},
    "bulletList": {"listItem"},
    "orderedList": {"listItem"},
    "listItem": {"paragraph", "bulletList", "orderedList", "codeBlock"},
    "codeBlock": {"text"},
    "blockquote": {"paragraph", "bulletList", "orderedList", "codeBlock"},
    "table": {"tableRow"},
    "tableRow": {"tableHeader", "tableCell"},
    "tableHeader": _BLOCKS - {"table"},
    "tableCell": _BLOCKS - {"table"},
    "text": set(),
    "hardBreak": set(),
    "rule": set(),
}
_NOT_EMPTY = {"expand", "bulletList", "orderedList", "listItem", "blockquote", "table", "tableRow", "doc"}
_KEYS = {"type", "content", "attrs", "marks", "text", "version"}


def adf_fault(node: Any, within: str = "") -> str:
    """Return why Jira would refuse a document; empty: it takes it."""
    if not isinstance(node, dict) or not set(node) <= _KEYS or node.get("type") not in _MAY_HOLD:
        return f"no node of the format: {str(node)[:100]}"
    kind = node["type"]
    if not within and (kind != "doc" or node.get("version") != 1):
        return "no document of version 1"
    content = node.get("content", [])
    if kind in _NOT_EMPTY and not content:
        return f"an empty {kind}"
    if kind == "text":
        return _text_fault(node, within)
    if kind == "heading" and node["attrs"]["level"] not in range(1, 7):
        return "a heading's level"
    if kind == "expand" and not isinstance(node["attrs"]["title"], str):
        return "an expand's title"
    for child in content:
        if child.get("type") not in _MAY_HOLD[kind]:
            return f"{child.get('type')} in {kind}"
        if fault := adf_fault(child, kind):
            return fault
    return ""


def _text_fault(node: dict[str, Any], within: str) -> str:
    if not node.get("text"):
        return "an empty text"
    marks = [mark["type"] for mark in node.get("marks", [])]
    if within == "codeBlock" and marks:
        return "marks in a code block"
    if "code" in marks and set(marks) - {"code", "link"}:
        return f"code with {marks}"
    if len(marks) != len(set(marks)):
        return f"the same mark twice: {marks}"
    for mark in node.get("marks", []):
        if mark["type"] == "link" and not mark["attrs"]["href"].startswith(("http://", "https://")):
            return f"a link to {mark['attrs']['href']}"
    return ""


def plain_text(body: Any) -> str:
    """Return all words of a document, or of wiki markup."""
    if isinstance(body, str):
        return body
    if isinstance(body, dict):
        return " ".join(
            [str(body.get("text") or ""), *(plain_text(child) for child in body.get("content", []))]
        )
    return ""
