"""What landing does at GitHub: sent once, refused with a reason, and not done twice."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from airflow_provider_agents.domain.review_remark import ReviewRemark
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeConflictError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks import github_landing_calls

API = "/api/v3/repos/acme/shop"
HEAD = "a" * 40


def refusal(kind: str, message: str = "Nothing doing") -> dict[str, Any]:
    return {"data": {"it": None}, "errors": [{"type": kind, "message": message, "path": ["it"]}]}


def state(**values: Any) -> dict[str, Any]:
    node = {"headRefOid": HEAD, "isDraft": True, "isInMergeQueue": False, "autoMergeRequest": None} | values
    return {"data": {"node": {"__typename": "PullRequest"} | node}}


DONE = {"data": {"it": {"clientMutationId": None}}}


async def drop(request: web.Request) -> web.StreamResponse:
    request.transport.close()
    return web.Response()


CALLS = {
    "EnqueuePullRequest": lambda client: client.enqueue("PR_1", HEAD),
    "DequeuePullRequest": lambda client: client.dequeue("PR_1"),
    "EnableAutoMerge": lambda client: client.enable_auto_merge("PR_1", HEAD, "squash"),
    "DisableAutoMerge": lambda client: client.disable_auto_merge("PR_1"),
    "MarkReady": lambda client: client.mark_ready("PR_1"),
    "ResolveThread": lambda client: client.resolve_thread("PRRT_1"),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_mutation_is_sent_once_and_a_lost_answer_says_so(client, stub, name: str) -> None:
    stub.on(name, drop, DONE)
    with pytest.raises(ForgeUnavailableError, match="may have happened"):
        await CALLS[name](client)
    assert stub.times(name) == 1


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusal("FORBIDDEN", "Resource not accessible by integration"), ForgeAccessError),
        (refusal("NOT_FOUND", "Could not resolve to a node"), ForgeAccessError),
        (refusal("SERVICE_UNAVAILABLE"), ForgeUnavailableError),
        ({"data": None, "errors": [{"message": "Something went wrong"}]}, ForgeUnavailableError),
        ("<html>", ForgeUnavailableError),
        ((502, "bad gateway"), ForgeUnavailableError),
        (refusal("RATE_LIMITED"), ForgeRateLimitedError),
        ((403, {"message": "You have exceeded a secondary rate limit"}), ForgeRateLimitedError),
    ],
)
async def test_a_refused_mutation(client, stub, name: str, answer: Any, error: type[ForgeError]) -> None:
    stub.on(name, answer)
    with pytest.raises(error) as caught:
        await CALLS[name](client)
    assert type(caught.value) is error
    assert stub.times(name) == 1


@pytest.mark.parametrize(
    ("name", "settled", "open_"),
    [
        ("EnqueuePullRequest", {"isInMergeQueue": True}, {"isInMergeQueue": False}),
        ("EnqueuePullRequest", {"isInMergeQueue": True}, {"isInMergeQueue": True, "headRefOid": "b" * 40}),
        ("DequeuePullRequest", {"isInMergeQueue": False}, {"isInMergeQueue": True}),
        ("EnableAutoMerge", {"autoMergeRequest": {"enabledAt": "2026-01-01T00:00:00Z"}}, {}),
        (
            "EnableAutoMerge",
            {"autoMergeRequest": {"enabledAt": "x"}},
            {"autoMergeRequest": {"enabledAt": "x"}, "headRefOid": "b" * 40},
        ),
        ("DisableAutoMerge", {}, {"autoMergeRequest": {"enabledAt": "2026-01-01T00:00:00Z"}}),
        ("MarkReady", {"isDraft": False}, {"isDraft": True}),
    ],
)
async def test_what_is_done_already_is_fine(client, stub, name: str, settled: Any, open_: Any) -> None:
    stub.on(name, refusal("UNPROCESSABLE", "Not in a state for it"))
    stub.on("PullRequestState", state(**settled), state(**open_))
    await CALLS[name](client)
    with pytest.raises(ForgeConflictError, match="Not in a state for it"):
        await CALLS[name](client)


async def test_a_refused_mutation_of_an_unreadable_pull_request(client, stub) -> None:
    stub.on("EnqueuePullRequest", refusal("UNPROCESSABLE"))
    stub.on("PullRequestState", {"data": {"node": None}})
    with pytest.raises(ForgeAccessError):
        await client.enqueue("PR_1", HEAD)


async def test_what_is_sent(client, stub) -> None:
    for name in CALLS:
        stub.on(name, DONE)
    for call in CALLS.values():
        await call(client)
    await client.enable_auto_merge("PR_1", HEAD, "rebase", "Title", "Body")
    sent = [asked.body["variables"] for asked in stub.asked]
    method = {"id": "PR_1", "head": HEAD, "method": "SQUASH"}
    assert sent == [
        {"id": "PR_1", "head": HEAD},
        {"id": "PR_1"},
        method,
        {"id": "PR_1"},
        {"id": "PR_1"},
        {"thread": "PRRT_1"},
        method | {"method": "REBASE", "title": "Title", "body": "Body"},
    ]


async def test_update_branch_names_the_head(client, stub) -> None:
    route = f"PUT {API}/pulls/7/update-branch"
    stub.on(route, (202, {"message": "Updating"}), (422, {"message": "expected head sha didn’t match"}))
    await client.update_branch("acme/shop", 7, HEAD)
    assert stub.asked[0].body == {"expected_head_sha": HEAD}
    with pytest.raises(ForgeConflictError, match="didn’t match"):
        await client.update_branch("acme/shop", 7, HEAD)


async def test_close(client, stub) -> None:
    stub.on(f"PATCH {API}/pulls/7", {"state": "closed"}, (422, {"message": "Validation Failed"}))
    stub.on(f"GET {API}/pulls/7", {"state": "closed"}, {"state": "open"})
    await client.close_pull_request("acme/shop", 7)
    assert stub.asked[0].body == {"state": "closed"}
    await client.close_pull_request("acme/shop", 7)
    with pytest.raises(ForgeConflictError):
        await client.close_pull_request("acme/shop", 7)


async def test_labels(client, stub) -> None:
    refused = (422, {"message": "Validation Failed"})
    stub.on(f"POST {API}/issues/7/labels", [{"name": "a b"}], refused)
    await client.add_labels("acme/shop", 7, ("a b", "c"))
    assert stub.asked[0].body == {"labels": ["a b", "c"]}
    with pytest.raises(ForgeConflictError, match="put the labels c on acme/shop#7: HTTP 422"):
        await client.add_labels("acme/shop", 7, ("c",))


# Threads


def thread_end(*comments: tuple[str, bool]) -> dict[str, Any]:
    nodes = [
        {"id": f"C_{index}", "url": f"u{index}", "body": body, "viewerDidAuthor": own}
        for index, (body, own) in enumerate(comments)
    ]
    return {"data": {"node": {"__typename": "PullRequestReviewThread", "comments": {"nodes": nodes}}}}


REPLIED = {"data": {"addPullRequestReviewThreadReply": {"comment": {"id": "C_9", "url": "u9"}}}}


async def test_a_reply_is_not_written_twice(client, stub) -> None:
    stub.on("ThreadEnd", thread_end(("Why?", False)))
    stub.on("ReplyInThread", REPLIED)
    made = await client.reply_in_thread("PRRT_1", "Because.")
    assert (made.url, made.node_id, made.created) == ("u9", "C_9", True)
    written = stub.asked[-1].body["variables"]
    assert written["thread"] == "PRRT_1"
    assert written["body"].startswith("Because.\n\n<!-- agents reply=")

    stub.on("ThreadEnd", thread_end(("Why?", False), (written["body"], True), ("Something else", True)))
    again = await client.reply_in_thread("PRRT_1", "Because.")
    assert (again.url, again.node_id, again.created) == ("u1", "C_1", False)
    assert stub.times("ReplyInThread") == 1

    # After a further word of somebody else, and where somebody else copied it, it is said.
    stub.on("ThreadEnd", thread_end((written["body"], True), ("And?", False)))
    assert (await client.reply_in_thread("PRRT_1", "Because.")).created
    stub.on("ThreadEnd", thread_end((written["body"], False)))
    assert (await client.reply_in_thread("PRRT_1", "Because.")).created
    assert stub.times("ReplyInThread") == 3


async def test_an_unreadable_thread_is_not_answered(client, stub) -> None:
    stub.on("ThreadEnd", {"data": {"node": None}})
    with pytest.raises(ForgeAccessError):
        await client.reply_in_thread("PRRT_1", "Because.")
    assert stub.times("ReplyInThread") == 0


# Reviews


def reviews(*nodes: dict[str, Any]) -> dict[str, Any]:
    pull = {"number": 7, "repository": {"nameWithOwner": "acme/shop"}, "reviews": {"nodes": list(nodes)}}
    return {"data": {"node": {"__typename": "PullRequest"} | pull}}


REVIEWS = f"POST {API}/pulls/7/reviews"
MADE = {"html_url": "r1", "node_id": "PRR_1"}
REMARKS = (ReviewRemark(path="a.py", line=3, body="Off by one."),)


async def test_a_review_of_exactly_one_head(client, stub) -> None:
    stub.on("LatestReviews", reviews())
    stub.on(REVIEWS, MADE)
    made = await client.submit_review("PR_1", HEAD, "REQUEST_CHANGES", "Not yet.", REMARKS)
    assert (made.url, made.node_id, made.created) == ("r1", "PRR_1", True)
    sent = stub.asked[-1].body
    assert (sent["commit_id"], sent["event"]) == (HEAD, "REQUEST_CHANGES")
    assert sent["comments"] == [{"path": "a.py", "line": 3, "side": "RIGHT", "body": "Off by one."}]
    assert sent["body"] == f"Not yet.\n\n<!-- agents review head={HEAD} -->"


@pytest.mark.parametrize(
    ("own", "head", "written"), [(True, HEAD, False), (False, HEAD, True), (True, "b" * 40, True)]
)
async def test_a_head_is_reviewed_once(client, stub, own: bool, head: str, written: bool) -> None:
    body = f"Fine.\n\n<!-- agents review head={head} -->"
    earlier = {"id": "PRR_0", "url": "r0", "body": body, "viewerDidAuthor": own, "commit": {"oid": head}}
    stub.on("LatestReviews", reviews(earlier))
    stub.on(REVIEWS, MADE)
    made = await client.submit_review("PR_1", HEAD, "COMMENT", "Fine.", ())
    assert made.created is written
    assert stub.times(REVIEWS) == int(written)


async def test_a_remark_without_a_place_goes_into_the_body(client, stub, monkeypatch) -> None:
    monkeypatch.setattr(github_landing_calls, "MUTATION_PAUSE_SECONDS", 0)
    stub.on("LatestReviews", reviews())
    stub.on(REVIEWS, (422, {"message": "Line could not be resolved"}), MADE)
    await client.submit_review("PR_1", HEAD, "COMMENT", "Look.", REMARKS)
    sent = stub.asked[-1].body
    assert "comments" not in sent
    assert sent["body"].startswith("Look.\n\n- `a.py:3`: Off by one.\n\n<!-- agents review head=")


async def test_a_verdict_on_ones_own_work_is_refused(client, stub, monkeypatch) -> None:
    monkeypatch.setattr(github_landing_calls, "MUTATION_PAUSE_SECONDS", 0)
    stub.on("LatestReviews", reviews())
    stub.on(REVIEWS, (422, {"message": "Can not approve your own pull request"}))
    with pytest.raises(ForgeConflictError, match="approve your own"):
        await client.submit_review("PR_1", HEAD, "APPROVE", "Good.", ())
    assert stub.times(REVIEWS) == 1


async def test_a_lost_answer_to_a_review_is_not_sent_again(client, stub) -> None:
    stub.on("LatestReviews", reviews())
    stub.on(REVIEWS, drop, MADE)
    with pytest.raises(ForgeUnavailableError, match="may have happened"):
        await client.submit_review("PR_1", HEAD, "COMMENT", "Look.", REMARKS)
    assert stub.times(REVIEWS) == 1


@pytest.mark.parametrize("answer", [{"data": {"node": None}}, reviews()["data"] | {"data": {"node": {}}}])
async def test_reviews_that_cannot_be_read_are_not_taken_for_none(client, stub, answer) -> None:
    stub.on("LatestReviews", answer)
    with pytest.raises(ForgeAccessError):
        await client.submit_review("PR_1", HEAD, "COMMENT", "Look.", ())
