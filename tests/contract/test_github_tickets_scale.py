"""Ten thousand tickets over fifty repositories: what a look at them costs, in requests, points and memory."""

from __future__ import annotations

import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from github_tickets_world import credential, definition

from airflow_provider_agents.hooks.github_tickets import GitHubTickets
from demo.github.server import StandInGitHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

REPOSITORIES = tuple(f"acme/service-{number:02}" for number in range(50))
TICKETS_EACH = 200
MEBIBYTE = 1024 * 1024


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StandInGitHub]:
    monkeypatch.setenv("NO_PROXY", "*")
    async with StandInGitHub(None) as stand_in:
        stand_in.add_token("agent", "token-of-agent")
        for name in REPOSITORIES:
            await stand_in.seed_synthetic(name, {"a.py": "1\n"}, permissions={"agent": "write"})
            for number in range(TICKETS_EACH):
                stand_in.create_issue(name, f"Ticket {number}", "It breaks", labels=["agent", "bug"])
        yield stand_in


async def test_ten_thousand_tickets_over_fifty_repositories(
    server: StandInGitHub, record_property: Callable[[str, object], None]
) -> None:
    def spent() -> tuple[int, int]:
        described = server.requests.describe()
        server.requests.clear()
        return described["total"], described["graphql_points"]

    def note(what: str, begun: float, cost: tuple[int, int], more: Mapping[str, float] | None = None) -> None:
        found = {
            "requests": cost[0],
            "points": cost[1],
            "seconds": round(time.monotonic() - begun, 2),
            **(more or {}),
        }
        record_property(what, str(found))
        print(f"\n{what}: {found}")

    source = GitHubTickets(
        definition(repositories=REPOSITORIES), connection="unused", credential=credential(server)
    )
    async with source.open() as tickets:
        begun = time.monotonic()
        first = await tickets.fetch(None)
        assert len(first.entries) == len(REPOSITORIES) * TICKETS_EACH
        assert first.complete is True
        cost = spent()
        note("first listing", begun, cost)
        # Two pages of a hundred a repository: with labels five pages a query, and a point for each page; what
        # changed within a week, too, for the sake of commands, twenty pages a query.
        assert cost == (26, 106)

        server.forge.clock.advance(600)
        first = await tickets.fetch(first.cursor)
        spent()
        server.forge.clock.advance(600)
        tracemalloc.start()
        begun = time.monotonic()
        quiet = await tickets.fetch(first.cursor)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert quiet.entries == ()
        cost = spent()
        note("nothing changed", begun, cost, {"peak_mebibytes": round(peak / MEBIBYTE, 1)})
        # Twenty repositories a query.
        assert cost == (3, 3)
        assert peak < 8 * MEBIBYTE

        server.forge.clock.advance(600)
        for name in REPOSITORIES[:10]:
            await server.act("agent", "comment", name, number=7, body="Any news?")
        begun = time.monotonic()
        busy = await tickets.fetch(quiet.cursor)
        assert len(busy.entries) == 10
        cost = spent()
        note("ten changed", begun, cost)
        assert cost == (4, 4)

        begun = time.monotonic()
        await tickets.read([entry.id for entry in busy.entries])
        cost = spent()
        note("ten read whole", begun, cost)
        assert cost == (1, 1)


async def test_the_first_listing_stays_within_bounds_of_memory(server: StandInGitHub) -> None:
    """Traced with the stand-in's own share, so it is an upper bound of ours."""
    source = GitHubTickets(
        definition(repositories=REPOSITORIES[:10]), connection="unused", credential=credential(server)
    )
    async with source.open() as tickets:
        await tickets.fetch({"version": 1, "ask": "x", "repositories": {}})
        tracemalloc.start()
        listing = await tickets.fetch(None)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(listing.entries) == 2_000
    print(f"\npeak for 2,000 tickets, stand-in included: {peak / MEBIBYTE:.1f} MiB")
    assert peak < 16 * MEBIBYTE
