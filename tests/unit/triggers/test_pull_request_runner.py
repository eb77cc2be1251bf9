"""Many waits in Airflow's own runner of triggers, in real time: one poll serves them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from airflow.jobs.triggerer_job_runner import TriggerRunner

from airflow_provider_agents.triggers import pull_request as module
from tests.unit.triggers.pull_request_world import GREEN, RUNNING, Forge, time, trigger

if TYPE_CHECKING:
    from airflow_provider_agents.triggers.pull_request import PullRequestTrigger

WAITS = 200


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> Forge:
    forge = Forge()
    forge.install(monkeypatch)
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.2)
    return forge


def start(runner: TriggerRunner, trigger_id: int, wait: PullRequestTrigger) -> asyncio.Task[None]:
    """Start a trigger as ``TriggerRunner.create_triggers`` does."""
    wait.trigger_id = trigger_id
    task = asyncio.create_task(runner.run_trigger(trigger_id, wait))
    details: Any = {"task": task, "is_watcher": True, "name": f"wait {trigger_id}", "events": 0}
    runner.triggers[trigger_id] = details
    return task


async def test_two_hundred_waits_of_a_connection_are_served_by_one_poll(forge: Forge) -> None:
    for number in range(WAITS):
        forge.has((0, RUNNING), number=number)
    runner = TriggerRunner()
    tasks = [start(runner, number, trigger(number, poll_interval=1.0)) for number in range(WAITS)]
    async with asyncio.timeout(20):
        while {key for _, keys in forge.snapshot_calls for key in keys} != set(forge.histories):
            await asyncio.sleep(0.05)
    assert not runner.events
    changed = time()
    for number in range(WAITS):
        forge.has((0, RUNNING), (changed, GREEN), number=number)
    await asyncio.wait_for(asyncio.gather(*tasks), 20)
    assert sorted(entry.trigger_id for entry in runner.events) == list(range(WAITS))
    assert {entry.event.payload["decision"]["verdict"] for entry in runner.events} == {"merge"}
    assert [details["events"] for details in runner.triggers.values()] == [1] * WAITS
    assert len(forge.sessions) == 1
    assert forge.open == 0
    # Everyone is read in full twice, five in a call; and each second there are two calls for pulses.
    assert 2 * WAITS / 5 <= len(forge.snapshot_calls) <= 2 * WAITS / 5 + 4
    assert len(forge.pulse_calls) <= 2 * (3 + time() - changed)


async def test_what_a_user_kills_leaves_the_others_alone(forge: Forge) -> None:
    forge.has((0, RUNNING), number=1)
    forge.has((0, RUNNING), (time() + 2.0, GREEN), number=2)
    runner = TriggerRunner()
    first = start(runner, 1, trigger(1, poll_interval=1.0))
    second = start(runner, 2, trigger(2, poll_interval=1.0))
    await asyncio.sleep(1.0)
    runner.to_cancel.append(1)
    await runner.cancel_triggers()
    await asyncio.wait_for(second, 20)
    assert first.cancelled()
    assert [entry.trigger_id for entry in runner.events] == [2]
    assert forge.open == 0
