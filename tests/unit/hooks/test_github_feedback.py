from __future__ import annotations

from datetime import UTC, datetime

import pytest
from aiohttp import web

from airflow_provider_agents.domain import job_log
from airflow_provider_agents.domain.commands import Command
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
    stub.on(f"GET {API}/check-runs/{number}", {"output": {"summary": "sum", "text": "more"}})
    stub.on(f"GET {API}/check-runs/{number}/annotations", [note] * 30)
    log = "##[error]it broke\n" + "fine\n" * 4_000
    stub.on(f"GET {API}/actions/jobs/{job or number}/logs", text_of(log))


def text_of(text: str):
    async def reply(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text)

    return reply


async def test_failing_checks_with_all_they_told(client, stub) -> None:
    serve_details(stub, 5, job=99)
    passed = Check(name="style", state="passed", kind="check_run")
    check = failing(5, "https://github.com/acme/shop/actions/runs/1/job/99")
    feedback = await gather_feedback(client, snapshot(checks=(passed, check)), "checks_failed")
    (found,) = feedback.failing_checks
    assert (found.check.name, found.check.summary, found.check.conclusion) == (
        "check 5",
        "sum\n\nmore",
        "FAILURE",
    )
    assert len(found.annotations) == 20
    assert found.log_matches == ("##[error]it broke",)
    assert found.log_excerpt.startswith("##[error]it broke\nfine\n")
    assert len(found.log_tail.encode()) <= 8192
    assert (feedback.reason, feedback.head_sha, feedback.missing) == ("checks_failed", "a" * 40, ())


async def test_only_the_first_eight_checks_are_asked_for_details(client, stub) -> None:
    for number in range(1, 11):
        serve_details(stub, number)
    checks = tuple(failing(number) for number in range(1, 11))
    feedback = await gather_feedback(client, snapshot(checks=checks), "checks_failed")
    assert [bool(found.log_tail) for found in feedback.failing_checks] == [True] * 8 + [False] * 2
    assert len(stub.asked) == 24


async def test_addresses_that_others_give_are_not_fetched(client, stub, other_host) -> None:
    """Not with the credential, and not without; an address of a job is asked for at GitHub's own API."""
    serve_details(stub, 5)
    other_host.on("GET /build/1", {"log": "x"})
    own = f"{stub.url}/acme/shop/secret"
    statuses = (
        failing(1, f"{other_host.url}/build/1", kind="status"),
        failing(2, own, kind="status"),
        failing(3, f"{other_host.url}/actions/runs/1/job/5", kind="status"),
    )
    found = (await gather_feedback(client, snapshot(checks=statuses), "checks_failed")).failing_checks
    assert [check.log_matches for check in found] == [(), (), ("##[error]it broke",)]
    assert other_host.asked == []
    assert [asked.path for asked in stub.asked] == [f"{API}/actions/jobs/5/logs"]


async def test_another_app_is_not_asked_for_a_log_of_actions(client, stub) -> None:
    serve_details(stub, 5)
    check = failing(5, "https://ci.example.com/5")
    (found,) = (await gather_feedback(client, snapshot(checks=(check,)), "checks_failed")).failing_checks
    assert found.check.summary
    assert found.log_tail == ""
    assert stub.times(f"GET {API}/actions/jobs/5/logs") == 0


async def test_a_log_that_is_too_long_is_named(client, stub, monkeypatch) -> None:
    monkeypatch.setattr(job_log, "MOST_READ_BYTES", 1_000)
    serve_details(stub, 5)
    feedback = await gather_feedback(client, snapshot(checks=(failing(5),)), "checks_failed")
    assert feedback.missing == ("the end of the log of check check 5: the log is too long",)


