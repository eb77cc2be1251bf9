"""What the text of an issue refers to, and what hostile text does to those who read it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.commands import asks_for_agent
from airflow_provider_agents.hooks.github_ticket_text import (
    MOST_ATTACHMENTS,
    MOST_MENTIONS,
    attachments_in,
    named_tickets,
)

SHOP = "acme/shop"
LONGEST = 65_536


@pytest.mark.parametrize(
    "body",
    [
        "/agent",
        "/agent again",
        "   /agent",
        "\n \r\n/agent\nmore",
        "/agent Again!",
        "/agent\r\nagain",
        "/agent again and with tests",
    ],
)
def test_what_asks(body: str) -> None:
    assert asks_for_agent(body)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "agent",
        "/agents",
        "/agent-x",
        "    /agent",
        "\t/agent",
        "> /agent",
        "x\n/agent",
        "/agent stop",
        "/agent:",
        "/AGENT",
        "/ agent",
    ],
)
def test_what_does_not_ask(body: str) -> None:
    assert not asks_for_agent(body)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Depends on #2", [("acme/shop#2", "depends_on")]),
        ("depends on: #2, #3 and Globex/Lib#4", [("acme/shop#2", "depends_on"), ("acme/shop#3", "depends_on"), ("globex/lib#4", "depends_on")]),
        ("**Blocked by** x, see #5", [("acme/shop#5", "mentioned")]),
        ("Blocked by\n#5", [("acme/shop#5", "depends_on")]),
        ("Blocked by https://github.com/acme/shop/issues/6.", [("acme/shop#6", "depends_on")]),
        ("https://github.com/acme/shop/pull/6#issuecomment-1", [("acme/shop#6", "mentioned")]),
        ("https://evil.example/acme/shop/issues/6", []),
        ("ACME/Shop#7 and #7", [("acme/shop#7", "mentioned")]),
        ("#8 depends on #8", [("acme/shop#8", "depends_on")]),
        ("a#1 &#39; page.html#2 x/y/z#3 ##4 #0", []),
        ("`depends on #2` and\n```\nblocked by #3\n```\n", []),
        ("```\nblocked by #3", []),
        ("<!-- depends on #2 -->", []),
        ("depends on #99999999999", []),
        ("a/..#1", []),
    ],
)  # fmt: skip
def test_tickets_that_a_text_names(text: str, expected: list[tuple[str, str]]) -> None:
    found = named_tickets(text, SHOP, "github.com")
    assert [(each.reference.key, each.relation) for each in found] == expected


def test_mentions_are_bounded_and_dependencies_are_not_lost_behind_them() -> None:
    text = " ".join(f"#{number}" for number in range(1, 500)) + " depends on #1000"
    found = named_tickets(text, SHOP, "github.com")
    assert found[0].reference.number == 1000
    assert len(found) == 1 + MOST_MENTIONS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("![shot](https://github.com/user-attachments/assets/1a)", [("shot", "https://github.com/user-attachments/assets/1a")]),
        ("[log](https://github.com/user-attachments/files/1/a.log)", [("log", "https://github.com/user-attachments/files/1/a.log")]),
        ("https://github.com/user-attachments/assets/1a.", [("1a", "https://github.com/user-attachments/assets/1a")]),
        ('<img alt="x" src="https://user-images.githubusercontent.com/1/x.png" />', [("x", "https://user-images.githubusercontent.com/1/x.png")]),
        ("<IMG SRC='https://a.example/x.png?a=1&amp;b=2'>", [("x.png", "https://a.example/x.png?a=1&b=2")]),
        ('<a href="https://files.example/x.zip">zip</a>', [("x.zip", "https://files.example/x.zip")]),
        ("[raw](https://raw.githubusercontent.com/a/b/main/x.csv)", [("raw", "https://raw.githubusercontent.com/a/b/main/x.csv")]),
        ("[page](https://github.com/acme/shop/blob/main/a.py)", []),
        ("[page](https://evil.example/user-attachments/assets/1)", []),
        ("![x](http://user:password@files.example/x.png)", []),
        ("![x](javascript:alert(1)) ![y](file:///etc/passwd) ![z](//host/x)", []),
        ("<!-- ![x](https://github.com/user-attachments/assets/1) -->", []),
        ("![\u202e\u200bgnp.x](https://a.example/%2e%2e%2fpasswd)", [("gnp.x", "https://a.example/%2e%2e%2fpasswd")]),
        ("![](https://a.example/)", [("file", "https://a.example/")]),
        ("![x](https://a.example/1) ![y](https://a.example/1)", [("x", "https://a.example/1")]),
        ("![x](https://[broken/1)", []),
    ],
)  # fmt: skip
def test_files_that_a_text_refers_to(text: str, expected: list[tuple[str, str]]) -> None:
    found = attachments_in(text, "github.com", ["Files.Example"])
    assert [(file.name, file.url) for file in found] == expected
    assert all(file.content_type == "" and file.size is None for file in found)


def test_files_of_an_enterprise_server_and_their_number() -> None:
    host = "ghes.example.com:8443"
    urls = [f"https://{host}/user-attachments/assets/1", "https://media.ghes.example.com/user/1/files/2"]
    assert [file.url for file in attachments_in(" ".join(urls), host)] == urls
    assert attachments_in("https://github.com/user-attachments/assets/1", host) == ()
    many = " ".join(f"![x](https://a.example/{number})" for number in range(500))
    assert len(attachments_in(many, host)) == MOST_ATTACHMENTS


@pytest.mark.parametrize(
    "piece",
    ["`", "``` ", "~~~\n", "[", "![", "![x](", "<a ", "<img src=", "<!--", "depends on #1,", "a/", "#1", "a/b#", "http://",
     "https://github.com/a/b/issues/", "depends on ", "&", " and ", "\n```", "/agent", "\n", "src='", "@", "[x](https://a"],
)  # fmt: skip
def test_no_text_takes_long(piece: str) -> None:
    """Patterns that go back over what they read are a way to stop a scheduler: a whole body of each piece."""
    text = (piece * LONGEST)[:LONGEST]
    begun = time.process_time()
    named_tickets(text, SHOP, "github.com")
    attachments_in(text, "github.com")
    asks_for_agent(text)
    assert time.process_time() - begun < 3


def test_backticks_of_every_length_take_no_longer() -> None:
    text = " ".join("`" * number for number in range(1, 360))
    begun = time.process_time()
    named_tickets(text, SHOP, "github.com")
    assert time.process_time() - begun < 3


@given(st.text(alphabet="#/ab1.:-_`~![]()<>\n\r \"'=&@\u200bhtpsdeond", max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    for each in named_tickets(text, SHOP, "github.com"):
        assert each.reference.number > 0
        assert each.reference.repository.count("/") == 1
    for file in attachments_in(text, "github.com"):
        assert file.url.startswith(("http://", "https://"))
        assert "\n" not in file.name
    asks_for_agent(text)
