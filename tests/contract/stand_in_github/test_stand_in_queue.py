from __future__ import annotations

import dataclasses
import datetime

import pytest

from airflow_provider_agents.domain.landing import decide
from airflow_provider_agents.domain.landing_history import Enqueued, LandingHistory
from airflow_provider_agents.domain.landing_policy import LandingPolicy
from airflow_provider_agents.hooks.github_client import GitHubClient
from airflow_provider_agents.hooks.github_transport import open_transport
from airflow_provider_agents.hooks.github_urls import github_urls

REPOSITORY = "acme/calc"
PULL = """query($n: Int!) {repository(owner:"acme", name:"calc") {pullRequest(number:$n) {
  id state merged mergeStateStatus isMergeQueueEnabled isInMergeQueue
  mergeQueueEntry {state position enqueuedAt enqueuer {login} headCommit {oid} baseCommit {oid}}
  mergeQueue {url entries(first: 5) {nodes {position pullRequest {number}}}}
  timelineItems(last: 5, itemTypes: [REMOVED_FROM_MERGE_QUEUE_EVENT]) {filteredCount totalCount nodes {
    __typename ... on RemovedFromMergeQueueEvent {createdAt reason actor {login} enqueuer {login} beforeCommit {oid}}}}
}}}"""
ENQUEUE = """mutation($p: ID!, $h: GitObjectID) {enqueuePullRequest(input: {pullRequestId: $p, expectedHeadOid: $h}) {
  mergeQueueEntry {state position}}}"""
DEQUEUE = "mutation($p: ID!) {dequeuePullRequest(input: {id: $p}) {mergeQueueEntry {id}}}"


async def read(agent, number):
    body = await agent.graphql(PULL, n=number)
    assert "errors" not in body, body["errors"]
    return body["data"]["repository"]["pullRequest"]


async def second(seeded, name="agents/2", files=None):
    """Open another pull request; return its number."""
    await seeded.act(
        "agent", "push_commit", REPOSITORY, branch=name, start="main", files=files or {f"{name}.txt": "x"}
    )
    return (await seeded.act("agent", "open_pull", REPOSITORY, head=name, title=name))["number"]


@pytest.fixture
async def queue(seeded, pull):
    """A merge queue on main that waits for the check ``test``, which has passed on the pull request."""
    rules = {"main": {"required_checks": ["test"], "merge_queue": True, "queue_method": "squash"}}
    await seeded.act("acme", "configure", REPOSITORY, rules=rules)
    await seeded.act("alice", "check_run", REPOSITORY, number=pull, name="test", conclusion="success")
    return seeded


async def entered(server, agent, number):
    """Return the entry of a pull request once the queue has built what it checks."""
    await server.checks_settled()
    return (await read(agent, number))["mergeQueueEntry"]


async def report(server, sha, conclusion):
    await server.act("alice", "check_run", REPOSITORY, sha=sha, name="test", conclusion=conclusion)
    await server.checks_settled()


async def test_direct_merge_is_refused(queue, pull, agent, head):
    count = len(queue.mutations)
    body = {"sha": head(pull), "merge_method": "squash"}
    refused = await agent.repo("PUT", f"/pulls/{pull}/merge", body)
    assert refused.status == 405
    assert "Changes must be made through the merge queue" in refused.body["message"]
    assert len(queue.mutations) == count
    await queue.act("agent", "enqueue", REPOSITORY, number=pull)
    refused = await agent.repo("PUT", f"/pulls/{pull}/merge", body)
    assert (refused.status, refused.body["message"]) == (405, "Pull Request is in the merge queue")


async def test_passed_group_is_merged_once_by_the_queue(queue, pull, agent, head):
    tip, base = head(pull), (await agent.repo("GET", "/commits/main")).body["sha"]
    before = await read(agent, pull)
    assert (before["isMergeQueueEnabled"], before["isInMergeQueue"]) == (True, False)
    entry = (await agent.graphql(ENQUEUE, p=before["id"], h=tip))["data"]["enqueuePullRequest"]
    assert entry["mergeQueueEntry"]["position"] == 1
    entry = await entered(queue, agent, pull)
    assert (entry["state"], entry["baseCommit"]["oid"]) == ("AWAITING_CHECKS", base)
    group = entry["headCommit"]["oid"]
    assert (await agent.repo("GET", f"/git/ref/heads/gh-readonly-queue/main/pr-{pull}-{base}")).status == 200
    await report(queue, group, "success")
    after = await read(agent, pull)
    assert (after["state"], after["merged"], after["mergeQueueEntry"]) == ("MERGED", True, None)
    assert (await agent.repo("GET", "/commits/main")).body["sha"] == group
    merges = [m for m in queue.mutations if m["kind"] == "pull_request.merged"]
    assert [(m["number"], m["actor"]) for m in merges] == [(pull, "github-merge-queue[bot]")]
    assert merges[0]["details"] == {"sha": group, "head_sha": tip, "method": "squash"}
    assert (await agent.repo("GET", "/issues/1")).body["state"] == "closed"
    assert (await agent.repo("GET", f"/git/ref/heads/gh-readonly-queue/main/pr-{pull}-{base}")).status == 404


