"""What the status of a pod says, with statuses as Kubernetes gives them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.contract import FAILURES, Failure, failure
from airflow_provider_agents.domain.pod_status import (
    MAX_GATEWAY_RESTARTS,
    OVERDUE_SECONDS,
    STOPPED_DEADLINE,
    base_ended,
    base_started,
    better_known,
    end_failure,
    gateway_lost,
    is_terminal,
    never_ran,
    overdue,
    termination_message,
)

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)

RUNNING = {"running": {"started_at": "2026-01-01T00:00:00Z"}}


def waiting(reason: str, message: str | None = None) -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}, "running": None, "terminated": None}


def terminated(code: int, reason: str = "Error", **more: Any) -> dict[str, Any]:
    return {"terminated": {"exit_code": code, "reason": reason, "signal": None, "message": None, **more}}


def container(
    name: str, state: dict[str, Any] | None, *, restarts: int = 0, last: Any = None
) -> dict[str, Any]:
    return {"name": name, "image": "agent:1", "state": state, "last_state": last, "restart_count": restarts}


def pod(
    phase: str,
    base: dict[str, Any] | None = None,
    gateway: dict[str, Any] | None = None,
    **status: Any,
) -> dict[str, Any]:
    """Return a pod as the client's to_dict() gives it, with None where the API says nothing."""
    return {
        "metadata": {"name": "agent-plan-x"},
        "status": {
            "phase": phase,
            "reason": None,
            "message": None,
            "conditions": None,
            "container_statuses": [container("base", base)] if base else None,
            "init_container_statuses": [gateway] if gateway else None,
            **status,
        },
    }


GATEWAY = container("gateway", RUNNING)
CREATING = waiting("PodInitializing")
UNSCHEDULED = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient cpu.",
}
RATE_LIMIT = 'failed to pull "agent:1": 429 Too Many Requests: You have reached your pull rate limit'


@pytest.mark.parametrize(
    ("status", "category", "code", "retryable", "words"),
    [
        (pod("Failed", terminated(137, "OOMKilled"), GATEWAY), "resource", "out_of_memory", True, "out of memory"),
        (
            pod("Failed", reason="Evicted", message="The node was low on resource: memory."),
            "evicted", "evicted", True, "low on resource",
        ),
        (
            pod("Failed", terminated(137), GATEWAY, reason="Evicted", message="Pod ephemeral storage exceeds"),
            "evicted", "evicted", True, "ephemeral storage",
        ),
        (
            pod("Failed", terminated(143), GATEWAY, reason="DeadlineExceeded", message="Pod was active too long"),
            "timeout", "pod_deadline", False, "deadline",
        ),
        (pod("Failed", terminated(0), reason="NodeShutdown"), "evicted", "node_gone", True, "NodeShutdown"),
        (pod("Failed", reason="Terminated", message="Pod was terminated in response to imminent node shutdown."), "evicted", "node_gone", True, "shutdown"),
        (pod("Pending", waiting("ErrImagePull", "not found"), GATEWAY), "image", "image_pull", False, "agent:1"),
        (pod("Pending", waiting("InvalidImageName", "couldn't parse"), GATEWAY), "image", "image_pull", False, "InvalidImageName"),
        (pod("Pending", waiting("CreateContainerConfigError", 'secret "x" not found'), GATEWAY), "config", "secret_missing", False, 'secret "x" not found'),
        (pod("Pending", waiting("ImagePullBackOff", RATE_LIMIT), GATEWAY), "image", "registry_unavailable", True, "429"),
        (pod("Pending", conditions=[UNSCHEDULED]), "scheduling", "unschedulable", True, "Insufficient cpu"),
        (pod("Pending", CREATING, container("gateway", waiting("PodInitializing"))), "scheduling", "not_started", True, "PodInitializing"),
        (pod("Pending", CREATING, container("gateway", RUNNING, restarts=1, last=terminated(3))), "config", "gateway_crashed", False, "exit code 3"),
        (pod("Failed", terminated(139, signal=11), GATEWAY), "agent", "runner_crashed", True, "signal 11"),
        (pod("Failed", terminated(1), GATEWAY), "agent", "runner_crashed", True, "exit code 1"),
        (pod("Succeeded", terminated(0, "Completed"), GATEWAY), "agent", "runner_crashed", True, "exit code 0"),
        (pod("Failed", terminated(1), container("gateway", terminated(1), restarts=3, last=terminated(1))), "agent", "runner_crashed", True, "exit code 1"),
        (pod("Running", RUNNING, GATEWAY), "evicted", "not_ended", True, "node may be gone"),
        (pod("Failed", reason="UnexpectedAdmissionError", message="Allocate failed"), "scheduling", "unschedulable", True, "Allocate failed"),
        ({"metadata": {"name": "x"}, "status": None}, "scheduling", "not_started", True, "did not start"),
        ({}, "scheduling", "not_started", True, "did not start"),
    ],
)  # fmt: skip
def test_why_a_pod_ended_without_a_result(
    status: dict[str, Any], category: str, code: str, retryable: bool, words: str
) -> None:
    failure = end_failure(status)
    assert (failure.category, failure.code, failure.retryable) == (category, code, retryable)
    assert words in failure.message


