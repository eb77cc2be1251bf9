"""The task ``admit``: places are taken and given back, whatever happens to the runs and to Airflow."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError

from airflow_provider_agents.domain.capacity_ledger import LEDGER_VARIABLE
from airflow_provider_agents.domain.pools import ADMISSION_POOL
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.operators.admit import AdmitOperator
from airflow_provider_agents.operators.capacity_records import read_capacity
from tests.unit.operators.capacity_world import DAG_ID, TaskInstance, World

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("AIRFLOW__AGENTS__MAX_RUNS", "2")
    monkeypatch.setenv("AIRFLOW__AGENTS__MAX_RUNS_PER_REPOSITORY", "2")
    return World(monkeypatch)


def runs(world: World, *names: str, **request: object) -> None:
    """Trigger runs a minute apart, and let each come to its admission."""
    for name in names:
        world.start(name, **request)
        world.admit(name)
        world.clock.pass_minutes(1)


def test_runs_start_up_to_the_cap_and_the_others_wait_in_order(world: World) -> None:
    runs(world, "a", "b", "c", "d")
    assert world.working() == {"a", "b"}
    assert world.position("c") == {
        "number": 1,
        "of": 1,
        "wait_seconds": None,
        "why": "this installation has 2 of 2 runs at work",
        "until": None,
        "text": "waiting: 1st of 1",
    }
    assert world.position("d")["text"] == "waiting: 2nd of 2"


def test_a_run_that_may_start_says_how_long_it_waited(world: World) -> None:
    runs(world, "a", "b", "c")
    world.end("a")
    world.clock.pass_minutes(5)
    assert world.admit("c") == {"admitted_at": "2026-01-05T12:08:00+00:00", "waited_seconds": 360}


@pytest.mark.parametrize(
    "how", ["pull request", "failed", "success", "skipped", "upstream_failed", "deleted"]
)
def test_a_place_is_given_back(world: World, how: str) -> None:
    runs(world, "a", "b", "c")
    assert world.admit("c") is None
    if how == "pull request":
        world.open_pull_request("a")
    elif how == "deleted":
        del world.runs["a"]
    else:
        world.end("a", how)
    assert world.admit("c") is not None
    assert world.working() == {"b", "c"}


def test_nobody_overtakes(world: World) -> None:
    runs(world, "a", "b", "c", "d")
    world.end("a")
    assert world.admit("d") is None
    assert world.admit("c") is not None
    assert world.admit("d") is None


def test_a_run_that_does_not_come_is_passed_over(world: World) -> None:
    runs(world, "a", "b", "c", "d")
    world.end("a")
    assert world.admit("d", {"status": "turn", "passed": [f"{DAG_ID}/c"]}) is not None
    assert world.admit("c") is None


@pytest.mark.parametrize("state", ["failed", "skipped", "removed", "gone"])
def test_a_run_that_is_killed_leaves_the_line(world: World, state: str) -> None:
    runs(world, "a", "b", "c", "d")
    if state == "gone":
        del world.runs["c"]
    else:
        world.runs["c"]["admit"] = state
    assert world.admit("d") is None
    assert world.position("d")["text"] == "waiting: 1st of 1"


def test_a_person_who_marks_admit_as_done_lets_the_run_go_on_and_it_counts(world: World) -> None:
    runs(world, "a", "b", "c", "d")
    world.runs["c"]["admit"] = "success"
    world.end("a")
    assert world.admit("d") is None
    assert world.working() == {"b", "c"}


def test_priority_goes_first_and_people_change_it(world: World) -> None:
    runs(world, "a", "b", "c")
    runs(world, "d", priority=5)
    assert world.position("d")["number"] == 1
    world.priorities(c=9)
    assert world.admit("d") is None
    assert world.position("d")["number"] == 2
    world.end("a")
    assert world.admit("d") is None
    assert world.admit("c") is not None


def test_a_repository_that_is_full_holds_up_nobody_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__MAX_RUNS_PER_REPOSITORY", "1")
    runs(world, "a", "b")
    runs(world, "c", repository="acme/lib")
    assert world.working() == {"a", "c"}
    assert world.position("b")["why"] == "acme/shop has 1 of 1 runs at work"


def test_the_estimate_is_that_of_recent_runs(world: World) -> None:
    runs(world, "a", "b", "c")
    world.open_pull_request("a", minutes=40)
    world.admit("c")
    runs(world, "d")
    assert world.ledger.durations == (2400.0,)
    # "b" began two minutes before "d" asked.
    assert world.position("d")["text"] == "waiting: 1st of 1, about 38 min"


# Crashes


def test_a_worker_that_dies_before_the_write_has_taken_nothing(world: World) -> None:
    runs(world, "a")
    world.start("b")
    with world.dying_at_the_write(after=False):
        world.admit("b")
    assert world.working() == {"a"}
    assert world.admit("b") is not None
    assert world.working() == {"a", "b"}


def test_a_worker_that_dies_after_the_write_finds_its_place(world: World) -> None:
    runs(world, "a", "b")
    written = world.variables[LEDGER_VARIABLE]
    world.clock.pass_minutes(3)
    assert world.admit("b") == {"admitted_at": "2026-01-05T12:01:00+00:00", "waited_seconds": 0}
    assert world.variables[LEDGER_VARIABLE] == written


def test_a_cleared_run_whose_place_is_gone_waits_again(world: World) -> None:
    runs(world, "a", "b", "c")
    world.open_pull_request("a")
    world.admit("c")
    world.runs["a"] |= dict.fromkeys(("open_pull_request", "finish"))
    assert world.admit("a") is None
    assert world.position("a")["number"] == 1
    assert world.working() == {"b", "c"}


def test_a_run_whose_build_is_cleared_counts_again(world: World) -> None:
    runs(world, "a", "b")
    world.open_pull_request("a")
    runs(world, "c")
    assert world.working() == {"b", "c"}
    world.runs["a"]["open_pull_request"] = None
    runs(world, "d")
    assert world.working() == {"a", "b", "c"}


def test_two_admissions_at_the_same_time_would_pass_the_cap_and_the_pool_keeps_them_apart(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why the pool of one slot is needed: the books are read, and then written, with nothing in between."""
    runs(world, "a")
    world.start("b")
    world.start("c")
    behind = world.variables[LEDGER_VARIABLE]
    assert world.admit("b") is not None
    after_b = world.variables[LEDGER_VARIABLE]
    world.variables[LEDGER_VARIABLE] = behind  # what "c" had read before "b" wrote
    assert world.admit("c") is not None
    assert {"a", "b", "c"} == world.working() | {"b"}
    # One after the other, as the pool has them:
    world.variables[LEDGER_VARIABLE] = after_b
    world.runs["c"]["admit"] = None
    assert world.admit("c") is None
    operator = AdmitOperator(task_id="admit", coding_task={})
    assert operator.pool == ADMISSION_POOL
    # One that hangs would hold the only slot for ever.
    assert operator.execution_timeout is not None
    assert operator.pool_slots == 1


