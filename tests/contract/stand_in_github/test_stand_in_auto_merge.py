from __future__ import annotations

import pytest

from demo.github.queue_state import AutoMerge

REPOSITORY = "acme/calc"
PULL = """query($n: Int!) {repository(owner:"acme", name:"calc") {autoMergeAllowed pullRequest(number:$n) {
  id state viewerCanEnableAutoMerge viewerCanDisableAutoMerge
  autoMergeRequest {enabledAt mergeMethod commitHeadline commitBody enabledBy {login} pullRequest {number}}
  timelineItems(last: 5, itemTypes: [AUTO_MERGE_DISABLED_EVENT]) {nodes {
    ... on AutoMergeDisabledEvent {reason reasonCode actor {login} disabler {login}}}}
}}}"""
ENABLE = """mutation($p: ID!, $h: GitObjectID) {enablePullRequestAutoMerge(input: {pullRequestId: $p,
  expectedHeadOid: $h, mergeMethod: SQUASH, commitHeadline: "Fix", commitBody: "Why"}) {
  actor {login} pullRequest {number autoMergeRequest {mergeMethod}}}}"""
DISABLE = "mutation($p: ID!) {disablePullRequestAutoMerge(input: {pullRequestId: $p}) {pullRequest {number}}}"


async def read(agent, number):
    body = await agent.graphql(PULL, n=number)
    assert "errors" not in body, body["errors"]
    return body["data"]["repository"]["pullRequest"]


@pytest.fixture
async def guarded(seeded, pull):
    """A repository that allows auto-merge and requires the check ``test``, which has not reported."""
    rules = {"main": {"required_checks": ["test"]}}
    await seeded.act("acme", "configure", REPOSITORY, rules=rules, auto_merge_allowed=True)
    return seeded


async def test_merges_once_the_rules_are_met(guarded, pull, agent, head):
    found = await read(agent, pull)
    assert (found["viewerCanEnableAutoMerge"], found["viewerCanDisableAutoMerge"]) == (True, False)
    made = (await agent.graphql(ENABLE, p=found["id"], h=head(pull)))["data"]["enablePullRequestAutoMerge"]
    assert made["pullRequest"]["autoMergeRequest"] == {"mergeMethod": "SQUASH"}
    found = await read(agent, pull)
    assert (found["viewerCanEnableAutoMerge"], found["viewerCanDisableAutoMerge"]) == (False, True)
    assert found["autoMergeRequest"]["enabledBy"] == {"login": "agent"}
    await guarded.checks_settled()
    assert (await read(agent, pull))["state"] == "OPEN"
    await guarded.act("alice", "check_run", REPOSITORY, number=pull, name="test", conclusion="success")
    await guarded.checks_settled()
    assert (await read(agent, pull))["state"] == "MERGED"
    merges = [m for m in guarded.mutations if m["kind"] == "pull_request.merged"]
    assert [(m["actor"], m["details"]["method"]) for m in merges] == [("agent", "squash")]
    commit = (await agent.repo("GET", "/commits/main")).body["commit"]
    assert commit["message"] == "Fix\n\nWhy"


@pytest.mark.parametrize(
    ("settings", "outcome", "text"),
    [
        ({"auto_merge_allowed": False}, None, "Auto merge is not allowed for this repository"),
        ({"rules": {"main": None}}, None, "Protected branch rules not configured for this branch"),
        ({}, "success", "Pull request is in clean status"),
    ],
)
async def test_refused_where_there_is_nothing_to_wait_for(
    guarded, pull, agent, head, settings, outcome, text
):
    await guarded.act("acme", "configure", REPOSITORY, **settings)
    if outcome:
        await guarded.act("alice", "check_run", REPOSITORY, number=pull, name="test", conclusion=outcome)
    found = await read(agent, pull)
    assert found["viewerCanEnableAutoMerge"] is False
    refused = await agent.graphql(ENABLE, p=found["id"], h=head(pull))
    assert refused["errors"][0] | {"path": None, "locations": None} == {
        "type": "UNPROCESSABLE",
        "path": None,
        "locations": None,
        "message": f"Pull request {text}",
    }


async def test_refused_for_another_head_and_without_permission(guarded, pull, agent, client_of, head):
    node = (await read(agent, pull))["id"]
    assert (await agent.graphql(ENABLE, p=node, h="0" * 40))["errors"][0]["type"] == "UNPROCESSABLE"
    refused = await client_of("token-of-reader").graphql(ENABLE, p=node, h=head(pull))
    assert refused["errors"][0]["type"] == "FORBIDDEN"


