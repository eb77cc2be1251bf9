"""Which names an event tells of."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.source_definition import SourceDefinition
from airflow_provider_agents.domain.webhook_events import (
    GITHUB_EVENTS,
    MOST_PULL_REQUESTS,
    names_of_github,
    names_of_linear,
    names_of_source,
)

SHOP = {"id": 1, "full_name": "Acme/Shop"}
PULL = {"number": 7}
TICKETS = "tickets:github/acme/shop"


def github(event: str, **payload: Any) -> tuple[str, ...]:
    return names_of_github(event, {"repository": SHOP, **payload})


def checked(*numbers: Any, repository: int = 1) -> dict[str, Any]:
    return {"pull_requests": [{"number": n, "base": {"repo": {"id": repository}}} for n in numbers]}


@pytest.mark.parametrize(
    ("event", "payload", "names"),
    [
        ("pull_request", {"pull_request": PULL}, ("acme/shop#7",)),
        ("pull_request_review", {"pull_request": PULL}, ("acme/shop#7",)),
        ("pull_request_review_comment", {"pull_request": PULL}, ("acme/shop#7",)),
        ("pull_request_review_thread", {"pull_request": PULL}, ("acme/shop#7",)),
        ("check_run", {"check_run": checked(7, 8, 7)}, ("acme/shop#7", "acme/shop#8")),
        ("check_suite", {"check_suite": checked(7)}, ("acme/shop#7",)),
        ("check_run", {"check_run": checked()}, ("acme/shop",)),
        ("check_run", {"check_run": checked(9, repository=2)}, ("acme/shop",)),
        ("check_run", {"check_run": {"pull_requests": [{"number": 5}]}}, ("acme/shop#5",)),
        ("check_run", {"check_run": checked(*range(1, MOST_PULL_REQUESTS + 2))}, ("acme/shop",)),
        ("status", {}, ("acme/shop",)),
        ("merge_group", {}, ("acme/shop",)),
        ("push", {"ref": "refs/heads/main"}, ("acme/shop",)),
        ("push", {"ref": "refs/tags/v1"}, ()),
        ("push", {}, ()),
        ("issues", {"issue": PULL}, (TICKETS,)),
        ("label", {}, (TICKETS,)),
        ("issue_comment", {"issue": PULL}, (TICKETS,)),
        ("issue_comment", {"issue": {**PULL, "pull_request": {"url": "u"}}}, ("acme/shop#7",)),
        (
            "issues",
            {"changes": {"new_repository": {"full_name": "acme/other"}}},
            (TICKETS, "tickets:github/acme/other"),
        ),
        (
            "sub_issues",
            {"parent_issue_repo": {"full_name": "acme/epics"}, "sub_issue_repo": SHOP},
            (TICKETS, "tickets:github/acme/epics"),
        ),
        ("star", {}, ()),
        ("ping", {}, ()),
        ("workflow_run", {}, ()),
    ],
)
def test_events_of_github(event: str, payload: dict[str, Any], names: tuple[str, ...]) -> None:
    assert github(event, **payload) == names


@pytest.mark.parametrize("number", ["7", True, 0, -1, 1.5, None, 10**30, [7], "7\n"])
def test_a_pull_request_without_a_number_is_its_repository(number: Any) -> None:
    assert github("pull_request", pull_request={"number": number}) == ("acme/shop",)


@pytest.mark.parametrize(
    "repository",
    [None, [], "acme/shop", {}, {"full_name": None}]
    + [{"full_name": name} for name in ("acme", "acme/shop/x", "a/b\n", "a/\0", "tickets:x", "é/é")],
)
@pytest.mark.parametrize("event", sorted(GITHUB_EVENTS))
def test_without_a_repository_nothing_is_named(event: str, repository: Any) -> None:
    assert names_of_github(event, {"repository": repository, "ref": "refs/heads/x"}) == ()


@pytest.mark.parametrize(
    ("payload", "names"),
    [
        ({"type": "Issue", "data": {"team": {"key": "ENG"}}}, ("tickets:linear/eng",)),
        ({"type": "Comment", "data": {"issue": {"team": {"key": "ENG"}}}}, ("tickets:linear/eng",)),
        ({"type": "Comment", "data": {"issueId": "x"}}, ("tickets:linear",)),
        ({"type": "Comment", "data": {"projectUpdateId": "x", "team": {"key": "ENG"}}}, ()),
        ({"type": "IssueLabel", "data": {"name": "agent"}}, ("tickets:linear",)),
        ({"type": "Issue", "data": {"team": {"key": "a/b"}}}, ("tickets:linear",)),
        ({"type": "Issue", "data": {"team": {"key": "E" * 100}}}, ("tickets:linear",)),
        ({"type": "Issue", "data": {"team": {"key": 7}}}, ("tickets:linear",)),
        ({"type": "Issue"}, ("tickets:linear",)),
        ({"type": "Project", "data": {"team": {"key": "ENG"}}}, ()),
        ({"type": "Cycle"}, ()),
        ({}, ()),
    ],
)
def test_events_of_linear(payload: dict[str, Any], names: tuple[str, ...]) -> None:
    assert names_of_linear(payload) == names


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("repository", "pull_request", "issue", "check_run", "check_suite", "changes", "data", "type", "ref")


@given(
    event=st.sampled_from(sorted(GITHUB_EVENTS)),
    payload=st.dictionaries(st.sampled_from(KEYS), json_values),
    whole=st.booleans(),
)
def test_no_payload_breaks_it(event: str, payload: dict[str, Any], whole: bool) -> None:
    names = names_of_github(event, {**payload, "repository": SHOP} if whole else payload)
    assert all(name.startswith(("acme/shop", "tickets:github/")) for name in names)
    assert all(name.startswith("tickets:linear") for name in names_of_linear(payload))


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (
            {"source": "github", "repositories": ["Acme/Shop", "acme/web"]},
            ("tickets:mine", "tickets:github/acme/shop", "tickets:github/acme/web"),
        ),
        (
            {"source": "linear", "teams": ["ENG"], "works_in": [{"repository": "acme/shop"}]},
            ("tickets:mine", "tickets:linear", "tickets:linear/eng"),
        ),
        (
            {"source": "jira", "jql": "project = SHOP", "works_in": [{"repository": "acme/shop"}]},
            ("tickets:mine",),
        ),
    ],
)
def test_a_source_listens_to_what_its_events_name(values: dict[str, Any], names: tuple[str, ...]) -> None:
    authority = {"start": {"users": ["ada"]}}
    definition = SourceDefinition.model_validate({**values, "authority": authority})
    assert names_of_source("mine", definition) == names


def test_a_source_hears_its_own_events() -> None:
    listens = names_of_source(
        "mine", SourceDefinition.model_validate({"source": "github", "repositories": ["ACME/SHOP"]})
    )
    assert set(github("issues")) <= set(listens)
