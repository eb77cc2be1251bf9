"""The full reading: mapping, paging, partial answers and a head that moves meanwhile."""

from __future__ import annotations

import copy
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.exceptions import ForgeAccessError, ForgeUnavailableError
from airflow_provider_agents.hooks.github_parse import parse_snapshot

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HEAD = "a" * 40
OTHER = "b" * 40


async def test_a_plain_pull_request(client, stub) -> None:
    stub.on("PullRequestSnapshot", stub.pull())
    snapshot = await client.snapshot("acme/shop", 7)
    assert snapshot.missing == ()
    assert (snapshot.state, snapshot.number, snapshot.head_sha) == ("OPEN", 7, HEAD)
    assert snapshot.checks == snapshot.reviews == snapshot.threads == ()
    assert snapshot.labels == ("bug",)
    assert snapshot.closing_issues == (3,)
    assert snapshot.read_at.tzinfo is not None


@pytest.mark.parametrize(
    ("status", "conclusion", "state"),
    [
        ("QUEUED", None, "pending"),
        ("IN_PROGRESS", None, "pending"),
        ("WAITING", None, "pending"),
        ("REQUESTED", None, "pending"),
        ("COMPLETED", "SUCCESS", "passed"),
        ("COMPLETED", "NEUTRAL", "passed"),
        ("COMPLETED", "SKIPPED", "passed"),
        ("COMPLETED", "FAILURE", "failed"),
        ("COMPLETED", "TIMED_OUT", "failed"),
        ("COMPLETED", "CANCELLED", "failed"),
        ("COMPLETED", "ACTION_REQUIRED", "failed"),
        ("COMPLETED", "STARTUP_FAILURE", "failed"),
        ("COMPLETED", "STALE", "failed"),
        ("IN_PROGRESS", "SUCCESS", "pending"),
    ],
)
def test_check_runs(stub, status: str, conclusion: str | None, state: str) -> None:
    run = stub.check_run("tests") | {"status": status, "conclusion": conclusion}
    snapshot = read(stub.pull(statusCheckRollup=stub.rollup([run])))
    assert [check.state for check in snapshot.checks] == [state]
    assert snapshot.checks[0].conclusion == ("" if state == "pending" else conclusion)
    assert snapshot.missing == ()


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("SUCCESS", "passed"),
        ("FAILURE", "failed"),
        ("ERROR", "failed"),
        ("PENDING", "pending"),
        ("EXPECTED", "pending"),
    ],
)
def test_statuses(stub, word: str, state: str) -> None:
    node = {
        "__typename": "StatusContext",
        "id": "S",
        "context": "ci",
        "state": word,
        "description": "d",
        "targetUrl": None,
        "isRequired": True,
    }
    (check,) = read(stub.pull(statusCheckRollup=stub.rollup([node]))).checks
    assert (check.state, check.kind, check.required, check.title) == (state, "status", True, "d")


@pytest.mark.parametrize(
    "broken",
    [
        {"conclusion": "SOMETHING_NEW"},
        {"conclusion": None},
        {"status": None},
        {"name": None},
    ],
)
def test_a_check_that_is_not_understood_is_missing_not_fine(stub, broken) -> None:
    run = stub.check_run("tests") | broken
    snapshot = read(stub.pull(statusCheckRollup=stub.rollup([run])))
    assert snapshot.checks == ()
    assert snapshot.missing == ("checks: an entry could not be understood",)


def suite(number: int, app: str = "github-actions", event: str = "pull_request") -> dict[str, object]:
    run = {"event": event, "workflow": {"name": "ci"}} if app == "github-actions" else None
    return {"databaseId": number, "app": {"slug": app}, "workflowRun": run}


@pytest.mark.parametrize(
    ("older", "newer", "kept"),
    [
        ((suite(1), "FAILURE"), (suite(2), "SUCCESS"), ["SUCCESS"]),
        ((suite(1), "SUCCESS"), (suite(2), "FAILURE"), ["FAILURE"]),
        ((suite(1), "FAILURE"), (suite(2), None), [""]),
        # A workflow that ran again and skipped the job says nothing about the job.
        ((suite(1), "FAILURE"), (suite(2), "SKIPPED"), ["FAILURE", "SKIPPED"]),
        # Two jobs of one name in one run are two jobs.
        ((suite(1), "FAILURE"), (suite(1), "SUCCESS"), ["FAILURE", "SUCCESS"]),
        ((suite(1), "FAILURE"), (suite(2, event="push"), "SUCCESS"), ["FAILURE", "SUCCESS"]),
        ((suite(1, "codecov"), "FAILURE"), (suite(2), "SUCCESS"), ["FAILURE", "SUCCESS"]),
        ((suite(1, "codecov"), "FAILURE"), (suite(2, "codecov"), "SUCCESS"), ["SUCCESS"]),
        # Unknown origin: both stay.
        (
            (suite(1) | {"workflowRun": None}, "FAILURE"),
            (suite(2) | {"workflowRun": None}, "SUCCESS"),
            ["FAILURE", "SUCCESS"],
        ),
    ],
)
@pytest.mark.parametrize("flip", [False, True])
def test_only_the_newest_run_of_a_check_counts(stub, older, newer, kept, flip: bool) -> None:
    nodes = [
        stub.check_run("tests", conclusion, number=i, checkSuite=origin)
        for i, (origin, conclusion) in enumerate((older, newer), 1)
    ]
    snapshot = read(stub.pull(statusCheckRollup=stub.rollup(nodes[::-1] if flip else nodes)))
    assert sorted(check.conclusion for check in snapshot.checks) == sorted(kept)