# The Variable


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", '{"version": 99}', '{"version": 1, "entries": [{}]}', "null"]
)
def test_damaged_books_are_made_anew_from_the_states(
    world: World, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    runs(world, "landing", "a", "b", repository="acme/shop")
    world.open_pull_request("landing")
    runs(world, "b", "c", "d")
    world.start("fresh")
    world.start("ended")
    world.runs["ended"] |= {"admit": "success", "finish": "failed"}
    if text is None:
        del world.variables[LEDGER_VARIABLE]
    else:
        world.variables[LEDGER_VARIABLE] = text
    with caplog.at_level(logging.WARNING):
        assert world.admit("d") is None
    assert world.working() == {"a", "b"}
    assert world.position("d")["number"] == 2
    assert sorted(entry.run_id for entry in world.ledger.entries.values()) == ["a", "b", "c", "d", "landing"]
    assert "made anew" in caplog.text
    world.end("a")
    assert world.admit("d") is None
    assert world.admit("c") is not None


def test_an_airflow_that_does_not_answer_is_no_empty_book(world: World) -> None:
    runs(world, "a", "b")
    written = world.variables[LEDGER_VARIABLE]
    world.start("c")
    world.down = True
    with pytest.raises((AirflowRuntimeError, ConnectionError)):
        world.admit("c")
    world.down = False
    assert world.variables[LEDGER_VARIABLE] == written
    assert world.admit("c") is None


def test_a_run_of_another_version_is_left_out_of_new_books(world: World) -> None:
    runs(world, "a", "b")
    world.xcoms["a", "accept", "return_value"] = {"old": True}
    del world.variables[LEDGER_VARIABLE]
    runs(world, "c")
    assert world.working() == {"b", "c"}


def test_the_books_stay_small(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        runs(world, f"r{number}")
        world.open_pull_request(f"r{number}")
        world.end(f"r{number}", "success")
    world.clock.pass_minutes(24 * 60)
    runs(world, "next")
    assert [entry.run_id for entry in world.ledger.entries.values()] == ["next"]
    assert len(world.ledger.durations) <= 20


# Money


def test_money_is_reserved_and_settled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__USD_PER_DAY", "50")
    monkeypatch.setenv("AIRFLOW__AGENTS__MAX_RUNS", "9")
    monkeypatch.setenv("AIRFLOW__AGENTS__MAX_RUNS_PER_REPOSITORY", "9")
    runs(world, "a", "b", "c", budget_usd=20)
    assert world.working() == {"a", "b"}
    assert "40.00 of its 50.00 USD" in world.position("c")["why"]
    # Spent is not more than reserved.
    world.spend("a", "plan.round_1.plan", 4.0)
    assert world.admit("c") is None
    # Once the pull request is open, only what was spent counts.
    world.open_pull_request("a")
    assert world.admit("c") is not None
    assert round(world.ledger.use(world.clock.time).all.usd, 6) == 44.0
    # A fix that runs counts with what it may spend, and then with what it did.
    world.spend("a", "land.round_1.fix", 16.0, "reserved", pod="fix")
    runs(world, "d", budget_usd=6)
    assert "60.00 of its 50.00 USD" in world.position("d")["why"]
    world.xcoms["a", "land.round_1.fix", "ledger"].clear()
    world.spend("a", "land.round_1.fix", 0.5, pod="fix")
    assert world.admit("d") is None
    assert "44.50 of its 50.00 USD" in world.position("d")["why"]
    world.end("b")
    assert world.admit("d") is not None


def test_what_an_xcom_does_not_say_any_more_is_not_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__USD_PER_DAY", "50")
    runs(world, "a", budget_usd=30)
    world.spend("a", "plan.round_1.plan", 29.0)
    world.open_pull_request("a")
    runs(world, "b", budget_usd=30)
    world.xcoms["a", "plan.round_1.plan", "ledger"] = None
    world.runs["a"]["plan.round_1.plan"] = "running"
    assert world.admit("b") is None
    assert "29.00 of" in world.position("b")["why"]


def test_the_next_day_begins_with_what_those_at_work_reserve(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__USD_PER_DAY", "30")
    runs(world, "a", budget_usd=30)
    world.spend("a", "plan.round_1.plan", 10.0)
    world.clock.pass_minutes(24 * 60)
    runs(world, "b", budget_usd=15)
    assert "20.00 of its 30.00 USD" in world.position("b")["why"]
    world.spend("a", "build.attempt_1.implement", 5.0)
    world.end("a")
    assert world.admit("b") is not None
    assert round(world.ledger.use(world.clock.time).all.usd, 6) == 20.0


def test_runs_of_a_day(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__RUNS_PER_DAY", "1")
    runs(world, "a")
    world.end("a")
    runs(world, "b")
    assert world.position("b")["until"] == "2026-01-06T00:00:00+00:00"
    world.clock.pass_minutes(12 * 60)
    assert world.admit("b") is not None


# Limits


def write_settings(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (path / "repositories.yaml").write_text(text)
    monkeypatch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", str(path))


def test_a_repository_is_paused_while_its_runs_wait(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_settings(tmp_path, "repositories:\n  acme/*: {max_runs: 1}\n", monkeypatch)
    runs(world, "a", "b")
    assert world.working() == {"a"}
    world.end("a")
    write_settings(tmp_path, "repositories:\n  acme/*: {paused: true}\n", monkeypatch)
    assert world.admit("b") is None
    assert world.position("b")["why"] == "acme/shop is paused"
    write_settings(tmp_path, "{}\n", monkeypatch)
    assert world.admit("b") is not None


def test_a_repository_can_only_tighten_its_limits(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_settings(tmp_path, "repositories:\n  acme/shop: {max_runs: 2, runs_per_day: 1}\n", monkeypatch)
    runs(world, "a")
    world.start("b")
    own = {"max_runs": 1, "runs_per_day": None}
    origin = {"max_runs": ".agents.yaml:1", "runs_per_day": "repositories.yaml:2"}
    values = world.xcoms["b", "accept", "return_value"]
    values |= {"platform": {**values["platform"], **own}, "settings_origin": origin}
    assert world.admit("b") is None
    assert world.ledger.caps.of_repository("acme/shop").runs == 1
    assert world.ledger.caps.of_repository("acme/shop").runs_per_day == 1


def test_a_file_with_faults_leaves_the_last_limits_in_force(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs(world, "a", "b")
    write_settings(tmp_path, "repositorys: {}\n", monkeypatch)
    runs(world, "c")
    assert world.position("c")["number"] == 1
    assert "repositories.yaml:1" in capsys.readouterr().out


def test_without_a_last_decision_it_fails_and_names_the_fault(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__MAX_RUNS", "many")
    monkeypatch.setenv("AIRFLOW__AGENTS__USD_PER_DAY", "-1")
    world.start("a")
    with pytest.raises(InvalidInputError) as caught:
        world.admit("a")
    assert caught.value.faults == [
        "[agents] max_runs: 'many' is no whole number from 0",
        "[agents] usd_per_day: '-1' is no amount in USD from 0",
    ]
    assert "max_runs" in world.xcoms["a", "admit", "failure"]


def test_others_read_the_books_without_writing(world: World) -> None:
    runs(world, "a", "b", "c")
    world.priorities(c=3)
    world.end("a")
    written = dict(world.variables)
    reading = read_capacity(TaskInstance(world, "sync"), world.clock.time)
    assert [place.key for place in reading.places] == [f"{DAG_ID}/b"]
    assert [each.names for each in reading.waiting] == [("c",)]
    assert reading.priorities == {"c": 3}
    assert reading.knows(DAG_ID, "a")
    assert not reading.knows(DAG_ID, "z")
    assert world.variables == written


@pytest.mark.parametrize("text", ["", "[", "[1]", json.dumps({"c": "x", "d": True, "e": None})])
def test_priorities_that_are_no_numbers_count_for_nothing(world: World, text: str) -> None:
    world.variables["agents_priorities"] = text
    runs(world, "a", "b", "c")
    assert world.position("c")["number"] == 1
