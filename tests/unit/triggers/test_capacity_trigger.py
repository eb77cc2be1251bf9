"""The wait for a place: one look for all, and a call only for whom it may be the turn."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import GetTaskStates, GetVariable
from airflow.triggers.base import BaseEventTrigger

from airflow_provider_agents.domain.capacity_ledger import LEDGER_VARIABLE
from airflow_provider_agents.triggers import capacity
from airflow_provider_agents.triggers.capacity import CapacityPoll, CapacityTrigger, Round
from tests.unit.operators.capacity_world import DAG_ID, START, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.looptime


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("AIRFLOW__AGENTS__MAX_RUNS", "2")
    monkeypatch.setenv("AIRFLOW__AGENTS__MAX_RUNS_PER_REPOSITORY", "2")
    world = World(monkeypatch)

    class LoopClock:
        @staticmethod
        def now(zone: Any = None) -> Any:
            return world.clock.now(zone)

    monkeypatch.setattr(capacity, "datetime", LoopClock)
    return world


def waiting(world: World, *names: str, **request: Any) -> None:
    for name in names:
        world.start(name, **request)
        world.admit(name)
        world.clock.time += timedelta(seconds=1)


class Triggerer:
    """Runs the waits of several runs on one stream, as Airflow's triggerer does."""

    def __init__(self, *run_ids: str) -> None:
        self.fired: dict[str, tuple[float, dict[str, Any]]] = {}
        self._queues = {run_id: asyncio.Queue[Round]() for run_id in run_ids}
        self._tasks = [asyncio.create_task(self._wait(run_id)) for run_id in run_ids]
        self._tasks.append(asyncio.create_task(self._pump()))

    async def _pump(self) -> None:
        async for round_ in CapacityTrigger.open_shared_stream({}):
            for queue in self._queues.values():
                queue.put_nowait(round_)

    async def _wait(self, run_id: str) -> None:
        async def stream() -> AsyncIterator[Round]:
            while True:
                yield await self._queues[run_id].get()

        trigger = CapacityTrigger(dag_id=DAG_ID, run_id=run_id)
        async for event in trigger.filter_shared_stream(stream()):
            self.fired[run_id] = (asyncio.get_running_loop().time(), event.payload)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def test_only_whose_turn_it_is_are_called(world: World) -> None:
    waiting(world, "a", "b", "c", "d", "e")
    triggerer = Triggerer("c", "d", "e")
    await asyncio.sleep(30)
    assert triggerer.fired == {}
    world.open_pull_request("a")
    await asyncio.sleep(6)
    assert list(triggerer.fired) == ["c"]
    assert triggerer.fired["c"][1] == {"status": "turn", "passed": []}
    world.end("b")
    await asyncio.sleep(6)
    assert list(triggerer.fired) == ["c", "d"]
    await triggerer.stop()


async def test_nobody_is_called_in_the_first_five_seconds(world: World) -> None:
    waiting(world, "a", "b", "c")
    world.end("a")
    began = asyncio.get_running_loop().time()
    triggerer = Triggerer("c")
    await asyncio.sleep(20)
    assert 5 <= triggerer.fired["c"][0] - began <= 10
    await triggerer.stop()


async def test_a_triggerer_that_starts_anew_finds_out_what_happened_meanwhile(world: World) -> None:
    waiting(world, "a", "b", "c")
    first = Triggerer("c")
    await asyncio.sleep(7)
    await first.stop()
    world.end("a")
    second = Triggerer("c")
    await asyncio.sleep(11)
    assert "c" in second.fired
    await second.stop()


async def test_one_look_serves_all(world: World) -> None:
    names = [f"w{n}" for n in range(60)]
    waiting(world, "a", "b", *names)
    world.calls.clear()
    triggerer = Triggerer(*names)
    await asyncio.sleep(24)
    looks = 5
    assert sum(isinstance(call, GetVariable) for call in world.calls) == 2 * looks
    # 62 runs, 25 a call.
    assert sum(isinstance(call, GetTaskStates) for call in world.calls) == 3 * looks
    assert triggerer.fired == {}
    await triggerer.stop()


async def test_a_run_that_a_person_puts_forward_is_called_first(world: World) -> None:
    waiting(world, "a", "b", "c", "d")
    triggerer = Triggerer("c", "d")
    await asyncio.sleep(7)
    world.priorities(d=1)
    world.end("a")
    await asyncio.sleep(7)
    assert list(triggerer.fired) == ["d"]
    await triggerer.stop()


async def test_whoever_is_not_in_the_line_any_more_is_called(world: World) -> None:
    waiting(world, "a", "b", "c")
    triggerer = Triggerer("c", "z")
    await asyncio.sleep(7)
    assert list(triggerer.fired) == ["z"]
    await triggerer.stop()