def test_reviews_and_threads(stub) -> None:
    snapshot = read(
        stub.pull(
            reviewDecision="CHANGES_REQUESTED",
            latestOpinionatedReviews=connection(
                {
                    "author": {"login": "mona"},
                    "state": "CHANGES_REQUESTED",
                    "body": "no",
                    "authorCanPushToRepository": True,
                    "commit": {"oid": HEAD},
                },
                {
                    "author": None,
                    "state": "APPROVED",
                    "body": "",
                    "authorCanPushToRepository": False,
                    "commit": None,
                },
            ),
            reviewThreads=connection(
                thread("T1", comment("mona", can_push=True), comment("eve", can_push=False)),
                thread("T2", comment("eve", can_push=None, association="NONE"), line=None),
                thread("T3", comment("olga", can_push=None, association="COLLABORATOR")),
                thread("T4", comment("mona", can_push=True), resolved=True),
                thread("T5", comment(None, can_push=False, association="OWNER")),
            ),
        )
    )
    assert snapshot.review_decision == "CHANGES_REQUESTED"
    assert [(r.author, r.can_write, r.head_sha) for r in snapshot.reviews] == [
        ("mona", True, HEAD),
        ("ghost", False, ""),
    ]
    assert [(t.node_id, t.line, t.started_by_writer) for t in snapshot.threads] == [
        ("T1", 10, True),
        ("T2", 8, False),
        ("T3", 10, True),
        ("T5", 10, False),
    ]
    assert [c.can_write for c in snapshot.threads[0].comments] == [True, False]
    assert snapshot.missing == ()


ALL_PARTS = {
    "statusCheckRollup": "checks",
    "latestOpinionatedReviews": "reviews",
    "reviewThreads": "threads",
    "labels": "labels",
    "closingIssuesReferences": "closing issues",
    "reviewDecision": "review decision",
    "isDraft": "draft",
}


@pytest.mark.parametrize(("field", "part"), ALL_PARTS.items())
def test_a_part_that_is_not_in_the_answer_is_missing(stub, field: str, part: str) -> None:
    snapshot = read(stub.pull(without=field))
    assert [entry.partition(":")[0] for entry in snapshot.missing] == [part]


@pytest.mark.parametrize(("field", "part"), ALL_PARTS.items())
async def test_a_part_that_errored_is_missing_with_githubs_reason(
    client, stub, field: str, part: str
) -> None:
    error = {
        "type": "FORBIDDEN",
        "path": ["repository", "pullRequest", field],
        "message": "Resource not accessible by personal access token",
    }
    stub.on("PullRequestSnapshot", stub.pull(errors=[error], **{field: None}))
    snapshot = await client.snapshot("acme/shop", 7)
    assert snapshot.missing == (f"{part}: Resource not accessible by personal access token",)
    assert snapshot.head_sha == HEAD


async def test_an_unreadable_check_is_missing_but_an_unreadable_workflow_is_not(client, stub) -> None:
    path = ["repository", "pullRequest", "statusCheckRollup", "contexts", "nodes"]
    errors = [
        {"type": "FORBIDDEN", "path": [*path, 0], "message": "hidden"},
        {"type": "FORBIDDEN", "path": [*path, 1, "checkSuite", "workflowRun"], "message": "no Actions"},
    ]
    stub.on(
        "PullRequestSnapshot",
        stub.pull(errors=errors[1:], statusCheckRollup=stub.rollup([stub.check_run("tests")])),
        stub.pull(errors=errors, statusCheckRollup=stub.rollup([None, stub.check_run("tests")])),
    )
    assert (await client.snapshot("acme/shop", 7)).missing == ()
    snapshot = await client.snapshot("acme/shop", 7)
    assert snapshot.missing == ("checks: hidden",)
    assert len(snapshot.checks) == 1


