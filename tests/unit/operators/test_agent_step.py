"""A step over its whole life: tries, clears, lost workers, lost pods, and never paid for twice."""

# ruff: noqa: F811 - fixtures are imported, and asked for by name

from __future__ import annotations

import re
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.sdk.exceptions import TaskDeferred
from fakes import GitHub, Store, accepted
from kubernetes.client.exceptions import ApiException

from agent_runner.contract import RESULT_MARKER, Ledger, Push, StepResult, StepSpec, failure
from airflow_provider_agents.exceptions import (
    StepFailedError,
    StepInfrastructureError,
)
from airflow_provider_agents.operators.pod_parts import SPEC_ANNOTATION
from airflow_provider_agents.operators.retry_policy import STEP_RETRIES
from airflow_provider_agents.operators.steps import (
    AgentImplementOperator,
    AgentTestOperator,
)
from airflow_provider_agents.triggers.agent_pod import AgentPodTrigger
from tests.unit.operators.agent_steps import BUDGET, NETWORK, PLANNED, SHA, SPENT, Step, clock, github  # noqa: F401 - two are fixtures


def test_it_defers_to_our_trigger_and_holds_no_slot() -> None:
    step = Step()
    trigger = step.deferred()
    assert type(trigger) is AgentPodTrigger
    assert trigger.pod_name == step.kubernetes.only
    assert trigger.poll_interval == 2
    assert trigger.startup_timeout == 600
    assert trigger.trigger_kwargs["_execution_deadline"] > step.ti.start_date.timestamp()


def test_a_success_is_returned_stored_and_its_pod_deleted() -> None:
    step = Step()
    step.deferred()
    step.kubernetes.finish(step.kubernetes.only, PLANNED, SPENT)
    values = step.reenter()
    assert values["outcome"] == "succeeded"
    assert values["output"] == {"summary": "S"}
    assert values["cost_usd"] == 0.5
    assert step.ti.pushed["return_value"] == values
    assert step.kubernetes.pods == {}
    assert "failure" not in step.ti.pushed


def test_the_result_is_stored_before_the_pod_is_deleted() -> None:
    step = Step()
    step.deferred()
    name = step.kubernetes.only
    step.kubernetes.finish(name, PLANNED, SPENT)
    step.reenter()
    assert step.journal == ["set ledger", f"create {name}", "set ledger", "set step_0", f"delete {name}"]


def test_a_pod_that_cannot_be_deleted_is_not_harvested_twice() -> None:
    step = Step()
    step.deferred()
    name = step.kubernetes.only
    step.kubernetes.finish(name, PLANNED, SPENT)
    step.kubernetes.fail["delete"] = 403
    assert step.reenter()["outcome"] == "succeeded"
    assert step.journal[2:5] == ["set ledger", "set step_0", f"delete {name}"]
    assert step.kubernetes.pods[name]["metadata"]["labels"]["already_checked"] == "True"


@pytest.mark.parametrize("action", ["keep_pod", "delete_pod"])
def test_a_pod_that_lives_and_cannot_be_deleted_is_found_again(action: str) -> None:
    step = Step(on_finish_action=action)
    step.deferred()
    name = step.kubernetes.only
    step.kubernetes.fail["delete"] = 403
    with pytest.raises(StepInfrastructureError):
        step.reenter("timeout")
    del step.kubernetes.fail["delete"]
    assert "already_checked" not in step.kubernetes.pods[name]["metadata"]["labels"]
    step.ti.retry()
    assert step.deferred().pod_name == name


def test_a_kept_pod_is_marked_as_read() -> None:
    step = Step(on_finish_action="keep_pod")
    step.deferred()
    name = step.kubernetes.only
    step.kubernetes.finish(name, PLANNED, SPENT)
    step.reenter()
    assert step.kubernetes.pods[name]["metadata"]["labels"]["already_checked"] == "True"
    assert not [entry for entry in step.journal if entry.startswith("delete")]


def test_a_retry_uses_the_stored_result_and_makes_no_pod(github: GitHub) -> None:
    step = Step()
    step.deferred()
    step.kubernetes.finish(step.kubernetes.only, PLANNED, SPENT)
    first = step.reenter()
    step.ti.retry()
    github.branches["ai/moved"] = SHA
    assert step.execute() == first
    assert step.ti.pushed["return_value"] == first
    assert step.created() == 1


