"""The Jira source with the real client library, at a stand-in Jira over real HTTP, Cloud and Data Center."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from jira_fixtures import DEFINITION, fetched, opened, reading_of, served
from jira_world import ME, JiraWorld, document

from airflow_provider_agents.domain.tickets import Claim, ClaimedRun, TicketReading
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
)

pytest.importorskip("atlassian", reason="needs the extra `jira`")

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(params=["cloud", "data center"])
async def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JiraWorld]:
    async with served(monkeypatch, cloud=request.param == "cloud") as world:
        yield world


async def test_the_first_listing_finds_what_is_open_and_asked_for(world: JiraWorld) -> None:
    labelled = world.issue(labels=("agent", "ops"), components=("servers",), priority="High")
    commanded = world.issue(components=("Website",))
    world.comment(commanded, "alice", "/agent please")
    queued = world.issue(status="Queued")
    assigned = world.issue(assignee=ME)
    world.issue()
    world.issue(labels=("agent",), status="Done")
    world.issue(labels=("agent", "agent-ignore"))
    world.issue("OTHER-1", labels=("agent",))
    # Jira Cloud knows nobody by e-mail address in JQL.
    listing = await fetched(world, None, ask={**DEFINITION["ask"], "assignees": [ME]})
    assert listing.complete
    assert not listing.faults
    found = {entry.id: entry for entry in listing.entries}
    assert set(found) == {labelled.id, commanded.id, queued.id, assigned.id}
    entry = found[labelled.id]
    assert (entry.key, entry.repository, entry.priority) == (labelled.key, "acme/ops", 50)
    assert entry.url == f"{world.url}/browse/{labelled.key}"
    assert entry.created_at == labelled.created
    assert found[commanded.id].repository == "acme/web"
    assert (found[queued.id].repository, found[queued.id].priority) == ("acme/shop", 1)
    json.dumps(listing.cursor)


async def test_a_second_listing_tells_what_changed_once_and_costs_one_search(world: JiraWorld) -> None:
    issue = world.issue(labels=("agent",))
    quiet = world.issue(labels=("agent",))
    first = await fetched(world, None)
    world.tick(minutes=1)
    world.log.clear()
    second = await fetched(world, first.cursor)
    assert second.entries == ()
    assert not second.complete
    assert world.requests("POST .*search") == 1
    assert len(world.log) == 3  # what Jira is, who we are, the search
    world.label(issue, "alice")
    third = await fetched(world, second.cursor)
    assert [(entry.id, entry.actionable) for entry in third.entries] == [(issue.id, False)]
    fourth = await fetched(world, third.cursor)
    assert fourth.entries == ()
    world.tick(hours=2)
    world.set_status(quiet, "alice", "Done")
    fifth = await fetched(world, fourth.cursor)
    assert [(entry.id, entry.actionable) for entry in fifth.entries] == [(quiet.id, False)]


async def test_a_command_in_a_comment_makes_an_unlabelled_issue_actionable(world: JiraWorld) -> None:
    issue, other = world.issue(), world.issue()
    first = await fetched(world, None)
    assert first.entries == ()
    world.comment(other, "alice", "nice")
    second = await fetched(world, first.cursor)
    assert {entry.id: entry.actionable for entry in second.entries} == {issue.id: False, other.id: False}
    world.comment(issue, "alice", "/agent")
    third = await fetched(world, second.cursor)
    assert {entry.id: entry.actionable for entry in third.entries} == {issue.id: True}


async def test_nothing_falls_between_two_listings_whatever_the_minute(world: JiraWorld) -> None:
    """JQL's times are of minutes: what changed in the seconds around a listing is told by the next one."""
    issue = world.issue()
    cursor = (await fetched(world, None)).cursor
    for second in range(0, 70, 7):
        world.tick(seconds=second)
        world.label(issue, "alice", *(["agent"] if second % 2 else []))
        listing = await fetched(world, cursor)
        assert [entry.id for entry in listing.entries] == [issue.id]
        cursor = listing.cursor


async def test_a_search_that_lags_behind_loses_nothing(world: JiraWorld) -> None:
    issue = world.issue()
    world.lag = timedelta(seconds=200)
    world.tick(seconds=300)
    cursor = (await fetched(world, None)).cursor
    world.label(issue, "alice", "agent")
    world.tick(seconds=150)
    blind = await fetched(world, cursor)
    assert blind.entries == ()
    world.tick(seconds=100)
    listing = await fetched(world, blind.cursor)
    assert [entry.id for entry in listing.entries] == [issue.id]