async def test_failed_group_is_thrown_out_with_a_reason(queue, pull, agent, head):
    await queue.act("agent", "enqueue", REPOSITORY, number=pull)
    group = (await entered(queue, agent, pull))["headCommit"]["oid"]
    await report(queue, group, "failure")
    after = await read(agent, pull)
    assert (after["state"], after["isInMergeQueue"]) == ("OPEN", False)
    (event,) = after["timelineItems"]["nodes"]
    assert event["reason"] == "failed_checks"
    assert event["actor"] == {"login": "github-merge-queue"}
    assert (event["enqueuer"], event["beforeCommit"]) == ({"login": "agent"}, {"oid": group})
    assert after["timelineItems"]["filteredCount"] == 1
    assert after["timelineItems"]["totalCount"] == 2
    kinds = [m["kind"] for m in queue.mutations if m["kind"].startswith("merge_queue.")]
    assert kinds == ["merge_queue.entered", "merge_queue.left"]


async def test_real_checks_run_on_head_and_base_together(server, folder, workflow, agent):
    # Each alone is fine; together they are not.
    workflow("test ! -f head.txt || test ! -f base.txt", on="[pull_request, merge_group]")
    await server.seed_repository(REPOSITORY, folder, permissions={"agent": "write", "alice": "write"})
    rules = {"main": {"required_checks": ["test"], "merge_queue": True}}
    await server.act("acme", "configure", REPOSITORY, rules=rules)
    number = await second(server, files={"head.txt": "h"})
    await server.checks_settled()
    await server.act("alice", "push_commit", REPOSITORY, branch="main", files={"base.txt": "b"})
    await server.act("agent", "enqueue", REPOSITORY, number=number)
    await server.checks_settled()
    after = await read(agent, number)
    assert [event["reason"] for event in after["timelineItems"]["nodes"]] == ["failed_checks"]
    events = [m["details"]["event"] for m in server.mutations if m["kind"] == "check.completed"]
    assert events == ["pull_request", "merge_group"]


async def test_an_outcome_that_is_set_for_merge_groups_befalls_the_next_group_alone(
    server, folder, workflow, agent
):
    workflow("true", on="[push, pull_request, merge_group]")
    await server.seed_repository(REPOSITORY, folder, permissions={"agent": "write", "alice": "write"})
    rules = {"main": {"required_checks": ["test"], "merge_queue": True}}
    await server.act("acme", "configure", REPOSITORY, rules=rules)
    fails = {"name": "test", "on": "merge_group", "conclusion": "failure", "log": "##[error]It broke.\n"}
    await server.act("alice", "script_check", REPOSITORY, **fails)
    number = await second(server)
    await server.act("alice", "push_commit", REPOSITORY, number=number)
    await server.checks_settled()
    for state, left in (("OPEN", ["failed_checks"]), ("MERGED", ["failed_checks", "merge"])):
        await server.act("agent", "enqueue", REPOSITORY, number=number)
        await server.checks_settled()
        after = await read(agent, number)
        assert (after["state"], after["isInMergeQueue"]) == (state, False)
        assert [event["reason"] for event in after["timelineItems"]["nodes"]] == left
    ended = [m["details"] for m in server.mutations if m["kind"] == "check.completed"]
    failed = [(run["event"], run["name"]) for run in ended if run["conclusion"] == "FAILURE"]
    assert failed == [("merge_group", "test")]
    assert [run["event"] for run in ended].count("merge_group") == 2


async def test_what_failed_for_an_earlier_group_does_not_count_for_the_next_one(server, agent):
    server.forge.clock.stop()
    await server.seed_synthetic(
        REPOSITORY, {"a.txt": "a\n"}, permissions={"agent": "write", "alice": "write"}
    )
    rules = {"main": {"required_checks": ["test"], "merge_queue": True, "queue_method": "squash"}}
    await server.act("acme", "configure", REPOSITORY, rules=rules)
    number = await second(server)
    await server.act("alice", "check_run", REPOSITORY, number=number, name="test", conclusion="success")
    groups = []
    for conclusion in ("failure", "failure", "success"):
        await server.act("agent", "enqueue", REPOSITORY, number=number)
        entry = await entered(server, agent, number)
        assert entry["state"] == "AWAITING_CHECKS"
        groups.append(entry["headCommit"]["oid"])
        await report(server, groups[-1], conclusion)
    assert (await read(agent, number))["state"] == "MERGED"
    assert len(set(groups)) == 3