def test_a_stored_failure_to_change_anything_fails_again_without_a_pod() -> None:
    step = Step(AgentImplementOperator)
    step.deferred()
    step.kubernetes.finish(
        step.kubernetes.only, StepResult(outcome="no_changes", summary="Fine already."), SPENT
    )
    with pytest.raises(StepFailedError, match="Fine already"):
        step.reenter()
    step.ti.retry()
    with pytest.raises(StepFailedError, match="Fine already"):
        step.execute()
    assert step.created() == 1


@pytest.mark.parametrize(("failed_before", "code"), [(None, None), ({"outcome": "failed"}, "no_changes")])
def test_work_that_an_earlier_try_left_is_a_change(failed_before: Any, code: str | None) -> None:
    step = Step(AgentImplementOperator, test_result=failed_before)
    step.deferred()
    result = StepResult(outcome="no_changes", base_sha="b" * 40, head_sha=SHA)
    step.kubernetes.finish(step.kubernetes.only, result, SPENT)
    if code is None:
        assert step.reenter()["outcome"] == "no_changes"
    else:
        with pytest.raises(StepFailedError, match=code):
            step.reenter()


def test_a_clear_runs_the_step_again() -> None:
    step = Step()
    step.deferred()
    step.kubernetes.finish(step.kubernetes.only, PLANNED, SPENT)
    step.reenter()
    step.ti.clear(STEP_RETRIES)
    step.deferred()
    assert step.created() == 2
    labels = step.kubernetes.pods[step.kubernetes.only]["metadata"]["labels"]
    assert labels["agents.airflow/generation"] == "1"


def test_another_question_is_not_answered_with_the_stored_result() -> None:
    step = Step()
    step.deferred()
    step.kubernetes.finish(step.kubernetes.only, PLANNED, SPENT)
    step.reenter()
    step.ti.retry()
    step.arguments["coding_task"] = accepted(prompt="Something else")
    step.deferred()
    assert step.created() == 2


@pytest.mark.parametrize("phase", ["Pending", "Running"])
def test_a_living_pod_of_a_lost_worker_is_used_again(phase: str) -> None:
    step = Step()
    step.deferred()
    name = step.kubernetes.only
    if phase == "Running":
        step.kubernetes.run(name)
    step.ti.retry()
    assert step.deferred().pod_name == name
    assert step.created() == 1


def test_a_finished_pod_of_a_lost_worker_is_harvested_at_once() -> None:
    step = Step()
    step.deferred()
    name = step.kubernetes.only
    step.kubernetes.finish(name, PLANNED, SPENT)
    step.ti.retry()
    assert step.execute()["output"] == {"summary": "S"}
    assert step.journal == ["set ledger", f"create {name}", "set ledger", "set step_0", f"delete {name}"]


def test_a_failed_pod_of_a_lost_worker_tells_why() -> None:
    step = Step()
    step.deferred()
    step.kubernetes.finish(step.kubernetes.only, None, phase="Failed")
    step.ti.retry()
    with pytest.raises(StepInfrastructureError, match="runner_crashed"):
        step.execute()
    assert step.created() == 1


def test_a_pod_that_is_being_deleted_is_waited_for_and_not_used() -> None:
    step = Step()
    step.deferred()
    name = step.kubernetes.only
    step.kubernetes.pods[name]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    step.kubernetes.finish(name, None, SPENT, phase="Failed")
    step.ti.retry()
    with pytest.raises(StepFailedError, match="USD more by lost pods"):
        step.execute()
    step.store = Store()
    assert step.deferred().pod_name != name
    assert step.created() == 2


def test_no_second_agent_is_started_beside_one_that_does_not_end(clock: list[float]) -> None:
    step = Step()
    step.deferred()
    name = step.kubernetes.only
    step.kubernetes.run(name)
    step.kubernetes.pods[name]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    step.ti.retry()
    with pytest.raises(StepInfrastructureError, match="evicted/not_ended"):
        step.execute()
    assert step.created() == 1
    assert 60 <= clock[0] - 1_000 <= 120


def test_the_pod_of_another_run_is_not_used() -> None:
    step = Step()
    step.deferred()
    step.ti.run_id, step.store = "run_2", Store()
    step.deferred()
    assert step.created() == 2


