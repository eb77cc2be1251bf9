"""One step operator with a task instance and a cluster of its own, for its tests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.cncf.kubernetes.operators import pod as stock
from airflow.sdk.exceptions import TaskDeferred
from fake_kubernetes import Kubernetes
from fakes import GitHub, Store, TaskInstance, accepted, context

from agent_runner.contract import Ledger, StepResult, failure
from airflow_provider_agents.operators import agent_step, pod_reader
from airflow_provider_agents.operators.retry_policy import STEP_RETRIES
from airflow_provider_agents.operators.steps import (
    AgentPlanOperator,
)

if TYPE_CHECKING:
    from airflow_provider_agents.triggers.agent_pod import AgentPodTrigger

SHA = "a" * 40
PLANNED = StepResult(outcome="succeeded", summary="planned", output={"summary": "S"}, turns=3)
SPENT = Ledger(usd=0.5, model_calls=4)
BUDGET = StepResult(outcome="failed", failure=failure("budget_exhausted", "Too dear."))
NETWORK = StepResult(outcome="failed", failure=failure("model_unavailable", "Away."))


class Step:
    """One step, its task instance and its cluster; each try has an operator of its own."""

    def __init__(self, kind: Any = AgentPlanOperator, **arguments: Any) -> None:
        self.kind = kind
        self.arguments: dict[str, Any] = {
            "coding_task": accepted(),
            "on_finish_action": "delete_pod",
            **arguments,
        }
        self.journal: list[str] = []
        self.kubernetes = Kubernetes(self.journal)
        self.store = Store(self.journal)
        self.ti = TaskInstance("step", retries=STEP_RETRIES)
        self.operator = self.fresh()

    def fresh(self) -> Any:
        self.operator = self.kind(task_id="step", **self.arguments)
        self.operator.__dict__.update(hook=self.kubernetes, client=self.kubernetes)
        return self.operator

    @property
    def context(self) -> Any:
        return context(self.ti, self.store)

    def execute(self) -> Any:
        return self.fresh().execute(self.context)

    def deferred(self) -> AgentPodTrigger:
        with pytest.raises(TaskDeferred) as caught:
            self.execute()
        assert caught.value.method_name == "trigger_reentry"
        return caught.value.trigger

    def reenter(self, status: str = "success", **event: Any) -> Any:
        """Come back from the trigger, in a new process."""
        (name,) = self.kubernetes.pods or ["gone"]
        values = {
            "status": status,
            "name": name,
            "namespace": "agent-system",
            "message": "m",
            "last_log_time": None,
        }
        return self.fresh().trigger_reentry(self.context, values | event)

    def created(self) -> int:
        return sum(entry.startswith("create ") for entry in self.journal)


@pytest.fixture(autouse=True)
def github(monkeypatch: pytest.MonkeyPatch) -> GitHub:
    return GitHub().install(monkeypatch)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only sleeping moves."""
    now = [1_000.0]
    fake = SimpleNamespace(
        monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds)
    )
    monkeypatch.setattr(agent_step, "time", fake)
    monkeypatch.setattr(pod_reader, "time", fake)
    connection = SimpleNamespace(extra_dejson={"namespace": "agents"})
    monkeypatch.setattr(stock.BaseHook, "get_connection", classmethod(lambda cls, conn_id: connection))
    return now
