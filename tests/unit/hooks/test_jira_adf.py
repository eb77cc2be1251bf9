"""Jira's documents as text: every kind of node, and documents that nobody's editor makes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.hooks.jira_adf import MOST_DEPTH, TOO_DEEP, adf_text

Json = dict[str, Any]


def doc(*content: Json) -> Json:
    return {"type": "doc", "version": 1, "content": list(content)}


def node(kind: str, *content: Json, **attrs: Any) -> Json:
    return {"type": kind, "attrs": attrs, "content": list(content)}


def text(words: str, *marks: Json) -> Json:
    return {"type": "text", "text": words, "marks": list(marks)}


def para(*content: Json | str) -> Json:
    return node("paragraph", *(text(one) if isinstance(one, str) else one for one in content))


def cell(words: str) -> Json:
    return node("tableCell", para(words))


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ([para("one"), para("two")], "one\n\ntwo"),
        ([node("heading", text("Head"), level=2)], "## Head"),
        ([node("heading", text("Head"), level="nine")], "# Head"),
        ([para(text("b", {"type": "strong"}), " ", text("i", {"type": "em"}))], "**b** *i*"),
        ([para(text("x()", {"type": "code"}), text("gone", {"type": "strike"}))], "`x()`~~gone~~"),
        (
            [para(text("here", {"type": "link", "attrs": {"href": "https://a.example"}}))],
            "[here](https://a.example)",
        ),
        (
            [para(text("https://a.example", {"type": "link", "attrs": {"href": "https://a.example"}}))],
            "https://a.example",
        ),
        ([para(text("red", {"type": "textColor", "attrs": {"color": "#f00"}}))], "red"),
        ([para("a", {"type": "hardBreak"}, "b")], "a\nb"),
        ([para("ask ", node("mention", id="712020:x", text="@Mona Lisa"))], "ask @Mona Lisa"),
        ([para(node("mention", id="712020:x"))], "@712020:x"),
        ([para(node("emoji", shortName=":smile:", text="😄"), node("emoji", shortName=":x:"))], "😄:x:"),
        ([para(node("date", timestamp="1767225600000"))], "2026-01-01"),
        ([para(node("date", timestamp="soon"))], "soon"),
        ([para(node("status", text="DONE", color="green"))], "[DONE]"),
        ([para(node("inlineCard", url="https://a.example/1"))], "https://a.example/1"),
        ([node("blockCard", url="https://a.example/2")], "https://a.example/2"),
        ([node("embedCard", url="https://a.example/3", layout="wide")], "https://a.example/3"),
        ([para(node("placeholder", text="Say why"))], "Say why"),
        ([node("codeBlock", text("a\n\nb"), language="python")], "```python\na\n\nb\n```"),
        ([node("codeBlock", text("```"))], "````\n```\n````"),
        ([node("blockquote", para("one"), para("two"))], "> one\n>\n> two"),
        ([node("panel", para("careful"), panelType="warning")], "> Warning:\n>\n> careful"),
        ([node("expand", para("inside"), title="More")], "**More**\n\ninside"),
        ([node("nestedExpand", para("inside"))], "inside"),
        ([node("rule")], "---"),
        ([node("bulletList", node("listItem", para("a")), node("listItem", para("b")))], "- a\n- b"),
        (
            [
                node(
                    "orderedList",
                    node("listItem", para("a"), node("bulletList", node("listItem", para("deep")))),
                    node("listItem", node("codeBlock", text("x\n\ny"))),
                    order=3,
                )
            ],
            "3. a\n   - deep\n4. ```\n   x\n   \n   y\n   ```",
        ),
        (
            [
                node(
                    "taskList",
                    node("taskItem", text("did"), state="DONE"),
                    node("taskItem", text("do"), state="TODO"),
                    node("taskList", node("taskItem", text("sub"), state="TODO")),
                )
            ],
            "- [x] did\n- [ ] do\n  - [ ] sub",
        ),
        ([node("decisionList", node("decisionItem", text("so be it"), state="DECIDED"))], "- => so be it"),
        (
            [
                node(
                    "table",
                    node("tableRow", node("tableHeader", para("a|b")), node("tableHeader", para("c"))),
                    node("tableRow", node("tableCell", para("1"), para("2"))),
                )
            ],
            "| a\\|b | c |\n|---|---|\n| 1 2 |  |",
        ),
        ([node("table")], ""),
        (
            [
                node(
                    "mediaSingle",
                    node("media", id="x", type="file", alt="shot.png"),
                    node("caption", text("The bug")),
                )
            ],
            "[attachment: shot.png]\nThe bug",
        ),
        (
            [node("mediaGroup", node("media", id="x"), node("media", id="y"))],
            "[attachment: file]\n[attachment: file]",
        ),
        ([para("see ", node("mediaInline", id="x", alt="a.log"))], "see [attachment: a.log]"),
        (
            [node("layoutSection", node("layoutColumn", para("left")), node("layoutColumn", para("right")))],
            "left\n\nright",
        ),
        ([node("extension", extensionKey="toc")], "[toc]"),
        ([node("bodiedExtension", para("inside"), extensionKey="excerpt")], "inside"),
        ([para(node("inlineExtension", extensionKey="jira-date", text="today"))], "today"),
        ([node("somethingNew", para("kept"))], "kept"),
        ([para(node("somethingNewInline"), "after")], "after"),
        ([{"type": "text", "text": "bare"}, para("x")], "bare\n\nx"),
    ],
)
def test_nodes(content: list[Json], shown: str) -> None:
    assert adf_text(doc(*content)) == shown


def test_wiki_markup_and_nothing_are_themselves() -> None:
    assert adf_text("h1. Head\r\n*bold*\n") == "h1. Head\n*bold*"
    assert adf_text(None) == ""
    assert adf_text(7) == ""


def test_a_document_without_end_is_cut() -> None:
    deep: Json = para("bottom")
    for _ in range(5_000):
        deep = node("blockquote", deep)
    shown = adf_text(doc(deep))
    assert TOO_DEEP in shown
    assert "bottom" not in shown
    tasks: Json = node("taskItem", text("bottom"))
    for _ in range(5_000):
        tasks = node("taskList", tasks)
    assert TOO_DEEP in adf_text(doc(tasks))
    fine: Json = para("bottom")
    for _ in range(MOST_DEPTH // 2):
        fine = node("expand", fine)
    assert "bottom" in adf_text(doc(fine))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "content", "attrs", "text", "marks", "order"]), inner, max_size=4
        )
        | st.builds(
            lambda kind, content: {"type": kind, "content": content, "attrs": content},
            st.sampled_from(
                ["paragraph", "table", "orderedList", "taskList", "media", "date", "text", "heading"]
            ),
            st.lists(inner, max_size=3),
        )
    ),
    max_leaves=20,
)


@given(_VALUES)
def test_anything_gives_a_text_and_the_same_one_each_time(value: Any) -> None:
    shown = adf_text({"type": "doc", "content": [value, value]})
    assert isinstance(shown, str)
    assert shown == adf_text({"type": "doc", "content": [value, value]})
