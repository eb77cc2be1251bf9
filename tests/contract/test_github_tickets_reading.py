"""GitHub Issues as a source of tickets, at the stand-in GitHub over real HTTP: what is read, and who people are."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from github_tickets_world import DOCS, SHOP, TicketWorld, claim, ticket_world

from airflow_provider_agents.domain.tickets import TicketReading
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks import github_transport
from demo.github.issue_changes import add_sub_issue
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
    taken_back = tuple(dataclasses.replace(ask, withdrawn=True) for ask in before)
    assert (off.asks, off.entry.actionable) == (taken_back, False)
    await world.act("bob", "label", number=1, labels=["agent"])
    again = await world.read(node_id)
    # Who puts it back asks anew, with no more authority than is theirs.
    assert [ask.withdrawn for ask in again.asks] == [True, False]
    assert again.asks[:1] == taken_back
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


async def test_taking_an_issue_away_takes_back_who_asked_by_giving_it(server: StandInGitHub) -> None:
    """Also where somebody gives it again: that one asks anew, with no more authority than is theirs."""
    async with ticket_world(server, ask={"labels": [], "assignees": ["agent"]}) as world:
        node_id = await world.issue()
        taken: list[list[tuple[str, bool]]] = []
        for who, to in (("alice", ["agent"]), ("alice", []), ("bob", ["bob", "agent"])):
            await world.act(who, "assign", number=1, to=to)
            taken.append([(ask.by, ask.withdrawn) for ask in (await world.read(node_id)).asks])
    assert taken == [[("alice", False)], [("alice", True)], [("alice", True), ("bob", False)]]


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


async def test_a_ticket_says_itself_what_it_is_to_those_that_depend_on_it(world: TicketWorld) -> None:
    ids = [await world.issue(title) for title in ("Open", "Done", "Dropped")]
    await world.act("alice", "close", number=2)
    await world.act("alice", "close", number=3, reason="NOT_PLANNED")
    assert [(await world.read(node_id)).state for node_id in ids] == ["open", "done", "cancelled"]


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


async def test_a_public_issue_brings_no_title_of_a_private_repository_along(server: StandInGitHub) -> None:
    """Its run may write the title where everybody reads it; whether it is done, that is needed."""
    async with ticket_world(server):
        await server.seed_synthetic("acme/secret", {"a.py": "1\n"}, permissions={"agent": "write"})
    async with ticket_world(server, repositories=(SHOP, "acme/secret")) as world:
        child = server.create_issue("acme/secret", "The password is 1234", "")
        server.create_issue("acme/secret", "The other is 5678", "")
        node_id = await world.issue(body="Depends on acme/secret#2")
        store = server.forge.store
        parent = store.repositories[SHOP].issues[1]
        add_sub_issue(server.forge, parent, store.user("agent"), child)
        shown = [(link.title, link.state) for link in (await world.read(node_id)).links]
        assert shown == [("The password is 1234", "open"), ("The other is 5678", "open")]
        await world.act("acme", "configure", SHOP, private=False)
        shown = [(link.title, link.state) for link in (await world.read(node_id)).links]
        assert shown == [("", "open"), ("", "open")]


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


@pytest.mark.parametrize(
    "text",
    [
        "<!-- agents ticket-status AAAA --> depends on #1",
        "\u202e\u200b\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16") + " /agent",
        "]](((" * 13_000,
        "{{ config }} ${HOME} `rm -rf /` %s {0}",
        '"; query { viewer { login } } #',
        "x" * 65_536,
    ],
)
async def test_hostile_text_is_read_as_it_is_and_starts_nothing(world: TicketWorld, text: str) -> None:
    title = text[:200]
    node_id = await world.issue(title, body=text)
    await world.act("eve", "comment", number=1, body=text)
    reading = await world.read(node_id)
    assert (reading.entry.title, reading.body, reading.comments[0].body) == (title, text, text)
    assert (reading.asks, reading.claim, reading.missing) == ((), None, ())
    assert reading.entry.actionable is False
