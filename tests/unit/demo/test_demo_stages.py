from __future__ import annotations

from datetime import UTC, datetime

import pytest

from demo.stages import Stage, stages

NOW = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)


def task(task_id: str, state: str | None = "success", start: int | None = 0, end: int | None = 10):
    def at(second: int | None) -> str | None:
        return None if second is None else f"2026-01-01T12:00:{second:02d}Z"

    ended = state in ("success", "failed", "skipped")
    return {
        "task_id": task_id,
        "state": state,
        "start_date": at(start),
        "end_date": at(end) if ended else None,
    }


def untouched(*task_ids: str, state: str | None = None):
    return [task(task_id, state, None) for task_id in task_ids]


def names(found: list[Stage]) -> list[str]:
    return [stage.name for stage in found]


def by_name(found: list[Stage]) -> dict[str, Stage]:
    return {stage.name: stage for stage in found}


GRAPH = [
    "accept", "plan.round_1.plan", "build.attempt_1.implement", "build.attempt_1.test", "build.attempt_1.gate",
    "build.attempt_2.implement", "build.attempt_2.test", "build.attempt_2.gate", "open_pull_request",
    "land.round_1.gate", "land.round_1.fix", "land.round_2.gate", "land.round_2.fix", "finish", "report",
]  # fmt: skip


def test_at_first_only_the_shortest_way_is_shown():
    found = stages(untouched(*GRAPH), {}, NOW)
    assert names(found) == ["plan", "implement 1", "test 1", "pull request", "checks 1", "merge", "done"]
    assert {stage.state for stage in found} == {"pending"}


def test_nothing_is_known_of_a_run_without_tasks():
    assert stages([], {}, NOW) == []


def test_the_whole_way_with_a_second_attempt_and_a_fix():
    tasks = [task(name) for name in GRAPH if not name.startswith("land.round_2.fix")]
    tasks += untouched("land.round_2.fix", state="skipped")
    results = {
        "plan.round_1.plan": {"outcome": "succeeded", "ledger": {"usd": 0.25}},
        "build.attempt_1.test": {"outcome": "failed", "ledger": {"usd": 0}},
        "build.attempt_2.test": {"outcome": "succeeded", "ledger": None},
        "land.round_1.gate": {"verdict": "fix"},
        "land.round_2.gate": {"verdict": "done"},
    }
    found = stages(tasks, results, NOW)
    assert [(stage.name, stage.state) for stage in found] == [
        ("plan", "done"), ("implement 1", "done"), ("test 1", "rejected"), ("implement 2", "done"),
        ("test 2", "done"), ("pull request", "done"), ("checks 1", "rejected"), ("fix 1", "done"),
        ("checks 2", "done"), ("merge", "done"), ("done", "done"),
    ]  # fmt: skip
    assert by_name(found)["plan"].usd == 0.25


def test_without_a_group_id_or_with_one_the_stages_are_the_same():
    plain = stages([task("build.attempt_1.implement")], {}, NOW)
    nested = stages([task("coding_task.build.attempt_1.implement")], {}, NOW)
    assert names(plain) == names(nested) == ["implement 1", "merge"]


@pytest.mark.parametrize(
    "name", ["something.else", "accept", "replan.round_1.planet", "build.attempt_x.test", "unfinish"]
)
def test_unknown_tasks_are_left_out(name: str):
    assert stages([task(name)], {}, NOW) == []


def test_a_second_plan_has_a_number():
    found = stages(
        [task("plan.round_1.plan"), task("plan.round_2.plan"), task("plan.round_2.approve")], {}, NOW
    )
    assert names(found)[:3] == ["plan", "plan 2", "approval 2"]


@pytest.mark.parametrize(
    "state", ["running", "deferred", "awaiting_input", "up_for_retry", "queued", "scheduled"]
)
def test_what_waits_is_running_and_its_clock_ticks(state: str):
    found = by_name(stages([task("land.round_1.gate", state, start=5)], {}, NOW))["checks 1"]
    assert (found.state, found.seconds) == ("running", 25.0)


@pytest.mark.parametrize(
    "state", [None, "scheduled", "queued", "upstream_failed", "removed", "a state of tomorrow"]
)
def test_what_did_not_start_is_to_come_or_hidden(state: str | None):
    found = stages(untouched("build.attempt_1.test", "build.attempt_2.test", state=state), {}, NOW)
    assert [(stage.name, stage.state) for stage in found] == [("test 1", "pending"), ("merge", "pending")]


def test_a_failure_is_one():
    assert by_name(stages([task("finish", "failed")], {}, NOW))["done"].state == "failed"


def test_rounds_are_ordered_by_number():
    tasks = [task(f"land.round_{n}.{kind}") for n in (10, 2, 1) for kind in ("fix", "gate")]
    assert names(stages(tasks, {}, NOW))[:6] == [
        "checks 1",
        "fix 1",
        "checks 2",
        "fix 2",
        "checks 10",
        "fix 10",
    ]
