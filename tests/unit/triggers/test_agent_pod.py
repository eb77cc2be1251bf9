"""Waiting for a pod, in faked time: what is logged, when it fires, and what a kill does."""

# ruff: noqa: F811 - fixtures are imported, and asked for by name

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from agent_pod_world import (  # noqa: F401 - two are fixtures
    ENDED,
    FAILED,
    PENDING,
    RUNNING,
    RUNS,
    START,
    SUCCEEDED,
    Hook,
    elapsed,
    hook,
    make,
    one_clock,
    pod,
    run,
    running,
    stamp,
)
from airflow.sdk.serde import deserialize, serialize
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.client.exceptions import ApiException

from agent_runner.contract import RESULT_MARKER
from airflow_provider_agents.triggers.agent_pod import (
    CLOCK_SKEW_SECONDS,
    AgentPodTrigger,
    event_failure,
    new_lines,
    seconds_since,
)

pytestmark = pytest.mark.looptime(start=0, end=1_000_000)


@pytest.mark.parametrize(("end", "status"), [(SUCCEEDED, "success"), (FAILED, "failed")])
async def test_it_fires_when_the_pod_has_ended(hook: Hook, end: Any, status: str) -> None:
    hook.states = [(0, PENDING), (10, RUNS), (60, end)]
    event = await run(make(hook))
    assert event["status"] == status
    assert (event["name"], event["namespace"]) == ("agent-plan-x", "agents")
    assert 60 <= elapsed() <= 62


async def test_it_waits_for_the_pod_not_for_one_container(hook: Hook) -> None:
    hook.states = [(0, RUNS), (20, pod("Running", ENDED, RUNNING)), (50, SUCCEEDED)]
    await run(make(hook))
    assert elapsed() >= 50


async def test_no_event_in_the_first_five_seconds(hook: Hook) -> None:
    hook.states = [(0, SUCCEEDED)]
    assert (await run(make(hook)))["status"] == "success"
    assert elapsed() == 5


async def test_an_event_after_that_is_not_held_back(hook: Hook) -> None:
    hook.states = [(0, RUNS), (8, SUCCEEDED)]
    await run(make(hook))
    assert elapsed() == 8


async def test_a_kill_in_the_quiet_seconds_deletes_the_pod(hook: Hook) -> None:
    hook.states = [(0, SUCCEEDED)]
    trigger = make(hook)
    async with running(trigger) as task:
        await asyncio.sleep(3)
        assert not task.done()
        await trigger.on_kill()
    assert hook.deleted == ["agent-plan-x"]


async def test_a_kill_while_the_agent_works_deletes_the_pod(hook: Hook) -> None:
    trigger = make(hook)
    async with running(trigger):
        await asyncio.sleep(100)
        await trigger.on_kill()
    assert hook.deleted == ["agent-plan-x"]


async def test_a_kill_after_the_event_leaves_the_pod_to_the_operator(hook: Hook) -> None:
    hook.states = [(0, SUCCEEDED)]
    trigger = make(hook)
    await run(trigger)
    await trigger.on_kill()
    assert hook.deleted == []


async def test_a_restart_of_the_triggerer_does_not_delete_the_pod(hook: Hook) -> None:
    trigger = make(hook)
    async with running(trigger):
        await asyncio.sleep(100)
    await trigger.cleanup()
    assert hook.deleted == []


# The log


async def test_each_line_is_logged_once_and_while_the_agent_works(hook: Hook) -> None:
    hook.log = [(second + 0.123456, f"line {second}") for second in range(60)]
    hook.states = [(0, RUNS), (59, RUNS), (61, SUCCEEDED)]
    trigger = make(hook)
    async with running(trigger) as task:
        await asyncio.sleep(30.5)
        assert trigger.lines[-1] in ("line 28", "line 29", "line 30")
        await task
    assert trigger.lines == [f"line {second}" for second in range(60)]
    assert max(read for read in hook.log_reads[1:] if read) <= 5 + CLOCK_SKEW_SECONDS