async def test_an_issue_of_a_hidden_repository_blocks_nothing(client, stub) -> None:
    error = {
        "type": "NOT_FOUND",
        "path": ["repository", "pullRequest", "closingIssuesReferences", "nodes", 0],
    }
    stub.on("PullRequestSnapshot", stub.pull(errors=[error], closingIssuesReferences={"nodes": [None]}))
    snapshot = await client.snapshot("acme/shop", 7)
    assert (snapshot.closing_issues, snapshot.missing) == ((), ())


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
    error = {"type": "NOT_FOUND", "path": ["repository", "pullRequest"], "message": "Could not resolve"}
    stub.on("PullRequestSnapshot", {"data": {"repository": {"pullRequest": None}}, "errors": [error]})
    with pytest.raises(ForgeAccessError, match=r"acme/shop#7.*Could not resolve.*Checks: read"):
        await client.snapshot("acme/shop", 7)


@pytest.mark.parametrize(
    "field", ["id", "number", "url", "title", "state", "headRefOid", "headRefName", "baseRefName"]
)
def test_without_its_own_facts_there_is_no_snapshot(stub, field: str) -> None:
    with pytest.raises(ForgeUnavailableError, match=field):
        read(stub.pull(without=field))


def read(answer: dict, repository: str = "acme/shop"):
    return parse_snapshot(repository, answer["data"], answer.get("errors", []), NOW)


def connection(*nodes: object, after: str | None = None) -> dict[str, object]:
    return {"pageInfo": {"hasNextPage": after is not None, "endCursor": after}, "nodes": list(nodes)}


def comment(
    login: str | None, *, can_push: bool | None = True, association: str = "NONE"
) -> dict[str, object]:
    review = None if can_push is None else {"authorCanPushToRepository": can_push}
    author = {"login": login} if login else None
    return {"author": author, "body": "b", "authorAssociation": association, "pullRequestReview": review}


def thread(
    node_id: str, *comments: object, resolved: bool = False, line: int | None = 10
) -> dict[str, object]:
    return {
        "id": node_id,
        "path": "shop.py",
        "line": line,
        "originalLine": 8,
        "isResolved": resolved,
        "isOutdated": False,
        "comments": {"nodes": list(comments)},
    }


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "x", "CheckRun", "COMPLETED", "MERGED"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["nodes", "name", "a"]), inner)
    ),
    max_leaves=6,
)


def full_answer() -> dict:
    """An answer with something in every part."""
    check = {"__typename": "CheckRun", "name": "t", "status": "COMPLETED", "conclusion": "SUCCESS"}
    check |= {
        "checkSuite": {"databaseId": 1, "app": {"slug": "x"}, "workflowRun": {"workflow": {"name": "w"}}}
    }
    review = {"author": {"login": "mona"}, "state": "APPROVED", "commit": {"oid": HEAD}}
    pull = {"id": "1", "number": 7, "url": "u", "title": "t", "state": "OPEN", "isDraft": False}
    pull |= {"headRefOid": HEAD, "headRefName": "h", "baseRefName": "main", "mergeable": "MERGEABLE"}
    pull |= {"mergeStateStatus": "CLEAN", "reviewDecision": "APPROVED", "mergeCommit": {"oid": HEAD}}
    pull |= {"labels": {"nodes": [{"name": "bug"}]}, "latestOpinionatedReviews": connection(review)}
    pull |= {
        "closingIssuesReferences": {"nodes": [{"number": 3, "repository": {"nameWithOwner": "acme/shop"}}]}
    }
    pull |= {"reviewThreads": connection(thread("T", comment("mona")))}
    pull |= {"statusCheckRollup": {"commit": {"oid": HEAD}, "contexts": connection(check)}}
    return {"data": {"repository": {"nameWithOwner": "acme/shop", "pullRequest": pull}}}


def places(value: object, path: tuple = ()) -> list[tuple]:
    """Every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in inner for place in places(child, (*path, key)))]


PLACES = [place for place in places(full_answer()["data"]) if place]


@given(damage=st.lists(st.tuples(st.sampled_from(PLACES), JUNK), min_size=1, max_size=3))
def test_a_damaged_answer_never_crashes_the_reader(damage) -> None:
    data = copy.deepcopy(full_answer()["data"])
    for place, junk in damage:
        # Earlier damage may have taken the place away.
        with suppress(KeyError, IndexError, TypeError):
            target: Any = data
            for key in place[:-1]:
                target = target[key]
            target[place[-1]] = junk
    try:
        snapshot = parse_snapshot("acme/shop", data, [], NOW)
    except ForgeUnavailableError:
        return
    assert snapshot.mergeable in ("MERGEABLE", "CONFLICTING", "UNKNOWN")
    rollup = data["repository"]["pullRequest"].get("statusCheckRollup")
    if not snapshot.missing and rollup is not None:
        assert len(snapshot.checks) == len(rollup["contexts"]["nodes"])
