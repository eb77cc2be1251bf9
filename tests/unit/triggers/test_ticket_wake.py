"""The watcher of a source of tickets, in faked time."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import AssetWatcher
from airflow.serialization.encoders import encode_trigger
from airflow.triggers.base import BaseEventTrigger

from airflow_provider_agents.triggers import wake_variable
from airflow_provider_agents.triggers.ticket_wake import TicketWakeTrigger, wake_asset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime(start=0, end=10_000_000)]

SHOP, WEB = "tickets:github/acme/shop", "tickets:github/acme/web"
HANGS = "hang"


def time() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class FakeVariable:
    """What the Variable says from which second on."""

    history: list[tuple[float, Any]] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)

    async def __call__(self, name: str) -> str | None:
        self.reads.append(time())
        value = next((value for at, value in reversed(self.history) if at <= time()), None)
        if isinstance(value, Exception):
            raise value
        return None if value is None else json.dumps(value)


@dataclass
class FakeStore:
    """The state store of the asset."""

    values: dict[str, Any] = field(default_factory=dict)
    fault: Exception | str | None = None
    writes: list[float] = field(default_factory=list)

    async def _serve(self) -> None:
        if self.fault == HANGS:
            await asyncio.sleep(1_000_000)
        if isinstance(self.fault, Exception):
            raise self.fault

    async def aget(self, key: str, default: Any = None) -> Any:
        await self._serve()
        return self.values.get(key, default)

    async def aset(self, key: str, value: Any) -> None:
        await self._serve()
        self.writes.append(time())
        self.values[key] = json.loads(json.dumps(value))


@pytest.fixture
def variable(monkeypatch: pytest.MonkeyPatch) -> FakeVariable:
    variable = FakeVariable()
    monkeypatch.setattr(wake_variable, "read_variable", variable)
    return variable


async def events(
    *names: str, until: float, store: Any = None, source: str = "shop"
) -> list[tuple[float, list[str]]]:
    """Watch until that moment; return when which names were told."""
    trigger = TicketWakeTrigger(source=source, names=names or (SHOP,))
    trigger.asset_state_store = store
    told = []

    async def watch() -> None:
        running: AsyncIterator[Any] = trigger.run()
        async with aclosing(running) as events:  # type: ignore[type-var]
            async for event in events:
                told.append((time(), event.payload["names"]))

    try:
        async with asyncio.timeout(until - time()):
            await watch()
        raise AssertionError("a watcher never ends by itself")
    except TimeoutError:
        return told


async def test_a_changed_mark_is_told_once_it_has_settled(variable: FakeVariable) -> None:
    variable.history = [(0, {}), (21, {SHOP: 1})]
    assert await events(until=100) == [(24, [SHOP])]


async def test_a_missing_variable_is_as_an_empty_one(variable: FakeVariable) -> None:
    variable.history = [(21, {SHOP: 1})]
    assert await events(until=100) == [(24, [SHOP])]


async def test_marks_of_others_tell_nothing(variable: FakeVariable) -> None:
    variable.history = [(0, {}), (21, {WEB: 1, "acme/shop": 1, "acme/shop#7": 1, "tickets:shops": 1})]
    assert await events(until=100) == []


async def test_case_does_not_count(variable: FakeVariable) -> None:
    variable.history = [(0, {}), (21, {"Tickets:GitHub/Acme/Shop": 1})]
    assert await events(SHOP, until=100) == [(24, [SHOP])]


async def test_a_burst_is_one_event_and_then_another_no_sooner_than_ten_seconds_later(
    variable: FakeVariable,
) -> None:
    variable.history = [(20 + step, {SHOP: step, WEB: 1}) for step in range(40)]
    told = await events(SHOP, WEB, until=200)
    assert [at for at, _ in told] == [22, 32, 42, 52, 62]
    assert told[0][1] == [SHOP, WEB]
    assert told[-1][1] == [SHOP]


async def test_nothing_is_told_in_the_first_seconds(variable: FakeVariable) -> None:
    variable.history = [(0, {SHOP: 1})]
    assert await events(until=100) == [(5, [SHOP])]


async def test_what_changed_while_no_triggerer_ran_is_told(variable: FakeVariable) -> None:
    store = FakeStore()
    variable.history = [(0, {}), (21, {SHOP: 1, WEB: 7}), (150, {SHOP: 2, WEB: 7})]
    assert await events(until=100, store=store) == [(24, [SHOP])]
    assert store.values == {"wake_marks": {SHOP: 1}}
    await asyncio.sleep(100)
    assert await events(until=300, store=store) == [(205, [SHOP])]


async def test_what_did_not_change_meanwhile_is_not_told_again(variable: FakeVariable) -> None:
    store = FakeStore()
    variable.history = [(0, {SHOP: 1})]
    assert len(await events(until=100, store=store)) == 1
    assert await events(until=200, store=store) == []


@pytest.mark.parametrize("fault", [RuntimeError("no such asset"), HANGS])
async def test_without_the_store_it_tells_once_too_often(variable: FakeVariable, fault: Any) -> None:
    variable.history = [(0, {SHOP: 1}), (50, {SHOP: 2})]
    store = FakeStore(fault=fault)
    told = await events(until=100, store=store)
    assert [names for _, names in told] == [[SHOP], [SHOP]]
    assert 5 <= told[0][0] <= 12
    assert len(await events(until=200, store=store)) == 1


@pytest.mark.parametrize("stored", ["x", [1], 7])
async def test_a_store_that_holds_something_else_counts_as_empty(variable: FakeVariable, stored: Any) -> None:
    variable.history = [(0, {SHOP: 1})]
    assert await events(until=50, store=FakeStore({"wake_marks": stored})) == [(5, [SHOP])]


async def test_a_variable_that_cannot_be_read_ends_nothing(variable: FakeVariable) -> None:
    variable.history = [(0, {}), (10, RuntimeError("away")), (30, []), (60, {SHOP: 1})]
    assert await events(until=100) == [(62, [SHOP])]


async def test_all_sources_share_one_reader(variable: FakeVariable) -> None:
    variable.history = [(0, {}), (21, {SHOP: 1})]
    many = [events(SHOP, until=40, source=f"source{number}") for number in range(50)]
    assert await asyncio.gather(*many) == [[(24, [SHOP])]] * 50
    assert variable.reads == list(range(0, 41, 2))


async def test_a_source_that_joins_late_is_told_what_is_known(variable: FakeVariable) -> None:
    variable.history = [(0, {SHOP: 1})]
    first = asyncio.create_task(events(until=100))
    await asyncio.sleep(31)
    assert await events(until=60, source="late") == [(36, [SHOP])]
    assert await first == [(5, [SHOP])]


async def test_nobody_reads_after_the_last_one(variable: FakeVariable) -> None:
    await events(until=50)
    count = len(variable.reads)
    await asyncio.sleep(1_000)
    assert len(variable.reads) == count


async def test_without_the_option_it_waits_for_ever(
    variable: FakeVariable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__WAKE_VARIABLE", "")
    variable.history = [(0, {SHOP: 1})]
    assert await events(until=10_000) == []
    assert variable.reads == []


async def test_the_names_of_an_event_are_few(variable: FakeVariable) -> None:
    names = [f"tickets:github/acme/r{number}" for number in range(300)]
    variable.history = [(0, {}), (21, dict.fromkeys(names, 1))]
    ((_, told),) = await events(*names, until=100)
    assert told == names[:20]


async def test_the_asset_and_its_trigger_are_the_same_at_each_parse() -> None:
    first, second = (wake_asset("shop", (SHOP, WEB)) for _ in range(2))
    (watcher,) = first.watchers
    assert isinstance(watcher, AssetWatcher)
    assert (first.name, first.uri) == ("agents_tickets__shop", "agents-tickets://shop/")
    hashes = set()
    for asset in (first, second, wake_asset("shop", [SHOP, WEB]), wake_asset("other", (SHOP, WEB))):
        encoded = encode_trigger(asset.watchers[0].trigger)
        hashes.add(BaseEventTrigger.hash(encoded["classpath"], encoded["kwargs"]))
    assert len(hashes) == 2
    classpath, kwargs = watcher.trigger.serialize()  # type: ignore[union-attr]
    assert classpath == "airflow_provider_agents.triggers.ticket_wake.TicketWakeTrigger"
    assert TicketWakeTrigger(**json.loads(json.dumps(kwargs))).names == [SHOP, WEB]
