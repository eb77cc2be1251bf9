"""Reading a ticket of Linear whole: who asked, what it says, what it hangs on; and who people are."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from linear_fixtures import claim_for, opened, read_one
from linear_world import Fault, World

from airflow_provider_agents.domain.authority import admits
from airflow_provider_agents.domain.authority_rules import Standing, Who
from airflow_provider_agents.domain.tickets import Claim, ClaimedRun, TicketReading
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks.linear_claim import claim_url, comment_ids

if TYPE_CHECKING:
    from linear_world import Json


@pytest.fixture
def world() -> World:
    world = World()
    world.team("ENG")
    return world


@pytest.fixture
def ada(world: World) -> Json:
    return world.user("Ada", "ada@acme.test")


@pytest.fixture
def bob(world: World) -> Json:
    return world.user("Bob", "bob@acme.test")


def asked(reading: TicketReading) -> list[tuple[str, str, str]]:
    return [(ask.kind, ask.by, ask.label) for ask in reading.asks]


async def test_a_ticket_is_read_by_id_and_by_key(
    world: World, ada: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue = world.issue(
        "ENG", description="Mend\n\nit.", creator=ada, labels=("agent",), priorityLabel="High"
    )
    async with opened(monkeypatch, world) as source:
        found = await source.read([issue["id"], issue["identifier"], issue["id"]])
    assert list(found) == [issue["id"], issue["identifier"]]
    reading = found[issue["id"]]
    assert isinstance(reading, TicketReading)
    assert found[issue["identifier"]] == reading
    assert (reading.body, reading.author, reading.claim, reading.missing) == (
        "Mend\n\nit.",
        ada["id"],
        None,
        (),
    )
    assert reading.fields["priority"] == "High"
    assert reading.fields["team"] == "ENG"
    assert reading.entry.actionable


async def test_one_that_is_not_there_is_an_error_of_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue = world.issue("ENG", description=None)
    async with opened(monkeypatch, world) as source:
        found = await source.read(["gone", issue["id"]])
    assert isinstance(found["gone"], ForgeAccessError)
    assert "Entity not found: Issue" in str(found["gone"])
    reading = found[issue["id"]]
    assert isinstance(reading, TicketReading)
    assert reading.body == ""


async def test_each_way_of_asking_is_an_ask_of_who_did_it(
    world: World, ada: Json, bob: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue = world.issue("ENG", creator=ada)
    world.add_label(issue, "AGENT", ada)
    world.assign(issue, world.agent, bob)
    world.assign(issue, world.agent, ada, "Delegate")
    world.move(issue, "In Progress", bob)
    world.comment(issue, "\n  /agent again\nplease", ada)
    world.comment(issue, "/agents are nice", ada)
    world.comment(issue, "    /agent", ada)
    world.comment(issue, "ask /agent", ada)
    world.add_label(issue, "bug", ada)
    ask = {"labels": ["agent"], "assignees": ["Agent@acme.test"], "states": ["in progress"]}
    async with opened(monkeypatch, world, ask=ask) as source:
        first = await read_one(source, issue["id"])
        world.remove_label(issue, "AGENT", bob)
        world.assign(issue, None, bob)
        second = await read_one(source, issue["id"])
    assert asked(first) == [
        ("label", ada["id"], "AGENT"),
        ("assignee", bob["id"], ""),
        ("assignee", ada["id"], ""),
        ("state", bob["id"], ""),
        ("command", ada["id"], ""),
    ]
    assert len({ask.key for ask in first.asks}) == 5
    assert [ask.at for ask in first.asks] == sorted(ask.at for ask in first.asks)
    # What was asked stays asked, with the same keys, when it is taken back.
    assert [(ask.key, ask.by, ask.at) for ask in second.asks] == [(a.key, a.by, a.at) for a in first.asks]
    assert not any(ask.withdrawn for ask in first.asks)
    assert [ask.kind for ask in second.asks if ask.withdrawn] == ["label", "assignee"]


async def test_what_a_ticket_was_created_with_is_its_creators_ask(
    world: World, ada: Json, bob: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue = world.issue("ENG", creator=ada, labels=("agent",), state="Todo", assignee=world.agent)
    ask = {"labels": ["agent"], "assignees": [world.agent["id"]], "states": ["Todo"]}
    async with opened(monkeypatch, world, ask=ask) as source:
        first = await read_one(source, issue["id"])
        world.remove_label(issue, "agent", bob)
        world.move(issue, "In Review", bob)
        world.assign(issue, bob, bob)
        taken_back = await read_one(source, issue["id"])
        world.add_label(issue, "agent", bob)
        again = await read_one(source, issue["id"])
    assert {(kind, by) for kind, by, _ in asked(first)} == {
        ("label", ada["id"]),
        ("assignee", ada["id"]),
        ("state", ada["id"]),
    }
    assert {ask.at for ask in first.asks} == {first.entry.created_at}
    known = {ask.key for ask in first.asks}
    assert {ask.key for ask in taken_back.asks} == known
    assert {ask.kind for ask in taken_back.asks if ask.withdrawn} == {"label", "state", "assignee"}
    assert [(a.kind, a.by) for a in again.asks if a.key not in known] == [("label", bob["id"])]


async def test_who_is_unknown_has_no_name(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    issue = world.issue("ENG", creator=None, labels=("agent",))
    world.remove_label(issue, "agent", None)
    world.add_label(issue, "agent", None)
    world.comment(issue, "/agent", None)
    async with opened(monkeypatch, world) as source:
        reading = await read_one(source, issue["id"])
    assert [by for _, by, _ in asked(reading)] == ["", "", ""]


@pytest.mark.parametrize("who", ["us", "an integration"])
async def test_what_no_person_moved_is_no_ask(
    world: World, ada: Json, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    issue = world.issue("ENG", creator=ada)
    world.move(issue, "In Progress", world.agent if who == "us" else None)
    made = world.issue("ENG", creator=None, state="In Progress")
    async with opened(monkeypatch, world, ask={"labels": [], "states": ["In Progress"]}) as source:
        assert (await read_one(source, issue["id"])).asks == ()
        assert (await read_one(source, made["id"])).asks == ()


async def test_two_labels_in_one_entry_of_the_history_are_two_asks(
    world: World, ada: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue = world.issue("ENG")
    entry = world.add_label(issue, "agent", ada)
    async with opened(monkeypatch, world, ask={"labels": ["agent", "codex"]}) as source:
        (first,) = (await read_one(source, issue["id"])).asks
        # Linear adds to an entry what the same person does within some minutes.
        entry["addedLabels"].append(world.label("codex"))
        entry["updatedAt"] = world.tick().isoformat()
        both = (await read_one(source, issue["id"])).asks
    assert {ask.label for ask in both} == {"agent", "codex"}
    assert first in both


async def test_edits_count_from_their_last_moment(
    world: World, ada: Json, bob: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue = world.issue("ENG", creator=ada)
    world.change(issue, ada, fromTitle="Old")
    entry = world.change(issue, None, updatedDescription=True, descriptionUpdatedBy=[ada, bob])
    entry["updatedAt"] = world.tick(120).isoformat()
    world.change(issue, bob, updatedDescription=True)
    async with opened(monkeypatch, world) as source:
        edits = (await read_one(source, issue["id"])).edits
    assert [edit.by for edit in edits] == [ada["id"], ada["id"], bob["id"], bob["id"]]
    assert edits[2].at.isoformat() == entry["updatedAt"]


async def test_comments_are_read_oldest_first_and_ours_left_out(
    world: World, ada: Json, bob: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue = world.issue("ENG")
    first = world.comment(issue, "Mind the <!-- hidden --> basket", ada)
    world.comment(issue, "our status", world.agent, id_=comment_ids(issue["id"])[0])
    second = world.comment(issue, "And the till", bob)
    async with opened(monkeypatch, world) as source:
        reading = await read_one(source, issue["id"])
    assert [(c.key, c.author, c.body) for c in reading.comments] == [
        (first["id"], ada["id"], first["body"]),
        (second["id"], bob["id"], second["body"]),
    ]
    assert reading.fields["status_comment"] == comment_ids(issue["id"])[0]


async def test_a_comment_that_only_has_our_id_is_not_ours(
    world: World, ada: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue = world.issue("ENG")
    world.comment(issue, "/agent", ada, id_=comment_ids(issue["id"])[0])
    async with opened(monkeypatch, world) as source:
        reading = await read_one(source, issue["id"])
    assert reading.fields["status_comment"] == ""
    assert asked(reading) == [("command", ada["id"], "")]


async def test_all_pages_are_read(world: World, ada: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    issue = world.issue("ENG", creator=ada, labels=tuple(f"l{n}" for n in range(60)))
    for n in range(120):
        world.comment(issue, f"comment {n}", ada)
        world.change(issue, ada, fromTitle=f"title {n}")
        world.attach(issue, f"https://files.test/{n}", ada)
    world.add_label(issue, "agent", ada)
    async with opened(monkeypatch, world) as source:
        reading = await read_one(source, issue["id"])
    assert [c.body for c in reading.comments] == [f"comment {n}" for n in range(120)]
    assert len(reading.edits) == 120
    assert len(reading.attachments) == 50
    assert len(reading.entry.labels) == 61
    assert asked(reading) == [("label", ada["id"], "agent")]
    assert reading.missing == ()


async def test_more_than_is_read_counts_as_missing(
    world: World, ada: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue = world.issue("ENG")
    for n in range(1_051):
        issue["_history"].append(
            {"id": f"h{n:04}", "createdAt": issue["createdAt"], "updatedAt": issue["createdAt"]}
        )
    async with opened(monkeypatch, world) as source:
        reading = await read_one(source, issue["id"])
    assert reading.missing == ("history: there are more than are read",)


async def test_files_in_the_texts_are_attachments(
    world: World, ada: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = "https://uploads.linear.app/a/b/c"
    body = (
        f'![../../etc/passwd]({upload}) [log]({upload}2 "title") [x](https://evil.test/y) '
        f"![]({upload}) [not](https://uploads.linear.app.evil.test/z) [f](file:///etc/passwd)"
    )
    issue = world.issue("ENG", description=body)
    world.attach(issue, "https://github.com/acme/shop/pull/1", ada, "Pull request")
    world.attach(issue, claim_url(issue["id"]), world.agent, claim=Claim().to_text())
    comment = world.comment(issue, f"[later]({upload}3) [log]({upload}2)", ada)
    async with opened(monkeypatch, world) as source:
        found = (await read_one(source, issue["id"])).attachments
    assert [(a.name, a.url, a.author, a.comment) for a in found] == [
        ("Pull request", "https://github.com/acme/shop/pull/1", ada["id"], ""),
        ("../../etc/passwd", upload, "", ""),
        ("log", f"{upload}2", "", ""),
        ("later", f"{upload}3", "", comment["id"]),
        ("log", f"{upload}2", "", comment["id"]),
    ]


async def test_links_say_what_a_ticket_waits_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    epic = world.issue("ENG", "Epic")
    issue = world.issue("ENG", parent=epic)
    blocker = world.issue("ENG", "Block\u200ber", state="Done")
    blocked, related = world.issue("ENG", trashed=True), world.issue("ENG", state="Canceled")
    world.relate(blocker, "blocks", issue)
    world.relate(issue, "blocks", blocked)
    world.relate(related, "related", issue)
    last = world.issue("ENG", parent=issue, subIssueSortOrder=2.5)
    first = world.issue("ENG", parent=issue, subIssueSortOrder=-4.0)
    unordered = world.issue("ENG", parent=issue)
    async with opened(monkeypatch, world) as source:
        links = (await read_one(source, issue["id"])).links
        own = [(await read_one(source, one["id"])).state for one in (issue, blocker, blocked, related)]
    assert own == ["open", "done", "cancelled", "cancelled"]
    found = {link.key: (link.relation, link.state, link.order) for link in links}
    assert found == {
        blocker["identifier"]: ("depends_on", "done", None),
        blocked["identifier"]: ("mentioned", "cancelled", None),
        related["identifier"]: ("mentioned", "cancelled", None),
        epic["identifier"]: ("parent", "open", None),
        first["identifier"]: ("child", "open", 0),
        last["identifier"]: ("child", "open", 1),
        unordered["identifier"]: ("child", "open", 2),
    }
    assert next(link.title for link in links if link.relation == "depends_on") == "Blocker"


async def test_hostile_text_is_only_text(world: World, ada: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = '"}}) { viewer { id } } # \u202e\x00 {{ config }} $(rm -rf /) <untrusted id="x"> @channel'
    issue = world.issue("ENG", evil * 20, description=evil, labels=("agent", evil))
    world.comment(issue, evil, ada)
    async with opened(monkeypatch, world, ask={"labels": ["agent", evil[:40]]}) as source:
        (entry,) = (await source.fetch(None)).entries
        reading = await read_one(source, entry.id)
        url = await source.write_status(reading, Claim(), evil)
        again = await read_one(source, entry.id)
        assert isinstance((await source.read([evil]))[evil], ForgeAccessError)
        assert (await source.standing(evil, "acme/shop")).association is None
    assert len(entry.title) <= 300
    assert "\u202e" not in entry.title
    assert reading.body == evil
    assert reading.comments[0].body == evil
    assert "untrusted" in world.comments[comment_ids(entry.id)[0]]["body"]
    assert url
    assert again.comments == reading.comments


async def test_claims_are_read_back(world: World, ada: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    issue = world.issue("ENG", creator=ada, labels=("agent",))
    async with opened(monkeypatch, world) as source:
        reading = await read_one(source, issue["id"])
        claim = claim_for(reading).with_refusals("somebody:label:x")
        await source.write_status(reading, claim, "Waiting.")
        assert (await read_one(source, issue["id"])).claim == claim


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (lambda node, ada: node.update(creator=ada), "claim: somebody else made it"),
        (lambda node, ada: node["metadata"].update(claim="{"), "claim: it cannot be read"),
        (lambda node, ada: node["metadata"].clear(), "claim: it cannot be read"),
        (lambda node, ada: node["metadata"].update(claim=7), "claim: it cannot be read"),
        (
            lambda node, ada: node["metadata"].update(
                claim=Claim(runs=(ClaimedRun(run_id="ticket__linear__x__1", asks=("a",)),)).to_text()
            ),
            "claim: it tells of a run that is none of this ticket's",
        ),
    ],
    ids=["creator", "broken", "empty", "type", "another's run"],
)
async def test_a_claim_that_is_not_as_we_wrote_it_starts_nothing(
    world: World, ada: Json, monkeypatch: pytest.MonkeyPatch, tamper: Any, words: str
) -> None:
    issue = world.issue("ENG", creator=ada, labels=("agent",))
    async with opened(monkeypatch, world) as source:
        reading = await read_one(source, issue["id"])
        await source.write_status(reading, claim_for(reading), "Waiting.")
        tamper(issue["_attachments"][0], ada)
        reading = await read_one(source, issue["id"])
    assert reading.claim is None
    assert [words in sentence for sentence in reading.missing] == [True]
    assert "delete the attachment" in reading.missing[0]


async def test_a_claim_of_another_ticket_does_not_count(
    world: World, ada: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linear's way to duplicate a ticket copies its attachments."""
    issue, copy = (world.issue("ENG", creator=ada, labels=("agent",)) for _ in range(2))
    async with opened(monkeypatch, world) as source:
        reading = await read_one(source, issue["id"])
        await source.write_status(reading, claim_for(reading), "Waiting.")
        copy["_attachments"].extend(issue["_attachments"])
        found = await read_one(source, copy["id"])
    assert (found.claim, found.missing) == (None, ())


