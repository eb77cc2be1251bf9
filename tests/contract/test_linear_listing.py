"""Listing Linear's tickets: what is found, what changed, how much it costs, and what a fault leaves behind."""

from __future__ import annotations

import gc
import json
import tracemalloc
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from graphql import graphql_sync
from linear_fixtures import opened
from linear_world import SCHEMA, Fault, World

from airflow_provider_agents.exceptions import ForgeAccessError, ForgeRateLimitedError, ForgeUnavailableError
from airflow_provider_agents.hooks.linear_queries import ISSUES

if TYPE_CHECKING:
    from airflow_provider_agents.hooks.ticket_source import Listing


@pytest.fixture
def world() -> World:
    world = World()
    world.team("ENG")
    return world


def keys(listing: Listing) -> set[str]:
    return {entry.key for entry in listing.entries}


def operations(world: World) -> list[str]:
    return [name for name, _ in world.requests]


async def test_first_it_lists_what_somebody_asked_for_by_whatever_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bot = world.user("Ada", "ada@acme.test"), world.agent
    by_label = world.issue("ENG", labels=("Agent",))
    by_assignee = world.issue("ENG", assignee=bot)
    by_delegate = world.issue("ENG", delegate=bot)
    by_state = world.issue("ENG", state="In Progress")
    by_command = world.issue("ENG")
    world.comment(by_command, "/agent please", ada)
    world.comment(world.issue("ENG"), "see src/agent.py, or ask /agent", ada)
    world.issue("ENG")
    world.issue("ENG", labels=("agent",), state="Done")
    world.issue("ENG", labels=("agent",), trashed=True, archivedAt=world.now.isoformat())
    world.issue("ENG", labels=("agent", "agent-ignore"))
    world.team("OPS")
    world.issue("OPS", labels=("agent",))
    ask = {"labels": ["agent"], "assignees": ["agent@acme.test"], "states": ["in progress"]}
    async with opened(monkeypatch, world, ask=ask) as source:
        listing = await source.fetch(None)
    wanted = (by_label, by_assignee, by_delegate, by_state, by_command)
    assert keys(listing) == {issue["identifier"] for issue in wanted}
    assert listing.complete
    assert listing.faults == ()
    assert all(entry.actionable for entry in listing.entries)


