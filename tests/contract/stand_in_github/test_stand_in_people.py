from __future__ import annotations

import pytest

REPOSITORY = "acme/calc"
PULSE = """query($ids: [ID!]!) {nodes(ids: $ids) {__typename ... on PullRequest {
  id number state isDraft headRefOid mergeable mergeStateStatus reviewDecision isInMergeQueue updatedAt
  statusCheckRollup {state} repository {nameWithOwner}}}}"""


@pytest.fixture
def clock(seeded):
    """The stand-in's clock, standing still."""
    seeded.forge.clock.stop()
    return seeded.forge.clock


async def pulse(agent, node):
    body = await agent.graphql(PULSE, ids=[node])
    assert "errors" not in body, body["errors"]
    return body["data"]["nodes"][0]


@pytest.mark.parametrize(
    ("do", "values", "bumps"),
    [
        ("comment", {"body": "Hello"}, True),
        ("review", {"event": "COMMENT", "body": "Hm"}, True),
        ("approve", {}, True),
        ("push_commit", {"files": {"b.txt": "b"}}, True),
        ("force_push", {}, True),
        ("label", {"labels": ["do-not-merge"]}, True),
        ("edit", {"title": "Other"}, True),
        ("draft", {}, True),
        ("close", {}, True),
        ("check_run", {"name": "x", "conclusion": "failure"}, False),
        ("status", {"context": "lint", "state": "failure"}, False),
    ],
)
async def test_updated_at_moves_with_all_but_checks(seeded, pull, agent, clock, do, values, bumps):
    node = seeded.forge.store.repositories[REPOSITORY].pulls[pull].id
    before = (await pulse(agent, node))["updatedAt"]
    clock.advance(60)
    await seeded.act("alice", do, REPOSITORY, number=pull, **values)
    assert ((await pulse(agent, node))["updatedAt"] > before) is bumps


async def test_one_bad_id_loses_only_itself(seeded, pull, agent):
    node = seeded.forge.store.repositories[REPOSITORY].pulls[pull].id
    body = await agent.graphql(PULSE, ids=["PR_gone", node, node])
    assert [found and found["number"] for found in body["data"]["nodes"]] == [None, pull, pull]
    (error,) = body["errors"]
    assert (error["type"], error["path"]) == ("NOT_FOUND", ["nodes", 0])


async def test_review_threads_of_people(seeded, pull, agent, head):
    remark = {"path": "calc.py", "line": 2, "body": "Why?"}
    made = await seeded.act("alice", "review", REPOSITORY, number=pull, event="REQUEST_CHANGES", body="No.", comments=[remark])  # fmt: skip
    (thread,) = made["threads"]
    reply = """mutation($t: ID!, $b: String!) {addPullRequestReviewThreadReply(input:
      {pullRequestReviewThreadId: $t, body: $b}) {comment {id body viewerDidAuthor replyTo {body}}}}"""
    answer = (await agent.graphql(reply, t=thread, b="Fixed."))["data"]["addPullRequestReviewThreadReply"]
    assert answer["comment"] | {"id": ""} == {
        "id": "",
        "body": "Fixed.",
        "viewerDidAuthor": True,
        "replyTo": {"body": "Why?"},
    }
    for verb, resolved in (("resolve", True), ("unresolve", False)):
        query = f"mutation($t: ID!) {{{verb}ReviewThread(input: {{threadId: $t}}) {{thread {{isResolved}}}}}}"
        done = (await agent.graphql(query, t=thread))["data"][f"{verb}ReviewThread"]
        assert done == {"thread": {"isResolved": resolved}}
    await seeded.act("alice", "resolve", REPOSITORY, thread=thread)
    await seeded.act("acme", "dismiss", REPOSITORY, number=pull, of="alice")
    (review, _) = (await agent.repo("GET", f"/pulls/{pull}/reviews")).body
    assert review["state"] == "DISMISSED"
    kinds = [m["kind"] for m in seeded.mutations if m["number"] == pull][1:]
    assert kinds == [
        "review.submitted",
        "thread.replied",
        "thread.resolved",
        "thread.unresolved",
        "thread.resolved",
        "review.dismissed",
    ]


async def test_review_by_graphql_with_remarks(seeded, pull, client_of, head):
    query = """mutation($p: ID!, $e: PullRequestReviewEvent, $h: GitObjectID) {addPullRequestReview(input:
      {pullRequestId: $p, event: $e, commitOID: $h, body: "Hm", threads: [{path: "calc.py", line: 2, body: "Why?"}]})
      {pullRequestReview {state commit {oid} viewerDidAuthor comments(first: 5) {nodes {path line body}}}}}"""
    node = seeded.forge.store.repositories[REPOSITORY].pulls[pull].id
    owner = client_of("token-of-acme")
    made = (await owner.graphql(query, p=node, e="REQUEST_CHANGES", h=head(pull)))["data"]
    assert made["addPullRequestReview"]["pullRequestReview"] == {
        "state": "CHANGES_REQUESTED",
        "commit": {"oid": head(pull)},
        "viewerDidAuthor": True,
        "comments": {"nodes": [{"path": "calc.py", "line": 2, "body": "Why?"}]},
    }
    refused = await client_of("token-of-agent").graphql(query, p=node, e="APPROVE", h=head(pull))
    assert refused["errors"][0]["type"] == "UNPROCESSABLE"
    assert refused["errors"][0]["message"] == "Can not approve your own pull request"
    pending = await owner.graphql(query, p=node, e=None, h=head(pull))
    assert "no pending reviews" in pending["errors"][0]["message"]


