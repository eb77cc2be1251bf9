"""Why a step's pod ended as it did, read from typed states first and from text last."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

from agent_runner.contract import failure
from airflow_provider_agents.domain.pod_fields import (
    BASE_CONTAINER,
    GATEWAY_CONTAINER,
    TERMINAL_PHASES,
    Pod,
    base_ended,
    base_started,
    condition,
    container,
    ended_state,
    is_terminal,
    state_of,
    status_of,
    termination_message,
)
from airflow_provider_agents.domain.pod_start import (
    gateway_failure,
    missing_program,
    start_fault,
    start_timeout,
)

if TYPE_CHECKING:
    from agent_runner.contract import Failure

__all__ = [
    "BASE_CONTAINER",
    "GATEWAY_CONTAINER",
    "STOPPED_DEADLINE",
    "TERMINAL_PHASES",
    "Pod",
    "base_ended",
    "base_started",
    "better_known",
    "disruption",
    "end_failure",
    "gateway_lost",
    "is_terminal",
    "overdue",
    "start_fault",
    "start_timeout",
    "termination_message",
]

MAX_GATEWAY_RESTARTS = 5
"""A gateway that ended so often while the agent worked will not hold: with the kubelet's growing pauses that
is minutes of an agent without a model."""

OVERDUE_SECONDS = 60
"""After the end of its grace, a pod that is still there is on a node that does not answer."""

STOPPED_DEADLINE = 1
"""``activeDeadlineSeconds`` that the step operator patches into a running pod to end it in place."""

_NODE_REASONS = frozenset({"NodeLost", "NodeShutdown", "Shutdown", "Terminated", "ContainerStatusUnknown"})
_ADMISSION_REASONS = frozenset({"NodeAffinity", "UnexpectedAdmissionError"})
_DISRUPTIONS = {
    "PreemptionByScheduler": "preempted",
    "DeletionByTaintManager": "node_gone",
    "DeletionByPodGC": "node_gone",
    "EvictionByEvictionAPI": "drained",
}
"""Reasons of the condition ``DisruptionTarget`` that say all; the kubelet's needs the status's reason."""
_STORAGE = re.compile(r"ephemeral|emptydir|inodes|diskpressure|imagefs|nodefs", re.IGNORECASE)

_SPOILED_BY_MEMORY = frozenset(
    {
        "agent_aborted",
        "agent_crashed",
        "agent_error",
        "git_failed",
        "runner_error",
        "terminated",
        "tests_failed",
    }
)
"""Failures that a process killed for want of memory leads to, as the runner sees them."""


def end_failure(pod: Pod) -> Failure:
    """Say why a pod ended, or could not go on, without a result of the runner."""
    if ended := disruption(pod) or _pod_reason(pod):
        return ended
    terminated = state_of(container(pod, BASE_CONTAINER)).get("terminated") or {}
    if not terminated and (fault := start_fault(pod)):
        return fault
    if terminated:
        return _base_failure(pod, terminated)
    if is_terminal(pod):
        status = status_of(pod)
        words = " ".join(filter(None, (status.get("phase"), status.get("reason"), status.get("message"))))
        return failure("no_container_status", f"The pod ended without saying why: {words}")
    if base_started(pod):
        return failure("not_ended", "The pod did not end when it was told to; its node may be gone.")
    return start_timeout(pod)


def better_known(found: Failure, pod: Pod) -> Failure:
    """Return what the pod's status knows better than the runner about its failure, else ``found``.

    The runner learns that it was told to end, not why; and that a process was killed, not by whom.

    :param found: the failure in the runner's result.
    """
    ended = ended_state(container(pod, BASE_CONTAINER))
    if found.code in _SPOILED_BY_MEMORY and ended.get("reason") == "OOMKilled":
        return _out_of_memory(f"The runner saw: {found.message}")
    if found.code != "terminated":
        return found
    if lost := gateway_lost(pod):
        return lost
    if _stopped_in_place(pod):
        return found
    return disruption(pod) or _pod_reason(pod) or (_deleted(pod) if _is_deleted(pod) else found)


def _not_admitted(reason: str) -> bool:
    return reason in _ADMISSION_REASONS or reason.startswith("OutOf")


def never_ran(pod: Pod) -> bool:
    """Whether it is certain that no container of an agent's step ran, so that nothing was spent.

    A pod that failed without any status of its containers may have run: an evicted one looks so.
    """
    status = status_of(pod)
    if _not_admitted(status.get("reason") or ""):
        return True
    return status.get("phase") == "Pending" and not base_started(pod)


def gateway_lost(pod: Pod) -> Failure | None:
    """Return the failure of a gateway that keeps ending while the agent works, else ``None``.

    One restart or a few are survived: Kubernetes starts the gateway again, it finds its ledger, and the
    agent goes on.
    """
    gateway = container(pod, GATEWAY_CONTAINER)
    restarts = gateway.get("restart_count") or 0
    if not base_started(pod) or restarts < MAX_GATEWAY_RESTARTS:
        return None
    return gateway_failure(gateway, f"ended {restarts} times while the agent worked")


def overdue(pod: Pod, now: datetime) -> Failure | None:
    """Return the failure of a pod that was told to end long ago and does not, else ``None``.

    A node that is lost confirms nothing: its pods keep their last state in the API for ever.

    :param now: with a time zone.
    """
    until = (pod.get("metadata") or {}).get("deletion_timestamp")
    if not isinstance(until, datetime) or (now - until).total_seconds() < OVERDUE_SECONDS:
        return None
    words = condition(pod, "DisruptionTarget", "True").get("message") or "its node does not confirm it"
    return failure("node_gone", f"The pod should have ended at {until:%H:%M:%S} UTC, but {words}.")


def disruption(pod: Pod) -> Failure | None:
    """Return why Kubernetes ends the pod for its own sake, from the condition that it sets, else ``None``.

    The condition is set before the pod is deleted, and is often the last that is seen of it.
    """
    found = condition(pod, "DisruptionTarget", "True")
    code = _DISRUPTIONS.get(found.get("reason") or "")
    if code is None:
        return None
    words = f"{found.get('reason')}: {found.get('message') or ''}"
    return failure(code, f"Kubernetes ended the pod: {words}".strip())


def _pod_reason(pod: Pod) -> Failure | None:
    """Read the reason in the pod's status, which the kubelet gives where it ended the pod."""
    status = status_of(pod)
    reason, text = status.get("reason") or "", status.get("message") or ""
    words = f"{reason}: {text}".strip(": ")
    if reason == "Evicted":
        if _STORAGE.search(text):
            return failure(
                "evicted",
                f"The pod was evicted: {text}",
                remedy="Raise `workspace_size`, or make the work need less room on the node's disk.",
            )
        return failure("evicted", f"The pod was evicted: {text}")
    if reason == "DeadlineExceeded":
        if lost := gateway_lost(pod):
            return lost
        return failure("pod_deadline", "The pod was ended at its deadline before the runner wrote a result.")
    if reason == "Preempting":
        return failure("preempted", f"The node ended the pod for a more important one: {words}")
    if reason in _NODE_REASONS or status.get("phase") == "Unknown":
        return failure("node_gone", f"The node ended the pod: {words}")
    if _not_admitted(reason):
        return failure("unschedulable", f"The node did not admit the pod: {words}")
    return None


