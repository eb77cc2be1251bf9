"""Our one comment on an issue, at the stand-in GitHub: written in place, never twice, whatever happens."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import pytest
from github_tickets_world import DOCS, SHOP, TicketWorld, claim, definition, ticket_world

from airflow_provider_agents.domain.tickets import Claim, ClaimedRun
from airflow_provider_agents.exceptions import ForgeAccessError, ForgeRateLimitedError, ForgeUnavailableError
from airflow_provider_agents.hooks import github_transport
from airflow_provider_agents.hooks.github import GitHubCredential
from airflow_provider_agents.hooks.github_ticket_claim import BODY_LIMIT, claim_in, marker
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


@pytest.fixture
async def ticket(world: TicketWorld) -> str:
    return await world.issue(labels=["agent"])


async def test_it_is_written_once_and_then_in_place(world: TicketWorld, ticket: str) -> None:
    url = await world.tickets.write_status(await world.read(ticket), claim(), "Waiting.")
    assert url.startswith(f"{world.server.url}/{SHOP}/issues/1#issuecomment-")
    reading = await world.read(ticket)
    assert (reading.claim, reading.comments) == (claim(), ())
    started = claim(state="started")
    assert await world.tickets.write_status(reading, started, "Working.") == url
    (body,) = world.bodies()
    assert body.startswith("Working.\n\n<!-- agents ticket-status ")
    assert (await world.read(ticket)).claim == started


async def test_the_same_again_changes_nothing(world: TicketWorld, ticket: str) -> None:
    reading = await world.read(ticket)
    for _ in range(2):
        await world.tickets.write_status(reading, claim(), "Waiting.")
    before = len(world.server.mutations)
    await world.tickets.write_status(await world.read(ticket), claim(), "Waiting.")
    assert len(world.server.mutations) == before
    assert len(world.bodies()) == 1


async def test_a_comment_that_was_deleted_is_written_anew(world: TicketWorld, ticket: str) -> None:
    await world.tickets.write_status(await world.read(ticket), claim(), "Waiting.")
    reading = await world.read(ticket)
    await world.act("alice", "delete_comment", number=1, by="agent")
    assert (await world.read(ticket)).claim is None
    await world.tickets.write_status(reading, claim(), "Working.")
    assert (len(world.bodies()), (await world.read(ticket)).claim) == (1, claim())


async def test_a_comment_that_is_deleted_as_it_is_edited(world: TicketWorld, ticket: str) -> None:
    await world.tickets.write_status(await world.read(ticket), claim(), "Waiting.")
    reading = await world.read(ticket)
    action = {"before": "delete_comment", "as": "alice", "repository": SHOP, "number": 1, "by": "agent"}
    world.fault(action, "UpdateComment")
    await world.tickets.write_status(reading, claim(), "Working.")
    (body,) = world.bodies()
    assert body.startswith("Working.")


@pytest.mark.parametrize("action", ["drop_after", {"status": 502, "body": "", "after": True}])
async def test_a_lost_answer_leads_to_no_second_comment(
    world: TicketWorld, ticket: str, action: object
) -> None:
    reading = await world.read(ticket)
    world.fault(action, "AddTicketComment")
    assert await world.tickets.write_status(reading, claim(), "Waiting.")
    world.fault(action, "UpdateComment")
    with pytest.raises(ForgeUnavailableError):
        await world.tickets.write_status(reading, claim(), "Working.")
    await world.tickets.write_status(reading, claim(), "Working.")
    (body,) = world.bodies()
    assert body.startswith("Working.")


@pytest.mark.parametrize("action", ["drop_before", {"status": 502, "body": ""}])
async def test_a_write_that_did_not_happen_is_told(world: TicketWorld, ticket: str, action: object) -> None:
    reading = await world.read(ticket)
    world.fault(action, "AddTicketComment")
    with pytest.raises(ForgeUnavailableError):
        await world.tickets.write_status(reading, claim(), "Waiting.")
    assert world.bodies() == []
    world.fault({"secondary_limit": 403, "retry_after": 9}, "AddTicketComment")
    with pytest.raises(ForgeRateLimitedError):
        await world.tickets.write_status(reading, claim(), "Waiting.")
    assert world.bodies() == []


async def test_two_processes_at_once_leave_one_comment_with_both_claims(
    world: TicketWorld, ticket: str
) -> None:
    for number in range(5):
        reading = dataclasses.replace(await world.read(ticket), claim=None)
        world.fault({"delay_seconds": 0.02}, "AddTicketComment")
        await asyncio.gather(
            *(world.tickets.write_status(reading, claim(f"run-{who}", f"ask-{who}"), who) for who in "ab")
        )
        # The later of the two takes the other's comment away; where it could not see it yet, the next write does.
        settled = await world.read(ticket)
        await world.tickets.write_status(settled, settled.claim or Claim(), "Settled")
        assert len(world.bodies()) == 1, number
        held = (await world.read(ticket)).claim
        assert held is not None
        assert held.answered == {"ask-a", "ask-b"}
        await world.act("alice", "delete_comment", number=1, by="agent")


async def test_what_somebody_else_wrote_in_between_is_kept(world: TicketWorld, ticket: str) -> None:
    await world.tickets.write_status(await world.read(ticket), claim("one", "a"), "Waiting.")
    slow = await world.read(ticket)
    assert slow.claim is not None
    started = slow.claim.with_state("one", "started").with_refusals("x")
    await world.tickets.write_status(slow, started, "Working.")
    await world.tickets.write_status(slow, claim("one", "a").with_refusals("y"), "Waiting.")
    held = (await world.read(ticket)).claim
    assert held is not None
    assert (held.runs[0].state, set(held.refused)) == ("started", {"x", "y"})


async def test_what_the_writer_took_out_stays_out(world: TicketWorld, ticket: str) -> None:
    await world.tickets.write_status(await world.read(ticket), claim("one", "a"), "Waiting.")
    await world.tickets.write_status(await world.read(ticket), claim("two", "a", "b"), "Waiting.")
    held = (await world.read(ticket)).claim
    assert held is not None
    assert [run.run_id for run in held.runs] == ["two"]


async def test_a_text_that_is_too_long_is_cut_and_the_claim_is_whole(world: TicketWorld, ticket: str) -> None:
    long = claim("run", *(f"IC_{number:040}" for number in range(100)))
    text = "Plan\n```diff\n" + "+ line of a long plan 🙂\n" * 6_000
    await world.tickets.write_status(await world.read(ticket), long, text)
    (body,) = world.bodies()
    assert len(body) <= BODY_LIMIT
    assert "holds no more" in body
    # The code block is closed, so that the marker stays invisible.
    assert body.count("```") == 2
    assert (await world.read(ticket)).claim == long


async def test_a_claim_of_somebody_else_s_making_counts_for_nothing(world: TicketWorld, ticket: str) -> None:
    forged = marker(claim("forged", "ask", state="started"))
    await world.act("eve", "comment", number=1, body=f"Hello\n\n{forged}")
    assert (await world.read(ticket)).claim is None
    await world.tickets.write_status(await world.read(ticket), claim(), f"They wrote: {forged}")
    assert (await world.read(ticket)).claim == claim()
    assert [c.author for c in (await world.read(ticket)).comments] == ["eve"]


@pytest.mark.parametrize("damage", ["cut", "other", "garbage"])
async def test_a_claim_that_was_edited_starts_nothing(world: TicketWorld, ticket: str, damage: str) -> None:
    await world.tickets.write_status(await world.read(ticket), claim(), "Waiting.")
    (body,) = world.bodies()
    spoiled = {
        "cut": body[:-20],
        "other": body.replace("ticket-status e", "ticket-status !"),
        "garbage": "<!-- agents ticket-status AAAA -->",
    }[damage]
    await world.act("alice", "edit_comment", number=1, by="agent", body=spoiled)
    reading = await world.read(ticket)
    assert reading.claim is None
    assert "was edited" in reading.missing[0]
    await world.act("alice", "edit_comment", number=1, by="agent", body=body.replace("\n", "\r\n"))
    assert ((await world.read(ticket)).claim, (await world.read(ticket)).missing) == (claim(), ())


async def test_a_locked_issue_is_told_clearly(server: StandInGitHub) -> None:
    async with ticket_world(server) as world:
        await world.act("acme", "configure", SHOP, permissions={"agent": "triage"})
        ticket = await world.issue(labels=["agent"])
        await world.act("alice", "lock", number=1)
        with pytest.raises(ForgeAccessError, match=rf"{SHOP}#1 is locked"):
            await world.tickets.write_status(await world.read(ticket), claim(), "Waiting.")
        await world.act("acme", "configure", SHOP, permissions={"agent": "write"})
        assert await world.tickets.write_status(await world.read(ticket), claim(), "Waiting.")


async def test_an_issue_that_is_gone_or_archived_is_told(world: TicketWorld, ticket: str) -> None:
    reading = await world.read(ticket)
    await world.act("acme", "archive")
    with pytest.raises(ForgeAccessError, match="archived"):
        await world.tickets.write_status(reading, claim(), "Waiting.")
    gone = dataclasses.replace(reading, entry=dataclasses.replace(reading.entry, id="I_nothing"))
    with pytest.raises(ForgeAccessError):
        await world.tickets.write_status(gone, claim(), "Waiting.")


async def test_ours_is_found_among_hundreds_of_comments(world: TicketWorld, ticket: str) -> None:
    for number in range(150):
        await world.act("eve", "comment", number=1, body=f"Comment {number}")
    await world.tickets.write_status(await world.read(ticket), claim(), "Waiting.")
    for number in range(150):
        await world.act("eve", "comment", number=1, body=f"Comment {number}")
    await world.tickets.write_status(await world.read(ticket), claim(), "Working.")
    assert len(world.bodies()) == 1


async def test_many_runs_and_refusals_fit(world: TicketWorld, ticket: str) -> None:
    whole = Claim(refused=tuple(f"IC_{number:020}" for number in range(1_000)))
    for number in range(20):
        whole = whole.with_run(
            ClaimedRun(run_id=f"ticket__github__I_x__{number:010}", asks=(f"LE_{number}",))
        )
    await world.tickets.write_status(await world.read(ticket), whole, "Refused.")
    (body,) = world.bodies()
    assert claim_in(body) == whole


async def test_closing_keeps_the_reason_of_who_closed_first(world: TicketWorld, ticket: str) -> None:
    reading = await world.read(ticket)
    issue = world.server.forge.store.repositories[SHOP].issues[1]
    await world.tickets.move(reading, "working")
    assert issue.state == "OPEN"
    await world.tickets.close(reading)
    assert (issue.state, issue.state_reason) == ("CLOSED", "COMPLETED")
    await world.act("alice", "reopen", number=1)
    await world.act("alice", "close", number=1, reason="NOT_PLANNED")
    await world.tickets.close(reading)
    assert issue.state_reason == "NOT_PLANNED"
    world.fault({"partial": ["node"]}, "TicketState")
    with pytest.raises(ForgeUnavailableError):
        await world.tickets.close(reading)


async def test_another_account_of_ours_writes_a_comment_of_its_own(world: TicketWorld, ticket: str) -> None:
    """What documentation says of a changed account: it knows nothing of the other's claim."""
    await world.tickets.write_status(await world.read(ticket), claim(), "Waiting.")
    world.server.add_token("alice", "token-of-alice")
    urls = github_urls(world.server.url)
    found = GitHubCredential(urls=urls, token="token-of-alice")
    async with GitHubTickets(
        definition(repositories=[DOCS, SHOP]), connection="", credential=found
    ).open() as other:
        reading = (await other.read([ticket]))[ticket]
        assert not isinstance(reading, Exception)
        assert reading.claim is None
