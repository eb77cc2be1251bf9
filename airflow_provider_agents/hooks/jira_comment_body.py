"""Our comment as Jira takes it: a document (Cloud) or wiki markup (Data Center).

In a document words are words: nothing in them calls a person or a macro. In wiki markup every character that
could is escaped.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.hooks.jira_markdown import Block, Run, read_markdown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MOST_CHARACTERS = 32_000
"""Jira takes 32,767 characters in a comment, and does not say of what; the document's JSON is held to this."""
CUT = "\n\n*The rest is left out here; it is in the run.*"

Document = dict[str, Any]

# Marks of phrases mean something only at a word's edge, so that snake_case and kebab-case stay as they are.
_SPECIAL = re.compile(r"[\\{}\[\]|!]|(?<!\w)[-_+*~^?]|[-_+*~^?](?!\w)|^#", re.MULTILINE)


def comment_body(text: str, *, cloud: bool) -> Document | str:
    """Return the body of a comment from its Markdown, cut to what Jira takes."""
    write: Callable[[str], Document | str] = document_of if cloud else wiki_of
    kept = text[: 2 * MOST_CHARACTERS]
    body = write(kept if kept == text else kept + CUT)
    while (size := _size(body)) > MOST_CHARACTERS:
        kept = kept[: min(len(kept) * 9 // 10, len(kept) * MOST_CHARACTERS // size)]
        body = write(kept + CUT)
    return body


def _size(body: Document | str) -> int:
    return len(body if isinstance(body, str) else json.dumps(body))


def document_of(text: str) -> Document:
    """Return a Markdown text as a document of Jira's format, version 1."""
    content = [_node(block) for block in read_markdown(text)]
    return {"type": "doc", "version": 1, "content": content or [_paragraph(())]}


def wiki_of(text: str) -> str:
    """Return a Markdown text as wiki markup."""
    return "\n\n".join(_wiki(block) for block in read_markdown(text))


def _node(block: Block) -> Document:
    match block.kind:
        case "heading":
            return {"type": "heading", "attrs": {"level": block.level}, "content": _texts(block.runs)}
        case "bullets" | "numbers":
            kind = "bulletList" if block.kind == "bullets" else "orderedList"
            items = [{"type": "listItem", "content": [_paragraph(item)]} for item in block.items]
            return {"type": kind, "content": items}
        case "code":
            return _code(block)
        case "rule":
            return {"type": "rule"}
        case "table":
            width = max(len(row) for row in block.rows)
            rows = [_row(row, width, head=not place) for place, row in enumerate(block.rows)]
            return {"type": "table", "content": rows}
        case "quote":
            content = _within(block.blocks, _IN_QUOTES)
            return {"type": "blockquote", "content": content or [_paragraph(())]}
        case "fold":
            content = _within(block.blocks, _IN_FOLDS)
            return {"type": "expand", "attrs": {"title": block.text}, "content": content or [_paragraph(())]}
        case _:
            return _paragraph(block.runs)


_IN_QUOTES = frozenset({"paragraph", "bullets", "numbers", "code"})
_IN_FOLDS = _IN_QUOTES | {"heading", "rule", "table", "quote"}


def _within(blocks: Iterable[Block], allowed: frozenset[str]) -> list[Document]:
    """Return what stands in a quote or a fold, which Jira lets hold some kinds only; the others become paragraphs."""
    nodes: list[Document] = []
    for block in blocks:
        if block.kind in allowed:
            nodes.append(_node(block))
        elif block.kind == "table":
            nodes += [
                _paragraph(run for cell in row for run in (*cell, Run(text="  "))) for row in block.rows
            ]
        elif block.kind != "rule":
            title = (Run(text=block.text, bold=True),) if block.text else tuple(block.runs)
            nodes += [_paragraph(title)] if title else []
            nodes += _within(block.blocks, allowed)
    return nodes


def _code(block: Block) -> Document:
    node: Document = {"type": "codeBlock"}
    if block.language:
        node["attrs"] = {"language": block.language}
    if block.text:
        node["content"] = [{"type": "text", "text": block.text}]
    return node


def _paragraph(runs: Iterable[Run]) -> Document:
    return {"type": "paragraph", "content": _texts(runs)}


def _row(row: tuple[tuple[Run, ...], ...], width: int, *, head: bool) -> Document:
    kind = "tableHeader" if head else "tableCell"
    cells = [*row, *([()] * (width - len(row)))]
    return {"type": "tableRow", "content": [{"type": kind, "content": [_paragraph(cell)]} for cell in cells]}


def _texts(runs: Iterable[Run]) -> list[Document]:
    nodes: list[Document] = []
    for run in runs:
        for place, line in enumerate(run.text.split("\n")):
            if place:
                nodes.append({"type": "hardBreak"})
            if line:
                nodes.append({"type": "text", "text": line, **_marks(run)})
    return nodes


def _marks(run: Run) -> Document:
    marks: list[Document] = [{"type": "link", "attrs": {"href": run.href}}] if run.href else []
    if run.code:
        marks.append({"type": "code"})  # which goes with a link only
    else:
        marks += [{"type": name} for name, on in (("strong", run.bold), ("em", run.italic)) if on]
    return {"marks": marks} if marks else {}


def _wiki(block: Block) -> str:
    match block.kind:
        case "heading":
            return f"h{block.level}. {_wiki_line(block.runs)}"
        case "bullets" | "numbers":
            mark = "*" if block.kind == "bullets" else "#"
            return "\n".join(f"{mark} {_wiki_line(item)}" for item in block.items)
        case "code":
            # Nothing is escaped in there; only its own end could be taken for it.
            text = block.text.replace("{noformat}", "{ noformat}")
            return f"{{noformat}}\n{text}\n{{noformat}}"
        case "rule":
            return "----"
        case "table":
            return "\n".join(_wiki_row(row, head=not place) for place, row in enumerate(block.rows))
        case "quote":
            return "{quote}\n" + "\n\n".join(_wiki(inner) for inner in block.blocks) + "\n{quote}"
        case "fold":
            inner = "\n\n".join(_wiki(one) for one in block.blocks)
            return f"{{panel:title={re.sub(r'[{}|=]', ' ', block.text)}}}\n{inner}\n{{panel}}"
        case _:
            return _wiki_line(block.runs, "\n")


def _wiki_row(row: tuple[tuple[Run, ...], ...], *, head: bool) -> str:
    mark = "||" if head else "|"
    return mark + mark.join(_wiki_line(cell) or " " for cell in row) + mark


def _wiki_line(runs: Iterable[Run], between: str = " ") -> str:
    return "".join(_wiki_run(run, between) for run in runs)


def _wiki_run(run: Run, between: str) -> str:
    if run.href and run.href == run.text:
        return _address(run.href)
    text = between.join(wiki_escaped(line) for line in run.text.split("\n"))
    if not text.strip():
        return text
    if run.href:
        return f"[{text.replace(chr(10), ' ')}|{_address(run.href)}]"
    if run.code:
        return f"{{{{{text}}}}}"
    mark = ("*" if run.bold else "") + ("_" if run.italic else "")
    return f"{mark}{text}{mark[::-1]}"


def wiki_escaped(text: str) -> str:
    """Return words that wiki markup shows as they are: no mention, no macro, no link."""
    return _SPECIAL.sub(lambda found: f"\\{found[0]}", text)


def _address(url: str) -> str:
    """Return an address without what would end a link of wiki markup."""
    return re.sub(r"[\[\]|{}\s\\^!*]", lambda found: f"%{ord(found[0]):02X}", url)
