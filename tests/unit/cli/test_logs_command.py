"""``airflow agents logs``: every line once, across tries, as steps start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.cli import command as command_module
from airflow_provider_agents.cli import logs as logs_module
from airflow_provider_agents.cli.logs import is_meant
from tests.unit.cli.fake_airflow import FakeAirflow, Fault

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Call

PLAN, IMPLEMENT = "plan.round_1.plan", "build.attempt_1.implement"


def event(text: str, **values: Any) -> dict[str, Any]:
    return {"event": text, "level": "info", **values}


@pytest.fixture
def two_steps(airflow: FakeAirflow) -> FakeAirflow:
    airflow.add_run("r", "running")
    airflow.add_task("r", PLAN, "success", begin=1)
    airflow.add_task("r", IMPLEMENT, "deferred", begin=2)
    airflow.add_task("r", "finish", None)
    airflow.logs["r", PLAN, 1] = [event("p1"), event("p2")]
    airflow.logs["r", IMPLEMENT, 1] = [event("i1")]
    return airflow


def test_all_steps_in_their_order(two_steps: FakeAirflow, call: Call) -> None:
    ended = call("logs", "r")
    assert ended.code == 0
    assert ended.out == f"── {PLAN}, try 1\np1\np2\n\n── {IMPLEMENT}, try 1\ni1\n"


@pytest.mark.parametrize("step", [PLAN, "plan", "round_1.plan", "plan.round_1"])
def test_one_step(two_steps: FakeAirflow, call: Call, step: str) -> None:
    assert call("logs", "r", step).out == f"── {PLAN}, try 1\np1\np2\n"


def test_a_step_that_has_not_run(two_steps: FakeAirflow, call: Call) -> None:
    ended = call("logs", "r", "fix")
    assert ended.code == 1
    assert f"those that have: {PLAN}, {IMPLEMENT}" in ended.err


def test_earlier_tries_come_first(airflow: FakeAirflow, call: Call) -> None:
    airflow.add_run("r", "failed")
    airflow.add_task("r", PLAN, "failed", try_number=3)
    for number in (1, 3):
        airflow.logs["r", PLAN, number] = [event(f"try {number} said")]
    out = call("logs", "r").out
    assert out == f"── {PLAN}, try 1\ntry 1 said\n\n── {PLAN}, try 3\ntry 3 said\n"


def test_following_shows_each_line_once_until_the_run_ends(
    two_steps: FakeAirflow, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow, log, looks = two_steps, two_steps.logs["r", IMPLEMENT, 1], []
    fix = "land.round_1.fix"

    def pause(seconds: float) -> None:
        looks.append(seconds)
        task = airflow.tasks["r"][IMPLEMENT]
        match len(looks):
            case 1:
                log.append(event("i2"))
            case 2:  # it is tried again
                task["state"] = "up_for_retry"
                log.append(event("i3: lost"))
            case 3:
                task.update(state="running", try_number=2)
                airflow.logs["r", IMPLEMENT, 2] = [event("j1")]
            case 4:  # a person is asked: Airflow gives no token, though it goes on
                task["state"] = "awaiting_input"
                airflow.logs["r", IMPLEMENT, 2].append(event("j2"))
            case 5:
                task["state"] = "running"
                airflow.logs["r", IMPLEMENT, 2].append(event("j3"))
            case 6:
                airflow.logs["r", IMPLEMENT, 2].append(event("j4"))
                task["state"] = "success"
                airflow.add_task("r", fix, "running", begin=9)
                airflow.logs["r", fix, 1] = [event("f1")]
            case 7:
                airflow.logs["r", fix, 1].append(event("f2"))
                airflow.tasks["r"][fix]["state"] = "success"
                airflow.runs["r"]["state"] = "success"

    monkeypatch.setattr(logs_module.time, "sleep", pause)
    ended = call("logs", "r", "-f")
    assert ended.code == 0
    lines = [line for line in ended.out.splitlines() if line and not line.startswith("──")]
    assert lines == ["p1", "p2", "i1", "i2", "i3: lost", "j1", "j2", "j3", "j4", "f1", "f2"]
    assert len(looks) == 7


def test_a_step_that_starts_later_is_followed(
    two_steps: FakeAirflow, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pause(seconds: float) -> None:
        two_steps.add_task("r", "land.round_1.fix", "success", begin=9)
        two_steps.logs["r", "land.round_1.fix", 1] = [event("f1")]
        two_steps.runs["r"]["state"] = "failed"

    monkeypatch.setattr(logs_module.time, "sleep", pause)
    assert call("logs", "r", "fix", "-f").out == "── land.round_1.fix, try 1\nf1\n"


def test_what_lines_look_like(airflow: FakeAirflow, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    import time

    time.tzset()
    airflow.add_run("r", "success")
    airflow.add_task("r", PLAN, "success")
    airflow.logs["r", PLAN, 1] = [
        event("one", timestamp="2026-11-21T10:00:01Z"),
        event("bad", level="error", error_detail=[{"exc_type": "ValueError", "exc_value": "no"}]),
        event("::group::Set-up"),
        event("inside"),
        event("::endgroup::"),
        event("\x1b[31mred\x1b[0m"),
        "plain text",
    ]
    lines = call("logs", "r").out.splitlines()
    assert lines[1:] == [
        "10:00:01 one", "ERROR bad", "ValueError: no", "Set-up", "inside", "�[31mred�[0m", "plain text",
    ]  # fmt: skip


def test_a_log_that_is_not_there_yet(two_steps: FakeAirflow, call: Call) -> None:
    two_steps.faults = [Fault(f"GET .*{IMPLEMENT}/logs", 404)]
    ended = call("logs", "r")
    assert (ended.code, "i1" in ended.out) == (0, False)


def test_a_run_that_is_deleted_meanwhile(
    two_steps: FakeAirflow, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs_module.time, "sleep", lambda seconds: two_steps.runs.pop("r"))
    ended = call("logs", "r", "-f")
    assert ended.code == 1
    assert "was deleted" in ended.err


def test_a_reader_that_has_seen_enough(
    two_steps: FakeAirflow, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[int] = []

    def broken(text: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(logs_module, "clean", broken)
    monkeypatch.setattr(command_module, "_no_output", lambda: closed.append(1))
    ended = call("logs", "r")
    assert (ended.code, closed) == (0, [1])
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("task_id", "step", "meant"),
    [
        ("build.attempt_1.test", "", True),
        ("build.attempt_1.test", "test", True),
        ("build.attempt_1.test", "build", True),
        ("build.attempt_1.test", "attempt_1", True),
        ("build.attempt_1.test", "est", False),
        ("build.attempt_1.test", "attempt", False),
        ("build.attempt_10.test", "attempt_1", False),
    ],
)
def test_which_step_is_meant(task_id: str, step: str, meant: bool) -> None:
    assert is_meant(task_id, step) == meant