async def test_a_removal_after_a_merge_is_no_ejection_to_the_landing(queue, pull, agent, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    queue.forge.clock.advance(60)
    await queue.act("agent", "enqueue", REPOSITORY, number=pull)
    group = (await entered(queue, agent, pull))["headCommit"]["oid"]
    async with open_transport(github_urls(queue.url), "token-of-agent") as transport:
        waiting = await GitHubClient(transport).snapshot(REPOSITORY, pull)
        await report(queue, group, "success")
        after = await GitHubClient(transport).snapshot(REPOSITORY, pull)
    assert [removal.reason for removal in after.queue_removals] == ["merge"]
    entry = Enqueued(head_sha=waiting.head_sha, at=after.queue_removals[0].at)
    seen = {waiting.head_sha: entry.at - datetime.timedelta(hours=1)}
    history = LandingHistory(enqueued=(entry,), heads_first_seen=seen)
    assert decide(waiting, LandingPolicy(), history).reason == "queued"
    assert decide(after, LandingPolicy(), history).reason == "merged"
    # What GitHub shows of one moment need not fit together.
    mixed = dataclasses.replace(waiting, queue_entry=None, queue_removals=after.queue_removals)
    assert decide(mixed, LandingPolicy(), history).reason == "queue_not_shown"


async def test_entries_stand_on_each_other_and_are_built_again_after_a_failure(queue, pull, agent):
    other = await second(queue)
    await queue.act("alice", "check_run", REPOSITORY, number=other, name="test", conclusion="success")
    for number in (pull, other):
        await queue.act("agent", "enqueue", REPOSITORY, number=number)
    first, then = await entered(queue, agent, pull), await entered(queue, agent, other)
    assert (first["position"], then["position"]) == (1, 2)
    assert then["baseCommit"] == first["headCommit"]
    await report(queue, then["headCommit"]["oid"], "success")
    assert (await entered(queue, agent, other))["state"] == "MERGEABLE"
    await report(queue, first["headCommit"]["oid"], "failure")
    rebuilt = await entered(queue, agent, other)
    assert (rebuilt["position"], rebuilt["state"]) == (1, "AWAITING_CHECKS")
    assert rebuilt["headCommit"] != then["headCommit"]
    await report(queue, rebuilt["headCommit"]["oid"], "success")
    assert (await read(agent, other))["state"] == "MERGED"
    assert (await read(agent, pull))["state"] == "OPEN"
    assert (await agent.call("GET", f"/api/v3/repos/{REPOSITORY}/contents/calc.py?ref=main")).status == 200


async def test_a_later_entry_that_fails_waits_until_it_is_first(queue, pull, agent):
    other = await second(queue)
    await queue.act("alice", "check_run", REPOSITORY, number=other, name="test", conclusion="success")
    for number in (pull, other):
        await queue.act("agent", "enqueue", REPOSITORY, number=number)
    first, then = await entered(queue, agent, pull), await entered(queue, agent, other)
    await report(queue, then["headCommit"]["oid"], "failure")
    assert (await entered(queue, agent, other))["state"] == "UNMERGEABLE"
    await report(queue, first["headCommit"]["oid"], "success")
    assert (await read(agent, pull))["state"] == "MERGED"
    assert (await read(agent, other))["timelineItems"]["nodes"][0]["reason"] == "failed_checks"


async def test_dequeue_and_ejection(queue, pull, agent):
    await queue.act("agent", "enqueue", REPOSITORY, number=pull)
    node = (await read(agent, pull))["id"]
    assert "errors" not in await agent.graphql(DEQUEUE, p=node)
    again = await agent.graphql(DEQUEUE, p=node)
    assert again["errors"][0]["type"] == "UNPROCESSABLE"
    await queue.act("agent", "enqueue", REPOSITORY, number=pull)
    await queue.act("alice", "dequeue", REPOSITORY, number=pull, reason="queue_cleared")
    nodes = (await read(agent, pull))["timelineItems"]["nodes"]
    assert [(event["reason"], event["actor"]["login"]) for event in nodes] == [
        ("manual", "agent"),
        ("queue_cleared", "alice"),
    ]


async def test_closed_pull_request_leaves_the_queue(queue, pull, agent):
    await queue.act("agent", "enqueue", REPOSITORY, number=pull)
    await queue.act("alice", "close", REPOSITORY, number=pull)
    await queue.checks_settled()
    after = await read(agent, pull)
    assert (after["state"], after["isInMergeQueue"]) == ("CLOSED", False)


async def test_objection_throws_out(queue, pull, agent):
    rules = {"required_checks": ["test"], "merge_queue": True, "required_approvals": 1}
    await queue.act("acme", "configure", REPOSITORY, rules={"main": rules})
    await queue.act("alice", "approve", REPOSITORY, number=pull)
    await queue.act("agent", "enqueue", REPOSITORY, number=pull)
    await queue.act("alice", "review", REPOSITORY, number=pull, event="REQUEST_CHANGES", body="No.")
    await queue.checks_settled()
    assert (await read(agent, pull))["timelineItems"]["nodes"][0]["reason"] == "branch_protections"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"do": "enqueue"}, "already in the queue"),
        ({"do": "draft"}, "draft"),
        ({"do": "close"}, "closed"),
        ({"do": "check_run", "name": "test", "conclusion": "failure"}, 'check "test" is failing'),
        (
            {"do": "push_commit", "branch": "main", "files": {"calc.py": "other\n"}, "number": None},
            "merge conflicts",
        ),
        ({"do": "configure", "rules": {"main": {"required_checks": ["test"]}}}, "not enabled for main"),
    ],
)
async def test_what_cannot_be_queued(queue, pull, agent, head, change, text):
    await queue.act("acme", **{"repository": REPOSITORY, "number": pull, **change})
    node = (await read(agent, pull))["id"]
    refused = await agent.graphql(ENQUEUE, p=node, h=head(pull))
    assert refused["errors"][0]["type"] == "UNPROCESSABLE"
    assert text in refused["errors"][0]["message"]


