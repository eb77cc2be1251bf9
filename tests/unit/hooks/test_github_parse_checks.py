"""Check runs and commit statuses: states, newest runs, and jobs that are still to come."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from tests.unit.hooks.answers import read


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


def test_moments(stub) -> None:
    run = stub.check_run("tests", startedAt="2026-01-01T10:00:00Z", completedAt="2026-01-01T10:05:00Z")
    running = stub.check_run("slow", None, startedAt="2026-01-01T10:01:00Z", completedAt=None)
    queued = stub.check_run("late", None, startedAt=None)
    odd = stub.check_run("odd", startedAt="yesterday", completedAt="2026-01-01T10:05:00")
    status = {"__typename": "StatusContext", "context": "ci", "createdAt": "2026-01-01T11:00:00Z"}
    nodes = [run, running, queued, odd, status | {"state": "SUCCESS"}, status | {"state": "PENDING"}]
    snapshot = read(stub.pull(statusCheckRollup=stub.rollup(nodes)))

    def at(hour: int, minute: int) -> datetime:
        return datetime(2026, 1, 1, hour, minute, tzinfo=UTC)

    assert [(check.started_at, check.completed_at) for check in snapshot.checks] == [
        (at(10, 0), at(10, 5)),
        (at(10, 1), None),
        (None, None),
        (None, None),
        (at(11, 0), at(11, 0)),
        (at(11, 0), None),
    ]
    assert snapshot.checks_changed_at == at(11, 0)


OPEN = {"status": "IN_PROGRESS"}
DONE = {"status": "COMPLETED"}


@pytest.mark.parametrize(
    ("runs", "to_come"),
    [
        ([("build", "SUCCESS", suite(1) | OPEN)], True),
        ([("build", "FAILURE", suite(1) | OPEN)], True),
        ([("build", "SUCCESS", suite(1) | {"status": "QUEUED"})], True),
        ([("build", "SUCCESS", suite(1) | DONE)], False),
        ([("build", "SUCCESS", suite(1))], False),
        # The shown job that runs says enough.
        ([("build", "SUCCESS", suite(1) | OPEN), ("test", None, suite(1) | OPEN)], False),
        # Suites of other apps are often never completed.
        ([("scan", "SUCCESS", suite(1, "codecov") | OPEN)], False),
        # A suite that a newer one of the same workflow took the place of.
        ([("old", "SUCCESS", suite(1) | OPEN), ("new", "SUCCESS", suite(2) | DONE)], False),
        ([("old", "SUCCESS", suite(1) | DONE), ("new", "SUCCESS", suite(2) | OPEN)], True),
        ([("a", "SUCCESS", suite(1, event="push") | OPEN), ("a", "SUCCESS", suite(2) | DONE)], True),
    ],
)
def test_jobs_that_need_others_are_awaited(stub, runs, to_come: bool) -> None:
    nodes = [
        stub.check_run(name, conclusion, number=i, checkSuite=origin)
        for i, (name, conclusion, origin) in enumerate(runs)
    ]
    checks = read(stub.pull(statusCheckRollup=stub.rollup(nodes))).checks
    assert [c.name for c in checks[len(runs) :]] == (["ci: further jobs"] if to_come else [])
    assert all(c.state == "pending" and c.kind == "check_run" for c in checks[len(runs) :])


def test_many_checks_are_read_quickly(stub) -> None:
    """The reading of one pull request must not hold up the event loop of a triggerer."""
    nodes = [stub.check_run(f"check {i}", number=i, checkSuite=suite(i % 7)) for i in range(2000)]
    begun = time.process_time()
    assert len(read(stub.pull(statusCheckRollup=stub.rollup(nodes))).checks) == 2000
    assert time.process_time() - begun < 0.5
