"""How a step ended: the ledger is fact, the result a claim, and neither can break the operator."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from agent_runner.contract import (
    RESULT_MARKER,
    Ledger,
    Push,
    StepResult,
    StepSpec,
    TerminationMessage,
    TestRun,
    failure,
)
from airflow_provider_agents.operators.step_outcome import StepOutcome, read_outcome

SHA = "a" * 40
OTHER = "b" * 40
TESTS = failure("tests_failed", "Tests failed.")
BUDGET = failure("budget_exhausted", "Too dear.")
NETWORK = failure("model_unavailable", "No network.")
SPEC = StepSpec(
    step="implement", repository="acme/app", base_branch="main", work_branch="ai/x", prompt="Do it."
)


def unread() -> str | None:
    raise AssertionError("the forge was asked although the ledger is there")


def outcome(result: StepResult, ledger: Ledger | None = None) -> StepOutcome:
    return StepOutcome(result=result, ledger=ledger, pod_name="agent-x")


def pod(message: str | None, ledger: str | None = None, **status: Any) -> dict[str, Any]:
    def ended(name: str, text: str | None) -> dict[str, Any]:
        return {"name": name, "state": {"terminated": {"exit_code": 0, "message": text}}}

    return {
        "metadata": {"name": "agent-x"},
        "status": {
            "phase": "Succeeded",
            "container_statuses": [ended("base", message)],
            "init_container_statuses": [ended("gateway", ledger)],
            **status,
        },
    }


def told(result: StepResult) -> str:
    return TerminationMessage.of(result).to_json()


@pytest.mark.parametrize(
    ("result", "finished", "code"),
    [
        (StepResult(outcome="succeeded"), True, None),
        (StepResult(outcome="no_changes"), True, None),
        (StepResult(outcome="failed", failure=TESTS), True, None),
        (StepResult(outcome="failed", failure=BUDGET), False, "budget_exhausted"),
        (StepResult(outcome="failed", failure=NETWORK), False, "model_unavailable"),
        (StepResult(outcome="cancelled"), False, "no_reason"),
        (StepResult(outcome="failed"), False, "no_reason"),
    ],
)
def test_what_an_outcome_means(result: StepResult, finished: bool, code: str | None) -> None:
    found = outcome(result)
    assert found.finished is finished
    fault = found.fault()
    assert (fault and fault.code) == code


def test_no_changes_may_be_a_failure_but_is_never_paid_for_twice() -> None:
    found = outcome(StepResult(outcome="no_changes", summary="It works already."))
    assert found.finished
    assert found.fault() is None
    fault = found.fault(no_changes_fails=True)
    assert fault is not None
    assert (fault.code, fault.retryable) == ("no_changes", False)
    assert "It works already." in fault.message


def test_the_ledger_is_right_about_money() -> None:
    found = outcome(StepResult(outcome="succeeded", cost_usd=0.01), Ledger(usd=1.5, model_calls=3))
    assert found.to_dict()["cost_usd"] == 1.5
    assert "$1.5000" in found.summary("plan")
    assert "3 model calls" in found.summary("plan")


def test_without_a_ledger_the_claim_must_do() -> None:
    assert outcome(StepResult(outcome="succeeded", cost_usd=0.25)).to_dict()["cost_usd"] == 0.25


def test_an_outcome_comes_back_from_the_store() -> None:
    result = StepResult(
        outcome="succeeded",
        summary="done",
        head_sha=SHA,
        files_changed=("a.py", "b.py"),
        test=TestRun(command="make", exit_code=0, tail="ok"),
        output={"title": "T", "list": [1, {"x": None}]},
    )
    sent = outcome(result, Ledger(usd=0.5, pushes=(Push(ref="r", old=SHA, new=OTHER),), refusals=("no",)))
    stored = json.loads(json.dumps(sent.to_dict()))
    assert stored == sent.to_dict()
    assert StepOutcome.from_dict(stored).to_dict() == stored
    assert StepOutcome.from_dict(stored).ledger == sent.ledger
    assert StepOutcome.from_dict(stored).result.files_changed == ("a.py", "b.py")


def test_what_databases_refuse_does_not_get_into_an_xcom() -> None:
    found = outcome(StepResult(outcome="succeeded", summary="nul\0", output={"k\0": ["v\0", ("t",)]}))
    values = found.to_dict()
    assert "\\u0000" not in json.dumps(values)
    assert values["output"]["k\ufffd"] == ["v\ufffd", ["t"]]


def test_the_whole_result_is_read_from_the_log() -> None:
    result = StepResult(outcome="succeeded", summary="s" * 9_000, output={"title": "T"})
    lines = [f"{RESULT_MARKER}{{}}", f"{RESULT_MARKER}{result.to_json()}"]
    assert read_outcome(pod(told(result)), lines, SPEC, forge_head=None).result == result


def test_without_its_log_line_the_cut_result_is_used() -> None:
    result = StepResult(outcome="succeeded", summary="s" * 9_000, output={"title": "T"}, head_sha=SHA)
    found = read_outcome(pod(told(result)), [], SPEC, forge_head=None)
    assert found.result.outcome == "succeeded"
    assert found.result.head_sha == SHA
    assert found.result.output is None


def test_a_forged_log_line_is_not_believed() -> None:
    result = StepResult(outcome="failed", failure=BUDGET)
    forged = f"{RESULT_MARKER}{StepResult(outcome='succeeded').to_json()}"
    assert read_outcome(pod(told(result)), [forged], SPEC, forge_head=None).result == result


@pytest.mark.parametrize("text", ["", None])
def test_without_a_message_the_pod_says_why(text: str | None) -> None:
    found = read_outcome(pod(text, phase="Failed", reason="Evicted"), [], SPEC, forge_head=None)
    assert found.result.failure is not None
    assert found.result.failure.category == "evicted"
    assert found.result.failure.retryable


@pytest.mark.parametrize(
    "text",
    [
        "panic: out of cheese",
        "{}",
        '{"result": {"outcome": "glorious"}, "result_bytes": 1, "result_sha256": ""}',
        '{"result": {"outcome": "succeeded", "turns": 1'
        + "0" * 400
        + '}, "result_bytes": 1, "result_sha256": ""}',
        '{"result": {"outcome": "succeeded", "cost_usd": NaN}, "result_bytes": 1, "result_sha256": ""}',
        '{"result": {"outcome": "succeeded", "cost_usd": -5}, "result_bytes": 1, "result_sha256": ""}',
        "[" * 4_000,
    ],
)
def test_a_malformed_message_is_a_failure_with_words(text: str) -> None:
    found = read_outcome(pod(text, Ledger(usd=0.75).to_json()), [], SPEC, forge_head=None)
    assert found.result.failure is not None
    assert (found.result.failure.category, found.result.failure.code) == ("agent", "malformed_result")
    assert found.to_dict()["cost_usd"] == 0.75
    assert not found.finished


def test_a_malformed_ledger_is_no_ledger() -> None:
    assert (
        read_outcome(pod(told(StepResult(outcome="succeeded")), "oops"), [], SPEC, forge_head=None).ledger
        is None
    )


SUCCESS = StepResult(outcome="succeeded", head_sha=SHA)


@pytest.mark.parametrize(
    ("pushes", "verified"),
    [
        ((), False),
        ((Push(ref="r", old=OTHER, new=SHA),), True),
        ((Push(ref="r", old=OTHER, new=SHA), Push(ref="r", old=SHA, new=OTHER)), False),
    ],
)
def test_a_push_that_the_gateway_did_not_see_did_not_happen(pushes: tuple[Push, ...], verified: bool) -> None:
    ledger = Ledger(pushes=pushes).to_json()
    found = read_outcome(pod(told(SUCCESS), ledger), [], SPEC, forge_head=unread)
    assert found.finished is verified
    if not verified:
        assert found.result.failure is not None
        assert (found.result.failure.code, found.result.failure.retryable) == ("unverified_head", False)
        assert SHA in found.result.failure.message


def test_steps_that_do_not_push_need_no_push() -> None:
    assert read_outcome(pod(told(SUCCESS), Ledger().to_json()), [], SPEC, forge_head=None).finished


def test_no_changes_need_no_push() -> None:
    result = dataclasses.replace(SUCCESS, outcome="no_changes")
    assert read_outcome(pod(told(result), Ledger().to_json()), [], SPEC, forge_head=unread).finished


@pytest.mark.parametrize(("head", "verified"), [(SHA, True), (OTHER, False), (None, False)])
def test_without_a_ledger_the_forge_says_what_was_pushed(head: str | None, verified: bool) -> None:
    found = read_outcome(pod(told(SUCCESS)), [], SPEC, forge_head=lambda: head)
    assert found.finished is verified
    assert found.ledger is None


def test_the_outcome_says_where_it_worked() -> None:
    values = read_outcome(pod(told(SUCCESS)), [], SPEC, forge_head=None).to_dict()
    assert (values["repository"], values["base_branch"], values["work_branch"]) == (
        "acme/app",
        "main",
        "ai/x",
    )
    assert StepOutcome.from_dict(values).to_dict() == values
