"""The watcher of applications: one poll for all, one event for a degradation that lasts."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.domain.argocd_application import ApplicationReading, ApplicationSource
from airflow_provider_agents.domain.rollback_definition import RollbackDefinition
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.triggers import argocd_health
from airflow_provider_agents.triggers.argocd_health import (
    FAULT_SECONDS,
    STORE_EVERY,
    ArgoHealthTrigger,
    health_asset,
    watched,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

START = datetime(2026, 1, 2, 12, tzinfo=UTC)
A, B = "a" * 40, "b" * 40

pytestmark = pytest.mark.looptime


class ArgoCd:
    """An Argo CD whose applications a test changes."""

    def __init__(self) -> None:
        self.health: dict[str, str] = {}
        self.revision = A
        self.fault = ""
        self.error: Exception | None = None
        self.rounds: list[tuple[float, list[str]]] = []

    @asynccontextmanager
    async def client(self) -> AsyncIterator[ArgoCd]:
        if self.error is not None:
            raise self.error
        yield self

    async def applications(self, names: Iterable[str]) -> dict[str, ApplicationReading]:
        now = asyncio.get_running_loop().time()
        self.rounds.append((now, sorted(names)))
        return {name: self._reading(name, now) for name in names}

    def _reading(self, name: str, now: float) -> ApplicationReading:
        at = START + timedelta(seconds=now)
        if self.fault:
            return ApplicationReading(name=name, observed_at=at, fault=self.fault, fault_kind="unavailable")
        source = ApplicationSource(repo_url="https://github.com/acme/shop.git")
        health: Any = self.health.get(name, "Healthy")
        return ApplicationReading(
            name=name, observed_at=at, health=health, revisions=(self.revision,), sources=(source,)
        )


class Store:
    def __init__(self, values: dict[str, Any] | None = None) -> None:
        self.values = values if values is not None else {}
        self.written = 0
        self.read = 0

    async def aget(self, key: str, default: Any = None) -> Any:
        self.read += 1
        return self.values.get(key, default)

    async def aset(self, key: str, value: Any) -> None:
        self.written += 1
        self.values[key] = value


@pytest.fixture
def argocd(monkeypatch: pytest.MonkeyPatch) -> ArgoCd:
    made = ArgoCd()
    monkeypatch.setattr(argocd_health, "ArgoCdHook", _Hook(made))
    return made


class _Hook:
    default_conn_name = "argocd_default"

    def __init__(self, made: ArgoCd) -> None:
        self._made = made

    def __call__(self, conn_id: str) -> ArgoCd:
        return self._made


def trigger(application: str = "shop", *, store: Store | None = None, **values: Any) -> ArgoHealthTrigger:
    made = ArgoHealthTrigger(application=application, repository="acme/shop", **values)
    made.asset_state_store = store  # type: ignore[assignment]
    return made


async def events(watcher: ArgoHealthTrigger, seconds: float, found: list[Any]) -> None:
    """Run a trigger alone for a while."""
    try:
        async with asyncio.timeout(seconds):
            async for event in watcher.run():
                found.append(event.payload)
    except TimeoutError:
        pass


async def watch(watcher: ArgoHealthTrigger, seconds: float) -> list[Any]:
    found: list[Any] = []
    await events(watcher, seconds, found)
    return found


async def test_three_readings_fire_once(argocd: ArgoCd) -> None:
    argocd.health["shop"] = "Degraded"
    (event,) = await watch(trigger(), 605)
    assert (event["application"], event["revision"], event["readings"]) == ("shop", A, 3)
    assert event["since"] == START.isoformat()
    assert [at for at, _ in argocd.rounds[:4]] == [0, 10, 20, 30]


async def test_two_do_not(argocd: ArgoCd) -> None:
    argocd.health["shop"] = "Degraded"

    async def mend() -> None:
        await asyncio.sleep(15)
        argocd.health["shop"] = "Progressing"

    found, _ = await asyncio.gather(watch(trigger(), 300), mend())
    assert found == []


async def test_a_failed_reading_is_none(argocd: ArgoCd) -> None:
    argocd.health["shop"] = "Degraded"

    async def away() -> None:
        await asyncio.sleep(15)
        argocd.fault = "Argo CD is away."
        await asyncio.sleep(60)
        assert not seen
        argocd.fault = ""

    seen: list[Any] = []
    await asyncio.gather(events(trigger(), 300, seen), away())
    assert len(seen) == 1
    assert seen[0]["readings"] == 3


async def test_each_revision_has_its_own(argocd: ArgoCd) -> None:
    argocd.health["shop"] = "Degraded"

    async def deploy() -> None:
        await asyncio.sleep(95)
        argocd.revision = B

    found, _ = await asyncio.gather(watch(trigger(), 300), deploy())
    assert [event["revision"] for event in found] == [A, B]


async def test_after_a_restart_it_is_not_told_again(argocd: ArgoCd) -> None:
    argocd.health["shop"] = "Degraded"
    store = Store()
    assert len(await watch(trigger(store=store), 60)) == 1
    assert await watch(trigger(store=store), 60) == []


async def test_what_no_run_took_up_is_told_again(argocd: ArgoCd) -> None:
    argocd.health["shop"] = "Degraded"
    store = Store()
    assert len(await watch(trigger(store=store), 600)) == 1
    assert len(await watch(trigger(store=store), 120)) == 1
    store.values["taken"] = {"revision": B, "at": (START + timedelta(hours=9)).isoformat()}
    assert len(await watch(trigger(store=store), 3600)) == 2


async def test_what_a_run_took_up_is_not_told_again(argocd: ArgoCd) -> None:
    argocd.health["shop"] = "Degraded"
    store = Store({"taken": {"revision": A, "at": (START + timedelta(seconds=40)).isoformat()}})
    assert len(await watch(trigger(store=store), 7200)) == 1
    assert store.read < 130, "not at each reading"


async def test_a_row_goes_on_over_a_restart(argocd: ArgoCd) -> None:
    argocd.health["shop"] = "Degraded"
    store = Store()
    assert await watch(trigger(store=store, readings=6), 45) == []
    await asyncio.sleep(10)
    (event,) = await watch(trigger(store=store, readings=6), 100)
    assert event["since"] == START.isoformat()


async def test_nothing_is_told_in_the_first_seconds(argocd: ArgoCd) -> None:
    argocd.health["shop"] = "Degraded"
    assert await watch(trigger(poll=1, readings=2), 4.9) == []
    assert len(await watch(trigger(poll=1, readings=2), 8)) == 1


async def test_the_record_is_written_now_and_then(argocd: ArgoCd) -> None:
    store = Store()
    await watch(trigger(store=store), 10 * STORE_EVERY + 5)
    assert 10 <= store.written <= 12
    (known,) = store.values["health"]["revisions"]
    assert known["healthy"] >= 9 * STORE_EVERY


async def test_a_broken_store_stops_nothing(argocd: ArgoCd) -> None:
    class Broken(Store):
        async def aget(self, key: str, default: Any = None) -> Any:
            raise RuntimeError("no")

        async def aset(self, key: str, value: Any) -> None:
            raise RuntimeError("no")

    argocd.health["shop"] = "Degraded"
    assert len(await watch(trigger(store=Broken()), 300)) == 1
    assert len(await watch(trigger(store=Store({"health": {"revisions": 7}})), 300)) == 1


@pytest.mark.parametrize("error", [InvalidInputError(["no connection"]), RuntimeError("no database")])
async def test_a_connection_that_is_wrong_ends_nothing(argocd: ArgoCd, error: Exception) -> None:
    argocd.health["shop"] = "Degraded"
    argocd.error = error

    async def mend() -> None:
        await asyncio.sleep(5 * FAULT_SECONDS)
        argocd.error = None

    found, _ = await asyncio.gather(watch(trigger(), 600), mend())
    assert len(found) == 1


async def test_all_of_a_connection_share_one_poll(argocd: ArgoCd) -> None:
    argocd.health |= {"shop": "Degraded", "pay": "Degraded"}
    watchers = [trigger("shop"), trigger("pay", poll=30), trigger("shop", readings=5)]
    assert len({one.shared_stream_key() for one in watchers}) == 1
    other = trigger(argocd_conn_id="another")
    assert other.shared_stream_key() != watchers[0].shared_stream_key()
    queues: list[asyncio.Queue[Any]] = [asyncio.Queue() for _ in watchers]
    found: list[list[Any]] = [[] for _ in watchers]

    async def fan_out() -> None:
        async for rounds in ArgoHealthTrigger.open_shared_stream({"argocd_conn_id": "argocd_default"}):
            for queue in queues:
                queue.put_nowait(rounds)

    async def stream(queue: asyncio.Queue[Any]) -> AsyncIterator[Any]:
        while True:
            yield await queue.get()

    async def subscribe(index: int) -> None:
        async for event in watchers[index].filter_shared_stream(stream(queues[index])):
            found[index].append(event.payload)

    tasks = [asyncio.create_task(fan_out()), *(asyncio.create_task(subscribe(n)) for n in range(3))]
    await asyncio.sleep(125)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [len(one) for one in found] == [1, 1, 1]
    assert sum("shop" in names for _, names in argocd.rounds) == 13
    assert sum("pay" in names for _, names in argocd.rounds) == 5
    assert watched("argocd_default").intervals == {}


def test_it_is_serialized_and_belongs_to_an_asset() -> None:
    definition = RollbackDefinition(application="shop-staging", repository="acme/shop")
    asset = health_asset("shop", definition)
    (watcher,) = asset.watchers
    path, values = watcher.trigger.serialize()
    assert path == "airflow_provider_agents.triggers.argocd_health.ArgoHealthTrigger"
    assert ArgoHealthTrigger(**values).serialize() == (path, values)
    assert values == {
        "application": "shop-staging",
        "repository": "acme/shop",
        "argocd_conn_id": "argocd_default",
        "poll": 10,
        "readings": 3,
    }
