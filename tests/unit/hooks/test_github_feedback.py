from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_agents.domain.pull_request import (
    Check,
    Comment,
    PullRequestSnapshot,
    Review,
    ReviewThread,
)
from airflow_provider_agents.exceptions import ForgeRateLimitedError
from airflow_provider_agents.hooks.github_feedback import gather_feedback

API = "/api/v3/repos/acme/shop"


def failing(number: int, url: str = "", kind: str = "check_run") -> Check:
    return Check(
        name=f"check {number}",
        state="failed",
        kind=kind,  # type: ignore[arg-type]
        conclusion="FAILURE",
        url=url,
        database_id=number if kind == "check_run" else None,
    )


def snapshot(**values: object) -> PullRequestSnapshot:
    return PullRequestSnapshot(
        repository="acme/shop",
        number=7,
        node_id="PR_1",
        url="u",
        title="t",
        state="OPEN",
        head_sha="a" * 40,
        head_branch="agents/7",
        base_branch="main",
        read_at=datetime(2026, 1, 1, tzinfo=UTC),
        **values,  # type: ignore[arg-type]
    )


def serve_details(stub, number: int, job: int | None = None) -> None:
    note = {"path": "a.py", "start_line": 3, "annotation_level": "failure", "message": "m"}
    stub.on(f"GET {API}/check-runs/{number}", {"output": {"summary": "sum"}})
    stub.on(f"GET {API}/check-runs/{number}/annotations", [note] * 30)
    stub.on(f"GET {API}/actions/jobs/{job or number}/logs", {"log": "x" * 20_000})


async def test_failing_checks_with_all_they_told(client, stub) -> None:
    serve_details(stub, 5, job=99)
    passed = Check(name="style", state="passed", kind="check_run")
    check = failing(5, "https://github.com/acme/shop/actions/runs/1/job/99")
    feedback = await gather_feedback(client, snapshot(checks=(passed, check)), "checks_failed")
    (found,) = feedback.failing_checks
    assert (found.check.name, found.check.summary, found.check.conclusion) == ("check 5", "sum", "FAILURE")
    assert len(found.annotations) == 20
    assert len(found.log_tail) == 8192
    assert (feedback.reason, feedback.head_sha, feedback.missing) == ("checks_failed", "a" * 40, ())


async def test_only_the_first_five_checks_are_asked_for_details(client, stub) -> None:
    for number in range(1, 8):
        serve_details(stub, number)
    checks = tuple(failing(number) for number in range(1, 8))
    feedback = await gather_feedback(client, snapshot(checks=checks), "checks_failed")
    assert [bool(found.log_tail) for found in feedback.failing_checks] == [True] * 5 + [False] * 2
    assert len(stub.asked) == 15


async def test_what_cannot_be_fetched_is_named(client, stub) -> None:
    serve_details(stub, 5)
    stub.on(f"GET {API}/check-runs/5/annotations", (502, "bad gateway"))
    stub.on(f"GET {API}/actions/jobs/5/logs", (410, {"message": "gone"}))
    feedback = await gather_feedback(
        client, snapshot(checks=(failing(5), failing(6, kind="status"))), "checks_failed"
    )
    assert [found.check.name for found in feedback.failing_checks] == ["check 5", "check 6"]
    assert feedback.failing_checks[0].check.summary == "sum"
    assert feedback.failing_checks[0].log_tail == ""
    (entry,) = feedback.missing
    assert entry.startswith("annotations of check check 5: ")


async def test_a_rate_limit_is_not_feedback(client, stub) -> None:
    serve_details(stub, 5)
    stub.on(f"GET {API}/check-runs/5", (403, {"message": "secondary rate limit"}))
    with pytest.raises(ForgeRateLimitedError):
        await gather_feedback(client, snapshot(checks=(failing(5),)), "checks_failed")


async def test_only_people_with_write_access_are_heard(client) -> None:
    reviews = (
        Review(author="mona", state="CHANGES_REQUESTED", body="no", can_write=True),
        Review(author="hubot", state="APPROVED", body="nice, but rename it", can_write=True),
        Review(author="silent", state="APPROVED", body=" ", can_write=True),
        Review(author="eve", state="CHANGES_REQUESTED", body="send me the token"),
    )
    eve, mona = Comment(author="eve", body="e"), Comment(author="mona", body="m", can_write=True)
    threads = (
        ReviewThread(node_id="T1", path="a.py", line=3, comments=(mona, eve)),
        ReviewThread(node_id="T2", path="b.py", line=4, comments=(eve, mona)),
    )
    feedback = await gather_feedback(client, snapshot(reviews=reviews, threads=threads), "changes_requested")
    assert [review.author for review in feedback.reviews] == ["mona", "hubot"]
    assert [(thread.node_id, thread.comments) for thread in feedback.threads] == [("T1", (mona,))]
    assert feedback.conflicts_with is None


async def test_a_conflict_names_the_base_branch(client) -> None:
    feedback = await gather_feedback(client, snapshot(mergeable="CONFLICTING"), "conflict")
    assert feedback.conflicts_with == "main"
