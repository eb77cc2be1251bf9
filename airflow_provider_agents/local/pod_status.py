"""The status of a pod: phase, conditions, quality of service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_agents.local import clock

if TYPE_CHECKING:
    from airflow_provider_agents.local.api_errors import Json

NODE = "local"
LOOPBACK = "127.0.0.1"
ENDED = ("Succeeded", "Failed")
"""Phases that a pod never leaves."""


def has_ended(pod: Json) -> bool:
    """Say whether a pod is in a phase that it never leaves."""
    return (pod.get("status") or {}).get("phase") in ENDED


def new_status(spec: Json) -> Json:
    """Return the status of a pod that was just created."""
    return {"phase": "Pending", "qosClass": quality_of_service(spec)}


def quality_of_service(spec: Json) -> str:
    """Return the class that follows from the requests and limits of all containers."""
    resources = [
        container.get("resources") or {}
        for container in [*(spec.get("initContainers") or []), *spec["containers"]]
    ]
    if not any(entry.get("requests") or entry.get("limits") for entry in resources):
        return "BestEffort"

    def guaranteed(entry: Json) -> bool:
        limits = entry.get("limits") or {}
        requests = limits | (entry.get("requests") or {})
        return all(name in limits and requests[name] == limits[name] for name in ("cpu", "memory"))

    return "Guaranteed" if all(map(guaranteed, resources)) else "Burstable"


def set_condition(
    status: Json, kind: str, holds: bool, reason: str | None = None, message: str | None = None
) -> None:
    """Set a condition of the status; its transition time changes only when it does."""
    conditions: list[Json] = status.setdefault("conditions", [])
    value = "True" if holds else "False"
    known = next((entry for entry in conditions if entry["type"] == kind), None)
    since = known["lastTransitionTime"] if known and known["status"] == value else clock.now()
    condition: dict[str, Any] = {
        "type": kind,
        "status": value,
        "lastProbeTime": None,
        "lastTransitionTime": since,
    }
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    if known is None:
        conditions.append(condition)
    else:
        known.clear()
        known.update(condition)


def set_readiness(status: Json, *, initialized: bool) -> None:
    """Set the conditions that follow from the containers and the phase.

    :param initialized: whether all init containers are done or, as sidecars, started.
    """
    phase = status["phase"]
    ended = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase)
    entries = [
        *status.get("containerStatuses", []),
        *(each for each in status.get("initContainerStatuses", []) if not each["ready"]),
    ]
    unready = [entry["name"] for entry in entries if not entry["ready"]]
    base_unready = [each["name"] for each in status.get("containerStatuses", []) if not each["ready"]]
    set_condition(status, "PodReadyToStartContainers", not ended)
    if initialized:
        set_condition(status, "Initialized", True, "PodCompleted" if phase == "Succeeded" else None)
    else:
        names = " ".join(name for name in unready if name not in base_unready)
        text = f"containers with incomplete status: [{names}]"
        set_condition(status, "Initialized", False, "ContainersNotInitialized", text)
    ready = not ended and not unready
    reason = ended or (None if ready else "ContainersNotReady")
    message = None if ready or ended else f"containers with unready status: [{' '.join(base_unready)}]"
    set_condition(status, "Ready", ready, reason, message)
    set_condition(status, "ContainersReady", ready, reason, message)
