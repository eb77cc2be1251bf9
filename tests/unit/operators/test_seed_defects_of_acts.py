"""Defects of earlier systems that concern what landing does, each by name; those of its decision are in domain."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import DownstreamTasksSkipped, TaskDeferred
from fakes import FAILED, HEAD, NEXT_HEAD, URL, GitHub, TaskInstance, accepted, context, snapshot
from landing_world import MERGED, Gate, after, handed_on

from airflow_provider_agents.exceptions import ForgeConflictError
from airflow_provider_agents.operators.attempt_gate import AttemptGateOperator
from airflow_provider_agents.operators.open_pull_request import OpenPullRequestOperator


def test_agent_operator_1_failing_tests_lead_to_another_attempt() -> None:
    """Its test step always ended with 0; here the exit code of the repository's own command is the verdict."""
    ti = TaskInstance("gate")
    failed = {
        "outcome": "failed",
        "test": {"command": "make test", "exit_code": 2, "tail": "All tests passed"},
    }
    gate = AttemptGateOperator(
        task_id="gate", coding_task=accepted(), test_result=failed, attempt=1, later_tasks=["implement_2"]
    )
    gate.execute(context(ti))
    assert "passed_attempt" not in ti.pushed


def test_agent_operator_2_a_push_in_between_gives_no_new_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its retry counter began anew whenever a step had succeeded."""
    gate = Gate(monkeypatch, max_rounds=1)
    assert handed_on(gate.look(snapshot(checks=(FAILED,))))
    history = gate.history
    later = Gate(monkeypatch, earlier=history, max_rounds=1)
    end = later.look(snapshot(head_sha=NEXT_HEAD, checks=(FAILED,)))
    assert later.decision["reason"] == "rounds_exhausted"
    assert "All 1 fix rounds are used" in str(end)


@pytest.mark.parametrize("words", ["https://github.com/acme/other/pull/99", "pull/0", "no number at all"])
def test_agent_operator_3_the_number_is_the_forges_and_not_the_models(
    monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """It took the number from the model's words, and polled pull request 0 for ever. Optio adopted what it read."""
    GitHub().install(monkeypatch)
    result = {"output": {"title": words, "description": words}}
    operator = OpenPullRequestOperator(task_id="open", coding_task=accepted(), step_results=[result])
    assert operator.execute(context(TaskInstance("open"))) == {"number": 7, "url": URL, "head_sha": HEAD}


def test_optio_merge_safety_the_call_names_the_head_that_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its merge call named none, so that whatever was pushed last was merged."""
    gate = Gate(monkeypatch)

    def moved() -> None:
        raise ForgeConflictError("Head branch was modified. Review and try the merge again.")

    gate.github.on_merge = moved
    assert isinstance(gate.look(snapshot(), snapshot(head_sha=NEXT_HEAD, checks=())), TaskDeferred)
    assert gate.merges == [f"merge acme/shop#7 {HEAD} squash"]


def test_optio_merge_safety_a_review_of_another_head_releases_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its review read a checkout of main, and its mere end released the merge."""
    left: dict[str, Any] = {
        "g1:decision": {"verdict": "review"},
        "r1:review": {"head_sha": "f" * 40, "verdict": "approve", "summary": "Fine."},
    }
    gate = Gate(monkeypatch, earlier=after(), xcoms=left, review="on_checks_passed")
    assert gate.look(snapshot()) is None
    assert gate.decision["verdict"] == "review"
    assert gate.merges == []
    left["r1:review"]["head_sha"] = HEAD
    again = Gate(monkeypatch, earlier=after(), xcoms=left, review="on_checks_passed")
    assert isinstance(again.look(snapshot(), MERGED), DownstreamTasksSkipped)