async def test_a_session_that_stays_open_goes_by_jiras_clock(world: JiraWorld) -> None:
    issue = world.issue()
    async with opened(world) as source:
        cursor = (await source.fetch(None)).cursor
        world.label(issue, "alice", "agent")
        world.tick(hours=2)
        source._jira._heard -= 7_200
        listing = await source.fetch(cursor)
    assert [entry.id for entry in listing.entries] == [issue.id]


async def test_what_reading_and_writing_cost(world: JiraWorld) -> None:
    """As docs/tickets-jira.md says."""
    issue = world.issue(labels=("agent",))
    async with opened(world) as source:
        world.log.clear()
        reading = await reading_of(source, issue.id)
        assert len(world.log) == (3 if world.cloud else 2)
        for requests in (5, 3, 3):
            world.log.clear()
            await source.write_status(reading, Claim(), "Working.")
            assert len(world.log) == requests


async def test_a_cursor_of_another_definition_lists_everything(world: JiraWorld) -> None:
    issue = world.issue(labels=("robot",))
    first = await fetched(world, None)
    again = await fetched(world, first.cursor, ask={"labels": ["robot"]})
    assert again.complete
    assert [entry.id for entry in again.entries] == [issue.id]
    for at in ("yesterday", "2026-01-04T10:00:00", (world.clock + timedelta(hours=1)).isoformat()):
        broken = await fetched(world, {"scope": first.cursor["scope"], "at": at})
        assert broken.complete
    # The clocks of Jira's nodes differ by seconds.
    soon = (world.clock + timedelta(seconds=20)).isoformat()
    assert not (await fetched(world, {"scope": first.cursor["scope"], "at": soon})).complete


async def test_names_of_the_definition_are_no_jql(world: JiraWorld) -> None:
    hostile = 'agent") OR project = "OTHER'
    world.issue("OTHER-1", labels=("agent",))
    mine = world.issue(labels=(hostile,))
    back = world.issue(labels=("back\\slash",))
    listing = await fetched(
        world, None, ask={"labels": [hostile, "back\\slash"], "states": ['x" OR status = "To Do']}
    )
    assert {entry.id for entry in listing.entries} == {mine.id, back.id}


async def test_jql_that_jira_does_not_take_is_told_in_its_words(world: JiraWorld) -> None:
    with pytest.raises(ForgeError, match="Field 'projekt' does not exist"):
        await fetched(world, None, jql="projekt = SHOP")


async def test_ten_thousand_issues_in_pages_of_a_hundred(world: JiraWorld) -> None:
    for _ in range(10_000):
        world.issue(labels=("agent",))
    world.keeps_lists = True
    listing = await fetched(world, None)
    assert len({entry.id for entry in listing.entries}) == len(listing.entries) == 10_000
    assert listing.complete
    assert world.requests("POST .*search") <= 112


async def test_a_list_that_moves_between_its_pages_loses_nobody(world: JiraWorld) -> None:
    issues = [world.issue(labels=("agent",)) for _ in range(250)]

    def leave(start: int) -> None:
        if 0 < start < 150:
            for issue in issues[start - 20 : start - 14]:
                issue.labels = ()

    world.before_page = leave
    listing = await fetched(world, None)
    assert not listing.faults
    assert {issue.id for issue in issues[120:]} <= {entry.id for entry in listing.entries}


async def test_a_list_that_moves_too_much_is_read_again(world: JiraWorld) -> None:
    if world.cloud:
        pytest.skip("Cloud's pages are found by a token")
    issues = [world.issue(labels=("agent",)) for _ in range(250)]

    def leave(start: int) -> None:
        if start:
            for issue in issues[:50]:
                issue.labels = ()

    world.before_page = leave
    listing = await fetched(world, None)
    assert listing.faults
    assert not listing.complete
    assert not listing.cursor
    world.before_page = None
    again = await fetched(world, listing.cursor)
    assert again.complete
    assert len(again.entries) == 200


# Reading