async def test_dismiss_and_reopen_by_graphql(seeded, pull, client_of):
    made = await seeded.act("alice", "approve", REPOSITORY, number=pull)
    owner = client_of("token-of-acme")
    query = """mutation($r: ID!) {dismissPullRequestReview(input: {pullRequestReviewId: $r, message: "Old"})
      {pullRequestReview {state}}}"""
    done = (await owner.graphql(query, r=made["node_id"]))["data"]["dismissPullRequestReview"]
    assert done == {"pullRequestReview": {"state": "DISMISSED"}}
    node = seeded.forge.store.repositories[REPOSITORY].pulls[pull].id
    for verb, state in (("close", "CLOSED"), ("reopen", "OPEN")):
        query = (
            f"mutation($p: ID!) {{{verb}PullRequest(input: {{pullRequestId: $p}}) {{pullRequest {{state}}}}}}"
        )
        done = (await owner.graphql(query, p=node))["data"][f"{verb}PullRequest"]
        assert done == {"pullRequest": {"state": state}}


async def test_labels_draft_and_base(seeded, pull, agent):
    await seeded.act("alice", "label", REPOSITORY, number=pull, labels=["hold", "bug"])
    await seeded.act("alice", "unlabel", REPOSITORY, number=pull, labels=["BUG"])
    sha = (await agent.repo("GET", "/commits/main")).body["sha"]
    await agent.repo("POST", "/git/refs", {"ref": "refs/heads/release", "sha": sha})
    await seeded.act("alice", "retarget", REPOSITORY, number=pull, base="release")
    await seeded.act("alice", "draft", REPOSITORY, number=pull)
    body = (await agent.repo("GET", f"/pulls/{pull}")).body
    assert ([label["name"] for label in body["labels"]], body["base"]["ref"], body["draft"]) == (
        ["hold"],
        "release",
        True,
    )
    await seeded.act("alice", "ready", REPOSITORY, number=pull)
    assert (await agent.repo("GET", f"/pulls/{pull}")).body["draft"] is False


async def test_force_push_replaces_the_head(seeded, pull, agent, head):
    before = head(pull)
    made = await seeded.act("alice", "force_push", REPOSITORY, number=pull, files={"b.txt": "b"})
    assert head(pull) == made["sha"] != before
    push = next(m for m in seeded.mutations if m["kind"] == "push" and m["details"]["sha"] == made["sha"])
    assert (push["actor"], push["details"]["forced"]) == ("alice", True)
    files = (await agent.repo("GET", f"/pulls/{pull}/files")).body
    assert [file["filename"] for file in files] == ["b.txt"]


async def test_archive_and_permissions(seeded, pull, agent, head):
    await seeded.act("acme", "archive", REPOSITORY)
    refused = await agent.repo("POST", f"/issues/{pull}/comments", {"body": "Hello"})
    assert (refused.status, "archived" in refused.body["message"]) == (403, True)
    await seeded.act("acme", "archive", REPOSITORY, archived=False)
    assert (await agent.repo("POST", f"/issues/{pull}/comments", {"body": "Hello"})).status == 201
    assert (await agent.repo("GET", "/collaborators/alice/permission")).body["permission"] == "write"
    await seeded.act("acme", "remove_permission", REPOSITORY, of="alice")
    assert (await agent.repo("GET", "/collaborators/alice/permission")).body["permission"] == "none"
    settings = [m["details"]["settings"] for m in seeded.mutations if m["kind"] == "repository.configured"]
    assert settings == [["archived"], ["archived"], ["permissions"]]


async def test_compare_tells_both_sides(seeded, pull, agent, head):
    base = (await agent.repo("GET", "/commits/main")).body["sha"]
    await seeded.act("alice", "push_commit", REPOSITORY, branch="main", files={"b.txt": "b\n"}, message="B")
    ours = (await agent.repo("GET", "/compare/main...agents/1")).body
    assert (ours["status"], ours["ahead_by"], ours["behind_by"]) == ("diverged", 1, 1)
    assert ours["merge_base_commit"]["sha"] == base
    assert [commit["sha"] for commit in ours["commits"]] == [head(pull)]
    assert [file["filename"] for file in ours["files"]] == ["calc.py"]
    theirs = (await agent.repo("GET", f"/compare/{head(pull)}...main")).body
    assert [(c["commit"]["message"], c["author"]["login"]) for c in theirs["commits"]] == [("B", "alice")]
    assert [file["filename"] for file in theirs["files"]] == ["b.txt"]
    assert (await agent.repo("GET", f"/compare/{base}...{base}")).body["status"] == "identical"
    assert (await agent.repo("GET", "/compare/main...none")).status == 404
    assert (await agent.repo("GET", "/compare/main")).status == 404


async def test_files_and_commits_of_a_pull_request_come_in_pages(seeded, pull, agent):
    for number in range(3):
        await seeded.act("agent", "push_commit", REPOSITORY, number=pull, files={f"{number}.txt": "x"})
    for what, count in (("files", 4), ("commits", 4)):
        first = await agent.repo("GET", f"/pulls/{pull}/{what}?per_page=3")
        assert (len(first.body), 'rel="next"' in first.headers["Link"]) == (3, True)
        rest = await agent.repo("GET", f"/pulls/{pull}/{what}?per_page=3&page=2")
        assert len(rest.body) == count - 3
