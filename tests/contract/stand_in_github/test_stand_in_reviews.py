from __future__ import annotations

import pytest

REPOSITORY = "acme/calc"

PULL = """
query($n: Int!) { repository(owner: "acme", name: "calc") { pullRequest(number: $n) {
  reviewDecision
  latestOpinionatedReviews(first: 10) {
    nodes { author { login } state authorCanPushToRepository commit { oid } }
  }
  reviewThreads(first: 10) { nodes {
    id isResolved isOutdated path line originalLine
    comments(first: 10) {
      nodes { author { login } body authorAssociation pullRequestReview { authorCanPushToRepository } }
    }
  } }
} } }
"""


async def read(agent, pull):
    return (await agent.graphql(PULL, n=pull))["data"]["repository"]["pullRequest"]


async def test_latest_opinion_of_each_person_counts(seeded, pull, agent, head):
    await seeded.act("acme", "configure", REPOSITORY, rules={"main": {"required_approvals": 1}})
    assert (await read(agent, pull))["reviewDecision"] == "REVIEW_REQUIRED"
    await seeded.act("alice", "review", REPOSITORY, number=pull, event="REQUEST_CHANGES", body="No.")
    await seeded.act("reader", "review", REPOSITORY, number=pull, event="APPROVE")
    found = await read(agent, pull)
    assert found["reviewDecision"] == "CHANGES_REQUESTED"
    may_push = {
        n["author"]["login"]: n["authorCanPushToRepository"]
        for n in found["latestOpinionatedReviews"]["nodes"]
    }
    assert may_push == {"alice": True, "reader": False}
    await seeded.act("alice", "review", REPOSITORY, number=pull, event="COMMENT", body="Hm.")
    assert (await read(agent, pull))["reviewDecision"] == "CHANGES_REQUESTED"
    await seeded.act("alice", "review", REPOSITORY, number=pull, event="APPROVE")
    found = await read(agent, pull)
    assert found["reviewDecision"] == "APPROVED"
    assert [n["commit"]["oid"] for n in found["latestOpinionatedReviews"]["nodes"]] == [head(pull)] * 2


async def test_readers_approval_does_not_count(seeded, pull, agent):
    await seeded.act("acme", "configure", REPOSITORY, rules={"main": {"required_approvals": 1}})
    await seeded.act("reader", "review", REPOSITORY, number=pull, event="APPROVE")
    assert (await read(agent, pull))["reviewDecision"] == "REVIEW_REQUIRED"


async def test_stale_approval_is_dismissed_where_wanted(seeded, pull, agent):
    rules = {"main": {"required_approvals": 1, "dismiss_stale_reviews": True}}
    await seeded.act("acme", "configure", REPOSITORY, rules=rules)
    await seeded.act("alice", "review", REPOSITORY, number=pull, event="APPROVE")
    await seeded.act("agent", "push_commit", REPOSITORY, number=pull)
    assert (await read(agent, pull))["reviewDecision"] == "REVIEW_REQUIRED"


async def test_own_pull_request_is_not_approved(pull, agent):
    refused = await agent.repo("POST", f"/pulls/{pull}/reviews", {"event": "APPROVE"})
    assert (refused.status, refused.body["errors"]) == (422, ["Can not approve your own pull request"])
    assert (await agent.repo("POST", f"/pulls/{pull}/reviews", {"event": "COMMENT"})).status == 422


async def test_threads_move_with_the_code_and_become_outdated(seeded, pull, agent):
    remark = {"path": "calc.py", "line": 2, "body": "Why?"}
    await seeded.act("alice", "review", REPOSITORY, number=pull, comments=[remark])
    above = "# Sums.\n\ndef add(a, b):\n    return a + b\n\n\ndef double(a):\n    return a * 2\n"
    await seeded.act("agent", "push_commit", REPOSITORY, number=pull, files={"calc.py": above})
    (thread,) = (await read(agent, pull))["reviewThreads"]["nodes"]
    assert (thread["isOutdated"], thread["line"], thread["originalLine"]) == (False, 4, 2)
    await seeded.act(
        "agent",
        "push_commit",
        REPOSITORY,
        number=pull,
        files={"calc.py": above.replace("a + b", "sum((a, b))")},
    )
    (thread,) = (await read(agent, pull))["reviewThreads"]["nodes"]
    assert (thread["isOutdated"], thread["line"], thread["originalLine"]) == (True, None, 2)


