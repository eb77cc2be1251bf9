"""What the status of a step's pod says, read from typed states first and from text last.

A pod is the dictionary that the Kubernetes client's ``to_dict()`` gives (snake case), so that this works
for the synchronous and the asynchronous client and needs neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent_runner.contract import Failure

BASE_CONTAINER = "base"
GATEWAY_CONTAINER = "gateway"

TERMINAL_PHASES = frozenset({"Succeeded", "Failed"})

_FATAL_IMAGE_REASONS = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_PULL_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff"})
_CONFIG_REASONS = frozenset({"CreateContainerConfigError", "RunContainerError"})
_PASSING_PULL_FAULTS = (
    "rate limit",
    "too many requests",
    "qps exceeded",
    "unavailable",
    "bad gateway",
    "timeout",
)
_GATEWAY_RESTARTS_AT_START = 1

Pod = Mapping[str, Any]


def is_terminal(pod: Pod) -> bool:
    """Whether every container of the pod has ended for good."""
    return _status(pod).get("phase") in TERMINAL_PHASES


def base_started(pod: Pod) -> bool:
    """Whether the agent's container runs or has run."""
    state = _state(_container(pod, BASE_CONTAINER))
    return bool(state.get("running") or state.get("terminated"))


def base_ended(pod: Pod) -> bool:
    """Whether the agent's container has ended, though the gateway may still run."""
    return is_terminal(pod) or bool(_state(_container(pod, BASE_CONTAINER)).get("terminated"))


def termination_message(pod: Pod, container: str) -> str | None:
    """Return what a container left as its termination message, from its present or its last state."""
    status = _container(pod, container)
    for state in (status.get("state"), status.get("last_state")):
        terminated = (state or {}).get("terminated") or {}
        if message := terminated.get("message"):
            return str(message)
    return None


def start_fault(pod: Pod) -> Failure | None:
    """Say what keeps the pod from starting, if waiting longer will not help; else ``None``."""
    for status in _containers(pod):
        waiting = (_state(status)).get("waiting") or {}
        reason, message = waiting.get("reason") or "", waiting.get("message") or ""
        if reason in _FATAL_IMAGE_REASONS or (
            reason in _PULL_REASONS and not any(fault in message.lower() for fault in _PASSING_PULL_FAULTS)
        ):
            return _image_failure(status, reason, message)
        if reason in _CONFIG_REASONS:
            return Failure(
                category="config",
                code="container_config",
                message=f"Container {status.get('name')} cannot be created: {reason}: {message}",
                remedy="Correct what the message names: a secret, a config map or a mount.",
            )
    gateway = _container(pod, GATEWAY_CONTAINER)
    if not base_started(pod) and (gateway.get("restart_count") or 0) >= _GATEWAY_RESTARTS_AT_START:
        ended = ((gateway.get("last_state") or {}).get("terminated")) or {}
        return Failure(
            category="config",
            code="gateway_crashed",
            message=f"The gateway container does not start (exit code {ended.get('exit_code')}).",
            remedy="See the log of the container `gateway`; the image may be older than the provider.",
        )
    return None


def end_failure(pod: Pod) -> Failure:
    """Say why a pod ended without a result of the runner."""
    status = _status(pod)
    reason, text = status.get("reason") or "", status.get("message") or ""
    if reason == "Evicted":
        return Failure(
            category="evicted",
            code="evicted",
            message=f"The pod was evicted: {text}",
            remedy="Give the step more memory or the node less load.",
            retryable=True,
        )
    if reason == "DeadlineExceeded":
        return Failure(
            category="timeout",
            code="pod_deadline",
            message="The pod was ended at its deadline before the runner could write a result.",
            remedy="Raise step_timeout, or make the step smaller.",
        )
    if reason in ("NodeLost", "NodeShutdown", "Terminated", "Preempting", "Shutdown"):
        return Failure(
            category="evicted",
            code="node_gone",
            message=f"The node ended the pod: {reason} {text}".strip(),
            retryable=True,
        )
    if fault := start_fault(pod):
        return fault
    terminated = _state(_container(pod, BASE_CONTAINER)).get("terminated") or {}
    if terminated.get("reason") == "OOMKilled":
        return Failure(
            category="resource",
            code="out_of_memory",
            message="The agent's container ran out of memory and was killed.",
            remedy="Raise `memory`, or make the tests need less.",
        )
    if terminated:
        signal = terminated.get("signal")
        how = f"signal {signal}" if signal else f"exit code {terminated.get('exit_code')}"
        return Failure(
            category="agent",
            code="runner_crashed",
            message=f"The runner ended without a result ({how}).",
            remedy="See the end of the task log.",
            retryable=True,
        )
    if not is_terminal(pod) and base_started(pod):
        return Failure(
            category="evicted",
            code="not_ended",
            message="The pod did not end when it was told to; its node may be gone.",
            remedy="See the state of the node.",
            retryable=True,
        )
    if not is_terminal(pod):
        return Failure(
            category="scheduling",
            code="not_started",
            message=_not_started(pod),
            remedy="See the pod's events: node resources, claims, image, secrets.",
            retryable=True,
        )
    return Failure(
        category="unknown",
        code="no_container_status",
        message=f"The pod ended as {status.get('phase')} {reason} without saying why. {text}".strip(),
        retryable=True,
    )


def _not_started(pod: Pod) -> str:
    for condition in _status(pod).get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"The pod was not scheduled: {condition.get('reason')}: {condition.get('message')}"
    waits = [
        f"{status.get('name')}: {waiting.get('reason')} {waiting.get('message') or ''}".strip()
        for status in _containers(pod)
        if (waiting := _state(status).get("waiting"))
    ]
    return "The pod did not start in time. " + "; ".join(waits)


def _image_failure(status: Mapping[str, Any], reason: str, message: str) -> Failure:
    return Failure(
        category="image",
        code="image_pull",
        message=f"Image {status.get('image')} of container {status.get('name')} cannot be pulled: {reason}: {message}",
        remedy="Check `image` and the image pull secrets.",
    )


def _status(pod: Pod) -> Mapping[str, Any]:
    return pod.get("status") or {}


def _containers(pod: Pod) -> list[Mapping[str, Any]]:
    status = _status(pod)
    return [*(status.get("init_container_statuses") or ()), *(status.get("container_statuses") or ())]


def _container(pod: Pod, name: str) -> Mapping[str, Any]:
    return next((status for status in _containers(pod) if status.get("name") == name), {})


def _state(status: Mapping[str, Any]) -> Mapping[str, Any]:
    return status.get("state") or {}