@pytest.mark.parametrize(
    ("reason", "message", "code", "category"),
    [
        ("PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority pod", "preempted", "evicted"),
        ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", "node_gone", "evicted"),
        ("DeletionByPodGC", "PodGC: node no longer exists", "node_gone", "evicted"),
        ("EvictionByEvictionAPI", "Eviction API: evicting", "drained", "evicted"),
    ],
)  # fmt: skip
def test_the_condition_of_a_disruption_is_read_before_texts(
    reason: str, message: str, code: str, category: str
) -> None:
    entry = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    found = end_failure(pod("Failed", terminated(143), GATEWAY, conditions=[entry], message="OOM Evicted"))
    assert (found.code, found.category, found.retryable) == (code, category, True)
    assert message in found.message
    assert found.remedy


def test_a_disruption_that_did_not_come_about_is_none() -> None:
    entry = {"type": "DisruptionTarget", "status": "False", "reason": "PreemptionByScheduler", "message": ""}
    assert end_failure(pod("Failed", terminated(1), GATEWAY, conditions=[entry])).code == "runner_crashed"


def test_the_kubelets_disruption_is_told_apart_by_the_pods_reason() -> None:
    entry = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": "m"}
    assert end_failure(pod("Failed", reason="Evicted", conditions=[entry])).code == "evicted"
    assert end_failure(pod("Failed", reason="Terminated", conditions=[entry])).code == "node_gone"
    assert end_failure(pod("Failed", reason="Preempting", conditions=[entry])).code == "preempted"


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("The node was low on resource: memory. Threshold quantity: 100Mi, available: 0.", "more memory"),
        ("Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ", "workspace_size"),
        ('Usage of EmptyDir volume "workspace" exceeds the limit "2Gi". ', "workspace_size"),
        ("The node was low on resource: ephemeral-storage. Container base was using 9Gi", "workspace_size"),
        ("The node had condition: [DiskPressure]. ", "workspace_size"),
        ("The node was low on resource: inodes.", "workspace_size"),
    ],
)
def test_an_eviction_names_the_resource_to_change(message: str, remedy: str) -> None:
    found = end_failure(pod("Failed", reason="Evicted", message=message))
    assert found.code == "evicted"
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (pod("Failed", terminated(137, "ContainerStatusUnknown", message="The container could not be located"), GATEWAY), "node_gone"),
        (pod("Failed", reason="ContainerStatusUnknown"), "node_gone"),
        (pod("Unknown", RUNNING, GATEWAY, reason="NodeLost"), "node_gone"),
        (pod("Failed", reason="OutOfmemory", message="Pod was rejected: Node didn't have enough resource: memory"), "unschedulable"),
        (pod("Failed", reason="NodeAffinity", message="Predicate NodeAffinity failed"), "unschedulable"),
        (pod("Failed", reason="SomethingNew", message="odd"), "no_container_status"),
        (pod("Failed", terminated(128, "StartError", message='exec: "agent-runner": executable file not found in $PATH'), GATEWAY), "agent_missing"),
        (pod("Failed", terminated(137, "OOMKilled"), GATEWAY, reason="DeadlineExceeded"), "pod_deadline"),
    ],
)  # fmt: skip
def test_what_the_node_says(status: dict[str, Any], code: str) -> None:
    assert end_failure(status).code == code


