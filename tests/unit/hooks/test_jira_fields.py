"""Parts of tickets from Jira's JSON, whatever is absent from it."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Connection

from airflow_provider_agents.domain.commands import asks_for_agent
from airflow_provider_agents.domain.source_definition import SourceDefinition
from airflow_provider_agents.exceptions import (
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.hooks.jira_client import jira_credential
from airflow_provider_agents.hooks.jira_errors import LONGEST_WAIT, answer_error
from airflow_provider_agents.hooks.jira_fields import entry_of, is_ticket, links_of, moment
from airflow_provider_agents.hooks.jira_history import asks_of, comment_of, edits_of
from airflow_provider_agents.hooks.jira_query import changed_query, open_query, quoted, scope_of
from airflow_provider_agents.hooks.jira_search import search
from airflow_provider_agents.hooks.jira_status import claim_of

NOW = datetime(2026, 1, 4, 10, 0, tzinfo=UTC)


def definition(**changes: Any) -> SourceDefinition:
    base = {
        "source": "jira",
        "jql": "project = SHOP",
        "works_in": [{"repository": "acme/shop"}],
        "authority": {"start": {"association": ["member"]}},
    }
    return SourceDefinition.model_validate({**base, **changes})


def issue(**fields: Any) -> dict[str, Any]:
    status = {"name": "To Do", "statusCategory": {"key": "new"}}
    common = {
        "status": status,
        "updated": "2026-01-04T10:00:00.000+0100",
        "created": "2026-01-04T09:00:00.000+0100",
    }
    return {"id": "1", "key": "SHOP-1", "fields": {**common, **fields}}


def test_an_entry_of_little() -> None:
    entry = entry_of(
        definition(), issue(labels=None, priority=None, components="x"), "https://j", commanded=False
    )
    assert (entry.title, entry.labels, entry.priority, entry.repository) == ("", (), 0, "acme/shop")
    assert entry.updated_at == datetime(2026, 1, 4, 9, 0, tzinfo=UTC)
    assert not entry.actionable


@pytest.mark.parametrize("absent", ["status", "updated"])
def test_an_answer_without_what_every_issue_has_is_none(absent: str) -> None:
    """A status that is absent must not look like an open ticket."""
    broken = issue(**{absent: None})
    with pytest.raises(ForgeUnavailableError, match="SHOP-1"):
        entry_of(definition(), broken, "https://j", commanded=False)


def test_the_first_rule_that_fits_and_the_highest_priority() -> None:
    rules = [
        {"repository": "acme/web", "labels": ["web"], "projects": ["Front"]},
        {"repository": "acme/ops", "labels": ["ops"]},
    ]
    made = definition(
        works_in=rules, priority={"labels": {"Urgent": 9, "later": -9}, "fields": {"High": 5}, "default": 1}
    )

    def entry(**fields: Any) -> Any:
        return entry_of(made, issue(**fields), "https://j", commanded=False)

    assert entry(labels=["WEB"], components=[{"name": "front"}]).repository == "acme/web"
    assert entry(labels=["web"]).repository == ""
    assert entry(labels=["web", "ops"]).repository == "acme/ops"
    assert entry(labels=["urgent", "later"], priority={"name": "high"}).priority == 9
    assert entry(labels=["later"]).priority == -9
    assert entry().priority == 1


@pytest.mark.parametrize(
    ("kind", "side", "relation"),
    [
        ({"name": "Blocks", "inward": "is blocked by", "outward": "blocks"}, "inwardIssue", "depends_on"),
        ({"name": "Blocks", "inward": "is blocked by", "outward": "blocks"}, "outwardIssue", "mentioned"),
        (
            {"name": "Blocks", "inward": "wird blockiert von", "outward": "blockiert"},
            "inwardIssue",
            "depends_on",
        ),
        (
            {"name": "Depends", "inward": "is depended on by", "outward": "depends on"},
            "outwardIssue",
            "depends_on",
        ),
        (
            {"name": "Depends", "inward": "is depended on by", "outward": "depends on"},
            "inwardIssue",
            "mentioned",
        ),
        ({}, "inwardIssue", "mentioned"),
    ],
)
def test_links(kind: dict[str, str], side: str, relation: str) -> None:
    (link,) = links_of(
        {"issuelinks": [{"type": kind, side: {"key": "SHOP-2"}}, {"type": kind, side: None}, 3]}
    )
    assert (link.key, link.relation, link.state) == ("SHOP-2", relation, "unknown")


def test_a_dependency_wins_over_a_mention_and_a_child() -> None:
    blocks = {"name": "Blocks", "inward": "is blocked by", "outward": "blocks"}
    relates = {"name": "Relates", "inward": "relates to", "outward": "relates to"}
    links = [
        {"type": blocks, "inwardIssue": {"key": "A-1"}},
        {"type": relates, "inwardIssue": {"key": "A-1"}},
    ]
    for order in (links, links[::-1]):
        (link,) = links_of({"issuelinks": order, "subtasks": [{"key": "A-1"}]})
        assert link.relation == "depends_on"


@pytest.mark.parametrize(
    ("body", "asks"),
    [
        ("/agent", True),
        ("\n\n  /agent again, please", True),
        ("/agents", False),
        ("    /agent", False),
        ("please /agent", False),
        ("> /agent", False),
        ("`/agent`", False),
    ],
)
def test_commands(body: str, *, asks: bool) -> None:
    assert asks_for_agent(body) is asks


def test_an_act_of_nobody_is_nobodys_ask() -> None:
    """An automation or a deleted user has no author in the history."""
    history = {
        "id": "5",
        "created": "2026-01-04T10:00:00.000+0000",
        "items": [{"field": "labels", "toString": "agent"}],
    }
    (ask,) = asks_of(definition(), issue(labels=["agent"]), [history, {"items": 3}, {}], [], "me")
    assert (ask.key, ask.by, ask.label) == ("5:label:agent", "", "agent")
    assert edits_of([{"id": "6", "items": [{"fieldId": "summary"}]}])[0].by == ""
    assert comment_of({"id": "1", "body": "x", "updateAuthor": {"accountId": "eve"}}).edited_by == "eve"


def test_two_labels_in_one_act_are_two_asks_and_one_in_two_cases_is_one() -> None:
    made = definition(ask={"labels": ["agent", "robot"]})
    history = {
        "id": "5",
        "author": {"accountId": "alice"},
        "created": "2026-01-04T10:00:00.000+0000",
        "items": [{"field": "labels", "fromString": "x", "toString": "x agent Agent robot"}],
    }
    asks = asks_of(made, issue(), [history], [], "me")
    assert [ask.key for ask in asks] == ["5:label:agent", "5:label:robot"]


@pytest.mark.parametrize("value", ["../x", "1/2", "SHOP", "-1", "SHOP-1?x", "", "SHOP-1\n", "１"])
def test_what_is_no_ticket(value: str) -> None:
    assert not is_ticket(value)


def test_jql() -> None:
    assert quoted('a"b\\c\nd') == '"a\\"b\\\\c d"'
    made = definition(ask={"labels": ["agent"], "assignees": ["x"], "states": ["Go"]})
    assert open_query(made) == (
        '(project = SHOP) AND statusCategory != Done AND (labels in ("agent") OR assignee in ("x") OR status in ("Go") '
        'OR comment ~ "agent") ORDER BY created ASC, key ASC'
    )
    assert 'updated >= "-6m"' in changed_query(made, timedelta(seconds=1))
    assert 'updated >= "-5m"' in changed_query(made, timedelta(seconds=-9))
    assert scope_of(made) != scope_of(definition())
    assert scope_of(made) == scope_of(made.model_copy(update={"every": 5}))


def test_times_that_are_none() -> None:
    assert moment(None).year == moment("soon").year == 1970
    assert moment("2026-01-04T10:00:00").tzinfo is UTC


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0", 1),
        ("999999999", LONGEST_WAIT.total_seconds()),
        ("x", 60),
        ("Sun, 04 Jan 2026 10:00:30 GMT", 30),
    ],
)
def test_how_long_to_wait(value: str, seconds: float) -> None:
    error = answer_error("x", 429, {"Retry-After": value}, "", NOW)
    assert isinstance(error, ForgeRateLimitedError)
    assert error.retry_at == NOW + timedelta(seconds=seconds)


def test_what_jira_says_is_told_and_cut() -> None:
    body = {"errorMessages": ["first", 3], "errors": {"summary": "is empty"}, "message": "m" * 600}
    error = answer_error("move SHOP-1", 400, {}, body, NOW)
    assert type(error) is ForgeError
    assert len(str(error)) < 600
    assert answer_error("x", 204, {}, None, NOW) is None


def test_claims_of_nobody() -> None:
    assert claim_of(None) == (None, "")
    assert claim_of({"other": 1}) == (None, "")


def connection(**more: Any) -> Connection:
    return Connection(conn_id="jira_default", conn_type="jira", **more)


def test_connections() -> None:
    cloud = jira_credential(connection(host="https://Acme.atlassian.net/", login="a@b", password="secret"))
    assert (cloud.url, cloud.host, cloud.verify) == ("https://Acme.atlassian.net", "acme.atlassian.net", True)
    assert "secret" not in repr(cloud)
    server = jira_credential(
        connection(host="jira.example.com/jira", password="t", extra='{"verify": false}')
    )
    assert (server.url, server.login, server.verify) == ("https://jira.example.com/jira", "", False)
    assert server.host == "jira.example.com/jira"
    port = jira_credential(connection(host="http://jira.local", port=8080, password="t"))
    assert port.url == "http://jira.local:8080"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"password": "t"}, "base URL"),
        ({"host": "ftp://x", "password": "t"}, "base URL"),
        ({"host": "https://user@x", "password": "t"}, "base URL"),
        ({"host": "https://x"}, "API token"),
        ({"host": "https://x", "password": "t", "extra": "[1]"}, "JSON object"),
        ({"host": "https://x", "password": "t", "extra": "{"}, "JSON object"),
    ],
)
def test_incomplete_connections(more: dict[str, Any], says: str) -> None:
    broken = SimpleNamespace(
        **{"conn_id": "j", "host": "", "password": "", "login": "", "extra": "", "port": None, **more}
    )
    with pytest.raises(InvalidInputError, match=says):
        jira_credential(broken)  # type: ignore[arg-type]


class Pages:
    """A Jira Cloud whose search has pages without end, or the same one for ever."""

    def __init__(self, pages: int, *, stuck: bool = False) -> None:
        self.server = SimpleNamespace(cloud=True)
        self.pages = pages
        self.stuck = stuck

    async def search(self, body: dict[str, Any]) -> dict[str, Any]:
        at = int(body.get("nextPageToken") or 0)
        issues = [
            {"id": str(at * 100 + n), "fields": {"description": "x" * 1_000 + str(n)}} for n in range(100)
        ]
        following = 1 if self.stuck else at + 1
        return {"issues": issues, **({"nextPageToken": str(following)} if following < self.pages else {})}


async def test_only_one_page_is_held() -> None:
    tracemalloc.start()
    try:
        found = await search(Pages(100), "q", ("x",), lambda one: one["id"])  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.items) == 10_000
    assert peak < 3 * 2**20, f"{peak / 2**20:.1f} MiB for pages of 10 MiB in all"


async def test_a_search_without_end_ends() -> None:
    with pytest.raises(ForgeError, match="more than 300 issues"):
        await search(Pages(10**9), "q", ("x",), lambda one: one["id"], most=300)  # type: ignore[arg-type]
    with pytest.raises(ForgeUnavailableError, match="again and again"):
        await search(Pages(10**9, stuck=True), "q", ("x",), lambda one: one["id"])  # type: ignore[arg-type]
