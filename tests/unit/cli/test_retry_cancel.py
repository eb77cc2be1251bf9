"""``retry``, ``cancel`` and their bulk forms: what is cleared, what is not paid again, what colour it gets."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from airflow_provider_agents.cli.agent_runs import Task, moment
from airflow_provider_agents.cli.command import UsageError
from airflow_provider_agents.cli.retry import span_of, to_clear
from tests.unit.cli.fake_airflow import TIME, FakeAirflow, Fault

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Call

PLAN, IMPLEMENT, TEST = "plan.round_1.plan", "build.attempt_1.implement", "build.attempt_1.test"


def add_failed(airflow: FakeAirflow, run_id: str, number: int = 7, **values: object) -> None:
    """Add a run that failed while it implemented."""
    airflow.add_run(run_id, "failed", {"repository": "acme/shop", "issue_number": number}, **values)
    airflow.runs[run_id]["end_date"] = "2099-01-01T00:00:00+00:00"
    airflow.add_task(run_id, PLAN, "success", begin=1)
    airflow.add_task(run_id, "plan.round_2.plan", "skipped", begin=2)
    airflow.add_task(run_id, IMPLEMENT, "failed", begin=3)
    airflow.add_task(run_id, TEST, "upstream_failed", begin=4)
    airflow.add_task(run_id, "finish", "failed", begin=5)
    airflow.add_task(run_id, "report", "success", begin=6)
    airflow.downstream = {IMPLEMENT: [TEST], TEST: ["finish"], "finish": ["report"], PLAN: [IMPLEMENT]}


def cleared(airflow: FakeAirflow, run_id: str) -> set[str]:
    return {name for name, task in airflow.tasks[run_id].items() if task["state"] is None}


def test_what_failed_runs_again_and_what_was_paid_stays(airflow: FakeAirflow, call: Call) -> None:
    add_failed(airflow, "r")
    ended = call("retry", "acme/shop#7", "-o", "json")
    assert ended.code == 0
    assert json.loads(ended.out)["from"] == [IMPLEMENT]
    assert cleared(airflow, "r") == {IMPLEMENT, TEST, "finish", "report"}
    assert airflow.tasks["r"][PLAN]["state"] == "success"
    assert airflow.tasks["r"]["plan.round_2.plan"]["state"] == "skipped"
    assert airflow.runs["r"]["state"] == "queued"


def test_a_dry_run_changes_nothing(airflow: FakeAirflow, call: Call) -> None:
    add_failed(airflow, "r")
    ended = call("retry", "r", "--dry-run")
    assert "4 tasks would run again" in ended.out
    assert cleared(airflow, "r") == set()


def test_a_step_that_did_its_work_is_never_paid_again_unasked(airflow: FakeAirflow, call: Call) -> None:
    add_failed(airflow, "r")
    airflow.downstream[IMPLEMENT] = [PLAN]  # whatever the graph looks like
    ended = call("retry", "r")
    assert ended.code == 1
    assert f"{PLAN} would run and be paid again" in ended.err
    assert cleared(airflow, "r") == set()


def test_from_a_step_on(airflow: FakeAirflow, call: Call) -> None:
    add_failed(airflow, "r")
    assert call("retry", "r", "round_1.plan").code == 0
    assert cleared(airflow, "r") == {PLAN, IMPLEMENT, TEST, "finish", "report"}


@pytest.mark.parametrize(
    ("step", "words"), [("fix", "has no task fix"), ("plan", "means plan.round_1.plan, plan.")]
)
def test_a_step_that_is_none_or_several(airflow: FakeAirflow, call: Call, step: str, words: str) -> None:
    add_failed(airflow, "r")
    ended = call("retry", "r", step)
    assert ended.code == 2
    assert words in ended.err


def test_a_run_at_work_is_not_retried(airflow: FakeAirflow, call: Call) -> None:
    airflow.add_run("r", "running")
    ended = call("retry", "r")
    assert ended.code == 1
    assert "is at work" in ended.err


def test_nothing_failed(airflow: FakeAirflow, call: Call) -> None:
    airflow.add_run("r", "success")
    airflow.add_task("r", PLAN, "success")
    airflow.add_task("r", "finish", "success")
    assert "nothing failed" in call("retry", "r").err


def task(task_id: str, state: str, ended: int | None) -> Task:
    at = moment(TIME.format(ended)) if ended is not None else None
    return Task(task_id=task_id, state=state, ended_at=at, started_at=at)


@pytest.mark.parametrize(
    ("tasks", "roots"),
    [
        # cancelled while a step ran
        ([(IMPLEMENT, "failed", 9), (TEST, "skipped", 9), ("finish", "failed", 9)], [IMPLEMENT]),
        # cancelled between two steps
        ([(PLAN, "success", 1), (IMPLEMENT, "skipped", 9), ("finish", "failed", 9)], [IMPLEMENT]),
        # what a gate skipped before stays skipped
        (
            [("plan.round_2.plan", "skipped", 2), (IMPLEMENT, "skipped", 9), ("finish", "failed", 9)],
            [IMPLEMENT],
        ),
        # only the end failed
        ([(PLAN, "success", 1), ("finish", "failed", 9), ("report", "failed", 9)], ["finish"]),
        # cancelled on Airflow's page, before anything ran
        ([("accept", "skipped", 9), ("finish", "skipped", 9)], ["finish"]),
        ([(PLAN, "success", 1), ("finish", "success", 9)], []),
    ],
)
def test_from_where_a_run_goes_on(tasks: list[tuple[str, str, int]], roots: list[str]) -> None:
    assert to_clear([task(*each) for each in tasks]) == roots


# Cancelling


def test_a_cancelled_run_is_red_and_says_why(airflow: FakeAirflow, call: Call) -> None:
    airflow.add_run("r", "running", {"repository": "acme/shop", "issue_number": 7})
    airflow.add_task("r", IMPLEMENT, "deferred")
    airflow.add_task("r", "finish", None)
    ended = call("cancel", "#7", "--reason", "wrong ticket")
    assert (ended.code, ended.out) == (0, "r: cancelled\n")
    assert airflow.runs["r"]["state"] == "failed"
    assert airflow.runs["r"]["note"] == "Cancelled by `airflow agents cancel`: wrong ticket"
    # `finish` decides the colour: it has to have failed before Airflow skips what has not run.
    patches = [request.split("?")[0] for request in airflow.requests if request.startswith("PATCH")]
    assert [request.rpartition("/")[2] for request in patches] == ["finish", "r"]
    assert airflow.tasks["r"]["finish"]["state"] == "failed"
    assert "wrong ticket" in call("status", "r").out


def test_a_retry_takes_the_word_cancelled_away(airflow: FakeAirflow, call: Call) -> None:
    add_failed(airflow, "r", note="Cancelled by `airflow agents cancel`: wrong ticket")
    call("retry", "r")
    assert airflow.runs["r"]["note"] == "Retried after: Cancelled by `airflow agents cancel`: wrong ticket"


def test_cancel_needs_exactly_one_run_at_work(airflow: FakeAirflow, call: Call) -> None:
    conf = {"repository": "acme/shop", "issue_number": 7}
    airflow.add_run("old", "success", conf)
    ended = call("cancel", "#7")
    assert ended.code == 1
    assert "old is success" in ended.err
    airflow.add_run("r1", "running", conf)
    airflow.add_run("r2", "queued", conf)
    ended = call("cancel", "#7")
    assert ended.code == 1
    assert "  r1" in ended.err
    assert "  r2" in ended.err
    assert airflow.runs["r1"]["state"] == "running"


def test_a_run_that_is_deleted_while_it_is_cancelled(airflow: FakeAirflow, call: Call) -> None:
    airflow.add_run("r", "running")
    airflow.faults = [Fault("PATCH", 404)]
    ended = call("cancel", "r")
    assert ended.code == 1
    assert "was deleted in the meantime" in ended.err


def test_a_lost_answer_to_a_cancel_is_no_success(airflow: FakeAirflow, call: Call) -> None:
    airflow.add_run("r", "running")
    airflow.faults = [Fault("PATCH", 0)]
    assert call("cancel", "r").code == 3


# Several at once


def test_cancel_active(airflow: FakeAirflow, call: Call) -> None:
    airflow.add_run("a", "running", {"repository": "acme/shop"})
    airflow.add_run("b", "queued", {"repository": "acme/other"})
    airflow.add_run("c", "success", {"repository": "acme/shop"})
    states = {run_id: run["state"] for run_id, run in airflow.runs.items()}

    refused = call("cancel-active")
    assert refused.code == 2
    assert "give --yes" in refused.err
    dry = call("cancel-active", "--dry-run", "-o", "json")
    assert [row["run"] for row in json.loads(dry.out)] == ["b", "a"]
    assert {run_id: run["state"] for run_id, run in airflow.runs.items()} == states

    assert call("cancel-active", "--repository", "Acme/Shop", "--yes").code == 0
    assert {run_id: run["state"] for run_id, run in airflow.runs.items()} == states | {"a": "failed"}


@pytest.mark.parametrize(("typed", "state"), [("y\n", "failed"), ("n\n", "running"), ("", "running")])
def test_a_person_confirms(
    airflow: FakeAirflow, call: Call, monkeypatch: pytest.MonkeyPatch, typed: str, state: str
) -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(typed))
    airflow.add_run("a", "running")
    call("cancel-active")
    assert airflow.runs["a"]["state"] == state


def test_one_that_cannot_be_cancelled_does_not_keep_the_others(airflow: FakeAirflow, call: Call) -> None:
    for name in "abc":
        airflow.add_run(name, "running")
    airflow.faults = [Fault("PATCH .*/dagRuns/b", 403)]
    ended = call("cancel-active", "--yes", "-o", "json")
    assert ended.code == 1
    results = {row["run"]: row["result"].split(":")[0] for row in json.loads(ended.out)}
    assert results == {"a": "cancelled", "b": "failed", "c": "cancelled"}


def test_retry_failed_leaves_alone_what_is_history(airflow: FakeAirflow, call: Call) -> None:
    add_failed(airflow, "fails", 1)
    add_failed(airflow, "cancelled", 2, note="Cancelled by `airflow agents cancel`")
    add_failed(airflow, "superseded", 3)
    airflow.add_run("newer", "success", {"repository": "acme/shop", "issue_number": 3})
    add_failed(airflow, "brought")
    airflow.runs["brought"]["conf"] = {"repository": "acme/shop", "ticket_source": "s", "ticket_id": "I_5"}
    airflow.add_run("brought_again", "running", airflow.runs["brought"]["conf"])
    add_failed(airflow, "long_ago", 4)
    airflow.runs["long_ago"]["end_date"] = "2020-01-01T00:00:00+00:00"
    ended = call("retry-failed", "--yes", "-o", "json")
    assert ended.code == 0
    assert [row["run"] for row in json.loads(ended.out)] == ["fails"]
    assert "newer is a newer run of acme/shop#3" in ended.err
    assert cleared(airflow, "fails") == {IMPLEMENT, TEST, "finish", "report"}
    assert not any(cleared(airflow, name) for name in ("cancelled", "superseded", "brought", "long_ago"))


def test_retry_failed_of_one_repository(airflow: FakeAirflow, call: Call) -> None:
    add_failed(airflow, "r", 1)
    ended = call("retry-failed", "--yes", "--repository", "acme/other")
    assert (ended.code, ended.out) == (0, "There are none.\n")


@pytest.mark.parametrize(
    ("text", "span"), [("30m", timedelta(minutes=30)), ("24h", timedelta(days=1)), ("7d", timedelta(days=7))]
)
def test_spans_of_time(text: str, span: timedelta) -> None:
    assert span_of(text) == span


@pytest.mark.parametrize("text", ["", "24", "1w", "-1h", "0h", "1.5h", "h"])
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(UsageError, match="write it as"):
        span_of(text)
