"""Open pull requests read by a GitHub App: a token for each owner, and what is wrong with one holds no other up."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from open_pulls_world import DOCS, OTHER, SHOP, OpenPullsWorld, open_pulls_world

from airflow_provider_agents.exceptions import ForgeAccessError
from airflow_provider_agents.hooks import github_transport
from airflow_provider_agents.hooks.github import GitHubCredential
from airflow_provider_agents.hooks.github_app import GitHubApp
from airflow_provider_agents.hooks.github_owners import OwnersClient
from airflow_provider_agents.hooks.github_urls import github_urls
from demo.github.app_tokens import AppRegistration
from demo.github.server import StandInGitHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


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
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OpenPullsWorld]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(github_transport, "READ_RETRY_DELAYS", (0.0, 0.0))
    async with (
        StandInGitHub(None, mergeability_delay=0) as server,
        open_pulls_world(server) as made,
    ):
        server.add_app(AppRegistration(app_id="7", public_key=_keys()[1], repositories=(SHOP, OTHER)))
        for name in (SHOP, DOCS, OTHER):
            await made.pull(f"Of {name}", name)
        yield made


@pytest.fixture
async def client(world: OpenPullsWorld) -> AsyncIterator[OwnersClient]:
    app = GitHubApp(conn_id="app", app_id="7", private_key=_keys()[0])
    made = OwnersClient("app", GitHubCredential(urls=github_urls(world.server.url), app=app))
    yield made
    await made.aclose()


async def test_owners_are_read_each_with_a_token_of_its_own(
    world: OpenPullsWorld, client: OwnersClient
) -> None:
    world.spent()
    found = await client.open_pull_requests([SHOP, OTHER])
    assert {name: len(entries) for name, entries in found.items() if isinstance(entries, tuple)} == {
        SHOP: 1,
        OTHER: 1,
    }
    counts, _ = world.spent()
    assert counts["POST /api/v3/app/installations/{id}/access_tokens"] == 2
    read = await client.snapshots([(SHOP, 1), (OTHER, 1)])
    assert {getattr(each, "title", each) for each in read.values()} == {f"Of {SHOP}", f"Of {OTHER}"}
    assert await client.organization_repositories("acme") == (SHOP,)
    counts, _ = world.spent()
    assert "POST /api/v3/app/installations/{id}/access_tokens" not in counts
    assert client.rate_limit is not None


async def test_an_owner_without_the_app_is_the_fault_of_its_repositories(
    world: OpenPullsWorld, client: OwnersClient
) -> None:
    found = await client.open_pull_requests([SHOP, "initech/tps", DOCS])
    assert isinstance(found[SHOP], tuple)
    assert isinstance(found[DOCS], ForgeAccessError)
    assert isinstance(found["initech/tps"], ForgeAccessError)
    assert "is not installed on initech" in str(found["initech/tps"])
    with pytest.raises(ForgeAccessError, match="not installed on initech"):
        await client.open_pull_requests(["initech/tps"])
