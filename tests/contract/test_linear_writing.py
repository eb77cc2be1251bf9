"""Writing to a ticket of Linear: one status comment and one claim whatever happens; moving and closing."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from linear_fixtures import claim_for, connect, definition, opened, read_one
from linear_world import Fault, World, served

from airflow_provider_agents.domain.tickets import Claim
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks.linear_claim import MOST_COMMENTS, claim_url, comment_ids
from airflow_provider_agents.hooks.linear_tickets import LinearTickets

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
def issue(world: World, ada: Json) -> Json:
    return world.issue("ENG", creator=ada, labels=("agent",))


def bodies(issue: Json) -> list[str]:
    return [comment["body"] for comment in issue["_comments"]]


async def test_the_comment_is_written_once_and_then_edited(
    world: World, issue: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(monkeypatch, world) as source:
        reading = await read_one(source, issue["id"])
        claim = claim_for(reading)
        first = await source.write_status(reading, claim, "Waiting.")
        # With the reading from before, and with a fresh one.
        second = await source.write_status(reading, claim, "Working.")
        reading = await read_one(source, issue["id"])
        started = claim.with_state(claim.runs[0].run_id, "started")
        third = await source.write_status(reading, started, "Done.")
        again = await read_one(source, issue["id"])
    assert bodies(issue) == ["Done."]
    assert first == second == third == issue["_comments"][0]["url"]
    assert again.claim == started
    assert len(issue["_attachments"]) == 1
    assert again.attachments == ()
    assert world.mutations.count("create comment") == 1


async def test_the_claim_is_not_in_what_people_see(
    world: World, issue: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(monkeypatch, world) as source:
        reading = await read_one(source, issue["id"])
        await source.write_status(reading, claim_for(reading), "Waiting.")
    (attachment,) = issue["_attachments"]
    assert attachment["url"] == claim_url(issue["id"])
    assert reading.asks[0].key in attachment["metadata"]["claim"]
    assert reading.asks[0].key not in attachment["title"] + attachment["url"] + bodies(issue)[0]


async def test_the_claim_is_written_before_the_comment(
    world: World, issue: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(monkeypatch, world) as source:
        reading = await read_one(source, issue["id"])
        claim = claim_for(reading)
        world.faults = [Fault("AgentsCreateComment", "status", status=503)]
        with pytest.raises(ForgeUnavailableError):
            await source.write_status(reading, claim, "Waiting.")
        assert (await read_one(source, issue["id"])).claim == claim


@pytest.mark.parametrize("operation", ["AgentsWriteClaim", "AgentsCreateComment", "AgentsUpdateComment"])
@pytest.mark.parametrize("kind", ["lost", "cut", "status", "partial", "hang"])
async def test_whatever_is_lost_the_next_attempt_leaves_one_comment_and_one_claim(
    world: World, issue: Json, monkeypatch: pytest.MonkeyPatch, operation: str, kind: str
) -> None:
    # A busy machine may take its time: only what never answers is waited for in vain.
    seconds = 1.0 if kind == "hang" else 30.0
    async with opened(monkeypatch, world, timeout_seconds=seconds) as source:
        reading = await read_one(source, issue["id"])
        claim = claim_for(reading)
        if operation == "AgentsUpdateComment":
            await source.write_status(reading, Claim(), "Before.")
            reading = await read_one(source, issue["id"])
        world.faults = [Fault(operation, kind)]
        # After a lost answer the comment may turn out to be there, which is as good as an answer.
        with contextlib.suppress(ForgeUnavailableError):
            await source.write_status(reading, claim, "Now.")
        sent = [name for name, _ in world.requests]
        await source.write_status(reading, claim, "Now.")
        found = await read_one(source, issue["id"])
    assert world.faults[0].times == 0
    assert sent.count(operation) <= 2  # a write is never repeated by itself
    assert bodies(issue) == ["Now."]
    assert found.claim == claim
    assert len(issue["_attachments"]) == 1


async def test_two_at_once_leave_one_comment(
    world: World, issue: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(world):
        connect(monkeypatch, world)
        sources = [LinearTickets(definition(), connection="linear_default") for _ in range(5)]

        async def write(source: LinearTickets) -> None:
            async with source.open() as opened_source:
                reading = await read_one(opened_source, issue["id"])
                await opened_source.write_status(reading, claim_for(reading), "Waiting.")

        await asyncio.gather(*map(write, sources))
    assert bodies(issue) == ["Waiting."]
    assert len(issue["_attachments"]) == 1


async def test_a_comment_that_people_delete_is_written_again(
    world: World, issue: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(monkeypatch, world) as source:
        reading = await read_one(source, issue["id"])
        for number in range(MOST_COMMENTS):
            await source.write_status(reading, Claim(), f"Status {number}.")
            reading = await read_one(source, issue["id"])
            assert bodies(issue) == [f"Status {number}."]
            world.delete_comment(issue["_comments"][0])
        # The last reading knows a comment that is gone.
        with pytest.raises(ForgeAccessError, match="does somebody delete the comments"):
            await source.write_status(reading, Claim(), "Too often.")


async def test_a_deleted_claim_is_none(world: World, issue: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, world) as source:
        reading = await read_one(source, issue["id"])
        await source.write_status(reading, claim_for(reading), "Waiting.")
        issue["_attachments"].clear()
        found = await read_one(source, issue["id"])
    assert (found.claim, found.missing) == (None, ())


async def test_whoever_takes_our_ids_first_is_left_alone(
    world: World, issue: Json, ada: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = world.comment(issue, "mine", ada, id_=comment_ids(issue["id"])[0])
    async with opened(monkeypatch, world) as source:
        reading = await read_one(source, issue["id"])
        await source.write_status(reading, Claim(), "Waiting.")
        assert bodies(issue) == ["mine", "Waiting."]
        await source.write_status(reading, Claim(), "Working.")
    assert bodies(issue) == ["mine", "Working."]
    assert theirs["body"] == "mine"


async def test_a_claim_in_somebody_elses_attachment_is_said(
    world: World, issue: Json, ada: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.attach(issue, claim_url(issue["id"]), ada)
    async with opened(monkeypatch, world) as source:
        reading = await read_one(source, issue["id"])
        assert reading.missing
        with pytest.raises(ForgeAccessError, match="somebody else made the attachment"):
            await source.write_status(reading, Claim(), "Waiting.")
    assert bodies(issue) == []


async def test_a_long_text_is_cut(world: World, issue: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, world) as source:
        reading = await read_one(source, issue["id"])
        await source.write_status(reading, Claim(), "x" * 100_000)
    assert len(bodies(issue)[0]) < 50_100


async def test_another_process_may_write_without_having_read(
    world: World, issue: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(monkeypatch, world) as source:
        reading = await read_one(source, issue["id"])
        await source.write_status(reading, Claim(), "Waiting.")
    async with opened(monkeypatch, world) as source:
        await source.write_status(replace(reading, fields={}), claim_for(reading), "Working.")
        found = await read_one(source, issue["id"])
    assert bodies(issue) == ["Working."]
    assert found.claim == claim_for(reading)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("", "status", status=401), ForgeAccessError),
        (Fault("", "ratelimited"), ForgeRateLimitedError),
        (Fault("", "status", status=500), ForgeUnavailableError),
        (Fault("", "cut"), ForgeUnavailableError),
    ],
)
@pytest.mark.parametrize("operation", ["AgentsWriteClaim", "AgentsCreateComment", "AgentsMove"])
async def test_a_write_is_sent_once_and_its_fault_said(
    world: World,
    issue: Json,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    error: type[ForgeError],
    operation: str,
) -> None:
    async with opened(monkeypatch, world, stages={"working": "In Progress"}) as source:
        reading = await read_one(source, issue["id"])
        world.requests.clear()
        world.faults = [replace(fault, operation=operation)]
        moves = operation == "AgentsMove"
        write = (
            source.move(reading, "working") if moves else source.write_status(reading, Claim(), "Waiting.")
        )
        with pytest.raises(error) as raised:
            await write
    assert isinstance(raised.value, error)
    assert "lin_api_canary" not in str(raised.value)
    assert [name for name, _ in world.requests].count(operation) == 1


async def test_stages_move_the_ticket(world: World, issue: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = {"working": "in progress", "in_review": "In Review", "done": "Released"}
    async with opened(monkeypatch, world, stages=stages) as source:
        reading = await read_one(source, issue["id"])
        await source.move(reading, "stopped")
        assert world.mutations == []
        await source.move(reading, "working")
        await source.move(reading, "working")
        assert (issue["state"]["name"], world.mutations) == ("In Progress", ["move"])
        await source.move(reading, "in_review")
        assert issue["state"]["name"] == "In Review"
        await source.close(reading)
        await source.close(reading)
        assert (issue["state"]["name"], len(world.mutations)) == ("Released", 3)
        # What is closed is not opened again by a run that comes late.
        await source.move(reading, "working")
        assert (issue["state"]["name"], len(world.mutations)) == ("Released", 3)


async def test_without_a_name_the_first_completed_state_closes(
    world: World, issue: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(monkeypatch, world) as source:
        reading = await read_one(source, issue["id"])
        await source.close(reading)
    assert issue["state"]["name"] == "Done"


async def test_a_ticket_that_was_cancelled_stays_so(
    world: World, issue: Json, ada: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(monkeypatch, world) as source:
        reading = await read_one(source, issue["id"])
        world.move(issue, "Canceled", ada)
        await source.close(reading)
    assert issue["state"]["name"] == "Canceled"


async def test_an_unknown_state_is_said_with_those_there_are(
    world: World, issue: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = {"working": "Doing", "done": "Finished"}
    async with opened(monkeypatch, world, stages=stages) as source:
        reading = await read_one(source, issue["id"])
        with pytest.raises(ForgeAccessError, match=r"team ENG .* no state 'Doing'.*'Todo', 'In Progress'"):
            await source.move(reading, "working")
        with pytest.raises(ForgeAccessError, match="no state 'Finished'"):
            await source.close(reading)


async def test_each_teams_own_state_is_taken(
    world: World, ada: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.team("OPS", {"Open": "unstarted", "In Progress": "started", "Closed": "completed"})
    issue = world.issue("OPS", creator=ada, labels=("agent",), state="Open")
    stages = {"working": "In Progress"}
    async with opened(monkeypatch, world, teams=["ENG", "OPS"], stages=stages) as source:
        reading = await read_one(source, issue["id"])
        await source.move(reading, "working")
        assert issue["state"] is world.state("OPS", "In Progress")
        await source.close(reading)
    assert issue["state"]["name"] == "Closed"


async def test_a_team_without_a_completed_state_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.team("ODD", {"Open": "unstarted"})
    issue = world.issue("ODD", state="Open")
    async with opened(monkeypatch, world, teams=["ODD"]) as source:
        reading = await read_one(source, issue["id"])
        with pytest.raises(
            ForgeAccessError, match="team ODD of Linear has no state that counts as completed"
        ):
            await source.close(reading)


async def test_a_ticket_that_was_deleted_is_said(
    world: World, issue: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(monkeypatch, world, stages={"working": "In Progress"}) as source:
        reading = await read_one(source, issue["id"])
        del world.issues[issue["id"]]
        for write in (
            source.write_status(reading, Claim(), "Waiting."),
            source.move(reading, "working"),
            source.close(reading),
        ):
            with pytest.raises(ForgeAccessError, match="Entity not found: Issue"):
                await write


async def test_it_works_only_while_it_is_open() -> None:
    source = LinearTickets(definition(), connection="linear_default")
    with pytest.raises(RuntimeError, match=r"async with source\.open\(\)"):
        await source.fetch(None)