async def test_one_that_was_called_and_does_not_come_holds_nobody_up(world: World) -> None:
    waiting(world, "a", "b", "c", "d")
    triggerer = Triggerer("c", "d")
    await asyncio.sleep(6)
    world.end("a")
    await asyncio.sleep(100)
    assert list(triggerer.fired) == ["c"]
    await asyncio.sleep(40)
    assert list(triggerer.fired) == ["c", "d"]
    assert triggerer.fired["d"][1]["passed"] == [f"{DAG_ID}/c"]
    assert world.admit("d", triggerer.fired["d"][1]) is not None
    await triggerer.stop()


async def test_the_first_in_line_looks_when_the_limits_may_have_changed(world: World) -> None:
    waiting(world, "a", "b", "c", "d")
    world.clock.time = START + timedelta(seconds=280)
    triggerer = Triggerer("c", "d")
    await asyncio.sleep(11)
    assert triggerer.fired == {}
    world.clock.time = START + timedelta(seconds=310)
    await asyncio.sleep(6)
    assert list(triggerer.fired) == ["c"]
    await triggerer.stop()


async def test_a_new_day_and_the_end_of_an_off_peak_time_are_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__RUNS_PER_DAY", "2")
    monkeypatch.setattr(capacity, "SETTINGS_SECONDS", 1e9)
    waiting(world, "a", "b", "c")
    world.end("a")
    world.end("b")
    triggerer = Triggerer("c")
    await asyncio.sleep(20)
    assert triggerer.fired == {}
    world.clock.time = START + timedelta(hours=12)
    await asyncio.sleep(6)
    assert "c" in triggerer.fired
    await triggerer.stop()


@pytest.mark.parametrize("text", [None, "{"])
async def test_damaged_books_call_all_back_a_few_at_a_time(world: World, text: str | None) -> None:
    names = [f"w{n}" for n in range(48)]
    waiting(world, "a", "b", *names)
    triggerer = Triggerer(*names)
    await asyncio.sleep(6)
    if text is None:
        del world.variables[LEDGER_VARIABLE]
    else:
        world.variables[LEDGER_VARIABLE] = text
    await asyncio.sleep(10)
    assert 0 < len(triggerer.fired) < 24
    # The first one mends them for all.
    called = list(triggerer.fired)
    world.admit(called[0])
    await asyncio.sleep(60)
    assert list(triggerer.fired) == called
    await triggerer.stop()


async def test_an_airflow_that_does_not_answer_is_waited_out(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    waiting(world, "a", "b", "c")
    triggerer = Triggerer("c")
    await asyncio.sleep(6)
    world.down = True
    world.end("a")
    await asyncio.sleep(600)
    assert triggerer.fired == {}
    assert caplog.text.count("cannot be looked at") == 1
    world.down = False
    await asyncio.sleep(61)
    assert triggerer.fired["c"][1]["status"] == "turn"
    await triggerer.stop()


async def test_in_the_end_the_task_itself_looks(world: World) -> None:
    waiting(world, "a", "b", "c")
    world.down = True
    triggerer = Triggerer("c")
    await asyncio.sleep(3_600)
    assert triggerer.fired["c"][1] == {"status": "unreadable", "passed": []}
    await triggerer.stop()


async def test_a_look_that_hangs_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(message: Any) -> Any:
        await asyncio.sleep(10_000)

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(asend=hang))
    began = asyncio.get_running_loop().time()
    assert (await CapacityPoll().look()).failures == 1
    assert asyncio.get_running_loop().time() - began == pytest.approx(60)


async def test_alone_and_where_all_is_one_process(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``dag.test()`` runs it: no shared stream, and a supervisor without asynchronous calls."""
    waiting(world, "a", "b", "c")
    world.end("a")
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=world.send))
    events = [event.payload async for event in CapacityTrigger(dag_id=DAG_ID, run_id="c").run()]
    assert events == [{"status": "turn", "passed": []}]


async def test_the_log_of_a_wait_tells_where_it_is(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    waiting(world, "a", "b", "c", "d")
    capsys.readouterr()
    triggerer = Triggerer("d")
    await asyncio.sleep(30)
    assert "Waiting: 2nd of 2: this installation has 2 of 2 runs at work." in capsys.readouterr().out
    world.runs["c"]["admit"] = "failed"
    await asyncio.sleep(100)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "Waiting" in line]
    assert "Waiting: 1st of 1" in line
    await triggerer.stop()


def test_it_is_stored_with_the_run_it_waits_for_and_shares_one_stream() -> None:
    one, other = (CapacityTrigger(dag_id=DAG_ID, run_id=name) for name in ("a", "b"))
    path, arguments = one.serialize()
    assert path == "airflow_provider_agents.triggers.capacity.CapacityTrigger"
    assert arguments == {"dag_id": DAG_ID, "run_id": "a"}
    assert one.shared_stream_key() == other.shared_stream_key()
    assert isinstance(one, BaseEventTrigger)
