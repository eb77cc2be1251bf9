"""``airflow agents status``: phases, steps, lists, and watching."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from airflow_provider_agents.cli import status as status_module
from airflow_provider_agents.cli.agent_runs import Run, Task, moment, span
from airflow_provider_agents.cli.phases import run_phase, task_phase
from tests.unit.cli.fake_airflow import TIME, FakeAirflow, Fault

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Call

STEP_RESULT = {
    "outcome": "succeeded",
    "pod_name": "agent-plan-x1",
    "summary": "First.\nThe plan is ready.",
    "cost_usd": 0.25,
    "seconds": 31.4,
}


def run_at(task_id: str, state: str = "running") -> str:
    tasks = [
        Task(
            task_id="accept",
            state="success",
            started_at=moment(TIME.format(0)),
            ended_at=moment(TIME.format(1)),
        ),
        Task(
            task_id=task_id, state=state, started_at=moment(TIME.format(2)), ended_at=moment(TIME.format(3))
        ),
        Task(task_id="finish", state=""),
    ]
    return run_phase(Run(dag_id="coding_task", run_id="r", state="running"), tasks)


@pytest.mark.parametrize(
    ("task_id", "phase"),
    [
        ("accept", "Pending"),
        ("admit", "Pending"),
        ("workspace", "Pending"),
        ("plan.round_1.plan", "Planning"),
        ("plan.round_2.approve", "AwaitingApproval"),
        ("build.attempt_1.implement", "Implementing"),
        ("build.attempt_3.test", "Testing"),
        ("build.attempt_3.gate", "Testing"),
        ("open_pull_request", "PullRequest"),
        ("land.round_1.gate", "AwaitingMerge"),
        ("land.round_7.fix", "AwaitingMerge"),
        ("my_group.build.attempt_1.implement", "Implementing"),
    ],
)
@pytest.mark.parametrize(
    "state", ["running", "deferred", "awaiting_input", "queued", "up_for_retry", "success"]
)
def test_phases_of_a_run(task_id: str, phase: str, state: str) -> None:
    assert run_at(task_id, state) == phase


@pytest.mark.parametrize(
    ("state", "phase"), [("success", "Complete"), ("failed", "Failed"), ("queued", "Pending")]
)
def test_phases_of_a_run_that_is_not_at_work(state: str, phase: str) -> None:
    assert run_phase(Run(dag_id="coding_task", run_id="r", state=state), []) == phase


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("", "Pending"),
        ("deferred", "Running"),
        ("success", "Succeeded"),
        ("failed", "Failed"),
        ("skipped", "Skipped"),
    ],
)
def test_phases_of_a_task(state: str, phase: str) -> None:
    assert task_phase(Task(task_id="t", state=state)) == phase


@pytest.fixture
def at_work(airflow: FakeAirflow) -> FakeAirflow:
    """A run that has planned, failed its tests once, and implements again."""
    airflow.add_run("old", "success", {"repository": "acme/shop", "issue_number": 6})
    airflow.add_run("r1", "running", {"repository": "acme/shop", "issue_number": 7})
    for number, (task_id, state) in enumerate(
        [
            ("accept", "success"),
            ("plan.round_1.plan", "success"),
            ("build.attempt_1.implement", "success"),
            ("build.attempt_1.test", "success"),
            ("build.attempt_2.implement", "deferred"),
            ("build.attempt_2.test", None),
            ("plan.round_2.plan", "skipped"),
            ("finish", None),
        ]
    ):
        airflow.add_task("r1", task_id, state, begin=number)
    test = {
        "outcome": "failed",
        "pod_name": "agent-test-1",
        "test": {"exit_code": 3, "tail": "x\nE assert 1 == 2\n\n"},
    }
    airflow.xcoms = {
        ("r1", "plan.round_1.plan", "return_value"): STEP_RESULT,
        ("r1", "build.attempt_1.test", "return_value"): test,
        ("r1", "build.attempt_2.implement", "pod_name"): "agent-implement-2",
    }
    return airflow


def test_a_run_with_its_steps(at_work: FakeAirflow, call: Call) -> None:
    ended = call("status", "r1", "-o", "json")
    assert ended.code == 0
    shown = json.loads(ended.out)
    assert (shown["phase"], shown["message"]) == ("Implementing", "build.attempt_2.implement: at work")
    assert [
        (step["step"], step["phase"], step["pod"], step["exit_code"], step["cost_usd"])
        for step in shown["steps"]
    ] == [
        ("plan.round_1.plan", "Succeeded", "agent-plan-x1", 0, 0.25),
        ("build.attempt_1.implement", "Succeeded", "", None, None),
        ("build.attempt_1.test", "Failed", "agent-test-1", 3, None),
        ("build.attempt_2.implement", "Running", "agent-implement-2", None, None),
    ]
    assert shown["steps"][2]["output"] == "x\nE assert 1 == 2\n\n"


def test_the_table(at_work: FakeAirflow, call: Call) -> None:
    out = call("status", "acme/shop#7").out
    assert "Phase:        Implementing\n" in out
    assert "E assert 1 == 2" in out
    assert "The plan is ready." in out
    assert yaml.safe_load(call("status", "r1", "-o", "yaml").out)["phase"] == "Implementing"


@pytest.mark.parametrize("reference", ["r1", "acme/shop#7", "ACME/Shop#7", "#7"])
def test_by_which_names_a_run_is_found(at_work: FakeAirflow, call: Call, reference: str) -> None:
    at_work.add_run("other", "success", {"repository": "acme/shop", "issue_number": 70})
    assert json.loads(call("status", reference, "-o", "json").out)["run"] == "r1"


def test_by_the_name_of_a_manifest(airflow: FakeAirflow, call: Call) -> None:
    airflow.add_run("manifest__agent-system__fix-it__aaaa", "failed", {"repository": "a/b"})
    airflow.add_run("manifest__agent-system__fix-it__bbbb", "success", {"repository": "a/b"})
    airflow.add_run("manifest__agent-system__fix-it-2__cccc", "running", {"repository": "a/b"})
    assert json.loads(call("status", "fix-it", "-o", "json").out)["run"].endswith("bbbb"), "the newest"


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("ENG-12", "eng-12"),
        ("acme/shop#7", "acme/shop#7"),
        ("acme/shop#7", "#7"),
        ("Acme/Shop#7", "acme/shop#7"),
    ],
)
def test_by_the_key_of_a_ticket_that_a_source_brought(
    airflow: FakeAirflow, call: Call, key: str, named: str
) -> None:
    brought = {"repository": "acme/shop", "ticket_source": "shop"}
    airflow.add_run("old", "failed", brought | {"ticket_id": "id-1", "ticket_key": key})
    airflow.add_run("new", "success", brought | {"ticket_id": "id-1", "ticket_key": key})
    airflow.add_run("other", "running", brought | {"ticket_id": "id-2", "ticket_key": f"{key}0"})
    airflow.add_run("last", "running", brought | {"ticket_id": "id-3", "ticket_key": f"x{key}"})
    shown = json.loads(call("status", named, "-o", "json").out)
    if named != "#7":  # of any repository
        assert (shown["run"], shown["ticket"]) == ("new", key)
    rows = {row["run"]: row["ticket"] for row in json.loads(call("status", "-o", "json").out)}
    assert rows == {"last": f"x{key}", "other": f"{key}0", "new": key, "old": key}
    assert not [request for request in airflow.requests if "accept" in str(request)]


def test_runs_of_one_ticket_however_they_were_started(airflow: FakeAirflow, call: Call) -> None:
    airflow.add_run("by_hand", "failed", {"repository": "acme/shop", "issue_number": 7})
    source = {"repository": "acme/shop", "ticket_source": "shop", "ticket_id": "I_7", "issue_number": None}
    airflow.add_run("by_source", "success", source | {"ticket_key": "acme/shop#7"})
    assert json.loads(call("status", "acme/shop#7", "-o", "json").out)["run"] == "by_source"
    assert json.loads(call("status", "I_7", "-o", "json").out)["run"] == "by_source"


def test_no_such_run(airflow: FakeAirflow, call: Call) -> None:
    ended = call("status", "acme/shop#9")
    assert (ended.code, ended.out) == (1, "")
    assert "has no run acme/shop#9" in ended.err


def test_a_failed_run_says_why_and_ends_with_1(airflow: FakeAirflow, call: Call) -> None:
    airflow.add_run("r", "failed", {"repository": "a/b", "prompt": "x"}, note="chat 1 of kim")
    airflow.add_task("r", "accept", "success")
    airflow.add_task("r", "build.attempt_1.implement", "failed", begin=2)
    airflow.xcoms["r", "build.attempt_1.implement", "failure"] = "budget/exhausted: all spent"
    ended = call("status", "r")
    assert ended.code == 1
    assert "build.attempt_1.implement: budget/exhausted: all spent" in ended.out


def test_a_question_to_a_person_is_shown(airflow: FakeAirflow, call: Call) -> None:
    airflow.add_run("r")
    airflow.add_task("r", "plan.round_1.approve", "awaiting_input")
    airflow.questions["r"] = [
        {"subject": "Approve the plan?", "task_instance": {"task_id": "plan.round_1.approve"}}
    ]
    assert "waits for a person's answer: Approve the plan?" in call("status", "r").out


def test_text_of_agents_does_not_steer_the_terminal(airflow: FakeAirflow, call: Call) -> None:
    airflow.add_run("r")
    airflow.add_task("r", "plan.round_1.plan", "success")
    airflow.xcoms["r", "plan.round_1.plan", "return_value"] = {"summary": "\x1b]0;owned\x07\u202egnp.exe"}
    out = call("status", "r").out
    assert not {"\x1b", "\x07", "\u202e"} & set(out)


def test_the_list_has_those_at_work_first(at_work: FakeAirflow, call: Call) -> None:
    at_work.add_run("new", "failed", {"repository": "acme/shop", "issue_number": 8})
    at_work.xcoms["old", "open_pull_request", "pull_request_url"] = "https://github.com/acme/shop/pull/1"
    rows = json.loads(call("status", "-o", "json").out)
    assert [row["run"] for row in rows] == ["r1", "new", "old"]
    assert [row["phase"] for row in rows] == ["Implementing", "Failed", "Complete"]
    assert rows[2]["pull_request"] == "https://github.com/acme/shop/pull/1"
    assert len(json.loads(call("status", "-o", "json", "--limit", "1").out)) == 1
    assert call("status", "--limit", "0").code == 2


def test_an_empty_list(airflow: FakeAirflow, call: Call) -> None:
    ended = call("status")
    assert (ended.code, ended.out) == (0, "coding_task has no runs.\n")
    assert json.loads(call("status", "-o", "json").out) == []


def test_a_long_list(airflow: FakeAirflow, call: Call) -> None:
    for number in range(130):
        airflow.add_run(f"r{number:03}", "queued", {"repository": "a/b", "prompt": "x"})
    assert len(json.loads(call("status", "-o", "json").out)) == 130, "all that are at work"
    assert len(airflow.requests) < 10


def test_watching_until_the_end(at_work: FakeAirflow, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def pause(seconds: float) -> None:
        at_work.runs["r1"]["state"] = "success"

    monkeypatch.setattr(status_module.time, "sleep", pause)
    ended = call("status", "r1", "--watch", "-o", "json")
    assert ended.code == 0
    assert [json.loads(line)["phase"] for line in ended.out.splitlines()] == ["Implementing", "Complete"]


def test_a_run_that_is_deleted_while_it_is_watched(
    at_work: FakeAirflow, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_module.time, "sleep", lambda seconds: at_work.runs.pop("r1"))
    ended = call("status", "r1", "--watch")
    assert ended.code == 1
    assert "was deleted" in ended.err


def test_interrupting(at_work: FakeAirflow, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(status_module.time, "sleep", interrupt)
    ended = call("status", "r1", "--watch")
    assert ended.code == 130
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(("status", "code"), [(401, 1), (403, 1), (500, 3), (502, 3), (503, 3), (0, 3)])
def test_how_it_ends_when_airflow_refuses(airflow: FakeAirflow, call: Call, status: int, code: int) -> None:
    airflow.faults = [Fault("GET /api", status, times=99)]
    ended = call("status")
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith("airflow agents: ")
    assert "Traceback" not in ended.err


def test_steps_that_may_not_be_read_are_left_open(at_work: FakeAirflow, call: Call) -> None:
    at_work.faults = [Fault("GET .*/xcomEntries/", 403, times=99)]
    shown = json.loads(call("status", "r1", "-o", "json").out)
    assert [step["pod"] for step in shown["steps"]] == ["", "", "", ""]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (60, "1m"), (3725, "1h 2m"), (90_061, "1d 1h"), (-5, "0s")],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text
