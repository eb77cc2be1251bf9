"""What a definition says about one issue, and what is taken from an answer that lacks something."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_agents.domain.source_definition import AskRules, SourceDefinition
from airflow_provider_agents.exceptions import ForgeUnavailableError
from airflow_provider_agents.hooks.github_ticket_listing import TicketListing
from airflow_provider_agents.hooks.github_ticket_parse import RawTicket, linked_issue, parse_ticket
from airflow_provider_agents.hooks.github_ticket_rules import TicketRules, actor_login

NODE: dict[str, Any] = {
    "id": "I_1",
    "number": 7,
    "title": "It breaks",
    "url": "https://github.com/acme/shop/issues/7",
    "createdAt": "2026-01-01T10:00:00Z",
    "updatedAt": "2026-01-02T10:00:00Z",
    "state": "OPEN",
    "body": "Text",
    "author": {"__typename": "User", "login": "eve"},
    "repository": {"id": "R_1", "nameWithOwner": "acme/shop", "isArchived": False, "isPrivate": True},
    "labels": {"nodes": [{"name": "agent"}]},
    "assignees": {"nodes": []},
    "userContentEdits": {"nodes": []},
    "lastEditedAt": None,
    "editor": None,
}


def rules(**values: Any) -> TicketRules:
    return TicketRules(SourceDefinition(source="github", repositories=("acme/shop",), **values))


def test_who_is_only_a_name_of_another_github_is_nobody() -> None:
    assert actor_login({"__typename": "User", "login": "mona"}) == "mona"
    assert actor_login({"__typename": "Mannequin", "login": "mona"}) == ""


def parse(**changes: Any) -> Any:
    raw = RawTicket({**NODE, **changes}, [], [], [])
    return parse_ticket(raw, rules(), [], [], "github.com", [])


@pytest.mark.parametrize(
    ("state", "labels", "assignees", "commanded", "expected"),
    [
        ("OPEN", ["Agent"], [], False, True),
        ("OPEN", ["bug"], [], False, False),
        ("OPEN", ["bug"], ["Robot"], False, True),
        ("OPEN", [], [], True, True),
        ("OPEN", ["agent", "AGENT-IGNORE"], ["robot"], True, False),
        ("CLOSED", ["agent"], ["robot"], True, False),
        ("", ["agent"], [], False, False),
    ],
)
def test_actionable(
    state: str, labels: list[str], assignees: list[str], commanded: bool, expected: bool
) -> None:
    found = rules(ask={"assignees": ["robot"]})
    assert found.actionable(state, labels, assignees, commanded=commanded) is expected


def test_priority_is_the_highest_that_fits() -> None:
    found = rules(priority={"labels": {"Urgent": 100, "low": -5}, "default": 1})
    assert [found.priority(labels) for labels in (["urgent", "LOW"], ["low"], ["bug"], [])] == [100, -5, 1, 1]


@pytest.mark.parametrize(
    ("actor", "login"),
    [
        ({"__typename": "Bot", "login": "helper"}, "helper[bot]"),
        ({"__typename": "Bot", "login": "helper[bot]"}, "helper[bot]"),
        ({"__typename": "User", "login": "mona"}, "mona"),
        (None, ""),
        ({"__typename": "Bot"}, ""),
    ],
)
def test_who_did_something(actor: Any, login: str) -> None:
    assert actor_login(actor) == login


@pytest.mark.parametrize("name", ["id", "number", "createdAt", "updatedAt", "body", "labels", "assignees"])
def test_half_an_answer_makes_no_ticket(name: str) -> None:
    assert parse().entry.key == "acme/shop#7"
    with pytest.raises(ForgeUnavailableError, match="incomplete"):
        parse(**{name: None})


def test_the_body_as_it_was_written_is_no_edit() -> None:
    edits = [
        {"editedAt": "2026-01-03T10:00:00Z", "editor": {"__typename": "User", "login": "mona"}},
        {"editedAt": NODE["createdAt"], "editor": {"__typename": "User", "login": "eve"}},
    ]
    reading = parse(
        userContentEdits={"nodes": edits}, lastEditedAt=edits[0]["editedAt"], editor=edits[0]["editor"]
    )
    assert [(edit.by, edit.at.day) for edit in reading.edits] == [("mona", 3)]
    # Where the list cannot be had, the last one is known all the same.
    reading = parse(userContentEdits=None, lastEditedAt="2026-01-04T10:00:00Z", editor=None)
    assert [(edit.by, edit.at.day) for edit in reading.edits] == [("", 4)]


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [("OPEN", "REOPENED", "open"), ("CLOSED", "COMPLETED", "done"), ("CLOSED", None, "done"),
     ("CLOSED", "NOT_PLANNED", "cancelled"), ("CLOSED", "DUPLICATE", "cancelled"), (None, None, "unknown")],
)  # fmt: skip
def test_state_of_a_link(state: str | None, reason: str | None, expected: str) -> None:
    node = {**NODE, "state": state, "stateReason": reason}
    link = linked_issue(node, "child", {"acme/shop"}, 3)
    assert link is not None
    assert (link.state, link.title, link.order) == (expected, "It breaks", 3)
    hidden = linked_issue(node, "child", set())
    assert hidden is not None
    assert (hidden.state, hidden.title) == ("unknown", "")
    assert linked_issue(None, "parent", set()) is None


def test_the_cursor_tells_other_rules_from_other_words_in_another_order() -> None:
    def digest(**ask: Any) -> str:
        definition = SourceDefinition(source="github", repositories=("acme/shop",), ask=AskRules(**ask))
        return TicketListing(definition, TicketRules(definition), {})._digest

    assert digest(labels=["a", "b"]) == digest(labels=["b", "a"])
    assert digest(labels=["a"]) != digest(labels=["b"])
    assert digest(labels=["a"]) != digest(labels=[], assignees=["a"])
