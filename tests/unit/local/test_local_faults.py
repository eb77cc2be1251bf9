"""Faults on request: of the API, the scheduler and the node."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_an_api_that_is_away_comes_back(api: Any) -> None:
    await api.ok("POST", "/_local/outage", kind="unavailable", seconds=60)
    status, answer = await api.call("GET", "pods")
    assert (status, answer["kind"], answer["reason"]) == (503, "Status", "ServiceUnavailable")
    await api.ok("POST", "/_local/outage", kind="unavailable", seconds=0)
    await api.ok("GET", "pods")


async def test_connections_break(api: Any) -> None:
    await api.ok("POST", "/_local/outage", kind="reset", seconds=60)
    with pytest.raises(aiohttp.ClientConnectionError):
        await api.call("GET", "pods")
    await api.ok("GET", "/_local/processes")


async def test_an_api_that_does_not_answer(api: Any) -> None:
    await api.ok("POST", "/_local/outage", kind="hang", seconds=60)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(api.call("GET", "pods"), 0.3)


async def test_an_outage_ends_by_itself(api: Any) -> None:
    await api.ok("POST", "/_local/outage", kind="unavailable", seconds=1)
    began = time.monotonic()
    while (await api.call("GET", "pods"))[0] != 200:
        assert time.monotonic() - began < 10
        await asyncio.sleep(0.05)


async def test_there_is_no_other_kind_of_outage(api: Any) -> None:
    status, answer = await api.call("POST", "/_local/outage", kind="fire")
    assert status == 400
    assert "unavailable, reset, hang" in answer["message"]


async def test_pods_go_on_while_the_api_is_away(api: Any, make: Any) -> None:
    await api.ok("POST", "pods", make.pod(make.shell("sleep 0.3; echo done")))
    await api.ok("POST", "/_local/outage", kind="unavailable", seconds=60)
    await asyncio.sleep(0.6)
    await api.ok("POST", "/_local/outage", kind="unavailable", seconds=0)
    await api.phase("Succeeded")
    assert await api.log() == "done\n"


async def test_a_pod_that_no_node_takes_waits_until_one_does(api: Any, make: Any) -> None:
    message = "0/1 nodes are available: 1 Insufficient memory."
    await api.ok("POST", "/_local/unschedulable", message=message)
    await api.ok("POST", "pods", make.pod(make.shell("true")))
    pod = await api.until(lambda pod: pod["status"].get("conditions"))
    (condition,) = [each for each in pod["status"]["conditions"] if each["type"] == "PodScheduled"]
    assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
    assert condition["message"] == message
    assert [event["message"] for event in await api.events("FailedScheduling")] == [message]
    await api.ok("POST", "/_local/unschedulable")
    await api.phase("Succeeded")


async def test_a_node_that_is_shut_down(api: Any, make: Any, status_of: Callable[..., Any]) -> None:
    await api.ok("POST", "pods", make.pod(make.shell("trap 'exit 3' TERM; sleep 30 & wait")))
    await api.phase("Running")
    await asyncio.sleep(0.3)
    await api.ok("POST", "/_local/pods/test/pod/node-shutdown")
    pod = await api.phase("Failed")
    assert pod["status"]["reason"] == "Terminated"
    assert "node shutdown" in pod["status"]["message"]
    (condition,) = [each for each in pod["status"]["conditions"] if each["type"] == "DisruptionTarget"]
    assert condition["reason"] == "TerminationByKubelet"
    assert status_of(pod)["state"]["terminated"]["exitCode"] == 3
