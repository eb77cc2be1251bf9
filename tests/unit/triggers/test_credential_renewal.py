"""Renewing the forge token of a pod: when, how often, what is written, and what is not."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes.client.exceptions import ApiException

from airflow_provider_agents.exceptions import ForgeAccessError
from airflow_provider_agents.hooks.github import AgentsGitHubHook
from airflow_provider_agents.hooks.github_app import InstallationToken
from airflow_provider_agents.triggers import credential_renewal
from airflow_provider_agents.triggers.credential_renewal import (
    RENEWED_ANNOTATION,
    CredentialRenewal,
    RenewalSpec,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

START = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
TOKEN = "ghs_canary_" + "x" * 300


class World:
    """A clock, a GitHub that mints and a cluster that is patched."""

    def __init__(self) -> None:
        self.now = START
        self.lifetime = timedelta(hours=1)
        self.minted: list[tuple[Any, Any]] = []
        self.patched: list[tuple[str, str, str, Any]] = []
        self.mint_error: Exception | None = None
        self.patch_errors: dict[str, Exception] = {}
        self.hang = False

    def clock(self) -> datetime:
        return self.now

    async def mint(self, hook: AgentsGitHubHook, repositories: Any, permissions: Any) -> InstallationToken:
        assert hook.github_conn_id == "gh"
        self.minted.append((repositories, permissions))
        if self.hang:
            await asyncio.sleep(3600)
        if self.mint_error is not None:
            raise self.mint_error
        return InstallationToken(
            token=f"{TOKEN}{len(self.minted)}", minted_at=self.now, expires_at=self.now + self.lifetime
        )

    @asynccontextmanager
    async def get_conn(self) -> AsyncIterator[World]:
        yield self

    def patch(self, kind: str, name: str, namespace: str, body: Any) -> None:
        self.patched.append((kind, name, namespace, body))
        if kind in self.patch_errors:
            raise self.patch_errors[kind]


class Core:
    def __init__(self, world: World) -> None:
        self.world = world

    async def patch_namespaced_secret(self, name: str, namespace: str, body: Any) -> None:
        self.world.patch("secret", name, namespace, body)

    async def patch_namespaced_pod(self, name: str, namespace: str, body: Any) -> None:
        self.world.patch("pod", name, namespace, body)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr("kubernetes_asyncio.client.CoreV1Api", Core)
    monkeypatch.setattr(
        AgentsGitHubHook, "amint", lambda hook, repos, permissions: made.mint(hook, repos, permissions)
    )
    return made


def spec(**values: Any) -> RenewalSpec:
    known: dict[str, Any] = {
        "github_conn_id": "gh",
        "repositories": ("acme/shop",),
        "permissions": {"contents": "write"},
        "namespace": "agents",
        "secret_name": "pod-1-credentials",
        "pod_name": "pod-1",
    }
    return RenewalSpec(**known | values)


def lasting(lifetime: timedelta = timedelta(hours=1)) -> RenewalSpec:
    token = InstallationToken(token="t", minted_at=START, expires_at=START + lifetime)
    return spec().after(token)


def renewal(world: World, of: RenewalSpec) -> CredentialRenewal:
    return CredentialRenewal(of.to_dict(), world, clock=world.clock)  # type: ignore[arg-type]


def test_a_specification_survives_json_and_holds_no_secret() -> None:
    known = lasting()
    assert RenewalSpec.from_dict(json.loads(json.dumps(known.to_dict()))) == known
    assert RenewalSpec.from_dict(json.loads(json.dumps(spec().to_dict()))) == spec()
    assert set(known.to_dict()) == {
        "github_conn_id",
        "repositories",
        "permissions",
        "namespace",
        "secret_name",
        "pod_name",
        "kubernetes_conn_id",
        "expires_at",
        "renew_at",
    }


@pytest.mark.parametrize(
    ("lifetime", "after"),
    [(timedelta(hours=1), timedelta(minutes=50)), (timedelta(seconds=20), timedelta(seconds=10))],
)
async def test_a_token_is_renewed_before_its_end_and_not_earlier(
    world: World, lifetime: timedelta, after: timedelta
) -> None:
    known = renewal(world, lasting(lifetime))
    world.now += after - timedelta(seconds=1)
    await known.tick()
    assert world.minted == []
    world.now += timedelta(seconds=1)
    world.lifetime = lifetime
    await known.tick()
    assert world.minted == [(("acme/shop",), {"contents": "write"})]
    await known.tick()
    assert len(world.minted) == 1
    world.now += after
    await known.tick()
    assert len(world.minted) == 2


async def test_the_secret_is_patched_and_then_the_pod(world: World) -> None:
    known = renewal(world, spec())
    await known.tick()
    (secret, pod) = world.patched
    assert secret[:3] == ("secret", "pod-1-credentials", "agents")
    assert base64.b64decode(secret[3]["data"].pop("github-token")).decode() == TOKEN + "1"
    assert secret[3] == {"data": {}}
    assert pod[:3] == ("pod", "pod-1", "agents")
    assert pod[3] == {"metadata": {"annotations": {RENEWED_ANNOTATION: START.isoformat()}}}
    assert RenewalSpec.from_dict(known.spec).expires_at == START + timedelta(hours=1)


async def test_a_failure_is_tried_again_with_growing_pauses_and_never_raised(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    known = renewal(world, lasting())
    world.mint_error = ForgeAccessError("not installed")
    world.now = begin = START + timedelta(minutes=50)
    attempts = []
    for _ in range(900):
        before = len(world.minted)
        await known.tick()
        if len(world.minted) > before:
            attempts.append((world.now - begin).total_seconds())
        world.now += timedelta(seconds=1)
    assert attempts[:6] == [0, 10, 30, 70, 150, 270]
    assert len(attempts) < 12
    assert "it expires in 10 min" in caplog.text
    assert "it has expired" in caplog.text
    assert "not installed" in caplog.text
    world.mint_error = None
    world.now += timedelta(minutes=2)
    await known.tick()
    assert world.patched


async def test_a_pod_that_cannot_be_patched_has_its_new_token_all_the_same(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    known = renewal(world, spec())
    world.patch_errors["pod"] = ApiException(status=403, reason="Forbidden")
    await known.tick()
    assert "Kubernetes answered 403 Forbidden; Airflow's identity needs the right to patch" in caplog.text
    assert RenewalSpec.from_dict(known.spec).expires_at == START + timedelta(hours=1)
    world.now += timedelta(minutes=10)
    await known.tick()
    assert len(world.minted) == 1


@pytest.mark.looptime
async def test_an_attempt_that_hangs_ends(world: World, caplog: pytest.LogCaptureFixture) -> None:
    known = renewal(world, spec())
    world.hang = True
    begin = asyncio.get_running_loop().time()
    await known.tick()
    assert asyncio.get_running_loop().time() - begin == credential_renewal.ATTEMPT_SECONDS
    assert "TimeoutError" in caplog.text


@pytest.mark.looptime
async def test_a_cancelled_trigger_is_not_held_up(world: World) -> None:
    world.hang = True
    task = asyncio.create_task(renewal(world, spec()).tick())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("kind", ["secret", "pod", ""])
async def test_the_token_is_never_logged(world: World, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    caplog.set_level(logging.DEBUG)
    error = ApiException(status=500, reason="Server Error")
    error.body = error.headers = TOKEN  # as a proxy in between may echo it
    world.patch_errors = {kind: error} if kind else {}
    known = renewal(world, spec())
    await known.tick()
    assert caplog.text
    assert TOKEN not in caplog.text
    assert base64.b64encode(TOKEN.encode()).decode()[:40] not in caplog.text
    assert TOKEN not in repr(known)
    assert TOKEN not in json.dumps(known.spec)


def test_without_a_hook_the_connection_of_the_cluster_is_used() -> None:
    known = CredentialRenewal(spec(kubernetes_conn_id="cluster").to_dict())
    assert known._kubernetes().conn_id == "cluster"
