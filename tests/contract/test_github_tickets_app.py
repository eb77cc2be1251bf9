"""GitHub Issues read by a GitHub App: a token for each owner, and one broken repository holds nobody up."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from github_tickets_world import DOCS, PEOPLE, SHOP, TicketWorld, claim, definition

from airflow_provider_agents.domain.tickets import TicketReading
from airflow_provider_agents.exceptions import ForgeAccessError
from airflow_provider_agents.hooks import github_transport
from airflow_provider_agents.hooks.github import GitHubCredential
from airflow_provider_agents.hooks.github_app import OPERATOR_PERMISSIONS, GitHubApp
from airflow_provider_agents.hooks.github_tickets import GitHubTickets
from airflow_provider_agents.hooks.github_urls import github_urls
from demo.github.app_tokens import PERMISSIONS, AppRegistration
from demo.github.server import StandInGitHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

OTHER = "globex/site"
INSTALLED = (SHOP, DOCS, OTHER)


@cache
def _keys() -> tuple[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TicketWorld]:
    """Two owners' repositories, a ticket in each, and an App that is installed on all of them."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(github_transport, "READ_RETRY_DELAYS", (0.0, 0.0))
    async with StandInGitHub(None) as server:
        made = TicketWorld(server)
        for name in INSTALLED:
            await server.seed_synthetic(name, {"a.py": "1\n"}, permissions=PEOPLE)
            await made.issue(f"Ticket of {name}", name, labels=["agent"])
        register(server, INSTALLED)
        yield made


def register(server: StandInGitHub, repositories: Sequence[str]) -> None:
    server.add_app(
        AppRegistration(
            app_id="7",
            public_key=_keys()[1],
            repositories=repositories,
            permissions={**PERMISSIONS, "members": "read"},
        )
    )


def source(
    server: StandInGitHub,
    *repositories: str,
    teams: Sequence[str] = (),
    permission: str | None = None,
    may_ask: bool = True,
) -> GitHubTickets:
    app = GitHubApp(
        conn_id="app",
        app_id="7",
        private_key=_keys()[0],
        token_permissions={**OPERATOR_PERMISSIONS, "members": "read"} if teams and may_ask else None,
    )
    found = GitHubCredential(urls=github_urls(server.url), app=app)
    rules = {"start": {"teams": teams, "permission": permission}} if teams else {}
    return GitHubTickets(
        definition(repositories=repositories, authority=rules), connection="app", credential=found
    )


async def test_several_owners_with_a_token_each(world: TicketWorld) -> None:
    async with source(world.server, *INSTALLED).open() as tickets:
        listing = await tickets.fetch(None)
        assert {entry.repository for entry in listing.entries} == set(INSTALLED)
        assert listing.complete is True
        made = world.counts()["POST /api/v3/app/installations/{id}/access_tokens"]
        assert made == 2
        ids = [entry.id for entry in listing.entries]
        found = await tickets.read(ids)
        readings = [each for each in found.values() if isinstance(each, TicketReading)]
        assert len(readings) == 3
        for reading in readings:
            await tickets.write_status(reading, claim(), "Waiting.")
    # A run reads its ticket by the id alone, and nothing was listed before.
    async with source(world.server, *INSTALLED).open() as tickets:
        again = await tickets.read([*ids, "I_nothing"])
        assert isinstance(again.pop("I_nothing"), ForgeAccessError)
        assert [getattr(each, "claim", None) for each in again.values()] == [claim()] * 3


async def test_a_repository_out_of_the_app_s_reach_holds_nobody_up(world: TicketWorld) -> None:
    register(world.server, (SHOP, OTHER))
    async with source(world.server, *INSTALLED).open() as tickets:
        listing = await tickets.fetch(None)
        assert {entry.repository for entry in listing.entries} == {SHOP, OTHER}
        (fault,) = listing.faults
        assert DOCS in fault
        entry = listing.entries[0]
        assert isinstance((await tickets.read([entry.id]))[entry.id], TicketReading)


async def test_our_own_account_is_known_and_teams_are_asked_about(world: TicketWorld) -> None:
    await world.act("bob", "join_team", team="acme/platform")
    async with source(world.server, *INSTALLED, teams=["acme/platform"]).open() as tickets:
        assert (await tickets.standing("agents-app[bot]", SHOP)).own is True
        assert (await tickets.standing("bob", SHOP)).teams == {"acme/platform"}
    async with source(world.server, SHOP).open() as tickets:
        assert (await tickets.standing("bob", SHOP)).teams == frozenset()


async def test_a_right_that_the_token_lacks_is_named_where_it_matters(world: TicketWorld) -> None:
    tickets = source(world.server, SHOP, teams=["acme/platform"], permission="maintain", may_ask=False)
    async with tickets.open() as opened:
        assert (await opened.standing("alice", SHOP)).permission == "maintain"
        with pytest.raises(ForgeAccessError, match="Members: read"):
            await opened.standing("bob", SHOP)
