"""GitHub Issues as a source of tickets, at the stand-in GitHub over real HTTP: what is listed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from github_tickets_world import DOCS, SHOP, TicketWorld, claim, credential, definition, ticket_world

from airflow_provider_agents.domain.tickets import TicketReading
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.hooks import github_ticket_looks, github_transport
from airflow_provider_agents.hooks.github import GitHubCredential
from airflow_provider_agents.hooks.github_tickets import GitHubTickets
from airflow_provider_agents.hooks.github_urls import github_urls
from demo.github.server import StandInGitHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StandInGitHub]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(github_transport, "READ_RETRY_DELAYS", (0.0, 0.0))
    async with StandInGitHub(None) as stand_in:
        yield stand_in


@pytest.fixture
async def world(server: StandInGitHub) -> AsyncIterator[TicketWorld]:
    async with ticket_world(server) as made:
        yield made


# What is listed


async def test_first_listing_finds_what_has_a_label_and_is_complete(world: TicketWorld) -> None:
    asked = await world.issue("Asked", labels=["Agent", "urgent"])
    await world.issue("Not asked", labels=["bug"])
    await world.issue("Kept away", labels=["agent", "agent-ignore"])
    await world.issue("Closed", labels=["agent"])
    await world.act("alice", "close", number=4)
    commanded = await world.issue("Commanded")
    await world.act("alice", "comment", number=5, body="/agent")
    elsewhere = await world.issue("Elsewhere", DOCS, labels=["agent"])
    listing = await world.tickets.fetch(None)
    actionable = {entry.id: entry for entry in listing.entries if entry.actionable}
    assert set(actionable) == {asked, commanded, elsewhere} == {entry.id for entry in listing.entries}
    assert (listing.complete, listing.faults) == (True, ())
    entry = actionable[asked]
    assert (entry.key, entry.title, entry.repository) == (f"{SHOP}#1", "Asked", SHOP)
    assert entry.labels == ("Agent", "urgent")
    assert entry.url == f"{world.server.url}/{SHOP}/issues/1"
    assert entry.created_at.tzinfo is not None


async def test_assignees_ask_and_labels_give_priority(server: StandInGitHub) -> None:
    rules = {"ask": {"labels": ["go"], "assignees": ["Agent"]}, "priority": {"labels": {"P1": 100, "p2": 50}}}
    async with ticket_world(server, **rules) as world:
        await world.issue("By label", labels=["GO", "p1", "P2"])
        await world.issue("By assignee")
        await world.act("alice", "assign", number=2, to=["agent"])
        await world.issue("To somebody else")
        await world.act("alice", "assign", number=3, to=["bob"])
        listing = await world.tickets.fetch(None)
        assert {(entry.title, entry.priority) for entry in listing.entries} == {
            ("By label", 100),
            ("By assignee", 0),
        }
        (ask,) = (await world.read(listing.entries[1].id)).asks
        assert (ask.kind, ask.by, ask.withdrawn) == ("assignee", "alice", False)
        await world.act("alice", "assign", number=2, to=[])
        reading = await world.read(listing.entries[1].id)
        assert [(ask.kind, ask.withdrawn) for ask in reading.asks] == [("assignee", True)]
        assert reading.entry.actionable is False


async def test_with_a_cursor_everything_that_changed_is_listed(world: TicketWorld) -> None:
    for title in ("Unlabelled", "Closed", "Stays", "Commanded", "Labelled"):
        labels = [] if title in ("Commanded", "Labelled") else ["agent"]
        await world.issue(title, labels=labels)
    first = await world.tickets.fetch(None)
    assert {entry.title for entry in first.entries} == {"Unlabelled", "Closed", "Stays"}
    world.pass_time(600)
    quiet = await world.tickets.fetch(first.cursor)
    world.pass_time(600)
    await world.act("alice", "unlabel", number=1, labels=["agent"])
    await world.act("alice", "close", number=2)
    await world.act("alice", "comment", number=4, body="\n/agent\n\nPlease.")
    await world.act("alice", "label", number=5, labels=["agent"])
    second = await world.tickets.fetch(quiet.cursor)
    assert {entry.title: entry.actionable for entry in second.entries} == {
        "Unlabelled": False,
        "Closed": False,
        "Commanded": True,
        "Labelled": True,
    }
    assert second.complete is False


async def test_a_change_is_seen_again_within_the_overlap(world: TicketWorld) -> None:
    await world.issue(labels=["agent"])
    first = await world.tickets.fetch(None)
    again = await world.tickets.fetch(first.cursor)
    assert [entry.title for entry in again.entries] == ["It breaks"]
    world.pass_time(600)
    later = await world.tickets.fetch(again.cursor)
    assert (await world.tickets.fetch(later.cursor)).entries == ()


async def test_a_busy_ticket_is_actionable_in_doubt_and_the_reading_knows(world: TicketWorld) -> None:
    first = await world.tickets.fetch(None)
    node_id = await world.issue("Busy")
    await world.act("alice", "comment", number=1, body="/agent")
    for number in range(40):
        await world.act("eve", "comment", number=1, body=f"Me too {number}")
    quiet = await world.issue("Talk")
    for number in range(31):
        await world.act("eve", "comment", number=2, body=f"Hm {number}")
    listing = await world.tickets.fetch(first.cursor)
    assert {entry.title: entry.actionable for entry in listing.entries} == {"Busy": True, "Talk": True}
    assert (await world.read(node_id)).entry.actionable is True
    assert (await world.read(quiet)).entry.actionable is False


async def test_a_listing_of_several_pages_has_each_ticket_once(world: TicketWorld) -> None:
    for number in range(230):
        world.server.create_issue(SHOP, f"Issue {number}", labels=["agent"])
    listing = await world.tickets.fetch(None)
    assert len(listing.entries) == len({entry.id for entry in listing.entries}) == 230
    changed = await world.tickets.fetch(listing.cursor)
    assert len(changed.entries) == 230


async def test_a_new_label_in_the_definition_is_listed_by_beside_the_changes(server: StandInGitHub) -> None:
    async with ticket_world(server) as world:
        await world.issue("Old", labels=["go"])
        first = await world.tickets.fetch(None)
        world.pass_time(600)
        first = await world.tickets.fetch(first.cursor)
        world.pass_time(600)
        await world.issue("New")
        await world.act("alice", "comment", number=2, body="/agent again")
    async with ticket_world(server, ask={"labels": ["agent", "go"]}) as world:
        listing = await world.tickets.fetch(first.cursor)
        assert {entry.title for entry in listing.entries} == {"Old", "New"}
        # Those that wait for a command's sake are not among them, so they are not gone.
        assert listing.complete is False


async def test_a_repository_that_was_out_of_reach_is_listed_by_the_new_label_later(
    server: StandInGitHub,
) -> None:
    async with ticket_world(server) as world:
        await world.issue("Old", DOCS, labels=["go"])
        first = await world.tickets.fetch(None)
    world.pass_time(600)
    async with ticket_world(server) as world:
        first = await world.tickets.fetch(first.cursor)
    world.pass_time(600)
    async with ticket_world(server, ask={"labels": ["go"]}) as world:
        world.fault({"partial": ["look1"]}, "ChangedTickets")
        broken = await world.tickets.fetch(first.cursor)
        assert (broken.entries, len(broken.faults)) == ((), 1)
        assert [entry.title for entry in (await world.tickets.fetch(broken.cursor)).entries] == ["Old"]


@pytest.mark.parametrize(
    "cursor", [{}, {"version": 0}, {"version": 1, "repositories": []}, {"version": 1, "ask": 7}]
)
async def test_a_cursor_of_another_making_is_none(world: TicketWorld, cursor: dict[str, object]) -> None:
    await world.issue(labels=["agent"])
    listing = await world.tickets.fetch(cursor)
    assert (len(listing.entries), listing.complete) == (1, True)


# One broken repository holds nobody up


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"archived": True}, "is archived"), ({"has_issues": False}, "issues switched off")],
)
async def test_a_repository_without_tickets_is_a_fault_of_its_own(
    world: TicketWorld, settings: dict[str, bool], words: str
) -> None:
    await world.issue("Here", labels=["agent"])
    await world.issue("There", DOCS, labels=["agent"])
    await world.act("acme", "configure", DOCS, **settings)
    listing = await world.tickets.fetch(None)
    assert [entry.title for entry in listing.entries] == ["Here"]
    assert listing.complete is False
    (fault,) = listing.faults
    assert DOCS in fault
    assert words in fault
    await world.act("acme", "configure", DOCS, archived=False, has_issues=True)
    mended = await world.tickets.fetch(listing.cursor)
    assert {entry.title for entry in mended.entries} == {"Here", "There"}
    assert mended.faults == ()


async def test_a_repository_out_of_reach_is_a_fault_of_its_own(world: TicketWorld) -> None:
    await world.issue("Here", labels=["agent"])
    await world.act("acme", "remove_permission", DOCS, of="agent")
    listing = await world.tickets.fetch(None)
    assert [entry.title for entry in listing.entries] == ["Here"]
    assert len(listing.faults) == 1
    assert "Issues: read" in listing.faults[0]


async def test_all_repositories_out_of_reach_is_an_error(world: TicketWorld) -> None:
    for name in (SHOP, DOCS):
        await world.act("acme", "remove_permission", name, of="agent")
    with pytest.raises(ForgeAccessError, match=SHOP):
        await world.tickets.fetch(None)


async def test_a_renamed_repository_has_the_same_tickets(world: TicketWorld) -> None:
    node_id = await world.issue("Here", labels=["agent"])
    first = await world.tickets.fetch(None)
    await world.act("acme", "rename_repository", to="store")
    listing = await world.tickets.fetch(first.cursor)
    assert [(entry.id, entry.key) for entry in listing.entries] == [(node_id, "acme/store#1")]
    assert listing.faults == ()
    reading = await world.read(node_id)
    assert reading.entry.repository == "acme/store"
    await world.tickets.write_status(reading, claim(), "Working on it.")
    async with ticket_world(world.server) as fresh:
        assert (await fresh.read(node_id)).claim == claim()
        assert (await fresh.tickets.read([f"{SHOP}#1"])).keys() == {f"{SHOP}#1"}


async def test_a_name_that_was_given_away_is_not_followed(world: TicketWorld) -> None:
    first = await world.tickets.fetch(None)
    await world.act("acme", "rename_repository", to="store")
    await world.server.seed_synthetic(SHOP, {"a.py": "1\n"}, permissions={"agent": "write", "eve": "admin"})
    world.server.create_issue(SHOP, "Do as I say", author="eve", labels=["agent"])
    for cursor in (first.cursor, (await world.tickets.fetch(first.cursor)).cursor):
        listing = await world.tickets.fetch(cursor)
        assert listing.entries == ()
        assert "another repository than it was" in listing.faults[0]


async def test_an_owner_without_the_app_holds_nobody_up(server: StandInGitHub) -> None:
    async with ticket_world(server) as world:
        await world.issue("Here", labels=["agent"])
    async with ticket_world(server, repositories=["other/thing", SHOP]) as world:
        listing = await world.tickets.fetch(None)
        assert [entry.title for entry in listing.entries] == ["Here"]
        assert len(listing.faults) == 1


# Faults of GitHub


async def test_a_rate_limit_ends_the_listing_with_its_time(world: TicketWorld) -> None:
    world.fault("primary_limit")
    with pytest.raises(ForgeRateLimitedError) as caught:
        await world.tickets.fetch(None)
    assert caught.value.retry_at is not None
    world.fault({"secondary_limit": 429, "retry_after": 7})
    with pytest.raises(ForgeRateLimitedError):
        await world.tickets.fetch(None)


async def test_a_passing_fault_is_got_over_and_a_lasting_one_told(world: TicketWorld) -> None:
    await world.issue(labels=["agent"])
    world.fault({"status": 502, "body": "bad gateway"}, "AskedTickets", times=2)
    first = await world.tickets.fetch(None)
    assert len(first.entries) == 1
    world.fault({"status": 502, "body": "bad gateway"}, times=None)
    with pytest.raises(ForgeUnavailableError):
        await world.tickets.fetch(first.cursor)


@pytest.mark.parametrize(
    "part",
    [
        ["look0"],
        ["look0", "issues"],
        ["look0", "issues", "nodes", 0],
        ["look0", "issues", "nodes", 0, "title"],
    ],
)
async def test_half_an_answer_about_a_repository_moves_no_cursor(world: TicketWorld, part: list[Any]) -> None:
    await world.issue("Here", labels=["agent"])
    await world.issue("There", DOCS, labels=["agent"])
    first = await world.tickets.fetch(None)
    world.fault({"partial": part}, "ChangedTickets")
    listing = await world.tickets.fetch(first.cursor)
    assert [entry.title for entry in listing.entries] == ["There"]
    assert len(listing.faults) == 1
    assert listing.cursor["repositories"][SHOP] == first.cursor["repositories"][SHOP]
    assert len((await world.tickets.fetch(listing.cursor)).entries) == 2


async def test_details_that_fail_are_the_fault_of_their_repository(world: TicketWorld) -> None:
    here = await world.issue("Here", labels=["agent"])
    await world.issue("There", DOCS, labels=["agent"])
    first = await world.tickets.fetch(None)
    world.fault({"partial": ["nodes", {"id": here}], "type": "FORBIDDEN"}, "TicketDetails")
    listing = await world.tickets.fetch(first.cursor)
    assert [entry.title for entry in listing.entries] == ["There"]
    world.fault({"partial": ["nodes", {"id": here}], "type": "NOT_FOUND"}, "TicketDetails")
    gone = await world.tickets.fetch(first.cursor)
    assert {entry.title: entry.actionable for entry in gone.entries} == {"Here": False, "There": True}


async def test_details_that_all_fail_hold_up_only_who_needs_them(world: TicketWorld) -> None:
    await world.issue("Here", labels=["agent"])
    first = await world.tickets.fetch(None)
    world.pass_time(600)
    first = await world.tickets.fetch(first.cursor)
    world.pass_time(600)
    await world.issue("There", DOCS, labels=["agent"])
    world.fault({"status": 502, "body": ""}, "TicketDetails", times=3)
    listing = await world.tickets.fetch(first.cursor)
    assert (listing.entries, len(listing.faults)) == ((), 1)
    assert listing.cursor["repositories"][SHOP] != first.cursor["repositories"][SHOP]
    assert listing.cursor["repositories"][DOCS] == first.cursor["repositories"][DOCS]
    assert [entry.title for entry in (await world.tickets.fetch(listing.cursor)).entries] == ["There"]


async def test_a_query_that_is_too_much_is_asked_in_halves(world: TicketWorld) -> None:
    await world.issue("Here", labels=["agent"])
    await world.issue("There", DOCS, labels=["agent"])
    action = {"partial": ["look1"], "type": "RESOURCE_LIMITS_EXCEEDED"}
    world.fault(action, "AskedTickets")
    listing = await world.tickets.fetch(None)
    assert {entry.title for entry in listing.entries} == {"Here", "There"}
    assert listing.faults == ()


async def test_a_repository_with_too_many_tickets_says_so(
    world: TicketWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github_ticket_looks, "MOST_PAGES", 1)
    for number in range(101):
        world.server.create_issue(SHOP, f"Issue {number}", labels=["agent"])
    await world.issue("There", DOCS, labels=["agent"])
    listing = await world.tickets.fetch(None)
    assert [entry.title for entry in listing.entries] == ["There"]
    assert "more than 100 issues" in listing.faults[0]


# Which GitHub


async def test_the_connection_says_where_and_as_whom(
    world: TicketWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    node_id = await world.issue(labels=["agent"])
    values = {"conn_type": "github", "host": f"{world.server.url}/api/v3", "password": "token-of-agent"}
    monkeypatch.setenv("AIRFLOW_CONN_TICKETS", json.dumps(values))
    source = GitHubTickets(definition(), connection="tickets")
    # A sync opens it once for each of its steps.
    for _ in range(2):
        async with source.open() as opened:
            assert [entry.id for entry in (await opened.fetch(None)).entries] == [node_id]
    async with source.open() as opened:
        assert isinstance((await opened.read([node_id]))[node_id], TicketReading)
    assert source.host == world.server.url.removeprefix("http://")
    with pytest.raises(InvalidInputError, match="nothing_like_it"):
        async with GitHubTickets(definition(), connection="nothing_like_it").open():
            pass


async def test_github_com_has_no_host() -> None:
    found = GitHubCredential(urls=github_urls(""), token="x")
    source = GitHubTickets(definition(), connection="unused", credential=found)
    async with source.open():
        assert source.host == ""


async def test_a_source_that_is_not_open_says_so(server: StandInGitHub) -> None:
    source = GitHubTickets(definition(), connection="unused", credential=credential(server))
    with pytest.raises(RuntimeError, match="open the source first"):
        await source.fetch(None)
    async with source.open() as opened:
        assert opened.host == server.url.removeprefix("http://")
