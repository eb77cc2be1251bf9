"""When a step is repeated, and after how long."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.definitions.retry_policy import RetryAction, RetryDecision
from airflow.serialization.serialized_objects import DagSerialization
from kubernetes.client.exceptions import ApiException

from agent_runner.contract import FAILURES, StepResult, failure
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeConflictError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
    StepError,
    StepFailedError,
    StepInfrastructureError,
)
from airflow_provider_agents.operators.retry_policy import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    STEP_RETRIES,
    WAITING_PAUSE,
    StepRetryPolicy,
)
from airflow_provider_agents.operators.steps import AgentPlanOperator

MINUTE = timedelta(minutes=1)


def decide(
    error: BaseException, *, tries: int = 1, cleared: int = 0, retry_delay: timedelta = FIRST_PAUSE
) -> RetryDecision:
    """Decide after so many tries since the last clear, of ``cleared`` tries before it."""
    task = SimpleNamespace(retries=STEP_RETRIES, retry_delay=retry_delay)
    context: Any = {"ti": SimpleNamespace(task=task)}
    return StepRetryPolicy().evaluate(error, cleared + tries, cleared + STEP_RETRIES, context)


def after(code: str, **more: Any) -> RetryDecision:
    return decide(StepError.of(failure(code, "What happened.")), **more)


@pytest.mark.parametrize("code", FAILURES)
def test_only_what_may_succeed_unchanged_is_repeated(code: str) -> None:
    decision = after(code)
    assert decision.action is (RetryAction.RETRY if FAILURES[code].retryable else RetryAction.FAIL)
    kind = FAILURES[code]
    assert decision.reason == f"[{kind.category}/{code}] What happened. Remedy: {kind.remedy}"


@pytest.mark.parametrize(("tries", "minutes"), [(1, 1), (2, 5), (3, 15), (9, 15)])
def test_a_rate_limit_is_waited_out(tries: int, minutes: int) -> None:
    for code in ("model_rate_limited", "model_overloaded"):
        assert after(code, tries=tries).retry_delay == minutes * MINUTE


@pytest.mark.parametrize(
    "code", ["evicted", "node_gone", "pod_gone", "preempted", "forge_unavailable", "out_of_memory"]
)
@pytest.mark.parametrize(("tries", "factor"), [(1, 1), (2, 2), (3, 4)])
def test_what_was_lost_is_soon_started_again(code: str, tries: int, factor: int) -> None:
    assert after(code, tries=tries).retry_delay == FIRST_PAUSE * factor


def test_pauses_have_an_end() -> None:
    assert after("node_gone", tries=10_000).retry_delay == LONGEST_PAUSE


def test_the_tasks_own_delay_is_the_first_pause() -> None:
    assert after("node_gone", retry_delay=MINUTE, tries=2).retry_delay == 2 * MINUTE
    assert after("claim_pending", retry_delay=3 * MINUTE).retry_delay == 3 * MINUTE


@pytest.mark.parametrize("code", ["unschedulable", "claim_pending", "volume_mount", "registry_unavailable"])
def test_a_pod_that_waited_all_its_time_is_given_some_more(code: str) -> None:
    assert after(code).retry_delay == WAITING_PAUSE


def test_a_clear_starts_the_pauses_anew() -> None:
    assert after("model_rate_limited", tries=1, cleared=4).retry_delay == MINUTE
    assert after("node_gone", tries=2, cleared=3).retry_delay == 2 * FIRST_PAUSE


def test_what_crashed_is_repeated_after_the_tasks_own_delay() -> None:
    decision = after("runner_crashed")
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, None)


def test_a_failure_that_was_judged_final_ends_the_task() -> None:
    """The operator counts lost pods, and takes back that they may be started again."""
    judged = dataclasses.replace(failure("node_gone", "Lost a fourth time."), retryable=False)
    assert decide(StepError.of(judged)).action is RetryAction.FAIL


@pytest.mark.parametrize(
    "error",
    [
        InvalidInputError(["repository: is missing"]),
        ForgeAccessError("no such repository"),
        StepFailedError("old style"),
        ApiException(status=422, reason="Unprocessable"),
        ApiException(status=403, reason="Forbidden"),
    ],
)
def test_what_a_person_must_change_ends_the_task(error: Exception) -> None:
    decision = decide(error)
    assert decision.action is RetryAction.FAIL
    assert decision.reason


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        ForgeConflictError("x"),
        StepInfrastructureError("old style"),
        StepError("x", StepResult(outcome="failed")),
        ApiException(status=500),
        ApiException(status=404),
        KeyboardInterrupt(),
    ],
)
def test_what_nobody_knows_is_airflows_to_decide(error: BaseException) -> None:
    assert decide(error) == RetryDecision.default()


def test_a_full_quota_of_the_cluster_is_waited_for() -> None:
    body = json.dumps({"message": 'pods "x" is forbidden: exceeded quota: compute'})
    error = ApiException(status=403)
    error.body = body
    decision = decide(error)
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, WAITING_PAUSE)


def test_the_forges_rate_limit_is_waited_for_until_its_time() -> None:
    now = datetime.now(tz=UTC)
    delay = decide(ForgeRateLimitedError("x", now + timedelta(minutes=7))).retry_delay
    assert delay is not None
    assert timedelta(minutes=6) < delay <= timedelta(minutes=7)
    assert decide(ForgeRateLimitedError("x", now - MINUTE)).retry_delay == FIRST_PAUSE
    assert decide(ForgeRateLimitedError("x", now + timedelta(days=2))).retry_delay == LONGEST_PAUSE
    assert decide(ForgeRateLimitedError("x"), tries=2).retry_delay == 5 * MINUTE


def test_a_forge_that_is_away_is_asked_again() -> None:
    assert decide(ForgeUnavailableError("x"), tries=2).retry_delay == 2 * FIRST_PAUSE


@pytest.mark.parametrize("context", [None, {}, {"ti": SimpleNamespace()}])
def test_without_a_context_the_tries_are_counted_as_they_are(context: Any) -> None:
    error = StepError.of(failure("node_gone", "m"))
    assert StepRetryPolicy().evaluate(error, 2, 3, context).retry_delay == 2 * FIRST_PAUSE


def test_it_comes_back_from_json() -> None:
    sent = StepRetryPolicy()
    data = json.loads(json.dumps(sent.serialize()))
    assert StepRetryPolicy.deserialize(data) == sent
    assert hash(StepRetryPolicy.deserialize(data)) == hash(sent)
    assert data == {"__type": "airflow_provider_agents.operators.retry_policy.StepRetryPolicy"}


def test_a_dag_with_it_is_serialized_alike_each_time() -> None:
    """A memory address in it would make a new version of the DAG with every parse."""

    def parsed() -> str:
        with DAG("d", schedule=None, default_args={"retry_policy": StepRetryPolicy()}) as dag:
            AgentPlanOperator(task_id="plan")
            AgentPlanOperator.partial(task_id="many", retry_policy=StepRetryPolicy()).expand(
                prompt=["a", "b"]
            )
        return json.dumps(DagSerialization.to_dict(dag), sort_keys=True)

    first = parsed()
    assert first == parsed()
    assert " object at 0x" not in first
    again = DagSerialization.from_dict(json.loads(first))
    assert again.get_task("plan").has_retry_policy
    assert again.get_task("plan").retries == STEP_RETRIES
