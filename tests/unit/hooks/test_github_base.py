"""What fails on the base branch too: asked when it matters, once for a branch, and never guessed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.hooks.answers import error


def failing(stub: Any, *names: str, **fields: Any) -> dict[str, Any]:
    runs = [stub.check_run(name, "FAILURE", number=i) for i, name in enumerate(names, 1)]
    return stub.pull(statusCheckRollup=stub.rollup(runs), **fields)


def tip(rollup: object) -> dict[str, Any]:
    return {"ref": {"target": {"statusCheckRollup": rollup}}}


def several(*answers: dict[str, Any]) -> dict[str, Any]:
    return {"data": {f"pull{i}": answer["data"]["pull0"] for i, answer in enumerate(answers)}}


async def test_names_that_fail_on_the_base_branch(client, stub) -> None:
    stub.on("PullRequestSnapshot", failing(stub, "tests", "docs"))
    suite = {"app": {"slug": "github-actions"}, "workflowRun": {"event": "push", "workflow": {"name": "ci"}}}
    status = {"__typename": "StatusContext", "context": "lint", "state": "ERROR"}
    nodes = [
        stub.check_run("tests", "FAILURE"),
        status,
        stub.check_run("fine", "SUCCESS"),
        stub.check_run("runs", None),
        stub.check_run("again", "FAILURE", checkSuite=suite | {"databaseId": 1}),
        stub.check_run("again", "SUCCESS", checkSuite=suite | {"databaseId": 2}),
        None,
    ]
    stub.on("BaseChecks", {"data": {"base0": tip(stub.rollup(nodes))}})
    snapshot = await client.snapshot("acme/shop", 7)
    assert snapshot.failing_on_base == {"tests", "lint"}
    assert snapshot.degraded == ()
    assert stub.asked[-1].body["variables"] == {"owner0": "acme", "name0": "shop", "ref0": "refs/heads/main"}


@pytest.mark.parametrize(
    ("fields", "conclusions"),
    [
        ({}, ["SUCCESS"]),
        ({}, []),
        # While a check runs there is nothing to decide.
        ({}, ["FAILURE", None]),
        ({"state": "MERGED"}, ["FAILURE"]),
        ({"state": "CLOSED"}, ["FAILURE"]),
    ],
)
async def test_it_is_not_asked_where_it_does_not_matter(client, stub, fields, conclusions) -> None:
    runs = [stub.check_run(f"check {i}", conclusion) for i, conclusion in enumerate(conclusions)]
    stub.on("PullRequestSnapshot", stub.pull(statusCheckRollup=stub.rollup(runs), **fields))
    snapshot = await client.snapshot("acme/shop", 7)
    assert snapshot.failing_on_base is None
    assert snapshot.degraded == ()
    assert stub.times("BaseChecks") == 0


async def test_a_branch_is_read_once_for_all_pull_requests_into_it(client, stub) -> None:
    stub.on(
        "PullRequestSnapshot",
        several(
            failing(stub, "tests"),
            failing(stub, "tests", number=8),
            failing(stub, "tests", number=9, baseRefName="v1"),
            stub.pull(number=10),
        ),
    )
    red = tip(stub.rollup([stub.check_run("tests", "FAILURE")]))
    stub.on("BaseChecks", {"data": {"base0": red, "base1": tip(None)}})
    found = await client.snapshots([("acme/shop", number) for number in (7, 8, 9, 10)])
    assert [s.failing_on_base for s in found.values()] == [{"tests"}, {"tests"}, frozenset(), None]
    assert stub.times("BaseChecks") == 1
    variables = stub.asked[-1].body["variables"]
    assert [variables[f"ref{i}"] for i in range(2)] == ["refs/heads/main", "refs/heads/v1"]
    assert "ref2" not in variables


FORBIDDEN = error("x") | {"path": ["base0", "ref", "target", "statusCheckRollup"]}


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ({"data": {"base0": None}}, "no such object"),
        ({"data": {"base0": {"ref": None}}}, "acme/shop has no branch main"),
        ({"data": {"base0": tip(None)}, "errors": [FORBIDDEN]}, "Resource not accessible by integration"),
        ({"data": {"base0": tip({"contexts": None})}}, "not in the answer"),
        ({"data": {"base0": {"ref": {"target": None}}}}, "not in the answer"),
        ((502, {"message": "Bad Gateway"}), "Bad Gateway"),
        ((403, {"message": "Slow down"}, {"Retry-After": "60"}), "rate limit"),
    ],
)
async def test_where_it_cannot_be_read_the_snapshot_says_why(client, stub, base, words: str) -> None:
    stub.on("PullRequestSnapshot", failing(stub, "tests"))
    stub.on("BaseChecks", base)
    snapshot = await client.snapshot("acme/shop", 7)
    assert snapshot.failing_on_base is None
    (note,) = snapshot.degraded
    assert note.startswith("base checks: ")
    assert words in note
    assert (snapshot.missing, snapshot.refused) == ((), ())


async def test_more_checks_than_were_read_are_said(client, stub) -> None:
    stub.on("PullRequestSnapshot", failing(stub, "tests"))
    base = tip(stub.rollup([stub.check_run("tests", "FAILURE")], after="c100"))
    stub.on("BaseChecks", {"data": {"base0": base}})
    snapshot = await client.snapshot("acme/shop", 7)
    assert snapshot.failing_on_base == {"tests"}
    assert snapshot.degraded == ("base checks: there are more than the 100 that were read",)