async def test_disabled_by_hand(guarded, pull, agent, head):
    node = (await read(agent, pull))["id"]
    await agent.graphql(ENABLE, p=node, h=head(pull))
    assert "errors" not in await agent.graphql(DISABLE, p=node)
    again = await agent.graphql(DISABLE, p=node)
    assert again["errors"][0]["type"] == "UNPROCESSABLE"
    await guarded.act("alice", "check_run", REPOSITORY, number=pull, name="test", conclusion="success")
    await guarded.checks_settled()
    found = await read(agent, pull)
    assert (found["state"], found["autoMergeRequest"]) == ("OPEN", None)
    assert [m["kind"] for m in guarded.mutations if m["kind"].startswith("auto_merge")] == [
        "auto_merge.enabled",
        "auto_merge.disabled",
    ]


async def test_conflict_drops_it(guarded, pull, agent, head):
    node = (await read(agent, pull))["id"]
    await agent.graphql(ENABLE, p=node, h=head(pull))
    await guarded.act("alice", "push_commit", REPOSITORY, branch="main", files={"calc.py": "other\n"})
    await guarded.checks_settled()
    found = await read(agent, pull)
    assert found["autoMergeRequest"] is None
    assert [event["reasonCode"] for event in found["timelineItems"]["nodes"]] == ["merge_conflict"]


async def test_push_from_a_fork_drops_it(guarded, pull, agent, head):
    await guarded.act("agent", "enable_auto_merge", REPOSITORY, number=pull)
    await guarded.act("reader", "push_commit", REPOSITORY, number=pull, files={"b": "b"}, from_fork=True)
    found = await read(agent, pull)
    assert found["autoMergeRequest"] is None
    assert [event["reasonCode"] for event in found["timelineItems"]["nodes"]] == ["head_changed"]


async def test_an_app_that_enabled_it_merges_whoever_meets_the_rules(guarded, pull, agent):
    asked = AutoMerge(enabled_by=guarded.add_user("helper[bot]"), merge_method="MERGE")
    guarded.forge.store.repositories[REPOSITORY].pulls[pull].auto_merge = asked
    await guarded.act("ci", "check_run", REPOSITORY, number=pull, name="test", conclusion="success")
    await guarded.checks_settled()
    merges = [m["actor"] for m in guarded.mutations if m["kind"] == "pull_request.merged"]
    assert merges == ["helper[bot]"]


async def test_push_by_a_writer_keeps_it_and_new_base_by_another_drops_it(guarded, pull, agent, head):
    node = (await read(agent, pull))["id"]
    await agent.graphql(ENABLE, p=node, h=head(pull))
    await guarded.act("alice", "push_commit", REPOSITORY, number=pull, files={"b.txt": "b"})
    await guarded.checks_settled()
    assert (await read(agent, pull))["autoMergeRequest"] is not None
    sha = (await agent.repo("GET", "/commits/main")).body["sha"]
    await agent.repo("POST", "/git/refs", {"ref": "refs/heads/release", "sha": sha})
    await guarded.act("acme", "configure", REPOSITORY, permissions={"tom": "triage"})
    await guarded.act("tom", "retarget", REPOSITORY, number=pull, base="release")
    assert (await read(agent, pull))["autoMergeRequest"] is None


async def test_who_lost_the_permission_merges_nothing(guarded, pull, agent, head):
    await guarded.act("alice", "enable_auto_merge", REPOSITORY, number=pull)
    await guarded.act("acme", "remove_permission", REPOSITORY, of="alice")
    await guarded.act("bot", "check_run", REPOSITORY, number=pull, name="test", conclusion="success")
    await guarded.checks_settled()
    found = await read(agent, pull)
    assert (found["state"], found["autoMergeRequest"]) == ("OPEN", None)


async def test_into_the_merge_queue_where_there_is_one(guarded, pull, agent, head):
    rules = {"main": {"required_checks": ["test"], "merge_queue": True}}
    await guarded.act("acme", "configure", REPOSITORY, rules=rules)
    await guarded.act("agent", "enable_auto_merge", REPOSITORY, number=pull)
    await guarded.act("alice", "check_run", REPOSITORY, number=pull, name="test", conclusion="success")
    await guarded.checks_settled()
    entry = guarded.forge.store.repositories[REPOSITORY].pulls[pull].merge_queue_entry
    assert entry.state == "AWAITING_CHECKS"
    assert (await agent.repo("GET", f"/pulls/{pull}")).body["auto_merge"]["merge_method"] == "merge"