def test_a_pod_that_was_deleted_while_its_step_ran() -> None:
    status = pod("Failed", terminated(143), GATEWAY)
    status["metadata"]["deletion_timestamp"] = NOW
    found = end_failure(status)
    assert (found.code, found.retryable) == ("pod_gone", True)
    assert "agent-plan-x was deleted" in found.message


# The gateway


def gateway(restarts: int, reason: str = "Error", **more: Any) -> dict[str, Any]:
    return container("gateway", RUNNING, restarts=restarts, last=terminated(1, reason, **more))


@pytest.mark.parametrize("restarts", [0, 1, MAX_GATEWAY_RESTARTS - 1])
def test_a_gateway_that_ends_now_and_then_is_survived(restarts: int) -> None:
    assert gateway_lost(pod("Running", RUNNING, gateway(restarts, "OOMKilled"))) is None


@pytest.mark.parametrize(("reason", "code"), [("Error", "gateway_crashed"), ("OOMKilled", "gateway_memory")])
def test_a_gateway_that_keeps_ending_is_not(reason: str, code: str) -> None:
    lost = gateway_lost(pod("Running", RUNNING, gateway(MAX_GATEWAY_RESTARTS, reason)))
    assert lost is not None
    assert lost.code == code
    assert f"{MAX_GATEWAY_RESTARTS} times" in lost.message


def test_the_gateway_of_a_pod_that_never_started_is_another_matter() -> None:
    assert gateway_lost(pod("Pending", CREATING, gateway(MAX_GATEWAY_RESTARTS))) is None


# What the status knows better than the runner


def told(code: str) -> Failure:
    return failure(code, "as the runner saw it")


def stopped(status: dict[str, Any]) -> dict[str, Any]:
    return {**status, "spec": {"active_deadline_seconds": STOPPED_DEADLINE}}


EVICTED = pod("Failed", terminated(0, "Completed"), GATEWAY, reason="Evicted", message="low on memory")
DEADLINE = pod("Failed", terminated(0, "Completed"), GATEWAY, reason="DeadlineExceeded", message="too long")
MEMORY = pod("Succeeded", terminated(0, "OOMKilled"), GATEWAY)


@pytest.mark.parametrize(
    ("found", "status", "code"),
    [
        ("terminated", EVICTED, "evicted"),
        ("terminated", DEADLINE, "pod_deadline"),
        ("terminated", stopped(DEADLINE), "terminated"),
        ("terminated", pod("Running", terminated(0), gateway(MAX_GATEWAY_RESTARTS)), "gateway_crashed"),
        ("terminated", pod("Succeeded", terminated(0), GATEWAY), "terminated"),
        ("agent_crashed", MEMORY, "out_of_memory"),
        ("tests_failed", MEMORY, "out_of_memory"),
        ("agent_crashed", pod("Succeeded", terminated(0, "Completed"), GATEWAY), "agent_crashed"),
        ("budget_exhausted", MEMORY, "budget_exhausted"),
        ("model_credential", EVICTED, "model_credential"),
    ],
)
def test_what_the_pods_status_knows_better(found: str, status: dict[str, Any], code: str) -> None:
    better = better_known(told(found), status)
    assert better.code == code
    assert better.message


def test_what_the_runner_saw_is_not_lost() -> None:
    assert "as the runner saw it" in better_known(told("agent_crashed"), MEMORY).message


