from __future__ import annotations

import time

import aiohttp
import pytest

REPOSITORY = "acme/calc"


async def order(agent, match, action, times=1):
    fault = {"match": match, "action": action, "times": times}
    answer = await agent.call("POST", "/_demo/faults", json=fault)
    assert answer.status == 201, answer.text


async def test_canned_answer_so_many_times_then_none(seeded, agent):
    headers = {"retry-after": "60"}
    body = {"message": "You have exceeded a secondary rate limit."}
    action = {"status": 403, "body": body, "headers": headers}
    await order(agent, {"method": "GET", "path": "/issues/1$"}, action, times=2)
    for _ in range(2):
        answer = await agent.repo("GET", "/issues/1")
        assert (answer.status, answer.body, answer.headers["retry-after"]) == (403, body, "60")
    assert (await agent.repo("GET", "/issues/1")).status == 200


async def test_only_what_fits_is_hit(seeded, agent):
    await order(agent, {"operation": "Pulse"}, {"status": 502, "body": "Bad gateway"})
    assert "data" in await agent.graphql("query Other {viewer{login}}")
    assert (await agent.repo("GET", "/issues/1")).status == 200
    answer = await agent.call("POST", "/api/graphql", json={"query": "query Pulse {viewer{login}}"})
    assert (answer.status, answer.text) == (502, "Bad gateway")


async def test_dropped_before_it_is_processed(seeded, pull, agent):
    await order(agent, {"path": "/merge$"}, "drop_before")
    with pytest.raises(aiohttp.ClientError):
        await agent.repo("PUT", f"/pulls/{pull}/merge", {"merge_method": "squash"})
    assert (await agent.repo("GET", f"/pulls/{pull}")).body["merged"] is False


async def test_dropped_after_it_is_processed(seeded, pull, agent):
    await order(agent, {"path": "/merge$"}, "drop_after")
    with pytest.raises(aiohttp.ClientError):
        await agent.repo("PUT", f"/pulls/{pull}/merge", {"merge_method": "squash"})
    assert (await agent.repo("GET", f"/pulls/{pull}")).body["merged"] is True
    assert [m["kind"] for m in seeded.mutations].count("pull_request.merged") == 1


async def test_push_whose_answer_is_lost(seeded, git, remote, tmp_path, agent):
    await order(agent, {"path": "/git-receive-pack$"}, "drop_after")
    work = tmp_path / "w"
    await git("clone", "-q", remote(), str(work))
    code, _ = await git("push", "-q", "origin", "HEAD:refs/heads/agents/9", cwd=work)
    assert code != 0
    assert (await agent.repo("GET", "/git/ref/heads/agents/9")).status == 200


async def test_delay(seeded, agent):
    await order(agent, {"path": "/issues/1$"}, {"delay_seconds": 0.2})
    begun = time.monotonic()
    assert (await agent.repo("GET", "/issues/1")).status == 200
    assert time.monotonic() - begun >= 0.2


async def test_head_moves_just_before_the_merge(seeded, pull, agent, head):
    await order(agent, {"method": "PUT", "path": "/merge$"}, {"move_head_before": {"as": "alice"}})
    seen = head(pull)
    refused = await agent.repo("PUT", f"/pulls/{pull}/merge", {"sha": seen, "merge_method": "squash"})
    assert refused.status == 409
    assert head(pull) != seen
    push = next(m for m in reversed(seeded.mutations) if m["kind"] == "push")
    assert (push["actor"], push["details"]["branch"]) == ("alice", "agents/1")


async def test_head_moves_before_a_graphql_merge(seeded, pull, agent, head):
    await order(agent, {"operation": "Merge"}, {"move_head_before": {"as": "alice"}})
    query = (
        """mutation Merge($i: MergePullRequestInput!) {mergePullRequest(input: $i) {pullRequest {merged}}}"""
    )
    pull_id = (await agent.repo("GET", f"/pulls/{pull}")).body["node_id"]
    body = await agent.graphql(query, i={"pullRequestId": pull_id, "expectedHeadOid": head(pull)})
    assert "Head branch was modified" in body["errors"][0]["message"]


async def test_somebody_acts_before(seeded, pull, agent):
    action = {"before": "close", "as": "alice", "repository": REPOSITORY, "number": pull}
    await order(agent, {"path": "/merge$"}, action)
    refused = await agent.repo("PUT", f"/pulls/{pull}/merge", {"merge_method": "squash"})
    assert refused.status == 405
    assert (await agent.repo("GET", f"/pulls/{pull}")).body["state"] == "closed"


async def test_partial_data(seeded, pull, agent):
    path = ["repository", "pullRequest", "reviewThreads"]
    await order(agent, {"operation": "Snapshot"}, {"partial": path, "message": "Something went wrong"})
    query = """query Snapshot {repository(owner:"acme",name:"calc"){pullRequest(number:2){
      number reviewThreads(first:1){totalCount}}}}"""
    body = await agent.graphql(query)
    assert body["data"]["repository"]["pullRequest"] == {"number": 2, "reviewThreads": None}
    assert body["errors"] == [{"path": path, "message": "Something went wrong"}]


async def test_for_ever_until_cleared(seeded, agent):
    await order(agent, {"path": "^/api/v3"}, {"status": 500}, times=None)
    for _ in range(3):
        assert (await agent.repo("GET")).status == 500
    assert (await agent.call("DELETE", "/_demo/faults")).status == 204
    assert (await agent.repo("GET")).status == 200


