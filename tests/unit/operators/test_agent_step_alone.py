"""A step operator without the triggerer, without the pipeline, and its retries."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from fake_kubernetes import Kubernetes
from fakes import accepted

from agent_runner.contract import RESULT_MARKER, StepResult, StepSpec, failure
from airflow_provider_agents.exceptions import (
    InvalidInputError,
    StepInfrastructureError,
)
from airflow_provider_agents.operators.pod_parts import SPEC_ANNOTATION
from airflow_provider_agents.operators.retry_policy import STEP_RETRIES, StepRetryPolicy
from airflow_provider_agents.operators.steps import (
    AgentPlanOperator,
    AgentTestOperator,
)
from tests.unit.operators.agent_steps import BUDGET, NETWORK, PLANNED, SHA, SPENT, Step, clock, github  # noqa: F401 - two are fixtures

# Without the triggerer


class Running(Kubernetes):
    """A cluster whose pods start by themselves and end after a few looks."""

    def __init__(self, journal: list[str], looks: int = 3) -> None:
        super().__init__(journal)
        self.looks = looks

    def create_namespaced_pod(self, body: dict[str, Any], namespace: str, **options: Any) -> Any:
        created = super().create_namespaced_pod(body, namespace, **options)
        self.run(created.metadata.name)
        self.logs[created.metadata.name] = ["2026-01-01T00:00:01.000000000Z working"]
        return created

    def read_namespaced_pod(self, name: str, namespace: str) -> Any:
        self.looks -= 1
        if self.looks == 0:
            self.finish(name, PLANNED, SPENT)
        return super().read_namespaced_pod(name, namespace)


def worker(looks: int) -> Step:
    step = Step(deferrable=False)
    step.kubernetes = Running(step.journal, looks)
    return step


def test_a_worker_can_wait_itself(capsys: pytest.CaptureFixture[str]) -> None:
    step = worker(looks=4)
    assert step.execute()["output"] == {"summary": "S"}
    assert step.kubernetes.pods == {}
    assert "set step_0" in step.journal
    log = capsys.readouterr().out
    assert log.count("working") == 1
    assert RESULT_MARKER not in log


def test_a_worker_whose_time_is_over_stops_the_pod_and_keeps_its_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = worker(looks=10_000)
    ended = StepResult(outcome="cancelled", failure=failure("terminated", "Stopped."))
    step.kubernetes.on_patch = lambda name, body: step.kubernetes.finish(name, ended, SPENT, phase="Failed")

    class TimeIsOverError(Exception):
        pass

    def interrupted(operator: Any, pod: Any) -> None:
        raise TimeIsOverError

    monkeypatch.setattr(AgentPlanOperator, "await_pod_completion", interrupted)
    with pytest.raises(StepInfrastructureError, match="evicted/terminated"):
        step.execute()
    assert step.ti.pushed["return_value"]["cost_usd"] == 0.5
    assert step.kubernetes.pods == {}


def test_a_killed_worker_deletes_the_pod_and_says_no_more() -> None:
    step = Step()
    step.deferred()
    name = step.kubernetes.only
    step.operator.on_kill()
    assert step.kubernetes.pods == {}
    assert step.journal[-1] == f"delete {name}"
    step.operator.cleanup(pod=step.operator.pod, remote_pod=step.operator.pod, context=step.context)
    assert "return_value" not in step.ti.pushed


def test_a_worker_that_is_killed_while_its_pod_is_made_deletes_it() -> None:
    step = Step()
    create = step.kubernetes.create_namespaced_pod

    def killed(*arguments: Any, **options: Any) -> Any:
        create(*arguments, **options)
        step.operator.on_kill()
        raise SystemExit

    step.kubernetes.create_namespaced_pod = killed  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        step.execute()
    assert step.kubernetes.pods == {}


def test_a_worker_finds_its_own_pod_beside_one_that_an_earlier_generation_left() -> None:
    step = worker(looks=5)
    create = step.kubernetes.create_namespaced_pod

    def beside(body: dict[str, Any], namespace: str, **options: Any) -> Any:
        created = create(body, namespace, **options)
        left = json.loads(json.dumps(step.kubernetes.pods[created.metadata.name]))
        left["metadata"]["name"] = "left"
        left["metadata"]["labels"]["agents.airflow/generation"] = "7"
        step.kubernetes.pods["left"] = left
        step.kubernetes.finish("left", BUDGET, SPENT, phase="Failed")
        return created

    step.kubernetes.create_namespaced_pod = beside  # type: ignore[method-assign]
    assert step.execute()["output"] == {"summary": "S"}
    assert step.kubernetes.only == "left"


# Alone in a DAG


def test_a_step_can_be_used_alone() -> None:
    step = Step(coding_task=None, repository="acme/shop", prompt="Plan it", work_branch="topic/x", model="m-1",
                max_turns=7, step_timeout=timedelta(minutes=2), cpu="1", memory="1Gi")  # fmt: skip
    step.deferred()
    pod = step.kubernetes.pods[step.kubernetes.only]
    spec = StepSpec.from_json(pod["metadata"]["annotations"][SPEC_ANNOTATION])
    assert (spec.repository, spec.work_branch, spec.limits.seconds) == ("acme/shop", "topic/x", 120)
    assert (spec.agent.model, spec.agent.max_turns) == ("m-1", 7)
    assert "Plan it" in spec.prompt


def test_wrong_arguments_are_named_with_their_task() -> None:
    step = Step(coding_task=None, repository="x", prompt="p", base_branch="a b")
    with pytest.raises(InvalidInputError) as caught:
        step.execute()
    assert [fault.split(":")[:2] for fault in caught.value.faults] == [
        ["step", " repository"],
        ["step", " base_branch"],
    ]
    assert step.created() == 0


def test_tests_can_be_turned_off() -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    with pytest.raises(AirflowSkipException):
        Step(AgentTestOperator, coding_task=accepted(run_tests=False)).execute()


def test_an_own_test_command_wins() -> None:
    step = Step(AgentTestOperator, coding_task=accepted(test_command="make"), test_command="pytest -q")
    step.deferred()
    pod = step.kubernetes.pods[step.kubernetes.only]
    assert StepSpec.from_json(pod["metadata"]["annotations"][SPEC_ANNOTATION]).test_command == "pytest -q"


def test_the_model_is_the_operators_else_the_requests_else_the_installations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def model(request: dict[str, Any], **arguments: Any) -> str | None:
        operator = AgentPlanOperator(task_id="s", coding_task=accepted(**request), **arguments)
        return operator.step_settings(operator.resolve_task({})).model

    assert model({}) is None
    monkeypatch.setenv("AIRFLOW__AGENTS__MODEL", "of-installation")
    assert model({}) == "of-installation"
    assert model({"plan_model": "of-request"}) == "of-request"
    assert model({"plan_model": "of-request"}, model="of-operator") == "of-operator"


# Retries


def test_a_step_has_retries_for_lost_workers() -> None:
    operator = Step().operator
    assert operator.retries == STEP_RETRIES
    assert operator.retry_policy == StepRetryPolicy()
    assert operator.log_pod_spec_on_failure is False
    assert operator.deferrable is True
