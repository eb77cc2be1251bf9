"""The end of a run: its colour is the truth, and the report always comes."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import URL, GitHub, TaskInstance, accepted, context, issue

from airflow_provider_agents.exceptions import ForgeUnavailableError, TaskStoppedError
from airflow_provider_agents.operators.finish import FinishOperator, ReportOperator, RunTasks

TASKS = RunTasks(
    accept="accept",
    workspace="workspace",
    open_pull_request="open",
    steps=("plan", "a1.implement", "a1.test", "a2.implement", "r1.fix"),
    gates=("a1.gate", "r1.gate", "r2.gate"),
)
DONE = {"verdict": "done", "message": "It is merged."}
RECORD = {"task": "t", "repository": "acme/shop", "step": "fix", "program": "claude", "day": "2026-01-02"}


@pytest.fixture(autouse=True)
def github(monkeypatch: pytest.MonkeyPatch) -> GitHub:
    github = GitHub().install(monkeypatch)
    github.issues[3] = issue()
    return github


def merged_run(**changes: Any) -> TaskInstance:
    xcoms = {
        "accept:return_value": accepted(issue_number=3),
        "open:return_value": {"number": 7, "url": URL},
        "a1.implement:return_value": {"seconds": 9},
        "a1.implement:ledger": [{"pod": "p1", "usd": 0.3, "state": "settled"} | RECORD],
        "a2.implement:ledger": [{"pod": "p0", "usd": 0.2, "state": "settled"} | RECORD],
        "r1.fix:return_value": {"seconds": 1},
        "r1.fix:ledger": [{"pod": "p2", "usd": 0.25, "state": "settled"} | RECORD],
        "r1.gate:decision": {"verdict": "fix", "message": "m"},
        "r2.gate:decision": DONE,
    }
    return TaskInstance("finish", xcoms=xcoms | changes)


def failed_run(task: str, failure: str | None) -> TaskInstance:
    ti = merged_run(**{"r2.gate:decision": None, f"{task}:failure": failure})
    ti.states = {"accept": "success", "r2.gate": "upstream_failed", task: "failed"}
    return ti


def finish(ti: TaskInstance) -> Any:
    return FinishOperator(task_id="finish", tasks=TASKS).execute(context(ti))


def test_a_merged_run_closes_its_ticket(github: GitHub) -> None:
    ti = merged_run()
    assert finish(ti) == {"outcome": "merged", "pull_request_url": URL}
    assert github.done == ["close acme/shop#3"]
    assert ti.pushed["pull_request_url"] == URL


def test_what_a_gate_decided_before_a_clear_does_not_count(github: GitHub) -> None:
    ti = merged_run(**{"plan:failure": "The agent failed."})
    ti.states = {
        "accept": "success",
        "plan": "failed",
        "r1.gate": "upstream_failed",
        "r2.gate": "upstream_failed",
    }
    with pytest.raises(TaskStoppedError, match=r"plan: The agent failed\."):
        finish(ti)
    assert github.done == []


def test_a_run_without_a_ticket_tells_nobody(github: GitHub) -> None:
    finish(merged_run(**{"accept:return_value": accepted()}))
    assert github.done == []


@pytest.mark.parametrize(
    ("task", "failure", "reason"),
    [
        (
            "accept",
            "Invalid input:\n- repository: is archived",
            "accept: Invalid input:\n- repository: is archived",
        ),
        ("a1.gate", "The tests still fail.", "a1.gate: The tests still fail."),
        ("r1.gate", "It was closed.", "r1.gate: It was closed."),
        ("plan", None, "plan: failed; see its log"),
    ],
)
def test_any_other_end_is_red_with_the_reason(
    github: GitHub, task: str, failure: str | None, reason: str
) -> None:
    with pytest.raises(TaskStoppedError) as caught:
        finish(failed_run(task, failure))
    assert str(caught.value) == reason
    assert github.done == []


def test_a_run_that_nobody_can_explain_is_red_too() -> None:
    with pytest.raises(TaskStoppedError, match="ended without a merged pull request"):
        finish(merged_run(**{"r2.gate:decision": None}))


def test_an_outage_while_closing_is_left_to_the_retries(github: GitHub) -> None:
    github.issues[3] = ForgeUnavailableError("502")
    with pytest.raises(ForgeUnavailableError):
        finish(merged_run())
    assert FinishOperator(task_id="f", tasks=TASKS).retries == 3


def test_the_report_of_a_merged_run(capsys: pytest.CaptureFixture[str]) -> None:
    report = ReportOperator(task_id="report", tasks=TASKS).execute(context(merged_run()))
    assert report["outcome"] == "merged"
    assert (report["attempts"], report["rounds"], report["cost_usd"]) == (1, 1, 0.75)
    assert report["pull_request_url"] == URL
    assert "Outcome:      merged" in capsys.readouterr().out


def test_the_report_of_a_failed_run_does_not_fail() -> None:
    report = ReportOperator(task_id="report", tasks=TASKS).execute(context(failed_run("a1.gate", "Red.")))
    assert (report["outcome"], report["reason"]) == ("not merged", "a1.gate: Red.")


def test_the_report_of_a_run_that_never_began() -> None:
    report = ReportOperator(task_id="report", tasks=TASKS).execute(context(TaskInstance("report")))
    assert (report["outcome"], report["cost_usd"], report["pull_request_url"]) == ("not merged", 0, None)