def test_an_infrastructure_failure_is_not_stored_and_runs_again() -> None:
    step = Step()
    step.deferred()
    step.kubernetes.finish(step.kubernetes.only, NETWORK, SPENT)
    with pytest.raises(StepInfrastructureError, match=r"\[network/model_unavailable\]"):
        step.reenter("failed")
    assert step.ti.pushed["return_value"]["cost_usd"] == 0.5  # the report counts it
    assert "network/model_unavailable" in step.ti.pushed["failure"]
    assert "step_0" not in step.store.values
    assert step.kubernetes.pods == {}
    step.ti.retry()
    step.deferred()
    assert step.created() == 2


def test_failing_tests_are_an_answer() -> None:
    step = Step(AgentTestOperator)
    step.deferred()
    result = StepResult(outcome="failed", failure=failure("tests_failed", "2 failed"))
    step.kubernetes.finish(step.kubernetes.only, result)
    assert step.reenter()["outcome"] == "failed"
    assert "step_0" in step.store.values


def test_a_failure_of_the_agent_is_raised_with_its_remedy() -> None:
    step = Step()
    step.deferred()
    step.kubernetes.finish(step.kubernetes.only, BUDGET, SPENT)
    with pytest.raises(StepFailedError, match=r"\[budget/budget_exhausted\] Too dear"):
        step.reenter()
    assert step.kubernetes.pods == {}


def test_a_claimed_push_that_the_gateway_did_not_see_fails() -> None:
    step = Step(AgentImplementOperator)
    step.deferred()
    step.kubernetes.finish(step.kubernetes.only, StepResult(outcome="succeeded", head_sha=SHA), Ledger())
    with pytest.raises(StepFailedError, match="unverified_head"):
        step.reenter()
    assert "step_0" not in step.store.values


def test_a_seen_push_succeeds() -> None:
    step = Step(AgentImplementOperator)
    step.deferred()
    ledger = Ledger(pushes=(Push(ref="refs/heads/x", old=SHA, new=SHA),))
    step.kubernetes.finish(step.kubernetes.only, StepResult(outcome="succeeded", head_sha=SHA), ledger)
    assert step.reenter()["head_sha"] == SHA


def test_a_pod_that_is_gone_is_infrastructure() -> None:
    step = Step()
    step.deferred()
    step.kubernetes.pods.clear()
    with pytest.raises(StepInfrastructureError, match="was deleted before its result was read"):
        step.reenter()


def test_a_cluster_that_does_not_answer_is_not_a_lost_pod() -> None:
    step = Step()
    step.deferred()
    step.kubernetes.fail["get"] = 500
    with pytest.raises(ApiException):
        step.reenter()


def test_a_running_pod_is_stopped_in_place_and_still_tells_its_result() -> None:
    step = Step()
    step.deferred()
    name = step.kubernetes.only
    step.kubernetes.run(name)
    result = StepResult(outcome="cancelled", failure=failure("terminated", "Stopped."))

    def stop(patched: str, body: dict[str, Any]) -> None:
        assert body == {"spec": {"activeDeadlineSeconds": 1}}
        step.kubernetes.finish(patched, result, SPENT, phase="Failed")
        step.kubernetes.pods[patched]["status"]["reason"] = "DeadlineExceeded"

    step.kubernetes.on_patch = stop
    with pytest.raises(StepFailedError, match="timeout/pod_deadline"):
        step.reenter("timeout")
    assert step.ti.pushed["return_value"]["cost_usd"] == 0.5
    assert step.journal[2:] == [
        f'patch {name} {{"spec": {{"activeDeadlineSeconds": 1}}}}',
        "set ledger",
        f"delete {name}",
    ]


def test_a_pod_that_does_not_stop_is_given_up_after_a_while(clock: list[float]) -> None:
    step = Step()
    step.deferred()
    step.kubernetes.run(step.kubernetes.only)
    with pytest.raises(StepInfrastructureError, match="not_ended"):
        step.reenter("timeout")
    assert 30 < clock[0] - 1_000 <= 65
    assert step.kubernetes.pods == {}


def test_a_pod_that_never_started_is_not_waited_for(clock: list[float]) -> None:
    step = Step()
    step.deferred()
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "manifest unknown"}}
    step.kubernetes.set_status(step.kubernetes.only, "Pending", waiting)
    with pytest.raises(StepFailedError, match="image/image_pull"):
        step.reenter("timeout")
    assert clock[0] == 1_000
    assert step.kubernetes.pods == {}