def test_a_deletion_explains_why_the_runner_was_ended() -> None:
    status = pod("Running", terminated(0, "Completed"), GATEWAY)
    status["metadata"]["deletion_timestamp"] = NOW
    assert better_known(told("terminated"), status).code == "pod_gone"


# A node that does not answer


@pytest.mark.parametrize(
    ("seconds", "is_lost"), [(-5, False), (OVERDUE_SECONDS - 1, False), (OVERDUE_SECONDS, True)]
)
def test_a_deleted_pod_that_stays_is_on_a_lost_node(seconds: int, is_lost: bool) -> None:
    status = pod("Running", RUNNING, GATEWAY)
    status["metadata"]["deletion_timestamp"] = NOW - timedelta(seconds=seconds)
    lost = overdue(status, NOW)
    assert (lost is not None) is is_lost
    assert lost is None or lost.code == "node_gone"


def test_a_pod_that_nobody_deleted_is_not_overdue() -> None:
    assert overdue(pod("Running", RUNNING, GATEWAY), NOW) is None
    assert overdue({}, NOW) is None


@given(st.recursive(st.none() | st.booleans() | st.text(max_size=9), lambda v: st.lists(v, max_size=3)))
def test_whatever_a_condition_says_there_is_a_failure_with_a_remedy(odd: Any) -> None:
    entry = {"type": "DisruptionTarget", "status": "True", "reason": "New", "message": odd}
    for phase in ("Pending", "Running", "Failed", "Succeeded", "Unknown"):
        found = end_failure(pod(phase, conditions=[entry], reason="New", message=str(odd)))
        assert found.code in FAILURES
        assert found.remedy


# How far it is


@pytest.mark.parametrize(
    ("status", "started", "ended", "terminal"),
    [
        (pod("Pending"), False, False, False),
        (pod("Pending", CREATING, GATEWAY), False, False, False),
        (pod("Running", RUNNING, GATEWAY), True, False, False),
        (pod("Running", terminated(0), GATEWAY), True, True, False),
        (pod("Succeeded", terminated(0), container("gateway", terminated(0))), True, True, True),
        (pod("Failed", reason="Evicted"), False, True, True),
        (pod("Unknown", RUNNING), True, False, False),
        ({}, False, False, False),
    ],
)
def test_how_far_a_pod_is(status: dict[str, Any], started: bool, ended: bool, terminal: bool) -> None:
    assert (base_started(status), base_ended(status), is_terminal(status)) == (started, ended, terminal)


@pytest.mark.parametrize(
    ("status", "never"),
    [
        (pod("Pending"), True),
        (pod("Pending", CREATING), True),
        (pod("Failed", reason="OutOfcpu"), True),
        (pod("Failed", reason="UnexpectedAdmissionError"), True),
        (pod("Running", RUNNING, GATEWAY), False),
        (pod("Failed", terminated(137)), False),
        # The containers' statuses may be gone, not what they have spent.
        (pod("Failed", reason="Evicted"), False),
        (pod("Unknown"), False),
        ({}, False),
    ],
)
def test_only_what_certainly_never_ran_spent_nothing(status: dict[str, Any], never: bool) -> None:
    assert never_ran(status) is never


def test_the_message_of_each_container() -> None:
    status = pod(
        "Succeeded",
        terminated(0, message="result"),
        container("gateway", terminated(0, message="ledger"), last=terminated(1, message="older")),
    )
    assert termination_message(status, "base") == "result"
    assert termination_message(status, "gateway") == "ledger"
    assert termination_message(status, "nobody") is None


def test_the_message_of_a_restarted_container_is_in_its_last_state() -> None:
    gateway = container("gateway", RUNNING, restarts=1, last=terminated(1, message="ledger"))
    assert termination_message(pod("Running", RUNNING, gateway), "gateway") == "ledger"


def test_no_message() -> None:
    assert termination_message(pod("Running", RUNNING), "base") is None
    assert termination_message({}, "base") is None
