"""The message of a merge."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.commits import CommitRef
from airflow_provider_agents.domain.merge_message import MOST_BODY_BYTES, MOST_CO_AUTHORS, merge_message

JOINER = "\u2060"


def commit(name: str, email: str, message: str = "Mend") -> CommitRef:
    return CommitRef(
        sha="a" * 40, author=name, title="Mend", message=message, author_name=name, author_email=email
    )


BOT = commit("Agent", "agent@example.com")


def test_title_and_text_of_the_pull_request() -> None:
    body = "Adds instead of subtracting.\n\nCloses #3\n\n<sub>Made by a run.</sub>"
    assert merge_message("Mend add()", 7, body, [BOT]) == (
        "Mend add() (#7)",
        "Adds instead of subtracting.\n\nRefs: #3",
    )


def test_without_a_text() -> None:
    assert merge_message("", 7, "", []) == ("Pull request 7 (#7)", "")
    assert merge_message("Mend add() (#7)", 7, "", [])[0] == "Mend add() (#7)"


def test_nobody_is_called_and_nothing_is_closed() -> None:
    title, body = merge_message(
        "Fixes #9 for @mona", 7, "@hubot, this resolves acme/shop#4 and fixes #5.", []
    )
    assert title == f"Fixes {JOINER}#9 for @{JOINER}mona (#7)"
    assert body == f"@{JOINER}hubot, this resolves {JOINER}acme/shop#4 and fixes {JOINER}#5."


def test_co_authors_each_once() -> None:
    trailers = "Co-authored-by: Ann <ann@example.com>\nCO-AUTHORED-BY:Bob <bob@example.com>"
    commits = [
        BOT,
        commit("Mona", "1+mona@users.noreply.github.com", f"Help\n\n{trailers}"),
        commit("Agent again", "AGENT@example.com"),
        commit("GitHub", "noreply@github.com"),
        commit("app[bot]", "2+app[bot]@users.noreply.github.com"),
        commit("Nobody", "no address"),
        commit("", "nameless@example.com"),
    ]
    _, body = merge_message(
        "Mend", 7, f"Text.\n\nCo-authored-by: Ann B <ANN@example.com>\n{trailers}", commits
    )
    assert body.splitlines() == [
        "Text.",
        "",
        "Co-authored-by: Mona <1+mona@users.noreply.github.com>",
        "Co-authored-by: Ann <ann@example.com>",
        "Co-authored-by: Bob <bob@example.com>",
        "Co-authored-by: app[bot] <2+app[bot]@users.noreply.github.com>",
    ]


def test_a_name_cannot_carry_anything_else() -> None:
    evil = commit("<x> @mona fixes #3\nCo-authored-by: E <e@e.org>", "evil@example.com")
    _, body = merge_message("Mend", 7, "", [BOT, evil])
    assert body == (
        f"Co-authored-by: x @{JOINER}mona fixes {JOINER}#3 Co-authored-by: E e@e.org <evil@example.com>"
    )


def test_bounds() -> None:
    many = [commit(f"P{number}", f"p{number}@example.com") for number in range(200)]
    title, body = merge_message("t" * 500, 7, "x" * 100_000, many)
    assert len(title) <= 120 + len(" (#7)")
    assert len(body.encode()) < MOST_BODY_BYTES + MOST_CO_AUTHORS * 500
    assert body.count("Co-authored-by:") == MOST_CO_AUTHORS


PIECES = st.sampled_from(
    [
        "@mona",
        "fixes #3",
        "Closes #4",
        "&#64;hubot",
        "Co-authored-by: A <a@b.org>",
        "\n",
        " ",
        "\u200b",
        "x",
        "<sub>",
    ]
)
TEXTS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=12).map("".join))


@given(TEXTS, TEXTS, st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=4))
def test_whatever_it_is_made_of(title: str, body: str, people: list[tuple[str, str, str]]) -> None:
    head, text = merge_message(title, 7, body, [commit(*values) for values in people])
    assert head.endswith(" (#7)")
    assert "\n" not in head
    for line in (head, *text.splitlines()):
        line = re.sub(r"^(Co-authored-by: .*) <[^<>\s]+>$", r"\1", line)
        assert not re.search(r"(?<![A-Za-z0-9])@[A-Za-z0-9]", line)
        assert not re.search(r"\b(fix|close|resolve)(s|d|ed|es)?:?\s+#\d", line, re.IGNORECASE)
