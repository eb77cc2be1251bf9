"""How far a step's pod is: its phase, its containers and its conditions.

A pod is the dictionary that the Kubernetes client's ``to_dict()`` gives (snake case), so that this works
for the synchronous and the asynchronous client and needs neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BASE_CONTAINER = "base"
GATEWAY_CONTAINER = "gateway"

TERMINAL_PHASES = frozenset({"Succeeded", "Failed"})

Pod = Mapping[str, Any]
Status = Mapping[str, Any]


def is_terminal(pod: Pod) -> bool:
    """Whether every container of the pod has ended for good."""
    return status_of(pod).get("phase") in TERMINAL_PHASES


def base_started(pod: Pod) -> bool:
    """Whether the agent's container runs or has run."""
    state = state_of(container(pod, BASE_CONTAINER))
    return bool(state.get("running") or state.get("terminated"))


def base_ended(pod: Pod) -> bool:
    """Whether the agent's container has ended, though the gateway may still run."""
    return is_terminal(pod) or bool(state_of(container(pod, BASE_CONTAINER)).get("terminated"))


def termination_message(pod: Pod, container_name: str) -> str | None:
    """Return what a container left as its termination message, from its present or its last state."""
    status = container(pod, container_name)
    for state in (status.get("state"), status.get("last_state")):
        terminated = (state or {}).get("terminated") or {}
        if message := terminated.get("message"):
            return str(message)
    return None


def status_of(pod: Pod) -> Status:
    """Return the pod's status; empty where it has none."""
    return pod.get("status") or {}


def containers(pod: Pod) -> list[Status]:
    """Return the statuses of all containers, those of the init containers first."""
    status = status_of(pod)
    return [*(status.get("init_container_statuses") or ()), *(status.get("container_statuses") or ())]


def container(pod: Pod, name: str) -> Status:
    """Return the status of one container; empty where there is none."""
    return next((status for status in containers(pod) if status.get("name") == name), {})


def state_of(status: Status) -> Status:
    """Return what a container is doing now: ``waiting``, ``running`` or ``terminated``."""
    return status.get("state") or {}


def ended_state(status: Status) -> Status:
    """Return how a container ended, now or before its last restart; empty where it never did."""
    for state in (status.get("state"), status.get("last_state")):
        if terminated := (state or {}).get("terminated"):
            return terminated  # type: ignore[no-any-return]
    return {}


def condition(pod: Pod, kind: str, holds: str) -> Status:
    """Return the condition of one type where its status is ``holds`` (``"True"``, ``"False"``), else empty."""
    for entry in status_of(pod).get("conditions") or ():
        if entry.get("type") == kind and entry.get("status") == holds:
            return entry  # type: ignore[no-any-return]
    return {}