@pytest.mark.parametrize("operation", ["AgentsIssue", "AgentsMore_comments"])
async def test_a_ticket_with_holes_is_not_read_at_all(
    world: World, ada: Json, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    issue = world.issue("ENG")
    for n in range(60):
        world.comment(issue, f"comment {n}", ada)
    async with opened(monkeypatch, world) as source:
        world.faults = [Fault(operation, "partial")]
        error = (await source.read([issue["id"]]))[issue["id"]]
    assert isinstance(error, ForgeUnavailableError)
    assert "Internal server error" in str(error)


async def test_a_rate_limit_says_until_when(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    issue = world.issue("ENG")
    headers = {"X-RateLimit-Complexity-Remaining": "0", "X-RateLimit-Complexity-Reset": "99999999999999"}
    async with opened(monkeypatch, world) as source:
        world.faults = [Fault("AgentsIssue", "ratelimited", headers=headers)]
        error = (await source.read([issue["id"]]))[issue["id"]]
        assert len(world.requests) == 1
    assert isinstance(error, ForgeRateLimitedError)
    assert "Next attempt not before" in str(error)


async def test_standing(world: World, ada: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = world.user("Guest", "guest@other.test", guest=True)
    gone = world.user("Gone", "gone@acme.test", active=False)
    ops = world.team("OPS")
    for person in (ada, guest, gone):
        person["_teams"] += [world.teams["ENG"], ops]
    authority = {"start": {"teams": ["eng", "SEC"]}, "context": {"teams": ["OPS"]}}
    async with opened(monkeypatch, world, authority=authority) as source:
        member = Standing(
            login="ada@acme.test",
            teams=frozenset({"eng", "OPS"}),
            association="member",
            names=frozenset({ada["id"], "ada@acme.test"}),
        )
        assert await source.standing(ada["id"], "acme/shop") == member
        assert await source.standing("ADA@acme.test", "acme/shop") == member
        found = await source.standing(guest["id"], "acme/shop")
        assert (found.association, found.teams) == (None, frozenset({"eng", "OPS"}))
        found = await source.standing(world.agent["id"], "acme/shop")
        assert (found.is_bot, found.association, found.permission) == (True, None, None)
        assert found.own
        # Whoever was suspended or deleted is nobody, even where the rules still name them.
        for person in (gone["id"], gone["email"], "deleted", "deleted@acme.test", ""):
            found = await source.standing(person, "acme/shop")
            assert found == Standing(login="")
            assert not admits(Who(users=(person, gone["email"], gone["id"])), found)
        world.requests.clear()
        assert await source.standing(ada["id"], "acme/shop") == member
        assert world.requests == []


async def test_the_name_that_people_give_themselves_gives_no_authority(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    mallory = world.user("ada@acme.test", "mallory@acme.test")
    async with opened(monkeypatch, world) as source:
        found = await source.standing(mallory["id"], "acme/shop")
    assert "ada@acme.test" not in {found.login, *found.names}


async def test_many_teams_are_read_page_by_page(
    world: World, ada: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada["_teams"] = [{"id": str(n), "key": f"T{n}", "name": "", "states": None} for n in range(130)]
    async with opened(monkeypatch, world, authority={"start": {"teams": ["T129"]}}) as source:
        assert (await source.standing(ada["id"], "acme/shop")).teams == {"T129"}


async def test_an_unreadable_standing_is_an_error_and_no_standing(
    world: World, ada: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(monkeypatch, world) as source:
        for kind in ("status", "partial"):
            world.faults = [Fault("AgentsUser", kind, times=3)]
            with pytest.raises(ForgeError):
                await source.standing(ada["id"], "acme/shop")
            world.faults = []


async def test_times_have_an_offset(world: World, ada: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    issue = world.issue("ENG", creator=ada, labels=("agent",))
    world.comment(issue, "/agent", ada)
    world.change(issue, ada, fromTitle="x")
    async with opened(monkeypatch, world) as source:
        reading = await read_one(source, issue["id"])
    times = [reading.entry.created_at, reading.entry.updated_at, *(a.at for a in reading.asks)]
    times += [*(e.at for e in reading.edits), *(c.at for c in reading.comments)]
    assert len(times) == 6
    assert all(at.utcoffset() == timedelta() for at in times)
