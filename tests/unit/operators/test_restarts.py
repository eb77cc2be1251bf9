"""How often a pod is started again: a lost one three times, one without memory once and with more."""

from __future__ import annotations

import pytest
from fakes import Store, TaskInstance, context

from agent_runner.contract import FAILURES, Failure, failure
from airflow_provider_agents.operators.restarts import MOST_RESTARTS, Restarts
from airflow_provider_agents.operators.retry_policy import STEP_RETRIES
from airflow_provider_agents.operators.steps import AgentPlanOperator

OUT = failure("out_of_memory", "Killed.")


class Life:
    """One task over its tries."""

    def __init__(self) -> None:
        self.ti = TaskInstance("step", retries=STEP_RETRIES)
        self.store = Store()

    @property
    def restarts(self) -> Restarts:
        return Restarts(AgentPlanOperator(task_id="step", prompt="x"), context(self.ti, self.store))

    def judge(self, fault: Failure, memory: str = "8Gi") -> Failure:
        judged = self.restarts.judge(fault, memory)
        self.ti.retry()
        return judged


@pytest.mark.parametrize("code", [code for code, kind in FAILURES.items() if kind.category == "evicted"])
def test_a_lost_pod_is_started_again_three_times(code: str) -> None:
    life = Life()
    judged = [life.judge(failure(code, "Gone.")) for _ in range(MOST_RESTARTS + 1)]
    assert [fault.retryable for fault in judged] == [True, True, True, False]
    assert "started again 3 times" in judged[-1].message


def test_lost_pods_of_all_kinds_count_together() -> None:
    life = Life()
    codes = ["evicted", "node_gone", "pod_gone", "not_ended"]
    assert [life.judge(failure(code, "Gone.")).retryable for code in codes] == [True, True, True, False]


def test_memory_is_raised_once() -> None:
    life = Life()
    assert life.restarts.memory("4Gi") == "4Gi"
    first = life.judge(OUT, "4Gi")
    assert (first.retryable, life.restarts.memory("4Gi")) == (True, "8Gi")
    assert "repeated once, with 8Gi" in first.message
    second = life.judge(OUT, "8Gi")
    assert not second.retryable
    assert "It had 8Gi" in second.message


def test_memory_has_a_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__MEMORY_CEILING", "6Gi")
    life = Life()
    assert life.judge(OUT, "4Gi").retryable
    assert life.restarts.memory("4Gi") == "6Gi"
    other = Life()
    assert not other.judge(OUT, "6Gi").retryable
    assert other.restarts.memory("6Gi") == "6Gi"


def test_a_cache_that_no_pod_can_start_with_is_left_out() -> None:
    life = Life()
    assert life.restarts.uses_cache
    fault = life.judge(failure("cache_unusable", "No folder."))
    assert fault.retryable
    assert "repeated without the cache" in fault.message
    assert not life.restarts.uses_cache
    life.ti.clear(STEP_RETRIES)
    assert life.restarts.uses_cache


def test_a_clear_starts_anew() -> None:
    life = Life()
    for _ in range(MOST_RESTARTS + 1):
        life.judge(failure("evicted", "Gone."))
    life.judge(OUT)
    life.ti.clear(STEP_RETRIES)
    assert life.judge(failure("evicted", "Gone.")).retryable
    assert life.restarts.memory("8Gi") == "8Gi"


@pytest.mark.parametrize(
    "code",
    [
        code
        for code, kind in FAILURES.items()
        if kind.category != "evicted" and code not in ("out_of_memory", "cache_unusable")
    ],
)
def test_every_other_failure_stays_as_it_is(code: str) -> None:
    life = Life()
    fault = failure(code, "x")
    assert [life.judge(fault) for _ in range(5)] == [fault] * 5
    assert life.store.values == {}