async def test_an_assignee_may_be_named_by_id(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    issue = world.issue("ENG", assignee=world.agent)
    ask = {"labels": [], "assignees": [world.agent["id"]]}
    async with opened(monkeypatch, world, ask=ask) as source:
        assert keys(await source.fetch(None)) == {issue["identifier"]}


async def test_an_entry_tells_where_and_how_urgently(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    issue = world.issue(
        "ENG",
        "Bas\u202eket\u200b\n  of <b>",
        labels=("agent", "Shop"),
        priorityLabel="Urgent",
        project={"id": "p", "name": "Web"},
    )
    async with opened(
        monkeypatch,
        world,
        works_in=[
            {"repository": "acme/both", "labels": ["shop"], "projects": ["Mobile"]},
            {"repository": "acme/web", "projects": ["web"]},
            {"repository": "acme/rest"},
        ],
        priority={"labels": {"SHOP": 5}, "fields": {"urgent": 100}, "default": 1},
    ) as source:
        (entry,) = (await source.fetch(None)).entries
    assert (entry.id, entry.key, entry.url) == (issue["id"], issue["identifier"], issue["url"])
    assert entry.title == "Basket of <b>"
    assert (entry.repository, entry.priority) == ("acme/web", 100)
    assert entry.labels == ("agent", "Shop")
    assert entry.updated_at.isoformat() == issue["updatedAt"]


@pytest.mark.parametrize(
    ("rules", "repository"),
    [
        ([{"repository": "acme/a", "labels": ["other"]}], ""),
        ([{"repository": "acme/a", "labels": ["other"]}, {"repository": "acme/b"}], "acme/b"),
        ([{"repository": "acme/a", "labels": ["AGENT"]}, {"repository": "acme/b"}], "acme/a"),
        ([{"repository": "acme/a", "projects": ["Web"]}], ""),
    ],
)
async def test_the_first_rule_that_fits_gives_the_repository(
    world: World, monkeypatch: pytest.MonkeyPatch, rules: list[dict[str, Any]], repository: str
) -> None:
    world.issue("ENG", labels=("agent",))
    async with opened(monkeypatch, world, works_in=rules) as source:
        (entry,) = (await source.fetch(None)).entries
    assert entry.repository == repository


async def test_then_it_lists_what_changed_with_one_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = world.user("Ada", "ada@acme.test")
    unlabelled, commented, closed, archived, same, asked = (
        world.issue("ENG", labels=("agent",)) for _ in range(6)
    )
    world.tick(600)
    async with opened(monkeypatch, world) as source:
        first = await source.fetch(None)
        assert len(first.entries) == 6
        world.tick(600)
        world.requests.clear()
        nothing = await source.fetch(first.cursor)
        assert nothing.entries == ()
        assert not nothing.complete
        assert operations(world) == ["AgentsIssues"]
        # At a look a minute less than a third of the smallest budget that Linear ever gave a key for an hour.
        assert world.costs[-1] * 60 < 80_000
        world.tick(600)
        world.remove_label(unlabelled, "agent", ada)
        world.comment(commented, "/agent again", ada)
        world.move(closed, "Canceled", ada)
        archived["archivedAt"] = world.tick().isoformat()
        world.touch(asked)
        new = world.issue("ENG")
        second = await source.fetch(nothing.cursor)
    found = {entry.key: entry for entry in second.entries}
    assert set(found) == {i["identifier"] for i in (unlabelled, commented, closed, archived, asked, new)}
    assert same["identifier"] not in found
    assert {key for key, entry in found.items() if entry.actionable} == {
        commented["identifier"],
        asked["identifier"],
    }
    assert found[commented["identifier"]].updated_at.isoformat() > commented["updatedAt"]


async def test_listings_overlap_so_that_nothing_falls_between(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(monkeypatch, world) as source:
        first = await source.fetch(None)
        # Written before the first listing by Linear's clock, and visible only after it.
        at = (world.now - timedelta(seconds=30)).isoformat()
        late = world.issue("ENG", labels=("agent",), createdAt=at, updatedAt=at)
        assert keys(await source.fetch(first.cursor)) == {late["identifier"]}


@pytest.mark.parametrize(
    "cursor",
    [
        {},
        {"scope": "another"},
        {"scope": 7, "since": []},
        {"since": {"ENG": "2026-03-02T09:00:00+00:00"}},
        {"scope": "x", "since": {"ENG": "soon"}},
    ],
)
async def test_a_cursor_of_something_else_means_a_full_listing(
    world: World, monkeypatch: pytest.MonkeyPatch, cursor: dict[str, Any]
) -> None:
    world.issue("ENG", labels=("agent",))
    world.tick(86_400)
    async with opened(monkeypatch, world) as source:
        listing = await source.fetch(cursor)
    assert listing.complete
    assert len(listing.entries) == 1


async def test_a_changed_definition_means_a_full_listing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.issue("ENG", labels=("robot",))
    async with opened(monkeypatch, world) as source:
        cursor = (await source.fetch(None)).cursor
    world.tick(86_400)
    async with opened(monkeypatch, world, ask={"labels": ["robot"]}) as source:
        listing = await source.fetch(cursor)
    assert (listing.complete, len(listing.entries)) == (True, 1)


async def test_a_team_that_is_not_there_holds_no_other_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.issue("ENG", labels=("agent",))
    world.tick(86_400)
    async with opened(monkeypatch, world, teams=["eng", "OPS"]) as source:
        first = await source.fetch(None)
        assert len(first.entries) == 1
        assert first.faults == ("OPS: Linear has no team with this key, or the credential may not see it",)
        assert not first.complete
        # It is said each time, and once the team is there, all of its tickets are found.
        world.tick(86_400)
        again = await source.fetch(first.cursor)
        assert (again.entries, len(again.faults)) == ((), 1)
        world.team("OPS")
        old = world.issue("OPS", labels=("agent",))
        world.tick(86_400)
        third = await source.fetch(again.cursor)
        assert (keys(third), third.faults) == ({old["identifier"]}, ())
        world.tick(86_400)
        world.requests.clear()
        assert (await source.fetch(third.cursor)).entries == ()
        # The two teams were last listed at the same time: one query asks for both.
        assert operations(world) == ["AgentsIssues"]


async def test_many_teams_are_checked_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    teams = [f"T{n}" for n in range(60)]
    for key in teams[:-1]:
        world.team(key)
    last = world.issue("T58", labels=("agent",))
    async with opened(monkeypatch, world, teams=teams) as source:
        listing = await source.fetch(None)
    assert keys(listing) == {last["identifier"]}
    assert [fault.partition(":")[0] for fault in listing.faults] == ["T59"]
    assert operations(world) == ["AgentsTeams"] * 3 + ["AgentsIssues"]


async def test_no_team_at_all_needs_a_person(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, world, teams=["NOPE"]) as source:
        with pytest.raises(ForgeAccessError, match="NOPE: Linear has no team with this key"):
            await source.fetch(None)


async def test_an_unknown_asking_state_is_said_with_those_there_are(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(monkeypatch, world, ask={"states": ["Redy"]}) as source:
        with pytest.raises(ForgeAccessError, match=r"no state 'Redy'.*'Triage', 'Todo'"):
            await source.fetch(None)


async def test_more_labels_than_fit_into_the_list_are_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.issue("ENG", labels=("agent", *(f"l{n}" for n in range(70)), "agent-ignore"))
    world.issue("ENG", labels=(*(f"l{n}" for n in range(70)), "agent"))
    async with opened(monkeypatch, world) as source:
        (entry,) = (await source.fetch(None)).entries
    assert len(entry.labels) == 71


async def test_holes_in_the_answer_are_said_and_the_cursor_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.issue("ENG", labels=("agent",))
    async with opened(monkeypatch, world) as source:
        world.faults = [Fault("AgentsIssues", "partial")]
        first = await source.fetch(None)
        assert len(first.entries) == 1
        assert "Internal server error" in first.faults[0]
        assert not first.complete
        whole = await source.fetch(first.cursor)
        assert whole.complete
        world.tick(600)
        world.faults = [Fault("AgentsIssues", "partial")]
        faulty = await source.fetch(whole.cursor)
        assert faulty.cursor == whole.cursor


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("AgentsIssues", "status", times=9, status=502), ForgeUnavailableError),
        (Fault("AgentsIssues", "status", times=9, status=200, body="<html>"), ForgeUnavailableError),
        (Fault("AgentsIssues", "cut", times=9), ForgeUnavailableError),
        (Fault("AgentsIssues", "ratelimited"), ForgeRateLimitedError),
        (Fault("AgentsIssues", "status", status=429), ForgeRateLimitedError),
        (Fault("AgentsIssues", "status", status=401), ForgeAccessError),
        (Fault("AgentsIssues", "status", times=9, status=302), ForgeUnavailableError),
    ],
    ids=lambda value: value.kind + str(value.status) if isinstance(value, Fault) else value.__name__,
)
async def test_what_cannot_be_listed_is_raised(
    world: World, monkeypatch: pytest.MonkeyPatch, fault: Fault, error: type[Exception]
) -> None:
    async with opened(monkeypatch, world) as source:
        world.faults = [fault]
        with pytest.raises(error) as raised:
            await source.fetch(None)
    assert type(raised.value) is error or error is ForgeAccessError
    assert "lin_api_canary" not in repr(raised.value) + str(raised.value.__context__)


@pytest.mark.parametrize("kind", ["status", "cut"])
async def test_a_read_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    world.issue("ENG", labels=("agent",))
    async with opened(monkeypatch, world) as source:
        world.faults = [Fault("AgentsIssues", kind, times=2)]
        assert len((await source.fetch(None)).entries) == 1


async def test_an_answer_that_does_not_come_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(monkeypatch, world, timeout_seconds=0.1) as source:
        world.faults = [Fault("AgentsIssues", "hang", times=9)]
        with pytest.raises(ForgeUnavailableError, match="could not be reached to list the tickets of ENG"):
            await source.fetch(None)


async def test_a_wrong_key_needs_a_person(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.keys.clear()
    async with opened(monkeypatch, world) as source:
        with pytest.raises(ForgeAccessError, match="Check that the API key or token"):
            await source.fetch(None)


async def test_many_changes_are_read_to_the_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, world) as source:
        cursor = (await source.fetch(None)).cursor
        world.tick(600)
        made = [world.issue("ENG")["identifier"] for _ in range(130)]
        world.requests.clear()
        assert keys(await source.fetch(cursor)) == set(made)
        assert [given["first"] for _, given in world.requests] == [20, 100, 100]


async def test_ten_thousand_tickets_are_listed_in_bounded_memory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.issue("ENG", "Ticket", labels=("agent",))
    async with opened(monkeypatch, world) as source:
        await source.fetch(None)
        result = graphql_sync(SCHEMA, ISSUES, world.root(world.agent), variable_values=world.requests[-1][1])
        assert result.data is not None
        (node,) = result.data["issues"]["nodes"]
        world.canned["AgentsIssues"] = partial(_page, node)
        world.requests.clear()
        world.costs.clear()
        gc.collect()
        tracemalloc.start()
        try:
            listing = await source.fetch(None)
            kept, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(listing.entries) == 10_000
        assert listing.complete
        assert len(world.requests) == 101
        assert sum(world.costs) < 500_000
        # What is kept are the entries; of the answers there is one at a time.
        assert peak - kept < 6 * 1024 * 1024
        assert kept < 30 * 1024 * 1024
        del world.canned["AgentsIssues"]
        world.tick(3_600)
        world.requests.clear()
        assert (await source.fetch(listing.cursor)).entries == ()
        assert len(world.requests) == 1


def _page(node: dict[str, Any], variables: dict[str, Any]) -> str:
    """Return one of a hundred pages of a hundred tickets."""
    page = int(variables["after"] or 0)
    nodes = [{**node, "id": f"id-{page}-{n}", "identifier": f"ENG-{page * 100 + n}"} for n in range(100)]
    info = {"hasNextPage": page < 99, "endCursor": str(page + 1)}
    return json.dumps({"data": {"issues": {"pageInfo": info, "nodes": nodes}}})
