from __future__ import annotations

import pytest

REPOSITORY = "acme/calc"
SNAPSHOT = """query Snapshot($owner:String!,$name:String!,$number:Int!) {
  repository(owner:$owner,name:$name) {pullRequest(number:$number) {
    state headRefOid mergeable comments(first:10) {totalCount} baseRef {target {oid}}}}}"""


@pytest.fixture
def clock(seeded):
    seeded.forge.clock.stop()
    return seeded.forge.clock


async def order_stale(agent, seconds=30, **match):
    fault = {"match": {"reads": True, **match}, "times": None, "action": {"stale_seconds": seconds}}
    answer = await agent.call("POST", "/_demo/faults", json=fault)
    assert answer.status == 201, answer.text


async def snapshot(agent, number):
    body = await agent.graphql(SNAPSHOT, owner="acme", name="calc", number=number)
    return body["data"]["repository"]["pullRequest"]


async def test_graphql_shows_the_state_before_a_push_until_the_time_is_over(seeded, pull, agent, clock, head):
    await order_stale(agent)
    clock.advance(60)
    before = head(pull)
    await seeded.act("alice", "push_commit", REPOSITORY, number=pull, files={"x.py": "1\n"})
    assert (await snapshot(agent, pull))["headRefOid"] == before != head(pull)
    clock.advance(29)
    assert (await snapshot(agent, pull))["headRefOid"] == before
    clock.advance(1)
    assert (await snapshot(agent, pull))["headRefOid"] == head(pull)


async def test_a_merge_takes_effect_at_once_and_is_seen_late(seeded, pull, agent, clock, head):
    await order_stale(agent)
    clock.advance(60)
    base = (await snapshot(agent, pull))["baseRef"]["target"]["oid"]
    merge = {"merge_method": "squash", "sha": head(pull)}
    assert (await agent.repo("PUT", f"/pulls/{pull}/merge", merge)).status == 200
    seen = await snapshot(agent, pull)
    assert (seen["state"], seen["mergeable"], seen["baseRef"]["target"]["oid"]) == ("OPEN", "MERGEABLE", base)
    assert (await agent.repo("GET", f"/pulls/{pull}")).body["merged"] is False
    assert (await agent.repo("GET", "/git/ref/heads/main")).body["object"]["sha"] == base
    # A write sees the truth.
    assert (await agent.repo("PUT", f"/pulls/{pull}/merge", merge)).status == 405
    clock.advance(30)
    assert (await snapshot(agent, pull))["state"] == "MERGED"
    assert (await agent.repo("GET", f"/pulls/{pull}")).body["merged"] is True


async def test_stale_reads_change_nothing(seeded, pull, agent, clock):
    await order_stale(agent)
    clock.advance(60)
    for number in range(3):
        await agent.repo("POST", f"/issues/{pull}/comments", {"body": f"Comment {number}"})
        assert (await snapshot(agent, pull))["comments"]["totalCount"] == 0
    clock.advance(30)
    assert (await snapshot(agent, pull))["comments"]["totalCount"] == 3


async def test_only_the_named_pull_request_is_stale(seeded, pull, agent, clock):
    await order_stale(agent, number=pull)
    clock.advance(60)
    await seeded.act("alice", "comment", REPOSITORY, number=1, body="On the issue")
    await seeded.act("alice", "comment", REPOSITORY, number=pull, body="On the pull request")
    assert (await snapshot(agent, pull))["comments"]["totalCount"] == 0
    assert (await agent.repo("GET", f"/issues/{pull}/comments")).body == []
    assert len((await agent.repo("GET", "/issues/1/comments")).body) == 1


async def test_synthetic_repositories_are_stale_as_well(server, agent, clock_of):
    await server.seed_synthetic(REPOSITORY, {"a.py": "1\n"})
    await server.act("agent", "push_commit", REPOSITORY, branch="x", files={"a.py": "2\n"})
    number = (await server.act("agent", "open_pull", REPOSITORY, head="x", title="T"))["number"]
    await order_stale(agent, repository=REPOSITORY)
    clock_of(server).advance(60)
    before = await snapshot(agent, number)
    await server.act("agent", "push_commit", REPOSITORY, branch="x", files={"a.py": "3\n"})
    assert await snapshot(agent, number) == before
    clock_of(server).advance(31)
    assert await snapshot(agent, number) != before


@pytest.fixture
def clock_of():
    def stopped(server):
        server.forge.clock.stop()
        return server.forge.clock

    return stopped