def _base_failure(pod: Pod, terminated: Pod) -> Failure:
    reason, message = terminated.get("reason") or "", terminated.get("message") or ""
    if reason == "OOMKilled":
        return _out_of_memory()
    if reason == "ContainerStatusUnknown":
        return failure("node_gone", f"The node lost the agent's container: {message}".strip(": "))
    if missing_program(message):
        return failure("agent_missing", f"The agent's container cannot be started: {message}")
    if _is_deleted(pod):
        return _deleted(pod)
    signal = terminated.get("signal")
    how = f"signal {signal}" if signal else f"exit code {terminated.get('exit_code')}"
    return failure("runner_crashed", f"The runner ended without a result ({how}).")


def _out_of_memory(more: str = "") -> Failure:
    return failure("out_of_memory", f"The agent's container ran out of memory and was killed. {more}".strip())


def _stopped_in_place(pod: Pod) -> bool:
    """Whether the step operator ended the pod: it shortens the deadline to what no pod is created with."""
    return (pod.get("spec") or {}).get("active_deadline_seconds") == STOPPED_DEADLINE


def _is_deleted(pod: Pod) -> bool:
    return bool((pod.get("metadata") or {}).get("deletion_timestamp"))


def _deleted(pod: Pod) -> Failure:
    name = pod["metadata"].get("name")
    return failure("pod_gone", f"Pod {name} was deleted while its step ran.")