async def test_reply_and_resolve(seeded, pull, agent, client_of):
    made = await client_of("token-of-acme").repo(
        "POST", f"/pulls/{pull}/comments", {"path": "calc.py", "line": 2, "body": "Why?", "commit_id": None}
    )
    assert made.status == 201
    (thread,) = (await read(agent, pull))["reviewThreads"]["nodes"]
    reply = "mutation($t: ID!, $b: String!) {addPullRequestReviewThreadReply(input: {pullRequestReviewThreadId: $t, body: $b}) {comment {body}}}"
    await agent.graphql(reply, t=thread["id"], b="Because.")
    resolve = 'mutation($t: ID!) {resolveReviewThread(input: {threadId: $t, clientMutationId: "c"}) {clientMutationId thread {isResolved}}}'
    refused = await client_of("token-of-reader").graphql(resolve, t=thread["id"])
    assert refused["errors"][0]["type"] == "FORBIDDEN"
    done = await agent.graphql(resolve, t=thread["id"])
    assert done["data"]["resolveReviewThread"] == {"clientMutationId": "c", "thread": {"isResolved": True}}
    (thread,) = (await read(agent, pull))["reviewThreads"]["nodes"]
    said = [(c["author"]["login"], c["body"], c["authorAssociation"]) for c in thread["comments"]["nodes"]]
    assert said == [("acme", "Why?", "OWNER"), ("agent", "Because.", "COLLABORATOR")]
    listed = (await agent.repo("GET", f"/pulls/{pull}/comments")).body
    assert [comment.get("in_reply_to_id") for comment in listed] == [None, listed[0]["id"]]
    kinds = [m["kind"] for m in seeded.mutations[-3:]]
    assert kinds == ["review.submitted", "thread.replied", "thread.resolved"]


@pytest.mark.parametrize(
    ("field", "path", "line"), [("path", "README.md", 1), ("line", "calc.py", 90), ("line", "calc.py", 0)]
)
async def test_a_review_with_a_remark_beside_the_diff_is_refused_whole(
    seeded, pull, client_of, field, path, line
):
    acme, count = client_of("token-of-acme"), len(seeded.mutations)
    remark = {"path": path, "line": line, "body": "Why?"}
    refused = await acme.repo("POST", f"/pulls/{pull}/comments", remark)
    (error,) = refused.body["errors"]
    assert (refused.status, error["field"]) == (422, f"pull_request_review_thread.{field}")
    remarks = [{"path": "calc.py", "line": 2, "body": "Here."}, remark]
    review = {"event": "REQUEST_CHANGES", "body": "No.", "comments": remarks}
    refused = await acme.repo("POST", f"/pulls/{pull}/reviews", review)
    said = [f"{field.title()} could not be resolved"]
    assert (refused.status, refused.body["message"], refused.body["errors"]) == (
        422,
        "Unprocessable Entity",
        said,
    )
    assert (await acme.repo("GET", f"/pulls/{pull}/reviews")).body == []
    assert len(seeded.mutations) == count


async def test_graphql_refuses_a_remark_beside_the_diff_too(seeded, pull, client_of):
    query = """mutation($p: ID!) {addPullRequestReview(input: {pullRequestId: $p, event: COMMENT, body: "Hm",
      threads: [{path: "calc.py", line: 90, body: "Why?"}]}) {pullRequestReview {id}}}"""
    node = seeded.forge.store.repositories[REPOSITORY].pulls[pull].id
    answer = await client_of("token-of-acme").graphql(query, p=node)
    (error,) = answer["errors"]
    assert (error["type"], error["message"]) == ("UNPROCESSABLE", "Line could not be resolved")


@pytest.mark.parametrize("synthetic", [False, True])
async def test_the_lines_around_a_change_take_remarks_and_no_others(server, folder, synthetic, client_of):
    lines = [f"line {number}" for number in range(1, 21)]
    seed, text = ("long.txt", "\n".join(lines))
    if synthetic:
        await server.seed_synthetic(REPOSITORY, {seed: text}, permissions={"agent": "write"})
    else:
        (folder / seed).write_text(text)
        await server.seed_repository(REPOSITORY, folder, permissions={"agent": "write"})
    # One line goes, one comes: the twentieth, which ends without a line end, is now the twentieth again.
    changed = [*lines[:8], "new", *lines[8:9], *lines[10:]]
    await server.act("agent", "push_commit", REPOSITORY, branch="a", files={seed: "\n".join(changed)})
    await server.act("agent", "open_pull", REPOSITORY, head="a", title="New")
    acme = client_of("token-of-acme")
    taken = []
    for line in range(1, 23):
        remark = {"path": seed, "line": line, "body": "Why?"}
        if (await acme.repo("POST", "/pulls/1/comments", remark)).status == 201:
            taken.append(line)
    assert taken == list(range(6, 14))


async def test_a_review_of_an_unknown_commit_is_refused(pull, client_of):
    review = {"event": "COMMENT", "body": "Hm.", "commit_id": "f" * 40}
    refused = await client_of("token-of-acme").repo("POST", f"/pulls/{pull}/reviews", review)
    assert (refused.status, refused.body["errors"][0]["field"]) == (422, "commit_id")


async def test_review_is_dismissed(seeded, pull, agent, client_of):
    made = await client_of("token-of-acme").repo("POST", f"/pulls/{pull}/reviews", {"event": "APPROVE"})
    path = f"/pulls/{pull}/reviews/{made.body['id']}/dismissals"
    assert (await agent.repo("PUT", path, {"message": "Too soon"})).body["state"] == "DISMISSED"
