"""Our comment as Jira takes it: nothing is lost that is ours, nothing works that is not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.ticket_comment import STAGES, RunStatus, refusal_comment, run_comment
from airflow_provider_agents.hooks.jira_comment_body import (
    MOST_CHARACTERS,
    comment_body,
    document_of,
    wiki_of,
)

sys.path.append(str(Path(__file__).resolve().parents[2] / "contract"))

from jira_adf_rules import adf_fault, plain_text


def texts(text: str) -> list[dict[str, Any]]:
    return document_of(text)["content"][0]["content"]


@pytest.mark.parametrize(
    ("markdown", "wiki"),
    [
        ("**Bold** and *it* and _it_", "*Bold* and _it_ and _it_"),
        ("`ticket__jira__1`", "{{ticket__jira__1}}"),
        ("[run](https://a.example/x?a=1&amp;b=2)", "[run|https://a.example/x?a=1&b=2]"),
        ("see https://a.example/pull/7.", "see https://a.example/pull/7."),
        ("<https://a.example>", "https://a.example"),
        ("# Head", "h1. Head"),
        ("- a\n- b\n  more", "* a\n* b more"),
        ("1. a\n2) b", "# a\n# b"),
        ("```sh\nls {x}\n```", "{noformat}\nls {x}\n{noformat}"),
        ("~~~\n{noformat}\n~~~", "{noformat}\n{ noformat}\n{noformat}"),
        ("> quoted", "{quote}\nquoted\n{quote}"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "||a||b||\n|1|2|"),
        ("---", "----"),
        (
            "<details><summary>Plan</summary>\n\nDo it.\n\n</details>",
            "{panel:title=Plan}\nDo it.\n{panel}",
        ),
        ("<!-- hidden --><sub>small</sub>", "small"),
        ("1 &lt; 2 &amp;amp;", "1 < 2 &amp;"),
        ("\\*not bold\\*", "\\*not bold\\*"),
        ("snake_case and kebab-case", "snake_case and kebab-case"),
        (
            "[~admin] {color:red} !x.png! -no- a|b",
            "\\[\\~admin\\] \\{color:red\\} \\!x.png\\! \\-no\\- a\\|b",
        ),
        ("[x](javascript:alert(1))", "\\[x\\](javascript:alert(1))"),
        ("https://a.example/[~admin]", "https://a.example/\\[\\~admin\\]"),
        ("", ""),
    ],
)
def test_wiki_markup(markdown: str, wiki: str) -> None:
    assert wiki_of(markdown) == wiki


def test_words_in_a_document_are_words() -> None:
    (words,) = texts("@admin [~admin] {code} &lt;b&gt;")
    assert words == {"type": "text", "text": "@admin [~admin] {code} <b>"}
    (link,) = texts("[**x**](https://a.example)")
    assert [mark["type"] for mark in link["marks"]] == ["link", "strong"]
    assert texts("a\nb") == [
        {"type": "text", "text": "a"},
        {"type": "hardBreak"},
        {"type": "text", "text": "b"},
    ]


def test_our_comments_come_through_whole() -> None:
    status = RunStatus(
        run_id="ticket__jira-1a2b3c__10001__0123456789",
        run_url="https://airflow.example.com/dags/coding_task/runs/x",
        stages=dict.fromkeys(STAGES, "done"),
        headline="The agent *plans*.",
        plan={"summary": "Add lines | up", "steps": ["one", "two </details> three"]},
        pull_request_url="https://github.com/acme/shop/pull/7",
        attempts=2,
        cost_usd=1.5,
    )
    for comment in (run_comment(status), refusal_comment(["eve may not: [~boss] @boss"])):
        document = document_of(comment)
        assert adf_fault(document) == ""
        for body in (plain_text(document), wiki_of(comment)):
            assert "Coding agent" in body
            assert "<" not in body.replace("</details>", "")
    assert "ticket__jira-1a2b3c__10001__0123456789" in wiki_of(run_comment(status))
    kinds = [block["type"] for block in document_of(run_comment(status))["content"]]
    assert "expand" in kinds


_TABLE = "| a | b |\n|---|---|\n"
_PIECES = st.sampled_from(
    [
        "**",
        "*",
        "_",
        "`",
        "```\n",
        "\n",
        "\n\n",
        "# ",
        "- ",
        "1. ",
        "> ",
        "[x](https://a.b)",
        "---\n",
        "\\",
        "word",
        "<details><summary>T</summary>",
        "</details>",
        _TABLE,
        "é{}[]|!",
        "  ",
        "https://a.b/c",
        "<sub>",
        "\x00",
    ]
)


@given(st.lists(_PIECES, max_size=30).map("".join))
def test_any_markdown_makes_a_document_that_jira_takes(markdown: str) -> None:
    assert adf_fault(document_of(markdown)) == ""
    assert isinstance(wiki_of(markdown), str)


@given(st.text(alphabet="ab {}[]|!*_-+~^?\\#@", max_size=40))
def test_no_macro_no_mention_in_wiki_markup(words: str) -> None:
    shown = wiki_of(words).replace("{{", "").replace("}}", "")
    for place, character in enumerate(shown):
        if character in "{}[]|!" and not shown.startswith(("||", "|"), place):
            assert shown[place - 1] == "\\", shown


@pytest.mark.parametrize("cloud", [True, False])
@pytest.mark.parametrize("piece", ["word ", "*", "{", "- item\n", "| a |\n|---|\n", "\n\n", "é"])
def test_what_is_too_long_is_cut(piece: str, *, cloud: bool) -> None:
    body = comment_body("Begin. " + piece * 40_000, cloud=cloud)
    size = len(body) if isinstance(body, str) else len(json.dumps(body))
    assert size <= MOST_CHARACTERS
    if isinstance(body, dict):
        assert adf_fault(body) == ""
    assert "Begin" in str(body)
