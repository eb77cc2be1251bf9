"""The small reading: what it says, and that one bad pull request loses only itself."""

from __future__ import annotations

import pytest
from aiohttp import web

from airflow_provider_agents.domain.pull_request import PullRequestPulse
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)

PULSE = {
    "__typename": "PullRequest",
    "id": "PR_1",
    "number": 7,
    "state": "OPEN",
    "isDraft": True,
    "headRefOid": "a" * 40,
    "mergeable": "MERGEABLE",
    "mergeStateStatus": "CLEAN",
    "reviewDecision": "APPROVED",
    "isInMergeQueue": True,
    "updatedAt": "2026-01-01T10:00:00Z",
    "statusCheckRollup": {"state": "SUCCESS"},
    "repository": {"nameWithOwner": "acme/shop"},
}


def answer(*nodes: object, errors: list[dict] | None = None) -> dict:
    return {"data": {"nodes": list(nodes)}} | ({"errors": errors} if errors else {})


async def test_a_pulse(client, stub) -> None:
    bare = {"isDraft": False, "isInMergeQueue": False, "reviewDecision": None, "statusCheckRollup": None}
    stub.on("PullRequestPulses", answer(PULSE, PULSE | bare | {"mergeable": "SOMETHING_NEW"}))
    found = await client.pulses(["PR_1", "PR_2"])
    full = PullRequestPulse(
        node_id="PR_1",
        repository="acme/shop",
        number=7,
        state="OPEN",
        head_sha="a" * 40,
        checks_state="SUCCESS",
        mergeable="MERGEABLE",
        merge_state="CLEAN",
        review_decision="APPROVED",
        draft=True,
        queued=True,
        updated_at="2026-01-01T10:00:00Z",
    )
    assert found["PR_1"] == full
    second = found["PR_2"]
    assert (second.checks_state, second.review_decision, second.mergeable) == ("", "", "UNKNOWN")
    assert (second.draft, second.queued) == (False, False)


async def test_a_hundred_are_asked_for_at_once_and_none_twice(client, stub) -> None:
    async def answered(request: web.Request) -> web.Response:
        ids = (await request.json())["variables"]["ids"]
        return web.json_response(
            answer(*(PULSE | {"id": node_id, "number": int(node_id[3:])} for node_id in ids))
        )

    stub.on("PullRequestPulses", answered)
    ids = [f"PR_{i}" for i in range(1, 251)]
    found = await client.pulses([*ids, "PR_1"])
    assert list(found) == ids
    assert [pulse.number for pulse in found.values()] == list(range(1, 251))
    assert [len(asked.body["variables"]["ids"]) for asked in stub.asked] == [100, 100, 50]


async def test_nothing_is_asked_for_nothing(client, stub) -> None:
    assert await client.pulses([]) == {}
    assert stub.asked == []


@pytest.mark.parametrize(
    ("node", "errors", "kind", "words"),
    [
        (
            None,
            [{"type": "NOT_FOUND", "message": "Could not resolve to a node"}],
            ForgeAccessError,
            "PR_2.*not resolve",
        ),
        (None, [{"type": "FORBIDDEN", "message": "SAML enforcement"}], ForgeAccessError, "SAML"),
        (None, [], ForgeAccessError, "no such object"),
        (None, [{"message": "Something went wrong"}], ForgeUnavailableError, "PR_2.*went wrong"),
        ({"__typename": "Issue"}, [], ForgeAccessError, "PR_2 is no pull request: it is Issue"),
        ({}, [], ForgeAccessError, "is no pull request"),
        (PULSE | {"number": None}, [], ForgeUnavailableError, "incomplete"),
        (PULSE | {"state": "HALF_OPEN"}, [], ForgeUnavailableError, "incomplete"),
        (PULSE | {"repository": None}, [], ForgeUnavailableError, "incomplete"),
        (PULSE | {"headRefOid": None}, [], ForgeUnavailableError, "incomplete"),
    ],
)
async def test_one_bad_one_loses_only_itself(client, stub, node, errors, kind, words: str) -> None:
    placed = [error | {"path": ["nodes", 1, "mergeable"]} for error in errors]
    stub.on("PullRequestPulses", answer(PULSE, node, PULSE | {"number": 9}, errors=placed))
    found = await client.pulses(["PR_1", "PR_2", "PR_3"])
    assert isinstance(found["PR_2"], kind)
    with pytest.raises(ForgeError, match=words):
        raise found["PR_2"]
    assert (found["PR_1"].number, found["PR_3"].number) == (7, 9)


async def test_checks_that_may_not_be_read_take_nothing_else_away(client, stub) -> None:
    hidden = {"type": "FORBIDDEN", "path": ["nodes", 0, "statusCheckRollup"], "message": "no"}
    stub.on("PullRequestPulses", answer(PULSE | {"statusCheckRollup": None}, errors=[hidden]))
    found = await client.pulses(["PR_1"])
    assert (found["PR_1"].number, found["PR_1"].checks_state) == (7, "")


async def test_an_answer_of_another_length_is_not_taken_apart(client, stub) -> None:
    stub.on("PullRequestPulses", answer(PULSE, PULSE, PULSE))
    with pytest.raises(ForgeUnavailableError, match="incomplete"):
        await client.pulses(["PR_1", "PR_2"])


async def test_a_rate_limit_is_raised(client, stub) -> None:
    limited = {"errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}]}
    stub.on("PullRequestPulses", (200, limited, {"Retry-After": "30"}))
    with pytest.raises(ForgeRateLimitedError):
        await client.pulses(["PR_1", "PR_2"])
    assert stub.times("PullRequestPulses") == 1


async def test_a_query_that_github_breaks_off_is_sent_in_halves(client, stub) -> None:
    too_much = {"type": "RESOURCE_LIMITS_EXCEEDED", "path": ["nodes", 1], "message": "too much"}
    stub.on("PullRequestPulses", answer(PULSE, None, errors=[too_much]), answer(PULSE), answer(PULSE))
    found = await client.pulses(["PR_1", "PR_2"])
    assert [pulse.number for pulse in found.values()] == [7, 7]
    assert [len(asked.body["variables"]["ids"]) for asked in stub.asked] == [2, 1, 1]
