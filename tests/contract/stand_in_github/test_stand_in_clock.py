from __future__ import annotations

import asyncio
from email.utils import parsedate_to_datetime

import pytest

from demo.github.clock import Clock

REPOSITORY = "acme/calc"


def test_it_runs_with_its_source_and_is_moved():
    source = [100.0]
    clock = Clock(lambda: source[0])
    source[0] = 110.0
    assert clock.time() == 110
    clock.advance(60)
    source[0] = 111.0
    assert clock.time() == 171
    clock.set(5)
    source[0] = 113.0
    assert clock.time() == 7


def test_it_stands_still_and_goes_on_from_there():
    source = [100.0]
    clock = Clock(lambda: source[0])
    clock.stop()
    source[0] = 200.0
    assert clock.time() == 100
    clock.advance(5)
    clock.run()
    source[0] = 201.0
    assert clock.time() == 106


async def test_sleepers_wake_when_it_is_moved_and_not_before():
    clock = Clock()
    clock.stop()
    sleeper = asyncio.create_task(clock.sleep(60))
    await asyncio.sleep(0)
    clock.advance(59)
    await asyncio.sleep(0)
    assert not sleeper.done()
    clock.advance(1)
    async with asyncio.timeout(5):
        await sleeper


async def test_a_running_clock_lets_sleepers_wake_by_themselves():
    async with asyncio.timeout(5):
        await Clock().sleep(0.01)


async def test_timestamps_headers_and_the_log_follow_it(seeded, agent):
    moved = await agent.call("POST", "/_demo/clock", json={"stopped": True, "now": "2030-01-02T03:04:05Z"})
    assert moved.body["now"] == "2030-01-02T03:04:05+00:00"
    made = await agent.repo("POST", "/issues/1/comments", {"body": "Hello"})
    assert made.body["created_at"] == "2030-01-02T03:04:05Z"
    assert parsedate_to_datetime(made.headers["Date"]).isoformat() == "2030-01-02T03:04:05+00:00"
    assert made.headers["x-ratelimit-reset"] == str(int(seeded.forge.clock.time()) + 3600)
    assert seeded.mutations[-1]["at"] == "2030-01-02T03:04:05.000+00:00"
    await agent.call("POST", "/_demo/clock", json={"advance": 30})
    edited = await agent.call("GET", "/_demo/clock")
    assert edited.body["now"] == "2030-01-02T03:04:35+00:00"
    assert (await agent.call("POST", "/_demo/clock", json={"stopped": False})).body["stopped"] is False


@pytest.mark.parametrize("values", [{"now": "tomorrow"}, {"advance": "a while"}])
async def test_wrong_times_are_refused(seeded, agent, values):
    assert (await agent.call("POST", "/_demo/clock", json=values)).status == 422


async def test_mergeability_is_unknown_for_as_long_as_a_repository_says(seeded, pull, agent):
    clock = seeded.forge.clock
    clock.stop()
    await agent.call("POST", "/_demo/mergeability", json={"repository": REPOSITORY, "seconds": 300})
    await seeded.act("alice", "push_commit", REPOSITORY, number=pull, files={"x.py": "1\n"})
    query = (
        """query {repository(owner:"acme",name:"calc"){pullRequest(number:2){mergeable mergeStateStatus}}}"""
    )

    async def known():
        body = await agent.graphql(query)
        return tuple(body["data"]["repository"]["pullRequest"].values())

    assert await known() == ("UNKNOWN", "UNKNOWN")
    assert (await agent.repo("GET", f"/pulls/{pull}")).body["mergeable"] is None
    clock.advance(299)
    assert await known() == ("UNKNOWN", "UNKNOWN")
    clock.advance(1)
    assert (await known())[0] == "MERGEABLE"
    assert (await agent.repo("GET", f"/pulls/{pull}")).body["mergeable"] is True
    wrong = {"repository": REPOSITORY, "seconds": "long"}
    assert (await agent.call("POST", "/_demo/mergeability", json=wrong)).status == 422