async def test_a_ticket_is_read_whole(world: JiraWorld) -> None:
    epic = world.issue("SHOP-1", type="Epic", summary="Checkout")
    blocker = world.issue("SHOP-2", summary="Schema", status="Done")
    child = world.issue("SHOP-3", summary="Step one")
    issue = world.issue(
        "SHOP-7",
        by="eve",
        summary="Sum is wrong",
        description=document("Add *all* lines.\nPlease") if world.cloud else "Add *all* lines.\nPlease",
        parent="SHOP-1",
        subtasks=["SHOP-3"],
        attachments=[
            {
                "id": "5",
                "filename": "../../etc/passwd",
                "content": f"{world.url}/secure/attachment/5/x",
                "size": 12,
                "mimeType": "text/plain",
                "author": world._user("eve"),
            }
        ],
    )
    world.link(issue, "Blocks", "is blocked by", "blocks", blocker, side="inward")
    world.link(issue, "Relates", "relates to", "relates to", child, side="outward")
    change = world.label(issue, "alice", "agent")
    world.edit(issue, "eve", summary="Sum is wrong!", description=issue.description)
    said = world.comment(issue, "alice", "/agent again")
    hidden = world.comment(issue, "alice", "salaries", visibility={"type": "role", "value": "Admins"})
    edited = world.comment(issue, "alice", "/agent do it", editor="eve")
    async with opened(world) as source:
        found = await reading_of(source, issue.key)
        assert found == await reading_of(source, issue.id)
        assert (found.state, (await reading_of(source, "SHOP-2")).state) == ("open", "done")
    person = "{}" if world.cloud else "key-{}"
    alice, eve = person.format("alice"), person.format("eve")
    assert found.entry.title == "Sum is wrong!"
    assert found.body == ("Add *all* lines.\n\nPlease" if world.cloud else "Add *all* lines.\nPlease")
    assert found.author == eve
    assert [(edit.by, edit.at) for edit in found.edits] == [(eve, issue.histories[1]["at"])]
    assert [(ask.key, ask.kind, ask.by, ask.label) for ask in found.asks] == [
        (f"{change}:label:agent", "label", alice, "agent"),
        (said.id, "command", alice, ""),
    ]
    assert [comment.key for comment in found.comments] == [said.id, edited.id]
    assert hidden.id not in {comment.key for comment in found.comments}
    assert found.comments[1].edited_by == eve
    assert [(a.name, a.size, a.content_type, a.author) for a in found.attachments] == [
        ("../../etc/passwd", 12, "text/plain", eve)
    ]
    assert {(link.key, link.relation, link.state, link.order) for link in found.links} == {
        ("SHOP-2", "depends_on", "done", None),
        ("SHOP-3", "child", "open", 0),
        ("SHOP-1", "parent", "open", None),
    }
    assert found.claim is None
    assert found.missing == ()
    assert found.entry.actionable
    assert epic.key in {link.key for link in found.links}


async def test_what_an_issue_was_made_with_is_its_makers_ask(world: JiraWorld) -> None:
    issue = world.issue(by="eve", labels=("Agent", "bug"), status="Queued")
    world.label(issue, "alice", "bug")
    world.set_status(issue, ME, "In Progress")
    again = world.label(issue, "alice", "bug", "agent")
    async with opened(world) as source:
        asks = (await reading_of(source, issue.id)).asks
    eve = "eve" if world.cloud else "key-eve"
    assert [(ask.kind, ask.by, ask.withdrawn) for ask in asks[:2]] == [
        ("label", eve, True),
        ("state", eve, False),
    ]
    assert len({ask.key for ask in asks}) == 3
    assert asks[2].key == f"{again}:label:agent"


async def test_an_assignment_and_a_move_that_are_taken_back_hold_no_more(world: JiraWorld) -> None:
    issue = world.issue()
    world.assign(issue, "alice", ME)
    world.assign(issue, "alice", "alice")
    world.assign(issue, "alice", ME)
    world.set_status(issue, "alice", "Queued")
    world.set_status(issue, "eve", "In Progress")
    world.set_status(issue, "alice", "Queued")
    world.set_status(issue, ME, "In Progress")
    async with opened(world) as source:
        asks = (await reading_of(source, issue.id)).asks
    assert [(ask.kind, ask.withdrawn) for ask in asks] == [
        ("assignee", True),
        ("assignee", False),
        ("state", True),
        ("state", False),
    ]


