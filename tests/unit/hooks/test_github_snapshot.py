"""The full reading: batches, pages, and a head that moves meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web

from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.hooks.github_queries import SNAPSHOT_BATCH
from tests.unit.hooks.answers import HEAD, OTHER, comment, connection, error, thread


async def test_a_plain_pull_request(client, stub) -> None:
    stub.on("PullRequestSnapshot", stub.pull())
    snapshot = await client.snapshot("acme/shop", 7)
    assert (snapshot.missing, snapshot.refused, snapshot.degraded) == ((), (), ())
    assert (snapshot.state, snapshot.number, snapshot.head_sha) == ("OPEN", 7, HEAD)
    assert snapshot.checks == snapshot.reviews == snapshot.threads == snapshot.comments == ()
    assert snapshot.labels == ("bug",)
    assert snapshot.closing_issues == (3,)
    assert snapshot.failing_on_base is None
    assert stub.asked[0].body["variables"] == {"owner0": "acme", "name0": "shop", "number0": 7}
    assert len(stub.asked) == 1


async def test_all_pages_are_read(client, stub) -> None:
    runs = [stub.check_run(f"check {i}", number=i) for i in range(150)]
    review = {"author": {"login": "mona"}, "state": "APPROVED", "authorCanPushToRepository": True}
    stub.on(
        "PullRequestSnapshot",
        stub.pull(
            statusCheckRollup=stub.rollup(runs[:100], after="c100"),
            latestOpinionatedReviews=connection(review, after="r1"),
            reviewThreads=connection(thread("T1", comment("mona")), after="t1"),
        ),
    )
    stub.on("PullRequestChecks", stub.page(statusCheckRollup=stub.rollup(runs[100:])))
    stub.on("PullRequestReviews", stub.page(latestOpinionatedReviews=connection(review)))
    stub.on(
        "PullRequestThreads",
        stub.page(reviewThreads=connection(thread("T2", comment("mona")), after="t2")),
        stub.page(reviewThreads=connection(thread("T3", comment("mona")))),
    )
    snapshot = await client.snapshot("acme/shop", 7)
    assert [check.name for check in snapshot.checks] == [f"check {i}" for i in range(150)]
    assert len(snapshot.reviews) == 2
    assert [t.node_id for t in snapshot.threads] == ["T1", "T2", "T3"]
    assert snapshot.missing == ()
    cursors = [a.body["variables"]["after"] for a in stub.asked if a.operation != "PullRequestSnapshot"]
    assert cursors == ["c100", "r1", "t1", "t2"]


async def test_a_page_that_cannot_be_read_is_missing(client, stub) -> None:
    first = stub.pull(statusCheckRollup=stub.rollup([stub.check_run("a")], after="c1"))
    stub.on("PullRequestSnapshot", first)
    stub.on("PullRequestChecks", stub.page(statusCheckRollup=None))
    assert (await client.snapshot("acme/shop", 7)).missing == ("checks: a further page could not be read",)


async def test_a_pull_request_that_vanishes_between_pages_is_told_of(client, stub) -> None:
    first = stub.pull(statusCheckRollup=stub.rollup([stub.check_run("a")], after="c1"))
    gone = {"type": "NOT_FOUND", "path": ["repository"], "message": "Could not resolve to a Repository"}
    stub.on("PullRequestSnapshot", first)
    stub.on("PullRequestChecks", {"data": {"repository": None}, "errors": [gone]})
    with pytest.raises(ForgeAccessError, match=r"acme/shop#7.*Could not resolve"):
        await client.snapshot("acme/shop", 7)


async def test_a_page_that_does_not_say_whether_there_is_more_is_missing(client, stub) -> None:
    stub.on("PullRequestSnapshot", stub.pull(reviewThreads={"nodes": []}))
    words = ("threads: the answer does not say whether there is more",)
    assert (await client.snapshot("acme/shop", 7)).missing == words


async def test_an_error_of_a_further_page_is_that_of_its_own_entry(client, stub) -> None:
    path = ["repository", "pullRequest", "statusCheckRollup", "contexts", "nodes", 0]
    hidden = {"type": "FORBIDDEN", "path": path, "message": "hidden"}
    first = stub.rollup([stub.check_run("a"), stub.check_run("b")], after="c2")
    stub.on("PullRequestSnapshot", stub.pull(statusCheckRollup=first))
    page = stub.page(statusCheckRollup=stub.rollup([None, stub.check_run("c")]))
    stub.on("PullRequestChecks", page | {"errors": [hidden]})
    snapshot = await client.snapshot("acme/shop", 7)
    assert (snapshot.missing, snapshot.refused) == ((), ("checks: hidden",))
    assert [check.name for check in snapshot.checks] == ["a", "b", "c"]


async def test_all_comments_of_a_thread_are_read(client, stub) -> None:
    def long(node_id: str, **more: object) -> dict[str, object]:
        return thread(node_id) | {"comments": connection(comment("mona"), after="c1")} | more

    threads = connection(long("T1"), long("T2", isResolved=True))
    stub.on("PullRequestSnapshot", stub.pull(reviewThreads=threads))
    stub.on(
        "ThreadComments",
        {"data": {"node": {"comments": connection(comment("eve"), after="c2")}}},
        {"data": {"node": {"comments": connection(comment("olga"))}}},
    )
    snapshot = await client.snapshot("acme/shop", 7)
    (found,) = snapshot.threads
    assert [c.author for c in found.comments] == ["mona", "eve", "olga"]
    assert snapshot.missing == ()
    asked = [a.body["variables"] for a in stub.asked if a.operation == "ThreadComments"]
    assert asked == [{"threadId": "T1", "after": "c1"}, {"threadId": "T1", "after": "c2"}]


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ({"node": None}, "further comments of a thread could not be read"),
        ({"node": {"comments": connection(after="c1")}}, "a thread with more than 21 pages of comments"),
    ],
)
async def test_comments_of_a_thread_that_were_not_read_are_missing(client, stub, page, words: str) -> None:
    long = thread("T1") | {"comments": connection(comment("mona"), after="c1")}
    stub.on("PullRequestSnapshot", stub.pull(reviewThreads=connection(long)))
    stub.on("ThreadComments", {"data": page})
    assert (await client.snapshot("acme/shop", 7)).missing == (f"threads: {words}",)
    assert stub.times("ThreadComments") <= 20


async def test_endless_pages_end(client, stub) -> None:
    endless = stub.rollup([stub.check_run("a")], after="again")
    stub.on("PullRequestSnapshot", stub.pull(statusCheckRollup=endless))
    stub.on("PullRequestChecks", stub.page(statusCheckRollup=endless))
    assert (await client.snapshot("acme/shop", 7)).missing == ("checks: more than 21 pages",)
    assert stub.times("PullRequestChecks") == 20


async def test_a_head_that_moves_between_pages_is_read_again(client, stub) -> None:
    old = stub.pull(statusCheckRollup=stub.rollup([stub.check_run("old")], after="c1"))
    new = stub.pull(headRefOid=OTHER, statusCheckRollup=stub.rollup([stub.check_run("new")], sha=OTHER))
    stub.on("PullRequestSnapshot", old, new)
    stub.on("PullRequestChecks", stub.page(OTHER, statusCheckRollup=stub.rollup([], sha=OTHER)))
    snapshot = await client.snapshot("acme/shop", 7)
    assert (snapshot.head_sha, [check.name for check in snapshot.checks]) == (OTHER, ["new"])
    assert snapshot.missing == ()


async def test_a_head_that_never_rests_leaves_the_checks_missing(client, stub) -> None:
    stub.on(
        "PullRequestSnapshot", stub.pull(statusCheckRollup=stub.rollup([stub.check_run("old")], sha=OTHER))
    )
    assert (await client.snapshot("acme/shop", 7)).missing == ("checks: the head moved while it was read",)
    assert stub.times("PullRequestSnapshot") == 3


async def test_no_such_pull_request(client, stub) -> None:
    error = {"type": "NOT_FOUND", "path": ["pull0", "pullRequest"], "message": "Could not resolve"}
    stub.on("PullRequestSnapshot", {"data": {"pull0": {"pullRequest": None}}, "errors": [error]})
    with pytest.raises(ForgeAccessError, match=r"acme/shop#7.*Could not resolve.*Checks: read"):
        await client.snapshot("acme/shop", 7)


async def test_a_reading_bears_githubs_time(client, stub) -> None:
    """Every other moment in a snapshot is GitHub's, so they can be compared whatever this machine's clock says."""
    theirs = datetime.now(UTC) + timedelta(hours=3)
    stub.on("PullRequestSnapshot", (200, stub.pull(), {"Date": format_datetime(theirs, usegmt=True)}))
    snapshot = await client.snapshot("acme/shop", 7)
    assert abs(snapshot.read_at - theirs) < timedelta(seconds=10)


def several(*answers: dict, errors: tuple[dict, ...] = ()) -> dict:
    """Return one answer about several pull requests."""
    pulls = {f"pull{i}": answer["data"]["pull0"] for i, answer in enumerate(answers)}
    return {"data": pulls} | ({"errors": list(errors)} if errors else {})


REFS = [("acme/shop", 7), ("acme/bakery", 8), ("acme/kiosk", 9)]


async def test_several_are_read_in_one_query(client, stub) -> None:
    stub.on("PullRequestSnapshot", several(*(stub.pull(number=number) for _, number in REFS)))
    found = await client.snapshots([*REFS, REFS[0]])
    assert [(s.repository, s.number) for s in found.values()] == list(found) == REFS
    (asked,) = stub.asked
    assert asked.body["variables"] == {
        "owner0": "acme",
        "name0": "shop",
        "number0": 7,
        "owner1": "acme",
        "name1": "bakery",
        "number1": 8,
        "owner2": "acme",
        "name2": "kiosk",
        "number2": 9,
    }
    assert "isRequired(pullRequestNumber: $number2)" in asked.body["query"]


async def test_many_are_read_in_batches(client, stub) -> None:
    async def answered(request: web.Request) -> web.Response:
        variables = (await request.json())["variables"]
        count = len(variables) // 3
        return web.json_response(several(*(stub.pull(number=variables[f"number{i}"]) for i in range(count))))

    stub.on("PullRequestSnapshot", answered)
    refs = [("acme/shop", number) for number in range(1, 24)]
    assert list(await client.snapshots(refs)) == refs
    assert [len(a.body["variables"]) // 3 for a in stub.asked] == [SNAPSHOT_BATCH, SNAPSHOT_BATCH, 3]


async def test_one_that_is_not_there_loses_only_itself(client, stub) -> None:
    answer = several(stub.pull(), stub.pull(), stub.pull(number=9))
    answer["data"]["pull1"] = None
    gone = {"type": "NOT_FOUND", "path": ["pull1"], "message": "Could not resolve to a Repository"}
    hidden = error("labels") | {"path": ["pull2", "pullRequest", "labels"]}
    answer["data"]["pull2"]["pullRequest"]["labels"] = None
    stub.on("PullRequestSnapshot", answer | {"errors": [gone, hidden]})
    found = await client.snapshots(REFS)
    first, second, third = found.values()
    assert isinstance(first, PullRequestSnapshot)
    assert (first.missing, first.refused) == ((), ())
    assert isinstance(second, ForgeAccessError)
    assert "acme/bakery#8" in str(second)
    assert "Could not resolve" in str(second)
    assert third.refused == ("labels: Resource not accessible by integration",)


async def test_a_broken_field_beside_a_refused_one_passes(client, stub) -> None:
    """An App without the right to read rules must not be told that its pull request is gone for good."""
    faults = [
        error("baseRef", "branchProtectionRule"),
        error("mergeable", kind=None, message="Something went wrong"),
    ]
    answer = stub.pull(errors=faults)
    answer["data"]["pull0"]["pullRequest"] = None
    stub.on("PullRequestSnapshot", answer)
    with pytest.raises(ForgeUnavailableError, match="Something went wrong"):
        await client.snapshot("acme/shop", 7)


async def test_one_whose_page_fails_loses_only_itself(client, stub) -> None:
    broken = stub.pull(statusCheckRollup=stub.rollup([stub.check_run("a")], after="c1"))
    stub.on("PullRequestSnapshot", several(broken, stub.pull(number=8)))
    stub.on("PullRequestChecks", (502, {"message": "Bad Gateway"}))
    first, second = (await client.snapshots(REFS[:2])).values()
    assert isinstance(first, ForgeUnavailableError)
    assert second.number == 8


async def test_one_whose_head_moves_is_read_again_alone(client, stub) -> None:
    moved = stub.pull(statusCheckRollup=stub.rollup([stub.check_run("old")], sha=OTHER))
    rests = stub.pull(headRefOid=OTHER, statusCheckRollup=stub.rollup([stub.check_run("new")], sha=OTHER))
    stub.on("PullRequestSnapshot", several(moved, stub.pull(number=8)), rests)
    first, second = (await client.snapshots(REFS[:2])).values()
    assert (first.head_sha, [check.name for check in first.checks]) == (OTHER, ["new"])
    assert second.number == 8
    assert [len(a.body["variables"]) // 3 for a in stub.asked] == [2, 1]


async def test_a_query_that_github_breaks_off_is_sent_in_halves(client, stub) -> None:
    broken_off = error("comments", kind="RESOURCE_LIMITS_EXCEEDED", message="Resource limits exceeded")
    partial = several(stub.pull(comments=None), stub.pull(number=8), errors=(broken_off,))
    stub.on("PullRequestSnapshot", partial, stub.pull(), stub.pull(number=8))
    found = await client.snapshots(REFS[:2])
    assert [(s.number, s.missing) for s in found.values()] == [(7, ()), (8, ())]
    assert [len(a.body["variables"]) // 3 for a in stub.asked] == [2, 1, 1]
    # Alone it is as small as it can be: what is left out is missing.
    alone = stub.pull(errors=[broken_off], comments=None)
    stub.on("PullRequestSnapshot", alone)
    assert (await client.snapshot("acme/shop", 7)).missing == ("comments: Resource limits exceeded",)


async def test_a_server_that_lacks_a_field_is_told_of_by_name(client, stub) -> None:
    unknown = {
        "message": "Field 'isMergeQueueEnabled' doesn't exist on type 'PullRequest'",
        "path": ["fragment PullFacts", "isMergeQueueEnabled"],
        "extensions": {"code": "undefinedField"},
    }
    stub.on("PullRequestSnapshot", {"errors": [unknown]})
    with pytest.raises(
        ForgeAccessError, match=r"'isMergeQueueEnabled'.*Enterprise Server must be a supported"
    ):
        await client.snapshots(REFS)
    assert len(stub.asked) == 1


async def test_a_rate_limit_ends_the_reading(client, stub) -> None:
    limited = (403, {"message": "API rate limit exceeded"}, {"Retry-After": "60"})
    stub.on(
        "PullRequestSnapshot", stub.pull(statusCheckRollup=stub.rollup([stub.check_run("a")], after="c1"))
    )
    stub.on("PullRequestChecks", limited)
    with pytest.raises(ForgeRateLimitedError):
        await client.snapshots([("acme/shop", 7)])
    assert stub.times("PullRequestChecks") == 1


async def test_a_name_that_is_none_is_refused_before_anything_is_asked(client, stub) -> None:
    with pytest.raises(InvalidInputError, match="owner/name"):
        await client.snapshots([("acme/shop", 7), ("shop", 8)])
    assert stub.asked == []