async def test_what_cannot_be_fetched_is_named(client, stub) -> None:
    serve_details(stub, 5)
    stub.on(f"GET {API}/check-runs/5/annotations", (502, "bad gateway"))
    stub.on(f"GET {API}/actions/jobs/5/logs", (410, {"message": "gone"}))
    feedback = await gather_feedback(
        client, snapshot(checks=(failing(5), failing(6, kind="status"))), "checks_failed"
    )
    assert [found.check.name for found in feedback.failing_checks] == ["check 5", "check 6"]
    assert feedback.failing_checks[0].check.summary == "sum\n\nmore"
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
        Review(author="me", state="CHANGES_REQUESTED", body="my own", can_write=True, own=True),
    )
    eve, mona = Comment(author="eve", body="e"), Comment(author="mona", body="m", can_write=True)
    ours = Comment(author="me", body="o", can_write=True, own=True)
    threads = (
        ReviewThread(node_id="T1", path="a.py", line=3, comments=(mona, eve)),
        ReviewThread(node_id="T2", path="b.py", line=4, comments=(eve, mona)),
        ReviewThread(node_id="T3", path="b.py", line=4, comments=(ours, mona)),
    )
    feedback = await gather_feedback(client, snapshot(reviews=reviews, threads=threads), "changes_requested")
    assert [review.author for review in feedback.reviews] == ["mona", "hubot"]
    assert [(thread.node_id, thread.comments) for thread in feedback.threads] == [("T1", (mona,))]
    assert feedback.conflicts_with is None


async def test_threads_that_await_an_answer_come_first(client) -> None:
    mona = Comment(author="mona", body="m", can_write=True)
    threads = tuple(
        ReviewThread(node_id=f"PRRT_{n}", path="a.py", line=n, comments=(mona,)) for n in range(1, 36)
    )
    review = Review(author="mona", state="CHANGES_REQUESTED", body="no", can_write=True)
    answered = frozenset({*(thread.key for thread in threads[:33]), review.key, "gone"})
    found = await gather_feedback(
        client, snapshot(threads=threads, reviews=(review,)), "changes_requested", answered=answered
    )
    assert found.thread_labels == {"T1": "PRRT_34", "T2": "PRRT_35"}
    assert len(found.threads) == 30
    assert found.threads_left == 5
    assert found.answered_before == answered - {"gone"}


async def test_commands_that_are_for_the_round(client) -> None:
    commands = [
        Command(name=name, text=f"{name} text", author="mona", key=f"IC_{name}")
        for name in ("tell", "merge", "retry", "explain")
    ]
    found = await gather_feedback(client, snapshot(), "told", commands=commands)
    assert [command.name for command in found.instructions] == ["tell", "retry"]
    assert found.answered_keys == ("IC_tell", "IC_retry")


async def test_a_conflict_names_the_base_branch_and_the_files(client, stub) -> None:
    head = "a" * 40
    stub.on(f"GET {API}/compare/main...{head}", {"files": [{"filename": "a.py"}, {"filename": "b.py"}]})
    stub.on(f"GET {API}/compare/{head}...main", {"files": [{"filename": "b.py"}]})
    feedback = await gather_feedback(client, snapshot(mergeable="CONFLICTING"), "conflict")
    assert feedback.conflicts_with == "main"
    assert feedback.conflict_files == ("b.py",)


async def test_a_conflict_without_its_files_is_still_one(client) -> None:
    feedback = await gather_feedback(client, snapshot(mergeable="CONFLICTING"), "conflict")
    assert feedback.conflicts_with == "main"
    (entry,) = feedback.missing
    assert entry.startswith("the conflicting files: ")


OWN = "0" * 40


async def test_commits_of_others_after_our_last(client, stub) -> None:
    commit = {"sha": "b" * 40, "author": {"login": "mona"}, "commit": {"message": "By hand"}}
    stub.on(f"GET {API}/compare/{OWN}...{'a' * 40}", {"commits": [commit]})
    known = {"own_heads": frozenset({OWN}), "since": OWN}
    found = await gather_feedback(client, snapshot(), "checks_failed", **known)
    assert [(c.author, c.title) for c in found.pushed_by_others] == [("mona", "By hand")]


@pytest.mark.parametrize(
    "known",
    [{}, {"own_heads": frozenset({"a" * 40, OWN}), "since": "a" * 40}, {"own_heads": frozenset({OWN})}],
)
async def test_where_nobody_else_pushed_nothing_is_compared(client, stub, known) -> None:
    found = await gather_feedback(client, snapshot(), "checks_failed", **known)
    assert found.pushed_by_others == ()
    assert stub.asked == []


async def test_a_head_of_ours_that_is_gone_is_named(client) -> None:
    known = {"own_heads": frozenset({OWN}), "since": OWN}
    found = await gather_feedback(client, snapshot(), "checks_failed", **known)
    (entry,) = found.missing
    assert entry.startswith("the commits that others pushed after 000000000000: ")