async def test_a_long_history_and_many_comments_are_read_to_the_end(world: JiraWorld) -> None:
    issue = world.issue()
    for _ in range(130):
        world.label(issue, "alice", "agent")
        world.label(issue, "alice")
        world.comment(issue, "eve", "me too")
    world.comment(issue, "alice", "/agent")
    async with opened(world) as source:
        found = await reading_of(source, issue.id)
    assert len(found.asks) == 131
    assert len(found.comments) == 131
    assert found.missing == ()


async def test_a_history_that_is_cut_is_said(world: JiraWorld) -> None:
    issue = world.issue(labels=("agent",))
    path = "changelog" if world.cloud else f"issue/{issue.id}$"
    whole = {"id": issue.id, "key": issue.key, "fields": world._fields(issue)}
    cut = {"startAt": 0, "total": 9, "isLast": False, "values": [], "histories": []}
    world.fail("GET", path, status=200, body=json.dumps(cut if world.cloud else {**whole, "changelog": cut}))
    async with opened(world) as source:
        assert (await reading_of(source, issue.id)).missing == (
            "Its changelog could not be read to the end.",
        )


async def test_an_issue_that_moved_to_another_project_is_the_same(world: JiraWorld) -> None:
    issue = world.issue("SHOP-7", labels=("agent",))
    async with opened(world) as source:
        before = await reading_of(source, issue.id)
        await source.write_status(before, Claim(runs=(ClaimedRun(run_id="r", asks=("a",)),)), "Working.")
        issue.key = "NEW-1"
        after = await reading_of(source, issue.id)
        assert (after.entry.id, after.entry.key) == (before.entry.id, "NEW-1")
        assert after.claim is not None
        assert after.claim.answered == {"a"}
        await source.write_status(after, after.claim, "Still working.")
    assert len(issue.comments) == 1


async def test_issues_that_cannot_be_read_are_errors_of_their_own(world: JiraWorld) -> None:
    issue = world.issue(labels=("agent",))
    asked = [issue.id, "4711", "../../myself", "SHOP-1/comment"]
    async with opened(world) as source:
        found = await source.read(asked)
    assert isinstance(found[issue.id], TicketReading)
    assert all(isinstance(found[name], ForgeAccessError) for name in asked[1:])
    assert "deleted" in str(found["4711"])
    assert world.requests("myself") == 1  # of opening; nobody was led there


async def test_children_of_an_epic_in_their_order(world: JiraWorld) -> None:
    if not world.cloud:
        pytest.skip("Data Center tells sub-tasks only")
    world.issue("SHOP-1", type="Epic")
    for number in (5, 3, 4):
        world.issue(f"SHOP-{number}", parent="SHOP-1")
    async with opened(world) as source:
        links = (await reading_of(source, "SHOP-1")).links
    assert [(link.key, link.relation, link.order) for link in links] == [
        ("SHOP-5", "child", 0),
        ("SHOP-3", "child", 1),
        ("SHOP-4", "child", 2),
    ]


# People


async def test_standing(world: JiraWorld) -> None:
    world.user("boss", email="boss@example.com")
    world.user("left", email="left@example.com", active=False, groups=("developers",))
    world.user("app", account_type="app")
    world.user("buyer", account_type="customer")
    person = "{}" if world.cloud else "key-{}"
    async with opened(world) as source:
        alice = await source.standing(person.format("alice"), "acme/shop")
        boss = await source.standing(person.format("boss"), "acme/shop")
        left = await source.standing(person.format("left"), "acme/shop")
        nobody = await source.standing("gone", "acme/shop")
        me = await source.standing(person.format(ME), "acme/shop")
        asked = len(world.log)
        assert await source.standing(person.format("alice"), "acme/other") == alice
        assert len(world.log) == asked
        if world.cloud:
            assert (await source.standing("app", "")).is_bot
            assert (await source.standing("buyer", "")).association is None
        assert (await source.standing("", "")).login == ""
    assert (alice.teams, alice.association, alice.permission) == ({"Developers"}, "member", None)
    assert "boss@example.com" in boss.names
    assert boss.teams == frozenset()
    assert left.login == nobody.login == ""
    assert left.teams == nobody.names == frozenset()
    assert me.own
    assert not alice.own


async def test_people_that_may_not_be_read_are_no_strangers(world: JiraWorld) -> None:
    """A missing right must not look like a person without authority, who would be refused for good."""
    world.fail("GET", "/user$", status=403, times=9)
    async with opened(world) as source:
        with pytest.raises(ForgeAccessError, match="has the right"):
            await source.standing("alice", "acme/shop")


# Writing