async def test_enqueue_wants_the_head_and_the_permission(queue, pull, agent, client_of, head):
    node = (await read(agent, pull))["id"]
    assert (await agent.graphql(ENQUEUE, p=node, h="0" * 40))["errors"][0]["type"] == "UNPROCESSABLE"
    refused = await client_of("token-of-reader").graphql(ENQUEUE, p=node, h=head(pull))
    assert refused["errors"][0]["type"] == "FORBIDDEN"
    assert (await read(agent, pull))["isInMergeQueue"] is False


async def test_queued_branch_takes_no_pushes(queue, pull, agent, git, remote, tmp_path):
    await queue.act("agent", "enqueue", REPOSITORY, number=pull)
    refused = await agent.call(
        "POST",
        "/_demo/act",
        json={"as": "alice", "do": "push_commit", "repository": REPOSITORY, "number": pull},
    )
    assert refused.status == 422
    assert "queued for merging" in refused.body["message"]
    work = tmp_path / "work"
    await git("clone", "-q", "-b", "agents/1", remote(), str(work))
    await git("commit", "-q", "--allow-empty", "-m", "More", cwd=work)
    code, said = await git("push", "origin", "agents/1", cwd=work)
    assert code != 0
    assert "GH006" in said
    await queue.act("agent", "dequeue", REPOSITORY, number=pull)
    code, said = await git("push", "origin", "agents/1", cwd=work)
    assert code == 0, said


async def test_without_required_checks_the_queue_merges_at_once(seeded, pull, agent):
    await seeded.act("acme", "configure", REPOSITORY, rules={"main": {"merge_queue": True}})
    await seeded.act("agent", "enqueue", REPOSITORY, number=pull)
    await seeded.checks_settled()
    assert (await read(agent, pull))["state"] == "MERGED"


async def test_queue_of_a_repository_in_memory(server, agent):
    files = {"calc.py": "one\n"}
    permissions = {"agent": "write", "alice": "write"}
    await server.forge.seed_synthetic(REPOSITORY, files, permissions=permissions)
    rules = {"main": {"required_checks": ["test"], "merge_queue": True}}
    await server.act("acme", "configure", REPOSITORY, rules=rules)
    number = await second(server)
    await server.act("ci", "check_run", REPOSITORY, number=number, name="test", conclusion="success")
    await server.act("agent", "enqueue", REPOSITORY, number=number)
    group = (await entered(server, agent, number))["headCommit"]["oid"]
    await report(server, group, "success")
    assert (await read(agent, number))["state"] == "MERGED"


async def test_group_is_built_again_when_the_base_moves(queue, pull, agent):
    await queue.act("agent", "enqueue", REPOSITORY, number=pull)
    before = await entered(queue, agent, pull)
    moved = await queue.act("alice", "push_commit", REPOSITORY, branch="main", files={"b.txt": "b"})
    after = await entered(queue, agent, pull)
    assert after["baseCommit"] == {"oid": moved["sha"]}
    assert after["headCommit"] != before["headCommit"]


async def test_another_head_than_was_queued_leaves_the_queue(queue, pull, agent):
    await queue.act("agent", "enqueue", REPOSITORY, number=pull)
    queue.forge.store.repositories[REPOSITORY].pulls[pull].merge_queue_entry.head_oid = "0" * 40
    await queue.act("alice", "comment", REPOSITORY, number=pull, body="Hello")
    await queue.checks_settled()
    assert (await read(agent, pull))["timelineItems"]["nodes"][0]["reason"] == "head_changed"