async def test_lines_are_logged_once_over_a_re_deferral(hook: Hook) -> None:
    hook.log = [(second + 0.5, f"line {second}") for second in range(40)]
    hook.states = [(0, RUNS), (20, ApiException(status=500)), (100, RUNS), (120, SUCCEEDED)]
    first = make(hook, failed_seconds=6)
    event = await run(first)
    assert event["status"] == "error"
    await asyncio.sleep(100 - elapsed())
    second = make(
        hook, last_log_time=event["last_log_time"], trigger_start_time=START + timedelta(seconds=100)
    )
    await run(second)
    assert [line for line in first.lines + second.lines if line.startswith("line")] == [
        f"line {second}" for second in range(40)
    ]


async def test_the_results_line_is_not_logged(hook: Hook) -> None:
    hook.log = [(1, "before"), (2, f'{RESULT_MARKER}{{"outcome": "succeeded"}}'), (3, "after")]
    hook.states = [(0, RUNS), (10, SUCCEEDED)]
    trigger = make(hook)
    event = await run(trigger)
    assert trigger.lines == ["before", "after"]
    assert event["last_log_time"] == stamp(3)


async def test_a_failed_reading_of_the_log_loses_nothing(hook: Hook) -> None:
    hook.log = [(second + 0.5, f"line {second}") for second in range(30)]
    hook.states = [(0, RUNS), (40, SUCCEEDED)]
    hook.log_fails = lambda: 5 < elapsed() < 25
    trigger = make(hook)
    await run(trigger)
    assert trigger.lines == [f"line {second}" for second in range(30)]


async def test_the_log_of_a_pod_that_has_not_started_is_not_asked_for(hook: Hook) -> None:
    hook.states = [(0, PENDING), (20, SUCCEEDED)]
    await run(make(hook))
    assert len(hook.log_reads) == 1


async def test_the_log_can_be_turned_off(hook: Hook) -> None:
    hook.log = [(1, "line")]
    hook.states = [(0, RUNS), (10, SUCCEEDED)]
    trigger = make(hook, get_logs=False)
    await run(trigger)
    assert (hook.log_reads, trigger.lines) == ([], [])


# What goes to the operator


async def test_an_event_carries_its_failure(hook: Hook) -> None:
    hook.states = [(0, PENDING)]
    event = await run(make(hook, startup_timeout=60))
    found = event_failure(json.loads(json.dumps(event)))
    assert found is not None
    assert (found.code, found.category, found.retryable) == ("not_started", "scheduling", True)
    assert found.message == event["message"]


async def test_the_remedy_of_an_event_is_kept() -> None:
    found = event_failure({"code": "evicted", "message": "m", "remedy": "Raise `workspace_size`."})
    assert found is not None
    assert found.remedy == "Raise `workspace_size`."


@pytest.mark.parametrize("event", [{}, {"code": None}, {"code": "of a later version", "message": "m"}])
async def test_an_event_without_a_known_failure(event: dict[str, Any]) -> None:
    assert event_failure(event) is None


async def test_a_pod_that_failed_without_a_word_of_its_runner(hook: Hook) -> None:
    evicted = pod("Failed", {"terminated": {"exit_code": 137}}, ENDED)
    evicted["status"] |= {"reason": "Evicted", "message": "The node was low on resource: memory."}
    hook.states = [(0, RUNS), (10, evicted)]
    event = await run(make(hook))
    assert (event["status"], event["code"]) == ("failed", "evicted")


async def test_what_the_runner_said_is_the_operators_to_read(hook: Hook) -> None:
    said = pod("Failed", {"terminated": {"exit_code": 1, "message": "{}"}}, ENDED)
    hook.states = [(0, RUNS), (10, said)]
    event = await run(make(hook))
    assert (event["status"], event["code"], event["category"]) == ("failed", None, None)


async def test_what_the_operator_gave_comes_back(hook: Hook) -> None:
    hook.states = [(0, SUCCEEDED)]
    event = await run(make(hook, trigger_kwargs={"_redefer_count": 2, "_execution_deadline": 9e9}))
    assert (event["_redefer_count"], event["_execution_deadline"]) == (2, 9e9)


