"""How long pods are kept, what a kept pod still holds, and that it keeps no claim."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from agent_steps import PLANNED, SPENT, Step, github  # noqa: F401 - a fixture
from claim_cluster import AWAY, NAMESPACE, Cluster, forbidden, now, refused
from kubernetes.client import models as k8s

from airflow_provider_agents.domain.housekeeping import LABEL_READ
from airflow_provider_agents.domain.workspace import LABEL_INSTALLATION, LABEL_RUN, Workspace
from airflow_provider_agents.operators import kept_pods, step_secrets
from airflow_provider_agents.operators.kept_pods import (
    delete_ended_pods,
    drop_credentials,
    on_finish_action,
    pod_keep,
)
from airflow_provider_agents.operators.steps import AgentPlanOperator
from airflow_provider_agents.operators.workspace_claim import ensure_claim, release_claim

OURS = {LABEL_INSTALLATION: "default", LABEL_RUN: "run_1"}
READ = OURS | {LABEL_READ: "True"}
WORKSPACE = Workspace(claim="c", namespace=NAMESPACE, labels=OURS)


@pytest.mark.parametrize(
    ("succeeded", "failed", "action"),
    [
        (None, None, "keep_pod"),
        ("0", None, "delete_succeeded_pod"),
        ("0", "0", "delete_pod"),
        ("0.5", "0", "keep_pod"),
        ("-1", "-1", "delete_pod"),
    ],
)
def test_a_step_does_with_its_pod_what_the_options_say(
    monkeypatch: pytest.MonkeyPatch, succeeded: str | None, failed: str | None, action: str
) -> None:
    for name, value in (("POD_KEEP_HOURS", succeeded), ("FAILED_POD_KEEP_HOURS", failed)):
        if value is not None:
            monkeypatch.setenv(f"AIRFLOW__AGENTS__{name}", value)
    assert on_finish_action() == action
    assert AgentPlanOperator(task_id="t").on_finish_action.value == action
    given = AgentPlanOperator(task_id="t", on_finish_action="delete_active_pod")
    assert given.on_finish_action.value == "delete_active_pod"
    assert pod_keep().succeeded >= timedelta(0)


def test_pods_are_kept_a_day_and_failed_ones_a_week() -> None:
    keep = pod_keep()
    assert (keep.succeeded, keep.failed, keep.unread) == (
        timedelta(hours=24),
        timedelta(days=7),
        timedelta(days=7),
    )


@pytest.mark.parametrize("own", [True, False])
def test_a_kept_pod_keeps_no_credential(monkeypatch: pytest.MonkeyPatch, own: bool) -> None:
    deleted: list[str] = []
    monkeypatch.setattr(step_secrets, "delete", lambda client, namespace, name: deleted.append(name))
    name = "agent-plan-1-credentials" if own else "agent-secrets"
    secret = k8s.V1SecretProjection(name=name)
    pod = Cluster().add_pod("agent-plan-1", "Succeeded")
    sources = [k8s.V1VolumeProjection(secret=secret), k8s.V1VolumeProjection()]
    pod.spec.volumes.append(
        k8s.V1Volume(name="secrets", projected=k8s.V1ProjectedVolumeSource(sources=sources))
    )
    drop_credentials(None, pod)  # type: ignore[arg-type]
    assert deleted == ([name] if own else [])


def test_a_step_drops_the_credential_of_the_pod_that_it_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[str] = []
    monkeypatch.setattr(kept_pods, "drop_credentials", lambda _, pod: dropped.append(pod.metadata.name))
    step = Step(on_finish_action="keep_pod")
    step.deferred()
    name = step.kubernetes.only
    step.kubernetes.finish(name, PLANNED, SPENT)
    step.reenter()
    assert dropped == [name]


def world() -> Cluster:
    cluster = Cluster()
    cluster.page = 2
    cluster.add_claim("c", "2100-01-01T00:00:00Z")
    cluster.add_pod("read", "Succeeded", "c", ended=now(), labels=READ)
    cluster.add_pod("unread", "Failed", "c", ended=now(), labels=OURS)
    cluster.add_pod("of-another-run", "Failed", "c", ended=now(), labels=READ | {LABEL_RUN: "run_2"})
    cluster.add_pod("living", "Running", "c", labels=READ)
    cluster.add_pod("elsewhere", "Succeeded", "d", ended=now(), labels=READ)
    cluster.add_pod("foreign", "Succeeded", "c", ended=now(), labels={**READ, LABEL_INSTALLATION: "b"})
    cluster.add_pod("plain", "Succeeded", "c", ended=now(), labels=None)
    return cluster


def test_ended_pods_of_a_claim_are_deleted_and_no_others() -> None:
    cluster = world()
    assert delete_ended_pods(cluster, WORKSPACE, only_read=True) == 1  # type: ignore[arg-type]
    assert "read" not in cluster.pods
    assert delete_ended_pods(cluster, WORKSPACE, only_read=False) == 1  # type: ignore[arg-type]
    assert set(cluster.pods) == {"of-another-run", "living", "elsewhere", "foreign", "plain"}


@pytest.mark.parametrize("error", [AWAY, forbidden("list", "pods"), refused(500, "etcd is away")])
@pytest.mark.parametrize("call", ["list pods", "delete"])
def test_pods_that_cannot_be_deleted_do_not_fail_the_run(
    call: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = world()
    cluster.faults[call] = [error]
    assert delete_ended_pods(cluster, WORKSPACE, only_read=False) == 0  # type: ignore[arg-type]
    assert "stay until the next housekeeping" in caplog.text


def test_a_claim_that_is_given_back_takes_its_ended_pods_along() -> None:
    cluster: Any = world()
    assert release_claim(cluster, WORKSPACE) is True
    assert (set(cluster.claims), {"read", "unread"} & set(cluster.pods)) == (set(), set())
    assert release_claim(cluster, WORKSPACE) is False


def test_a_claim_that_is_being_deleted_is_not_waited_for_because_of_a_kept_pod() -> None:
    cluster: Any = world()
    cluster.claims["c"].metadata.deletion_timestamp = now()

    def gone(_: float) -> None:
        assert "read" not in cluster.pods
        assert "unread" in cluster.pods
        cluster.claims.clear()

    assert ensure_claim(cluster, WORKSPACE, sleep=gone) is True
