"""Which work branches may go: each witness that is missing keeps the branch."""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fakes import coding_task
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.housekeeping import RunSeen
from airflow_provider_agents.domain.outbound import pull_request_body
from airflow_provider_agents.domain.stale_branches import (
    ClosedWork,
    RunRecord,
    by_the_forge,
    by_the_record,
)

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
KEEP = timedelta(days=14)
LONG_AGO = NOW - timedelta(days=20)
HEAD = "a" * 40
TASK = coding_task()
BODY = pull_request_body("What it does", closes=7, footer="Opened by Airflow: DAG `coding_task`, run `run_1`")


def closed(**values: Any) -> ClosedWork:
    facts: dict[str, Any] = {
        "repository": "acme/shop",
        "repository_id": "R_1",
        "number": 7,
        "url": "https://forge.example/acme/shop/pull/7",
        "merged": False,
        "closed_at": LONG_AGO,
        "ours": True,
        "cross_repository": False,
        "branch": TASK.work_branch,
        "head_sha": HEAD,
        "branch_sha": HEAD,
        "open_pull_requests": 0,
        "body": BODY,
    }
    return ClosedWork(**(facts | values))


def record(**values: Any) -> RunRecord:
    facts: dict[str, Any] = {
        "run": RunSeen(state="failed", ended_at=LONG_AGO),
        "task": TASK.model_dump(mode="json"),
        "pull_request_number": 7,
        "heads": frozenset({"b" * 40, HEAD}),
    }
    return RunRecord(**(facts | values))


def decide(work: ClosedWork, left: RunRecord | None) -> tuple[str, str]:
    decision = by_the_forge(work, now=NOW, keep=KEEP) or by_the_record(work, left, now=NOW, keep=KEEP)
    return decision.action, decision.reason


def test_a_branch_for_which_all_witnesses_speak_goes() -> None:
    assert closed().origin == ("coding_task", "run_1")
    assert decide(closed(), record()) == (
        "delete",
        "https://forge.example/acme/shop/pull/7 was closed at 2026-01-11T12:00:00Z.",
    )
    assert "was merged at" in decide(closed(merged=True), record())[1]
    assert decide(closed(repository="Acme/Shop"), record())[0] == "delete"  # a forge has no case in names


def renamed(branch: str) -> dict[str, Any]:
    return {"branch": branch}


FORGED = "Opened by Airflow: DAG `coding_task`, run `run_2`"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (renamed("main"), "not one that the pipeline gives"),
        (renamed("ai/mine"), "not one that the pipeline gives"),
        (renamed("ai/task-12345678-b"), "not one that the pipeline gives"),
        (renamed("ai/issue--12345678"), "not one that the pipeline gives"),
        (renamed("feature/" + TASK.work_branch), "not one that the pipeline gives"),
        (renamed("ai/task-12345678"), "not the one in its name"),
        ({"branch_sha": None}, "gone already"),
        ({"ours": False}, "another account"),
        ({"cross_repository": True}, "another repository"),
        ({"open_pull_requests": 1}, "open pull request uses it"),
        ({"closed_at": None}, "is not closed"),
        ({"branch_sha": "b" * 40}, "has moved"),
        ({"closed_at": NOW - KEEP + timedelta(seconds=1)}, "kept in reach until"),
        ({"body": "Mine"}, "names no run"),
        ({"body": f"{BODY}\n{FORGED}"}, "not the one in its name"),
    ],
)
def test_what_the_forge_says_keeps_a_branch(values: dict[str, Any], reason: str) -> None:
    action, said = decide(closed(**values), record())
    assert (action, reason in said) == ("keep", True)


OTHER = coding_task(repository="acme/other").model_dump(mode="json")
NAMED = coding_task(work_branch=TASK.work_branch).model_dump(mode="json")
LEFT = coding_task(delete_branch=False).model_dump(mode="json")


@pytest.mark.parametrize(
    ("left", "reason"),
    [
        (None, "no record of the run"),
        (record(task={}), "did not make it"),
        (record(task=OTHER), "did not make it"),
        (record(pull_request_number=8), "did not make it"),
        (record(pull_request_number=None), "did not make it"),
        (record(task=NAMED), "chosen by a person"),
        (record(task=LEFT), "told to leave it"),
        (record(heads=frozenset()), "not pushed by a step"),
        (record(heads=frozenset({"b" * 40})), "not pushed by a step"),
        (record(run=RunSeen(state="running")), "Its run is running"),
        (record(run=RunSeen(state="failed")), "Its run is failed"),
        (record(run=RunSeen(state="failed", ended_at=NOW)), "kept in reach until"),
    ],
)
def test_what_the_record_says_keeps_a_branch(left: RunRecord | None, reason: str) -> None:
    action, said = decide(closed(), left)
    assert (action, reason in said) == ("keep", True)


@given(
    st.text(max_size=80), st.text(max_size=200), st.text(alphabet="0123456789abcdef", min_size=8, max_size=8)
)
def test_no_text_of_an_outsider_lets_a_branch_of_another_run_go(branch: str, body: str, digest: str) -> None:
    for name in (branch, f"ai/task-{digest}"):
        work = closed(branch=name, body=f"{body}\nOpened by Airflow: DAG `coding_task`, run `run_1`")
        if decide(work, record())[0] == "delete":
            assert name == TASK.work_branch


def test_the_digest_is_that_of_the_run_which_the_record_is_of() -> None:
    other = hashlib.sha256(b"coding_task/run_2").hexdigest()[:8]
    work = closed(branch=f"ai/task-{other}", body=FORGED)
    assert by_the_forge(work, now=NOW, keep=KEEP) is None
    # Somebody may name a branch and a run that fit each other: the record of that run does not know it.
    assert decide(work, record())[0] == "keep"
    assert decide(dataclasses.replace(work, branch_sha="c" * 40), record())[0] == "keep"