async def test_it_comes_back_from_the_database(hook: Hook) -> None:
    sent = make(
        hook,
        AgentPodTrigger,
        failed_seconds=7,
        renewal={"secret_name": "s", "expires_at": stamp(9)},
        last_log_time=stamp(3),
        trigger_kwargs={"_redefer_count": 1},
    )
    path, arguments = sent.serialize()
    assert path == "airflow_provider_agents.triggers.agent_pod.AgentPodTrigger"
    again = AgentPodTrigger(**deserialize(serialize(arguments)))
    assert again.serialize() == (path, arguments)
    assert again.failed_seconds == 7
    assert again.renewal == {"secret_name": "s", "expires_at": stamp(9)}
    assert again._last_log_stamp == stamp(3)


# Time stamps


async def test_lines_not_newer_than_the_last_are_left_out() -> None:
    lines = [f"{stamp(n)} line {n}" for n in range(4)]
    assert [text for _, text in new_lines(lines, stamp(1))] == ["line 2", "line 3"]
    assert len(new_lines(lines, None)) == 4
    assert new_lines(lines, stamp(3)) == []


async def test_what_has_no_stamp_is_no_line() -> None:
    assert (
        new_lines(["", "unable to retrieve container logs", "2026-01-01 x", "2026-01-01T00:00:0x.5Z x"], None)
        == []
    )


async def test_a_line_may_be_empty_and_may_hold_anything() -> None:
    assert new_lines([f"{stamp(1)} ", f"{stamp(2)}", f"{stamp(3)}  two  spaces "], None) == [
        (stamp(1), ""),
        (stamp(2), ""),
        (stamp(3), " two  spaces "),
    ]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("2026-01-01T00:00:01Z", "2026-01-01T00:00:01.000000001Z"),
        ("2026-01-01T00:00:01.9Z", "2026-01-01T00:00:02Z"),
        ("2026-01-01T00:00:01.123456788Z", "2026-01-01T00:00:01.123456789Z"),
        ("2026-01-01T00:00:01.1Z", "2026-01-01T00:00:01.12Z"),
        ("2026-01-01T08:00:01+08:00", "2026-01-01T00:00:01.5Z"),
        ("2025-12-31T19:00:01.5-05:00", "2026-01-01T00:00:02Z"),
        ("2026-10-25T02:59:59.9+02:00", "2026-10-25T02:00:00.1+01:00"),
    ],
)
async def test_stamps_are_ordered_as_moments(older: str, newer: str) -> None:
    assert new_lines([f"{newer} x"], older) == [(newer, "x")]
    assert new_lines([f"{older} x"], newer) == []


@pytest.mark.parametrize("zone", ["Z", "+00:00"])
async def test_seconds_since(zone: str) -> None:
    await asyncio.sleep(100)
    assert seconds_since(None) is None
    assert seconds_since(f"2026-01-01T00:01:30.5{zone}") == 10 + CLOCK_SKEW_SECONDS
    assert seconds_since("2026-01-01T08:01:30.5+08:00") == 10 + CLOCK_SKEW_SECONDS
    assert seconds_since("2026-01-02T00:00:00Z") == 1


@pytest.mark.looptime(False)
@given(st.lists(st.integers(0, 10**10), unique=True, min_size=1), st.data())
def test_reading_in_any_parts_gives_each_line_once(moments: list[int], data: st.DataObject) -> None:
    def written(nanoseconds: int) -> str:
        seconds, rest = divmod(nanoseconds, 10**9)
        return f"2026-01-01T00:00:{seconds:02d}.{rest:09d}".rstrip("0").rstrip(".") + f"Z {nanoseconds}"

    lines = [written(moment) for moment in sorted(moments)]
    last: str | None = None
    seen: list[int] = []

    def read(part: list[str]) -> None:
        nonlocal last
        for stamped, text in new_lines(part, last):
            last = stamped
            seen.append(int(text))

    for _ in range(5):
        end = data.draw(st.integers(0, len(lines)))
        start = data.draw(st.integers(0, len(seen)))
        read(lines[start:end])
    read(lines)
    assert seen == sorted(moments)
