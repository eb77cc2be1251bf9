"""What the status of a pod says, with statuses as Kubernetes gives them."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_agents.domain.pod_status import (
    base_ended,
    base_started,
    end_failure,
    is_terminal,
    start_fault,
    termination_message,
)

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
        (pod("Failed", terminated(137, "OOMKilled"), GATEWAY), "resource", "out_of_memory", False, "out of memory"),
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
        (pod("Pending", waiting("CreateContainerConfigError", 'secret "x" not found'), GATEWAY), "config", "container_config", False, 'secret "x" not found'),
        (pod("Pending", waiting("ImagePullBackOff", RATE_LIMIT), GATEWAY), "scheduling", "not_started", True, "429"),
        (pod("Pending", conditions=[UNSCHEDULED]), "scheduling", "not_started", True, "Insufficient cpu"),
        (pod("Pending", CREATING, container("gateway", waiting("PodInitializing"))), "scheduling", "not_started", True, "PodInitializing"),
        (pod("Pending", CREATING, container("gateway", RUNNING, restarts=1, last=terminated(3))), "config", "gateway_crashed", False, "exit code 3"),
        (pod("Failed", terminated(139, signal=11), GATEWAY), "agent", "runner_crashed", True, "signal 11"),
        (pod("Failed", terminated(1), GATEWAY), "agent", "runner_crashed", True, "exit code 1"),
        (pod("Succeeded", terminated(0, "Completed"), GATEWAY), "agent", "runner_crashed", True, "exit code 0"),
        (pod("Failed", terminated(1), container("gateway", terminated(1), restarts=3, last=terminated(1))), "agent", "runner_crashed", True, "exit code 1"),
        (pod("Running", RUNNING, GATEWAY), "evicted", "not_ended", True, "node may be gone"),
        (pod("Failed", reason="UnexpectedAdmissionError", message="Allocate failed"), "unknown", "no_container_status", True, "Allocate failed"),
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
    ("status", "code"),
    [
        (pod("Pending", waiting("ErrImagePull", "manifest unknown")), "image_pull"),
        (pod("Pending", CREATING, container("gateway", waiting("ImagePullBackOff", "denied"))), "image_pull"),
        (pod("Pending", waiting("ErrImageNeverPull", "not present")), "image_pull"),
        (pod("Pending", waiting("CreateContainerConfigError", "x")), "container_config"),
        (pod("Pending", waiting("RunContainerError", "exec: agent-runner: not found")), "container_config"),
        (pod("Pending", CREATING, container("gateway", terminated(1), restarts=1, last=terminated(1))), "gateway_crashed"),
        (pod("Pending", waiting("ErrImagePull", RATE_LIMIT)), None),
        (pod("Pending", waiting("ErrImagePull", "dial tcp: i/o timeout")), None),
        (pod("Pending", waiting("ErrImagePull", "503 Service Unavailable")), None),
        (pod("Pending", waiting("ImagePullBackOff", "pull QPS exceeded")), None),
        (pod("Pending", CREATING, container("gateway", terminated(1))), None),
        (pod("Pending", waiting("ContainerCreating")), None),
        (pod("Pending", conditions=[UNSCHEDULED]), None),
        (pod("Running", RUNNING, container("gateway", RUNNING, restarts=2, last=terminated(137))), None),
        (pod("Running", RUNNING, GATEWAY), None),
        ({}, None),
    ],
)  # fmt: skip
def test_what_keeps_a_pod_from_starting(status: dict[str, Any], code: str | None) -> None:
    fault = start_fault(status)
    assert (fault.code if fault else None) == code
    assert fault is None or fault.remedy


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
