"""After each attempt: on with it, again, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import DownstreamTasksSkipped
from fakes import TaskInstance, accepted, context

from airflow_provider_agents.exceptions import TaskStoppedError
from airflow_provider_agents.operators.attempt_gate import AttemptGateOperator
from airflow_provider_agents.operators.skipping import LoopExitOperator

LATER = ["build.attempt_2.implement", "build.attempt_2.test", "build.attempt_2.gate"]
FAILED = {"outcome": "failed", "test": {"command": "make test", "exit_code": 2, "tail": "boom"}}


def decide(
    test_result: Any, *, attempt: int = 1, later: list[str] | None = None, **request: Any
) -> TaskInstance:
    ti = TaskInstance("gate")
    gate = AttemptGateOperator(
        task_id="gate",
        coding_task=accepted(**request),
        test_result=test_result,
        attempt=attempt,
        later_tasks=LATER if later is None else later,
    )
    try:
        gate.execute(context(ti))
    except (DownstreamTasksSkipped, TaskStoppedError) as error:
        ti.pushed["raised"] = error
    return ti


@pytest.mark.parametrize("result", [{"outcome": "succeeded"}, None])
def test_passed_tests_and_no_tests_leave_the_loop(result: Any) -> None:
    ti = decide(result)
    assert ti.pushed["passed_attempt"] == 1
    assert ti.pushed["raised"].tasks == [(task, -1) for task in LATER]


def test_passed_tests_of_the_last_attempt_skip_nothing() -> None:
    ti = decide({"outcome": "succeeded"}, attempt=3, later=[])
    assert ti.pushed == {"passed_attempt": 3}


def test_failed_tests_lead_to_the_next_attempt() -> None:
    assert decide(FAILED).pushed == {}


@pytest.mark.parametrize(("attempt", "later", "most"), [(3, [], 3), (1, LATER, 1), (2, LATER, 2)])
def test_failed_tests_of_the_last_attempt_stop_the_run(attempt: int, later: list[str], most: int) -> None:
    ti = decide(FAILED, attempt=attempt, later=later, max_attempts=most)
    assert isinstance(ti.pushed["raised"], TaskStoppedError)
    reason = ti.pushed["failure"]
    assert reason == str(ti.pushed["raised"])
    assert f"after {attempt} attempt(s): `make test` ended with exit code 2" in reason
    assert "ai/task-" in reason
    assert "passed_attempt" not in ti.pushed


@pytest.mark.parametrize("outcome", ["cancelled", "no_changes", "", None])
def test_only_a_success_is_a_pass(outcome: Any) -> None:
    assert "passed_attempt" not in decide({"outcome": outcome}).pushed


def test_direct_followers_are_kept_skipped_when_they_are_cleared() -> None:
    with DAG("d", schedule=None):
        gate = LoopExitOperator(task_id="gate", later_tasks=["next", "last"])
        following, last = LoopExitOperator(task_id="next"), LoopExitOperator(task_id="last")
        gate >> following >> last
    ti = TaskInstance("gate")
    with pytest.raises(DownstreamTasksSkipped) as caught:
        gate.leave_loop(context(ti))
    assert caught.value.tasks == [("next", -1), ("last", -1)]
    assert ti.pushed["skipmixin_key"] == {"skipped": ["next"]}


def test_loops_do_not_share_their_list() -> None:
    one, two = LoopExitOperator(task_id="a"), LoopExitOperator(task_id="b")
    one.later_tasks.append("x")
    assert two.later_tasks == []