@pytest.mark.parametrize(
    "fault",
    [
        {"match": {}, "action": "explode"},
        {"match": {"verb": "GET"}, "action": "drop_before"},
        {"match": {"path": "("}, "action": "drop_before"},
        {"match": {}, "action": "drop_before", "times": 0},
        {"match": {}, "action": {"before": "fly"}},
    ],
)
async def test_wrong_orders_are_refused(seeded, agent, fault):
    answer = await agent.call("POST", "/_demo/faults", json=fault)
    assert answer.status == 422
    assert (await agent.call("GET", "/_demo/faults")).body == []


async def test_bad_gateway_after_the_effect(seeded, pull, agent):
    await order(agent, {"path": "/merge$"}, {"status": 502, "body": "Bad gateway", "after": True})
    answer = await agent.repo("PUT", f"/pulls/{pull}/merge", {"merge_method": "squash"})
    assert (answer.status, answer.text) == (502, "Bad gateway")
    assert [m["kind"] for m in seeded.mutations].count("pull_request.merged") == 1


async def test_bad_gateway_before_the_effect(seeded, pull, agent):
    await order(agent, {"path": "/merge$"}, {"status": 502})
    assert (await agent.repo("PUT", f"/pulls/{pull}/merge", {"merge_method": "squash"})).status == 502
    assert "pull_request.merged" not in [m["kind"] for m in seeded.mutations]


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize("wait", [None, 5])
async def test_refused_as_too_fast(seeded, agent, status, wait):
    await order(agent, {"reads": True}, {"secondary_limit": status, "retry_after": wait})
    answer = await agent.repo("GET", "/issues/1")
    assert (answer.status, answer.headers.get("retry-after")) == (status, None if wait is None else "5")
    assert "secondary rate limit" in answer.body["message"]
    assert (await agent.repo("GET", "/issues/1")).status == 200


async def test_refused_as_if_all_points_were_spent(seeded, agent):
    await order(agent, {}, "primary_limit", times=2)
    answer = await agent.repo("GET", "/issues/1")
    assert (answer.status, answer.headers["x-ratelimit-remaining"]) == (403, "0")
    told = await agent.call("POST", "/api/graphql", json={"query": "query {viewer{login}}"})
    assert (told.status, told.body["errors"][0]["type"]) == (200, "RATE_LIMITED")
    assert told.headers["x-ratelimit-remaining"] == "0"
    after = await agent.repo("GET", "/issues/1")
    assert (after.status, after.headers["x-ratelimit-used"]) == (200, "1")


async def test_a_part_of_one_node_among_many(seeded, pull, agent):
    issue_id = (await agent.repo("GET", "/issues/1")).body["node_id"]
    pull_id = (await agent.repo("GET", f"/pulls/{pull}")).body["node_id"]
    query = """query Pulse($ids:[ID!]!) {nodes(ids:$ids) {
      ... on PullRequest {number reviewThreads(first:1) {totalCount}} ... on Issue {number}}}"""
    action = {"partial": ["nodes", {"id": pull_id}, "reviewThreads"], "type": "INTERNAL"}
    await order(agent, {"operation": "Pulse"}, action)
    body = await agent.graphql(query, ids=[issue_id, pull_id])
    assert body["data"]["nodes"] == [{"number": 1}, {"number": pull, "reviewThreads": None}]
    error = {"path": ["nodes", 1, "reviewThreads"], "message": "Something went wrong", "type": "INTERNAL"}
    assert body["errors"] == [error]
    await order(agent, {"operation": "Pulse"}, {"partial": ["nodes", {"id": pull_id}]})
    assert (await agent.graphql(query, ids=[issue_id, pull_id]))["data"]["nodes"] == [{"number": 1}, None]


async def test_reads_of_one_pull_request_alone(seeded, pull, agent):
    await order(agent, {"repository": REPOSITORY, "number": pull, "reads": True}, {"status": 500}, times=None)
    assert (await agent.repo("GET", "/issues/1")).status == 200
    assert (await agent.repo("POST", f"/issues/{pull}/comments", {"body": "x"})).status == 201
    assert (await agent.repo("GET", f"/pulls/{pull}")).status == 500
    query = """query ($owner7:String!,$name7:String!,$number7:Int!) {
      repository(owner:$owner7,name:$name7) {pullRequest(number:$number7) {title}}}"""
    variables = {"owner7": "acme", "name7": "calc", "number7": pull}
    asked = await agent.call("POST", "/api/graphql", json={"query": query, "variables": variables})
    assert asked.status == 500


async def test_by_chance_with_a_seed(seeded, agent):
    fault = {"match": {"path": "/issues/1$"}, "times": None, "chance": 0.5, "action": {"status": 502}}
    await agent.call("POST", "/_demo/faults", json=fault)
    seen = [(await agent.repo("GET", "/issues/1")).status for _ in range(40)]
    assert 8 < seen.count(502) < 32


@pytest.mark.parametrize(
    "fault",
    [
        {"action": {"secondary_limit": 500}},
        {"action": {"stale_seconds": 0}},
        {"action": {"stale_seconds": "long"}},
        {"action": "drop_before", "chance": 0},
    ],
)
async def test_more_wrong_orders_are_refused(seeded, agent, fault):
    assert (await agent.call("POST", "/_demo/faults", json=fault)).status == 422


async def test_a_crash_without_anybody_to_kill_it_is_a_lost_answer(seeded, agent):
    await order(agent, {"path": "/comments$"}, "crash_after")
    with pytest.raises(aiohttp.ClientError):
        await agent.repo("POST", "/issues/1/comments", {"body": "x"})
    assert len((await agent.repo("GET", "/issues/1/comments")).body) == 1