def test_a_lost_trigger_waits_on_and_not_for_ever() -> None:
    step = Step()
    event: dict[str, Any] = dict(step.deferred().trigger_kwargs)
    step.kubernetes.run(step.kubernetes.only)
    step.kubernetes.on_patch = lambda name, body: step.kubernetes.finish(name, NETWORK, phase="Failed")
    deferrals = 0
    stamps = set()
    for _ in range(10):
        try:
            step.reenter("error", **event, last_log_time="2026-01-01T00:00:05.000000000Z")
        except TaskDeferred as again:
            deferrals += 1
            event = dict(again.trigger.trigger_kwargs)
            stamps.add(again.trigger._last_log_stamp)
        except StepInfrastructureError:
            break
    assert deferrals == 3
    assert stamps == {"2026-01-01T00:00:05.000000000Z"}
    assert step.created() == 1


def test_a_lost_trigger_whose_pod_has_ended_is_harvested() -> None:
    step = Step()
    step.deferred()
    step.kubernetes.finish(step.kubernetes.only, PLANNED, SPENT)
    assert step.reenter("error")["outcome"] == "succeeded"


def test_the_log_goes_on_where_the_trigger_left_and_never_shows_the_result(
    capsys: pytest.CaptureFixture[str],
) -> None:
    step = Step()
    step.deferred()
    name = step.kubernetes.only
    step.kubernetes.logs[name] = [f"2026-01-01T00:00:0{n}.000000000Z a\u2028line {n}" for n in range(1, 6)]
    step.kubernetes.finish(name, PLANNED, SPENT)
    step.reenter(last_log_time="2026-01-01T00:00:03.000000000Z")
    log = capsys.readouterr().out
    assert re.findall(r"line \d", log) == ["line 4", "line 5"]
    assert RESULT_MARKER not in log


def test_an_unreadable_log_loses_words_not_the_result() -> None:
    step = Step()
    step.deferred()
    step.kubernetes.finish(step.kubernetes.only, PLANNED, SPENT)
    step.kubernetes.fail["log"] = 400
    values = step.reenter()
    assert values["outcome"] == "succeeded"
    assert values["summary"] == "planned"
    assert values["output"] is None


def test_characters_that_end_lines_elsewhere_do_not_cut_the_result() -> None:
    step = Step()
    step.deferred()
    result = StepResult(outcome="succeeded", output={"summary": "a\u2028b\x85c\x0bd"})
    step.kubernetes.finish(step.kubernetes.only, result, SPENT)
    assert step.reenter()["output"] == {"summary": "a\u2028b\x85c\x0bd"}


def test_enough_of_the_log_is_asked_for() -> None:
    step = Step()
    step.deferred()
    step.kubernetes.finish(step.kubernetes.only, PLANNED, SPENT)
    step.reenter()
    tail = [read for read in step.kubernetes.log_reads if "tail_lines" in read]
    assert [read["tail_lines"] for read in tail] == [200]  # of 16 KiB: more than the largest result
    assert all(
        read["_request_timeout"] and read["_preload_content"] is False for read in step.kubernetes.log_reads
    )


def test_the_head_of_the_branch_goes_into_the_specification(github: GitHub) -> None:
    step = Step(AgentImplementOperator, coding_task=accepted(work_branch="topic/x"))
    github.branches["topic/x"] = SHA
    step.deferred()
    pod = step.kubernetes.pods[step.kubernetes.only]
    assert StepSpec.from_json(pod["metadata"]["annotations"][SPEC_ANNOTATION]).expected_head == SHA


def test_without_retries_in_the_store_each_try_is_its_own() -> None:
    step = Step()
    with pytest.raises(TaskDeferred):
        step.fresh().execute({**step.context, "task_state_store": None})
    step.kubernetes.finish(step.kubernetes.only, PLANNED, SPENT)
    assert step.reenter()["outcome"] == "succeeded"


def test_anything_but_the_stock_trigger_is_refused() -> None:
    class Other(KubernetesPodTrigger):
        pass

    trigger = Step().deferred()
    stock_arguments = {
        k: v for k, v in trigger.serialize()[1].items() if k not in ("failed_seconds", "renewal")
    }
    with pytest.raises(TypeError, match="not Other"):
        Step().operator.defer(trigger=Other(**stock_arguments), method_name="x")


def test_the_link_to_the_pod_is_there_while_the_task_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__POD_URL_TEMPLATE", "https://k8s/{namespace}/{name}?{x}")
    step = Step()
    step.deferred()
    assert step.ti.pushed["pod_url"] == f"https://k8s/agent-system/{step.kubernetes.only}?{{x}}"
