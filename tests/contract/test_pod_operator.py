"""Holds what we use of the pod operator and its trigger beyond their documented interface.

cncf-kubernetes 10.25; a failure here says what to look at before the upper bound in pyproject.toml moves.
"""

from __future__ import annotations

import importlib
import inspect
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook
from airflow.providers.cncf.kubernetes.operators import pod as operators
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.serde import deserialize, serialize
from kubernetes.client import models as k8s

from airflow_provider_agents.operators.steps import AgentPlanOperator
from airflow_provider_agents.triggers.agent_pod import AgentPodTrigger


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_the_minor_version_is_the_one_that_was_read() -> None:
    assert version("apache-airflow-providers-cncf-kubernetes").startswith("10.25.")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("execute", ["self", "context"]),
        ("execute_sync", ["self", "context"]),
        ("execute_async", ["self", "context"]),
        ("build_pod_request_obj", ["self", "context", "dry_run"]),
        ("get_or_create_pod", ["self", "pod_request_obj", "context"]),
        ("find_pod", ["self", "namespace", "context", "exclude_checked"]),
        ("invoke_defer_method", ["self", "last_log_time", "context"]),
        ("trigger_reentry", ["self", "context", "event"]),
        ("await_pod_completion", ["self", "pod"]),
        ("cleanup", ["self", "pod", "remote_pod", "xcom_result", "context"]),
        ("process_pod_deletion", ["self", "pod", "reraise"]),
        ("patch_already_checked", ["self", "pod", "reraise"]),
        ("on_kill", ["self"]),
    ],
)
def test_methods_that_we_override_or_call(name: str, expected: list[str]) -> None:
    assert parameters(getattr(KubernetesPodOperator, name)) == expected


def test_names_that_we_read() -> None:
    assert KubernetesPodOperator.POD_CHECKED_KEY == "already_checked"
    assert KubernetesPodOperator.BASE_CONTAINER_NAME == "base"
    for name in ("hook", "client", "pod_manager"):
        assert hasattr(KubernetesPodOperator, name)
    operator = KubernetesPodOperator(task_id="t", name="n", image="i")
    assert operator._killed is False
    for name in ("trigger_kwargs", "poll_interval", "get_logs", "base_container_name", "deferrable", "pod"):
        assert hasattr(operator, name)


def test_the_labels_by_which_we_find_a_pod() -> None:
    ti = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=3, try_number=1)
    context: Any = {"ti": ti, "run_id": "r", "dag": SimpleNamespace(parent_dag=None)}
    labels = KubernetesPodOperator._get_ti_pod_labels(context)
    assert labels == {
        "dag_id": "d",
        "task_id": "t",
        "run_id": "r",
        "map_index": "3",
        "try_number": "1",
        "kubernetes_pod_operator": "True",
    }


def test_the_trigger_that_we_replace() -> None:
    assert "_fired_event" in inspect.getsource(KubernetesPodTrigger.on_kill)
    assert parameters(AsyncKubernetesHook.get_pod) == ["self", "name", "namespace"]
    assert parameters(AsyncKubernetesHook.read_logs) == [
        "self",
        "name",
        "namespace",
        "container_name",
        "since_seconds",
    ]
    assert parameters(AsyncKubernetesHook.get_pod_events) == ["self", "name", "namespace", "resource_version"]
    assert parameters(AsyncKubernetesHook.delete_pod) == ["self", "name", "namespace", "grace_period_seconds"]
    own = set(parameters(AgentPodTrigger.__init__)) - {"self", "kwargs"}
    assert own == {"failed_seconds", "renewal"}
    assert own.isdisjoint(parameters(KubernetesPodTrigger.__init__))


def test_our_trigger_keeps_what_the_stock_one_serializes() -> None:
    trigger = KubernetesPodTrigger(
        pod_name="p",
        pod_namespace="n",
        trigger_start_time=datetime(2026, 1, 1, tzinfo=UTC),
        base_container_name="base",
    )
    path, arguments = trigger.serialize()
    assert path == "airflow.providers.cncf.kubernetes.triggers.pod.KubernetesPodTrigger"
    ours = AgentPodTrigger(**arguments)
    own = {"failed_seconds": ours.failed_seconds, "renewal": None}
    assert {**arguments, **own} == ours.serialize()[1]


