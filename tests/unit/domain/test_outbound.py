"""Text of a model that is posted under our name: it calls nobody and closes nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.outbound import (
    MAX_BODY_BYTES,
    MAX_TITLE,
    code_span,
    outbound,
    outbound_title,
    pull_request_body,
)

WORD_JOINER = "\u2060"
# What GitHub takes for a mention and for a closing keyword.
LIVE_MENTION = re.compile(r"(?:^|[^A-Za-z0-9])@[A-Za-z0-9]")
LIVE_CLOSING = re.compile(
    r"\b(?:close[sd]?|fix(?:es|ed)?|resolve[sd]?):?\s+(?:[\w.-]+/[\w.-]+)?#\d", re.IGNORECASE
)


@pytest.mark.parametrize(
    "text",
    [
        "@mona please",
        "thanks @acme/team",
        "(@mona)",
        ".@mona",
        "/@mona",
        "_@mona_",
        "**@mona**",
        "`@mona and no second backtick",
        "&#64;mona",
        "&#x40;mona",
        "&commat;mona",
        "a\n@mona",
        "@\u200bmona",
        "@<!-- x -->mona",
    ],
)
def test_mentions_are_defused(text: str) -> None:
    left = outbound(text)
    assert not LIVE_MENTION.search(left)
    assert not re.search(r"&(?:#0*64|#x0*40|commat);", left)
    assert "mona" in left or "team" in left


@pytest.mark.parametrize("text", ["mona@example.com", "a.b+c9@example.com", "5@5", "a @ b", "@", "@ mona"])
def test_what_is_no_mention_is_left_alone(text: str) -> None:
    assert outbound(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "Fixes #12",
        "closes: #12",
        "RESOLVED   #12",
        "close acme/shop#12",
        "Fix https://github.com/acme/shop/issues/12",
        "fixed GH-12",
        "see:\nresolves\n#12",
        "Fixes &#35;12",
    ],
)
def test_closing_keywords_are_defused(text: str) -> None:
    left = outbound(text)
    assert not LIVE_CLOSING.search(left)
    assert left.replace(WORD_JOINER, "").replace("&amp;", "&") == text


@pytest.mark.parametrize(
    "text", ["This fixes the basket", "See #12", "prefix #12", "fixing #12", "# Title", "a & b"]
)
def test_what_closes_nothing_is_left_alone(text: str) -> None:
    assert outbound(text) == text


@given(
    st.lists(
        st.sampled_from(["@mona", " ", "\n", "`", "fixes ", "#12", "a", ".", "&#64;x", "\u2060", "/"])
    ).map("".join)
)
def test_nothing_live_is_left(text: str) -> None:
    left = outbound(text)
    assert not LIVE_MENTION.search(left)
    assert not LIVE_CLOSING.search(left)


def test_a_long_text_is_cut() -> None:
    left = outbound("x" * 100_000)
    assert len(left.encode()) < MAX_BODY_BYTES + 100
    assert left.endswith("bytes left out]")


def test_a_title_is_one_short_line_without_anything_live() -> None:
    title = outbound_title("Fixes #12: ask @mona\nand more", "fallback")
    assert title.replace(WORD_JOINER, "") == "Fixes #12: ask @mona and more"
    assert not LIVE_MENTION.search(title)
    assert not LIVE_CLOSING.search(title)
    assert len(outbound_title("x" * 500, "")) == MAX_TITLE


@pytest.mark.parametrize("text", ["", "  \n", "<!-- x -->", "\u200b"])
def test_an_empty_title_falls_back(text: str) -> None:
    assert outbound_title(text, "Issue of @mona").replace(WORD_JOINER, "") == "Issue of @mona"
    assert not LIVE_MENTION.search(outbound_title(text, "Issue of @mona"))


def test_the_body_closes_the_ticket_and_nothing_else() -> None:
    body = pull_request_body("Fixes #99 for @mona", closes=3, footer="Opened by Airflow")
    assert LIVE_CLOSING.findall(body) == ["Closes #3"]
    assert not LIVE_MENTION.search(body)
    assert body.endswith("<sub>Opened by Airflow</sub>")


def test_a_body_without_ticket_and_description() -> None:
    assert pull_request_body("", closes=None, footer="f") == "<sub>f</sub>"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("plain", "`plain`"),
        ("a `b` c", "``a `b` c``"),
        ("``` a", "```` ``` a ````"),
        ("one\n\n# two [x](http://evil)", "`one # two [x](http://evil)`"),
        ("  ", ""),
    ],
)
def test_code_ends_nowhere_but_at_its_end(text: str, code: str) -> None:
    assert code_span(text) == code


def test_code_mentions_nobody_and_is_cut() -> None:
    assert not LIVE_MENTION.search(code_span("Ask @mona"))
    assert len(code_span("x" * 500, 40)) == 42
