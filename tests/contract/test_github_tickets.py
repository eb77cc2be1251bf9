"""GitHub Issues as a source of tickets, at the stand-in GitHub over real HTTP: what is listed and read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from github_tickets_world import DOCS, SHOP, TicketWorld, claim, credential, definition, ticket_world

from airflow_provider_agents.domain.tickets import TicketReading
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks import github_transport
from airflow_provider_agents.hooks.github_tickets import GitHubTickets
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
    elsewhere = await world.issue("Elsewhere", DOCS, labels=["agent"])
    listing = await world.tickets.fetch(None)
    actionable = {entry.id: entry for entry in listing.entries if entry.actionable}
    assert set(actionable) == {asked, elsewhere}
    assert (listing.complete, listing.faults) == (True, ())
    entry = actionable[asked]
    assert (entry.key, entry.title, entry.repository) == (f"{SHOP}#1", "Asked", SHOP)
    assert entry.labels == ("Agent", "urgent")
    assert entry.url == f"{world.server.url}/{SHOP}/issues/1"
    assert entry.created_at.tzinfo is not None
    assert {entry.title for entry in listing.entries if not entry.actionable} == {"Kept away"}


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


@pytest.mark.parametrize("part", [["look0"], ["look0", "issues"], ["look0", "issues", "nodes", 0]])
async def test_half_an_answer_about_a_repository_moves_no_cursor(world: TicketWorld, part: list[str]) -> None:
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


# What is read


async def test_a_ticket_read_whole(world: TicketWorld) -> None:
    node_id = await world.issue("It brakes", body="When I press the button", labels=["agent"])
    await world.act("eve", "edit", number=1, title="It breaks")
    await world.act("alice", "edit", number=1, body="When anybody presses the button")
    await world.act("bob", "comment", number=1, body="Since when?")
    await world.act("alice", "comment", number=1, body="/agent again")
    reading = await world.read(node_id)
    assert (reading.entry.title, reading.body, reading.author) == (
        "It breaks",
        "When anybody presses the button",
        "eve",
    )
    assert [(ask.kind, ask.by, ask.label) for ask in reading.asks] == [
        ("label", "alice", "agent"),
        ("command", "alice", ""),
    ]
    assert {edit.by for edit in reading.edits} == {"eve", "alice"}
    assert [(comment.author, comment.body) for comment in reading.comments] == [
        ("bob", "Since when?"),
        ("alice", "/agent again"),
    ]
    assert (reading.claim, reading.missing) == (None, ())
    assert reading.entry.actionable is True


async def test_asks_are_the_same_at_every_reading_and_survive_the_label(world: TicketWorld) -> None:
    node_id = await world.issue(labels=["agent"])
    before = (await world.read(node_id)).asks
    await world.act("alice", "unlabel", number=1, labels=["agent"])
    off = await world.read(node_id)
    assert (off.asks, off.entry.actionable) == (before, False)
    await world.act("bob", "label", number=1, labels=["agent"])
    again = await world.read(node_id)
    assert again.asks[:1] == before
    assert [ask.by for ask in again.asks] == ["alice", "bob"]
    assert len({ask.key for ask in again.asks}) == 2


async def test_comments_that_ask_and_those_that_do_not(world: TicketWorld) -> None:
    node_id = await world.issue()
    for body in (
        "Try /agent",
        "> /agent",
        "    /agent",
        "/agentx",
        "/agent stop",
        "```\n/agent\n```",
        "/Agent",
    ):
        await world.act("alice", "comment", number=1, body=body)
    await world.act("eve", "comment", number=1, body="Me too")
    await world.act("alice", "edit_comment", number=1, body="/agent")
    await world.act("agent", "comment", number=1, body="/agent")
    assert (await world.read(node_id)).asks == ()
    for body in ("/agent", "/agent again\nplease", "\r\n  /agent again."):
        await world.act("alice", "comment", number=1, body=body)
    assert [ask.kind for ask in (await world.read(node_id)).asks] == ["command"] * 3


async def test_somebody_else_s_edit_is_told(world: TicketWorld) -> None:
    node_id = await world.issue()
    await world.act("eve", "comment", number=1, body="First")
    await world.act("eve", "edit_comment", number=1, body="Second")
    assert [comment.edited_by for comment in (await world.read(node_id)).comments] == [""]
    await world.act("alice", "edit_comment", number=1, body="Third")
    assert [comment.edited_by for comment in (await world.read(node_id)).comments] == ["alice"]


async def test_accounts_that_are_gone(world: TicketWorld) -> None:
    await world.act("acme", "configure", SHOP, permissions={"mallory": "triage"})
    node_id = await world.issue(who="mallory")
    await world.act("mallory", "label", number=1, labels=["agent"])
    await world.act("mallory", "edit", number=1, body="Other")
    await world.act("mallory", "comment", number=1, body="/agent")
    await world.act("mallory", "delete_account")
    reading = await world.read(node_id)
    assert (reading.author, [ask.by for ask in reading.asks]) == ("ghost", ["", ""])
    assert [comment.author for comment in reading.comments] == ["ghost"]
    assert [edit.by for edit in reading.edits] == [""]
    standing = await world.tickets.standing("", SHOP)
    assert (standing.is_bot, standing.permission) == (True, None)


async def test_bots_are_told_by_their_suffix(world: TicketWorld) -> None:
    await world.act("acme", "configure", SHOP, permissions={"helper[bot]": "write"})
    node_id = await world.issue()
    await world.act("helper[bot]", "label", number=1, labels=["agent"])
    await world.act("helper[bot]", "comment", number=1, body="/agent")
    reading = await world.read(node_id)
    assert [ask.by for ask in reading.asks] == ["helper[bot]"] * 2
    assert (await world.tickets.standing("helper[bot]", SHOP)).is_bot is True


async def test_more_than_a_hundred_events_and_comments(world: TicketWorld) -> None:
    node_id = await world.issue()
    for _ in range(60):
        await world.act("alice", "label", number=1, labels=["agent"])
        await world.act("alice", "unlabel", number=1, labels=["agent"])
    for number in range(103):
        await world.act("eve", "edit", number=1, title=f"Title {number}")
        await world.act("eve", "comment", number=1, body=f"Comment {number}")
    await world.act("alice", "comment", number=1, body="/agent")
    reading = await world.read(node_id)
    assert len([ask for ask in reading.asks if ask.kind == "label"]) == 60
    assert len(reading.edits) >= 1
    assert [comment.body for comment in reading.comments[-2:]] == ["Comment 102", "/agent"]
    assert (len(reading.comments), reading.missing) == (104, ())


@pytest.mark.parametrize(
    ("operation", "words"),
    [("TicketEvents", "events"), ("TicketCommentsPage", "comments")],
)
async def test_a_page_that_fails_is_missing(world: TicketWorld, operation: str, words: str) -> None:
    node_id = await world.issue(labels=["agent"])
    for number in range(101):
        await world.act("eve", "edit", number=1, title=f"Title {number}")
        await world.act("eve", "comment", number=1, body=f"Comment {number}")
    world.fault({"status": 502, "body": ""}, operation, times=None)
    (note,) = (await world.read(node_id)).missing
    assert words in note


async def test_too_many_comments_are_missing(world: TicketWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_agents.hooks import github_ticket_reading

    monkeypatch.setattr(github_ticket_reading, "MOST_PAGES", 1)
    node_id = await world.issue(labels=["agent"])
    for number in range(201):
        await world.act("eve", "comment", number=1, body=f"Comment {number}")
    (note,) = (await world.read(node_id)).missing
    assert "more than 200" in note


@pytest.mark.parametrize("part", ["body", "labels", "comments", "timelineItems", "subIssues", "repository"])
async def test_half_a_ticket_starts_nothing(world: TicketWorld, part: str) -> None:
    node_id = await world.issue(labels=["agent"])
    other = await world.issue("Other", labels=["agent"])
    world.fault({"partial": ["nodes", {"id": node_id}, part]}, "TicketReadings")
    found = await world.tickets.read([node_id, other])
    half, whole = found[node_id], found[other]
    assert isinstance(half, ForgeError) or half.missing
    assert isinstance(whole, TicketReading)
    assert whole.missing == ()


async def test_ids_that_lead_nowhere_are_errors_of_their_own(world: TicketWorld) -> None:
    node_id = await world.issue(labels=["agent"])
    await world.act("agent", "push_commit", branch="x", files={"b.py": "1\n"})
    pull = await world.act("agent", "open_pull", head="x", title="Pull", body="")
    ids = [node_id, "I_nothing", f"{SHOP}#1", f"{SHOP}#99", str(pull["node_id"]), "other/thing#1"]
    found = await world.tickets.read(ids)
    assert list(found) == ids
    assert isinstance(found[node_id], TicketReading)
    assert found[f"{SHOP}#1"] == found[node_id]
    for absent in ("I_nothing", f"{SHOP}#99", str(pull["node_id"]), "other/thing#1"):
        assert isinstance(found[absent], ForgeAccessError), absent


async def test_a_repository_that_the_definition_does_not_name_is_not_read(world: TicketWorld) -> None:
    await world.server.seed_synthetic("acme/secret", {"a.py": "1\n"}, permissions={"agent": "write"})
    issue = world.server.create_issue("acme/secret", "Secret", "Secret", labels=["agent"])
    found = await world.tickets.read([issue.id, "acme/secret#1"])
    assert all(isinstance(each, ForgeAccessError) for each in found.values())


async def test_a_transferred_issue_starts_nothing_by_what_was_asked_before(world: TicketWorld) -> None:
    node_id = await world.issue(labels=["agent"])
    untouched = await world.issue("Not started", labels=["agent"])
    await world.act("alice", "comment", number=1, body="/agent")
    await world.tickets.write_status(await world.read(node_id), claim("run-1", "a"), "Working")
    world.pass_time(60)
    await world.act("acme", "configure", DOCS, permissions={"alice": "maintain"})
    moved = await world.act("alice", "transfer", number=1, to=DOCS)
    also = await world.act("alice", "transfer", number=2, to=DOCS)
    assert isinstance((await world.tickets.read([node_id]))[node_id], ForgeAccessError)
    reading = await world.read(moved["node_id"])
    assert (reading.entry.key, reading.asks) == (f"{DOCS}#1", ())
    assert reading.claim == claim("run-1", "a")
    assert untouched != also["node_id"]
    assert [ask.kind for ask in (await world.read(also["node_id"])).asks] == ["label"]
    world.pass_time(60)
    await world.act("alice", "comment", DOCS, number=1, body="/agent again")
    assert [ask.kind for ask in (await world.read(moved["node_id"])).asks] == ["command"]


async def test_files_that_a_ticket_refers_to(world: TicketWorld) -> None:
    host = world.server.url.removeprefix("http://")
    body = (
        f"![shot]({world.server.url}/user-attachments/assets/abc)\n"
        f'<img width="10" alt="../../etc/passwd" src="https://elsewhere.example/x.png">\n'
        f"[log.txt]({world.server.url}/{SHOP}/files/12/log.txt) and [code]({world.server.url}/{SHOP}/blob/main/a.py)"
    )
    node_id = await world.issue(body=body, labels=["agent"])
    files = (await world.read(node_id)).attachments
    assert [(file.name, file.url) for file in files] == [
        ("shot", f"http://{host}/user-attachments/assets/abc"),
        ("../../etc/passwd", "https://elsewhere.example/x.png"),
        ("log.txt", f"http://{host}/{SHOP}/files/12/log.txt"),
    ]


# What a ticket leads to


async def test_links_with_their_states(world: TicketWorld) -> None:
    body = f"Depends on #2, #3 and {DOCS}#1. Blocked by: {world.server.url}/{SHOP}/issues/4. See #5 and #99."
    node_id = await world.issue(body=body, labels=["agent"])
    for title in ("Open", "Done", "Dropped", "Seen"):
        await world.issue(title)
    await world.issue("There", DOCS)
    await world.act("alice", "close", number=3)
    await world.act("alice", "close", number=4, reason="NOT_PLANNED")
    links = (await world.read(node_id)).links
    assert [(link.key, link.title, link.state, link.relation) for link in links] == [
        (f"{SHOP}#2", "Open", "open", "depends_on"),
        (f"{SHOP}#3", "Done", "done", "depends_on"),
        (f"{DOCS}#1", "There", "open", "depends_on"),
        (f"{SHOP}#4", "Dropped", "cancelled", "depends_on"),
        (f"{SHOP}#5", "Seen", "open", "mentioned"),
        (f"{SHOP}#99", "", "unknown", "mentioned"),
    ]


async def test_a_pull_request_is_done_when_it_is_merged(world: TicketWorld) -> None:
    for number in (1, 2):
        await world.act("agent", "push_commit", branch=f"x{number}", files={f"{number}.py": "1\n"})
        await world.act("agent", "open_pull", head=f"x{number}", title=f"Pull {number}", body="")
    await world.act("alice", "merge", number=1)
    await world.act("alice", "close", number=2)
    node_id = await world.issue(body="depends on #1 and #2")
    assert [link.state for link in (await world.read(node_id)).links] == ["done", "cancelled"]


async def test_the_family_of_a_ticket(world: TicketWorld) -> None:
    epic = await world.issue("Epic", labels=["agent"])
    for title in ("First", "Second"):
        await world.issue(title)
    for child in (3, 2):
        await world.act("alice", "add_sub_issue", number=1, child=child)
    assert [(link.key, link.relation, link.order) for link in (await world.read(epic)).links] == [
        (f"{SHOP}#3", "child", 0),
        (f"{SHOP}#2", "child", 1),
    ]
    (parent,) = (await world.read(str(world.server.forge.store.repositories[SHOP].issues[2].id))).links
    assert (parent.key, parent.title, parent.relation) == (f"{SHOP}#1", "Epic", "parent")


async def test_what_a_stranger_names_is_not_read_out_to_them(world: TicketWorld) -> None:
    await world.server.seed_synthetic("acme/secret", {"a.py": "1\n"}, permissions={"agent": "write"})
    world.server.create_issue("acme/secret", "The password is 1234", "")
    node_id = await world.issue(body="Depends on acme/secret#1, see acme/secret#1")
    reading = await world.read(node_id)
    assert [(link.key, link.title, link.state) for link in reading.links] == [
        ("acme/secret#1", "", "unknown")
    ]
    await world.act("acme", "configure", "acme/secret", private=False)
    assert [link.title for link in (await world.read(node_id)).links] == ["The password is 1234"]


async def test_a_dependency_that_cannot_be_read_now_is_missing(world: TicketWorld) -> None:
    node_id = await world.issue(body="Depends on #2", labels=["agent"])
    await world.issue("Other")
    world.fault({"status": 502, "body": ""}, "TicketLinks", times=None)
    (note,) = (await world.read(node_id)).missing
    assert f"{SHOP}#2" in note


# Who somebody is


async def test_standing_by_permission_team_and_association(server: StandInGitHub) -> None:
    rules = {"authority": {"start": {"teams": ["acme/platform", "acme/empty", "nonsense"]}}}
    async with ticket_world(server, **rules) as world:
        await world.act("bob", "join_team", team="acme/platform")
        await world.act("eve", "join_team", team="acme/platform", pending=True)
        await world.issue(labels=["agent"])
        await world.act("bob", "comment", number=1, body="Hm")
        await world.tickets.read([f"{SHOP}#1"])
        bob, eve, alice, nobody = [
            await world.tickets.standing(login, SHOP) for login in ("bob", "eve", "alice", "nobody")
        ]
        assert (bob.permission, bob.association) == ("triage", "collaborator")
        assert bob.teams == {"acme/platform"}
        assert (eve.permission, eve.teams) == ("read", frozenset())
        assert (alice.permission, alice.association) == ("maintain", None)
        assert (nobody.permission, nobody.is_bot) == (None, False)
        assert (await world.tickets.standing("acme", SHOP)).association == "owner"
        assert (bob.own, (await world.tickets.standing("Agent", SHOP)).own) == (False, True)


async def test_standing_is_asked_once_a_minute(world: TicketWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_agents.hooks import github_ticket_standing

    for _ in range(3):
        assert (await world.tickets.standing("Alice".lower(), SHOP)).permission == "maintain"
    assert sum(world.counts().values()) == 2  # Whose the credential is, and what alice may do.
    await world.act("acme", "remove_permission", of="alice")
    monkeypatch.setattr(github_ticket_standing, "KEPT_SECONDS", 0.0)
    assert (await world.tickets.standing("alice", SHOP)).permission is None


@pytest.mark.parametrize("login", ["a/../b", "x y", "..", "a" * 200, "é"])
async def test_a_login_that_can_be_none_is_not_asked_about(world: TicketWorld, login: str) -> None:
    standing = await world.tickets.standing(login, SHOP)
    assert (standing.permission, standing.is_bot) == (None, True)
    assert set(world.counts()) == {"Viewer"}


async def test_standing_that_github_does_not_say_is_an_error(world: TicketWorld) -> None:
    world.server.faults.add({"match": {"path": "permission"}, "times": None, "action": {"status": 500}})
    with pytest.raises(ForgeUnavailableError):
        await world.tickets.standing("alice", SHOP)


async def test_a_source_that_is_not_open_says_so(server: StandInGitHub) -> None:
    source = GitHubTickets(definition(), connection="unused", credential=credential(server))
    with pytest.raises(RuntimeError, match="open the source first"):
        await source.fetch(None)
    async with source.open() as opened:
        assert opened.host == server.url.removeprefix("http://")