@pytest.mark.parametrize("library", ["kubernetes", "kubernetes_asyncio"])
def test_the_fields_that_we_read_of_pods_and_events(library: str) -> None:
    models = importlib.import_module(f"{library}.client")
    event = models.CoreV1Event(metadata={}, involved_object=models.V1ObjectReference(uid="u"))
    names = {"reason", "message", "type", "count", "series", "last_timestamp", "event_time"}
    assert names <= set(event.to_dict())
    assert event.to_dict()["involved_object"]["uid"] == "u"
    assert {"count", "last_observed_time"} <= set(models.CoreV1EventSeries().to_dict())
    assert {"deletion_timestamp", "uid"} <= set(models.V1ObjectMeta().to_dict())
    assert "active_deadline_seconds" in models.V1PodSpec(containers=[]).to_dict()
    fields = {"phase", "reason", "message", "conditions", "container_statuses", "init_container_statuses"}
    assert fields <= set(models.V1PodStatus().to_dict())


def deferred(monkeypatch: pytest.MonkeyPatch, operator: Any) -> tuple[list[Any], TaskDeferred]:
    """Let the stock code defer; return the triggers that it gave, and what came of it."""
    connection = SimpleNamespace(extra_dejson={"in_cluster": False, "namespace": "x"})
    monkeypatch.setattr(operators.BaseHook, "get_connection", classmethod(lambda cls, conn_id: connection))
    given: list[Any] = []
    original = type(operator).defer

    def recording(self: Any, *, trigger: Any, **more: Any) -> None:
        given.append(trigger)
        original(self, trigger=trigger, **more)

    monkeypatch.setattr(type(operator), "defer", recording)
    operator.pod = k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(name="p", namespace="n"), status=k8s.V1PodStatus(phase="Pending")
    )
    ti = SimpleNamespace(start_date=datetime.now(tz=UTC), xcom_push=lambda key, value: None)
    with pytest.raises(TaskDeferred) as caught:
        operator.invoke_defer_method(context={"ti": ti})
    return given, caught.value


def test_the_stock_code_defers_to_exactly_the_stock_trigger_and_ours_survives_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operator = AgentPlanOperator(task_id="plan", execution_timeout=timedelta(hours=1))
    given, task_deferred = deferred(monkeypatch, operator)
    (stock,) = given
    assert type(stock) is KubernetesPodTrigger
    ours = task_deferred.trigger
    assert type(ours) is AgentPodTrigger
    assert task_deferred.method_name == "trigger_reentry"
    path, arguments = ours.serialize()
    assert path == f"{AgentPodTrigger.__module__}.{AgentPodTrigger.__qualname__}"
    assert {name: arguments[name] for name in stock.serialize()[1]} == stock.serialize()[1]
    again = AgentPodTrigger(**deserialize(serialize(arguments)))
    assert again.serialize() == (path, arguments)
    assert again.trigger_kwargs["_execution_deadline"] > datetime.now(tz=UTC).timestamp() + 3_500
    assert again.connection_extras == {"in_cluster": False, "namespace": "x"}


def test_a_terminal_pod_is_handed_to_reentry_without_deferring(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[dict[str, Any]] = []
    monkeypatch.setattr(
        AgentPlanOperator, "trigger_reentry", lambda self, context, event: events.append(event)
    )
    monkeypatch.setattr(
        operators.BaseHook,
        "get_connection",
        classmethod(lambda cls, conn_id: SimpleNamespace(extra_dejson={})),
    )
    operator = AgentPlanOperator(task_id="plan")
    operator.pod = k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(name="p", namespace="n"), status=k8s.V1PodStatus(phase="Failed")
    )
    ti = SimpleNamespace(start_date=datetime.now(tz=UTC), xcom_push=lambda key, value: None)
    operator.invoke_defer_method(context={"ti": ti})
    (event,) = events
    assert {"status", "name", "namespace", "message", "last_log_time"} <= set(event)
    assert (event["status"], event["name"], event["namespace"]) == ("failed", "p", "n")
