from __future__ import annotations

import asyncio

import pytest

QUERY = {"query": "query {viewer{login}}"}


async def lever(agent, **values):
    answer = await agent.call("POST", "/_demo/limits", json=values)
    assert answer.status == 200, answer.text
    return answer.body


async def test_rest_is_refused_with_nothing_left_until_the_window_ends(seeded, agent):
    await lever(agent, core=2)
    assert [(await agent.repo("GET", "/issues/1")).status for _ in range(3)] == [200, 200, 403]
    refused = await agent.repo("GET", "/issues/1")
    assert refused.body["message"].startswith("API rate limit exceeded for user ID ")
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert "retry-after" not in refused.headers
    wait = int(refused.headers["x-ratelimit-reset"]) - seeded.forge.clock.time()
    assert 3590 < wait <= 3600
    seeded.forge.clock.advance(3601)
    assert (await agent.repo("GET", "/issues/1")).headers["x-ratelimit-remaining"] == "1"


async def test_rest_may_also_refuse_with_429(seeded, agent):
    await lever(agent, core=0, primary_status=429)
    assert (await agent.repo("GET", "/issues/1")).status == 429


async def test_graphql_tells_a_spent_limit_with_status_200(seeded, agent):
    await lever(agent, used={"agent": {"graphql": 5000}})
    answer = await agent.call("POST", "/api/graphql", json=QUERY)
    assert (answer.status, answer.body["errors"][0]["type"]) == (200, "RATE_LIMITED")
    assert "data" not in answer.body
    assert answer.headers["x-ratelimit-remaining"] == "0"


async def test_rest_and_graphql_and_people_have_limits_of_their_own(seeded, agent, client_of):
    await lever(agent, used={"agent": {"graphql": 5000}})
    assert (await agent.repo("GET", "/issues/1")).status == 200
    assert "data" in await client_of("token-of-reader").graphql("query {viewer{login}}")


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize("wait", [None, 30])
async def test_points_a_minute(seeded, agent, status, wait):
    await lever(agent, core_per_minute=7, secondary_status=status, retry_after=wait)
    for _ in range(2):
        assert (await agent.repo("GET", "/issues/1")).status == 200
    assert (await agent.repo("POST", "/issues/1/comments", {"body": "five points"})).status == 201
    refused = await agent.repo("GET", "/issues/1")
    assert refused.status == status
    assert refused.body["message"].startswith("You have exceeded a secondary rate limit")
    assert refused.headers.get("retry-after") == (None if wait is None else "30")
    assert int(refused.headers["x-ratelimit-remaining"]) > 0
    seeded.forge.clock.advance(61)
    assert (await agent.repo("GET", "/issues/1")).status == 200


async def test_a_graphql_mutation_counts_five_points_a_minute(seeded, agent):
    await lever(agent, graphql_per_minute=6)
    assert "data" in await agent.graphql("query {viewer{login}}")
    mutation = """mutation {addComment(input:{subjectId:"none",body:"x"}) {clientMutationId}}"""
    assert (await agent.call("POST", "/api/graphql", json={"query": mutation})).status == 200
    refused = await agent.call("POST", "/api/graphql", json=QUERY)
    assert (refused.status, refused.headers["retry-after"]) == (403, "60")


async def test_content_a_minute(seeded, agent):
    await lever(agent, content_per_minute=1)
    assert (await agent.repo("POST", "/issues/1/comments", {"body": "one"})).status == 201
    assert (await agent.repo("POST", "/issues/1/comments", {"body": "two"})).status == 403
    assert (await agent.repo("GET", "/issues/1")).status == 200
    assert (await agent.call("GET", "/_demo/limits")).body["refused"] == {"content_per_minute": 1}


async def test_requests_at_once(seeded, agent):
    await lever(agent, concurrent=1)
    calls = [agent.call("POST", "/api/graphql", json=QUERY) for _ in range(3)]
    seeded.forge.clock.stop()
    held = [seeded.limits.admit(seeded.forge.store.user("agent"), "core", 1, creates=False)]
    with held[0]:
        assert {answer.status for answer in await asyncio.gather(*calls)} == {403}
    assert (await agent.call("POST", "/api/graphql", json=QUERY)).status == 200


async def test_requests_are_counted_by_token_without_the_token(seeded, agent):
    await agent.repo("GET", "/issues/1")
    await agent.call("POST", "/api/graphql", json=QUERY)
    answer = await agent.call("GET", "/_demo/limits")
    (counted,) = answer.body["tokens"].values()
    assert counted == {"core_requests": 1, "core_points": 1, "graphql_requests": 1, "graphql_points": 1}
    assert "token-of-agent" not in answer.text
    assert (await agent.call("DELETE", "/_demo/limits")).status == 204
    assert (await agent.call("GET", "/_demo/limits")).body["tokens"] == {}


@pytest.mark.parametrize("values", [{"cores": 1}, {"core": "many"}, {"core": -1}, {"graphql": None}])
async def test_wrong_settings_are_refused(seeded, agent, values):
    assert (await agent.call("POST", "/_demo/limits", json=values)).status == 422
    assert (await agent.call("GET", "/_demo/limits")).body["settings"]["core"] == 5000
