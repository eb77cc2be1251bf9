from __future__ import annotations

import pytest

REPOSITORY = "acme/calc"
PULL = """query($n: Int!) {repository(owner:"acme", name:"calc") {pullRequest(number:$n) {
  id mergeStateStatus viewerCanUpdateBranch headRefOid baseRefOid
  baseRef {branchProtectionRule {pattern requiredStatusCheckContexts requiresStatusChecks
      requiresStrictStatusChecks requiredApprovingReviewCount requiresApprovingReviews dismissesStaleReviews}
    refUpdateRule {pattern requiredStatusCheckContexts viewerCanPush}
    rules(first: 5) {nodes {type parameters {... on RequiredStatusChecksParameters {
      strictRequiredStatusChecksPolicy requiredStatusChecks {context}}}}}}
}}}"""


async def read(client, number):
    body = await client.graphql(PULL, n=number)
    assert "errors" not in body, body["errors"]
    return body["data"]["repository"]["pullRequest"]


@pytest.fixture
async def strict(seeded, pull):
    """A base branch whose required check counts only on a head that is up to date; main has moved on."""
    rules = {"main": {"required_checks": ["test"], "strict_checks": True}}
    await seeded.act("acme", "configure", REPOSITORY, rules=rules)
    await seeded.act("alice", "check_run", REPOSITORY, number=pull, name="test", conclusion="success")
    return seeded


async def move_main(server, path="other.txt"):
    return await server.act("alice", "push_commit", REPOSITORY, branch="main", files={path: "x\n"})


async def test_behind_is_told_refused_and_mended(strict, pull, agent, head):
    assert (await read(agent, pull))["mergeStateStatus"] == "CLEAN"
    await move_main(strict)
    found = await read(agent, pull)
    assert (found["mergeStateStatus"], found["viewerCanUpdateBranch"]) == ("BEHIND", True)
    assert (await agent.repo("GET", f"/pulls/{pull}")).body["mergeable_state"] == "behind"
    refused = await agent.repo("PUT", f"/pulls/{pull}/merge", {"sha": head(pull)})
    assert (refused.status, "out of date" in refused.body["message"]) == (405, True)
    before = head(pull)
    done = await agent.repo("PUT", f"/pulls/{pull}/update-branch", {"expected_head_sha": before})
    assert (done.status, done.body["message"]) == (202, "Updating pull request branch.")
    commit = (await agent.repo("GET", f"/commits/{head(pull)}")).body
    main = (await agent.repo("GET", "/commits/main")).body["sha"]
    assert [parent["sha"] for parent in commit["parents"]] == [before, main]
    assert commit["commit"]["message"] == "Merge branch 'main' into agents/1"
    assert commit["author"]["login"] == "agent"
    found = await read(agent, pull)
    assert (found["mergeStateStatus"], found["viewerCanUpdateBranch"]) == ("BLOCKED", False)
    assert found["baseRefOid"] == main
    pushes = [m for m in strict.mutations if m["kind"] == "push" and m["details"]["sha"] == head(pull)]
    assert [(m["actor"], m["details"]["forced"]) for m in pushes] == [("agent", False)]


async def test_update_is_refused(strict, pull, agent, client_of, head):
    path = f"/pulls/{pull}/update-branch"
    nothing = await agent.repo("PUT", path, {})
    assert (nothing.status, nothing.body["message"]) == (422, "There are no new commits on the base branch.")
    await move_main(strict)
    wrong = await agent.repo("PUT", path, {"expected_head_sha": "0" * 40})
    assert (wrong.status, "expected head sha" in wrong.body["message"]) == (422, True)
    assert (await client_of("token-of-reader").repo("PUT", path, {})).status == 403
    await strict.act("alice", "push_commit", REPOSITORY, branch="main", files={"calc.py": "other\n"})
    conflict = await agent.repo("PUT", path, {"expected_head_sha": head(pull)})
    assert (conflict.status, conflict.body["message"]) == (422, "merge conflict between base and head")
    await strict.act("alice", "close", REPOSITORY, number=pull)
    assert (await agent.repo("PUT", path, {})).status == 422


@pytest.mark.parametrize(("method", "parents"), [("MERGE", 2), ("REBASE", 1)])
async def test_update_by_graphql(strict, pull, agent, head, method, parents):
    await move_main(strict)
    query = """mutation($p: ID!, $h: GitObjectID, $m: PullRequestBranchUpdateMethod) {
      updatePullRequestBranch(input: {pullRequestId: $p, expectedHeadOid: $h, updateMethod: $m}) {
        pullRequest {headRefOid}}}"""
    node = (await read(agent, pull))["id"]
    refused = await agent.graphql(query, p=node, h="0" * 40, m=method)
    assert refused["errors"][0]["type"] == "UNPROCESSABLE"
    done = (await agent.graphql(query, p=node, h=head(pull), m=method))["data"]["updatePullRequestBranch"]
    assert done["pullRequest"]["headRefOid"] == head(pull)
    commit = (await agent.repo("GET", f"/commits/{head(pull)}")).body
    assert len(commit["parents"]) == parents
    assert (await read(agent, pull))["viewerCanUpdateBranch"] is False


async def test_rules_and_who_may_read_them(strict, pull, agent, client_of):
    rule = (await read(client_of("token-of-acme"), pull))["baseRef"]
    assert rule["branchProtectionRule"] == {
        "pattern": "main",
        "requiredStatusCheckContexts": ["test"],
        "requiresStatusChecks": True,
        "requiresStrictStatusChecks": True,
        "requiredApprovingReviewCount": None,
        "requiresApprovingReviews": False,
        "dismissesStaleReviews": False,
    }
    written = (await read(agent, pull))["baseRef"]
    assert written["branchProtectionRule"] is None
    assert written["refUpdateRule"] == {
        "pattern": "main",
        "requiredStatusCheckContexts": ["test"],
        "viewerCanPush": True,
    }
    assert written["rules"]["nodes"] == []
    assert (await read(client_of("token-of-reader"), pull))["baseRef"]["refUpdateRule"] is None
    rules = {"main": {"required_checks": ["test"], "required_approvals": 1, "in_ruleset": True}}
    await strict.act("acme", "configure", REPOSITORY, rules=rules)
    held = (await read(client_of("token-of-reader"), pull))["baseRef"]
    checks, approvals = held["rules"]["nodes"]
    assert checks == {
        "type": "REQUIRED_STATUS_CHECKS",
        "parameters": {
            "strictRequiredStatusChecksPolicy": False,
            "requiredStatusChecks": [{"context": "test"}],
        },
    }
    assert (approvals["type"], held["refUpdateRule"]) == ("PULL_REQUEST", None)


async def test_unknown_rules_are_refused(seeded, agent):
    for rules in ({"required_cheks": ["test"]}, {"queue_method": "octopus"}):
        body = {"do": "configure", "repository": REPOSITORY, "rules": {"main": rules}}
        assert (await agent.call("POST", "/_demo/act", json=body)).status == 422
