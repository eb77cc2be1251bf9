"""What keeps a step's pod from starting, read from typed states first and from text last.

Two questions: :func:`start_fault` says whether waiting longer is pointless, :func:`start_timeout` what was
being waited for when there was no more time. Kubernetes repairs much by itself (a registry comes back, a
node is added, a volume is attached), so only what is wrong for good ends the wait early.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

from agent_runner.contract import failure
from airflow_provider_agents.domain.cache import CACHE_VOLUME
from airflow_provider_agents.domain.pod_events import (
    MAX_WARNINGS,
    PodEvent,
    last_warnings,
    mount_fault,
    pull_faults,
)
from airflow_provider_agents.domain.pod_fields import (
    GATEWAY_CONTAINER,
    Pod,
    Status,
    base_started,
    condition,
    container,
    containers,
    ended_state,
    state_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_runner.contract import Failure

PULLS = 3
"""After so many failed pulls, for a reason that is neither clearly final nor clearly passing, it is final."""
GATEWAY_RESTARTS_AT_START = 1

_FATAL_IMAGE_REASONS = frozenset({"InvalidImageName", "ErrImageNeverPull", "SignatureValidationFailed"})
_PULL_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable"})
_CONFIG_REASONS = frozenset({"CreateContainerConfigError", "RunContainerError"})

# The text of a runtime or a registry: no typed state tells these apart. Passing ones are looked for first,
# for they quote what they were trying to do ("failed to authorize: … i/o timeout").
_PASSING = re.compile(
    r"rate limit|too ?many ?requests|qps exceeded|unavailable|bad gateway|internal server error"
    r"|time-?out|timed out|deadline exceeded|connection (refused|reset)|temporary failure|server misbehaving"
    r"|try again|unexpected eof|failed to sync|is reserved for",
    re.IGNORECASE,
)
_FINAL_PULL = re.compile(
    r"not found|manifest unknown|name unknown|unauthorized|authentication required|authorization failed"
    r"|denied|forbidden|no basic auth|does not exist|no match for platform|invalid reference|couldn't parse",
    re.IGNORECASE,
)
_NO_PROGRAM = re.compile(r"executable file not found|exec: .*(not found|no such file)", re.IGNORECASE)
_NO_CACHE_FOLDER = re.compile(rf'subPath .*volumeMount "{CACHE_VOLUME}"')
"""What the kubelet says where it cannot make the repository's folder on a claim that is full or read-only."""
_NO_SECRET = re.compile(r"secrets? \"[^\"]+\" not found|couldn't find key \S+ in secret", re.IGNORECASE)
_NO_CONFIG_MAP = re.compile(
    r"configmaps? \"[^\"]+\" not found|couldn't find key \S+ in configmap", re.IGNORECASE
)
_CLAIM = re.compile(r"persistentvolumeclaim|binding volumes|VolumeBinding", re.IGNORECASE)


def start_fault(pod: Pod, events: Sequence[PodEvent] = ()) -> Failure | None:
    """Say what keeps the pod from starting, if waiting longer will not help; else ``None``.

    :param events: of this pod, where they are known.
    """
    for status in containers(pod):
        if fault := _container_fault(status, events):
            return fault
    if base_started(pod):
        return None
    if fault := _gateway_fault(container(pod, GATEWAY_CONTAINER)):
        return fault
    if mount := mount_fault(events):
        return _missing_source(mount.message)
    return None


def start_timeout(pod: Pod, events: Sequence[PodEvent] = (), seconds: float | None = None) -> Failure:
    """Say what a pod that has not started in time was waiting for.

    :param seconds: how long it was given, for the message.
    """
    if fault := start_fault(pod, events):
        return fault
    late = (
        "The pod did not start in time" if seconds is None else f"The pod did not start within {seconds:g} s"
    )
    if unscheduled := condition(pod, "PodScheduled", "False"):
        words = f"{unscheduled.get('reason')}: {unscheduled.get('message')}"
        code = "claim_pending" if _CLAIM.search(words) else "unschedulable"
        return failure(code, f"{late}: it was not scheduled: {words}")
    for status in containers(pod):
        waiting = state_of(status).get("waiting") or {}
        if waiting.get("reason") in _PULL_REASONS:
            why = _pull_text(status, waiting, events)
            return failure(
                "registry_unavailable", f"{late}: image {status.get('image')} was not pulled: {why}"
            )
    if mount := mount_fault(events):
        return failure("volume_mount", f"{late}: {mount.text()}")
    waits = [
        f"{status.get('name')}: {waiting.get('reason')} {waiting.get('message') or ''}".strip()
        for status in containers(pod)
        if (waiting := state_of(status).get("waiting"))
    ]
    return failure("not_started", f"{late}. {'; '.join(waits)}".strip())


def with_events(fault: Failure, events: Sequence[PodEvent]) -> Failure:
    """Return ``fault`` with the pod's last warnings in its message, those that it does not quote yet."""
    new = [event for event in events if event.warning and event.message not in fault.message]
    if not (text := last_warnings(new[-MAX_WARNINGS:])):
        return fault
    return dataclasses.replace(fault, message=f"{fault.message} Events: {text}")


def missing_program(message: str) -> bool:
    """Whether a container runtime says that the image does not have the container's program."""
    return bool(_NO_PROGRAM.search(message))


def _container_fault(status: Status, events: Sequence[PodEvent]) -> Failure | None:
    waiting = state_of(status).get("waiting") or {}
    reason, message = waiting.get("reason") or "", waiting.get("message") or ""
    if reason in _FATAL_IMAGE_REASONS:
        return _pull_failure(status, f"{reason}: {message}")
    if reason in _PULL_REASONS:
        return _pull_fault(status, waiting, events)
    if reason not in _CONFIG_REASONS or _PASSING.search(message):
        return None
    what = f"Container {status.get('name')} cannot be created: {reason}: {message}"
    if missing_program(message):
        return failure("agent_missing", what)
    if _NO_CACHE_FOLDER.search(message):
        return failure("cache_unusable", what)
    return _missing_source(what) or failure("container_config", what)


def _missing_source(words: str) -> Failure | None:
    if _NO_SECRET.search(words):
        return failure("secret_missing", words)
    if _NO_CONFIG_MAP.search(words):
        return failure("container_config", words)
    return None


def _pull_fault(status: Status, waiting: Status, events: Sequence[PodEvent]) -> Failure | None:
    text = _pull_text(status, waiting, events)
    if _PASSING.search(text):
        return None
    failed = sum(event.count for event in _pulls_of(status, events))
    if _FINAL_PULL.search(text) or failed >= PULLS:
        return _pull_failure(status, text)
    return None


def _pull_text(status: Status, waiting: Status, events: Sequence[PodEvent]) -> str:
    """Return why the pull failed; a back-off of older Kubernetes does not say it, the events do."""
    text = f"{waiting.get('reason')}: {waiting.get('message') or ''}"
    pulls = _pulls_of(status, events)
    return f"{text} {pulls[-1].message}" if pulls and pulls[-1].message not in text else text


def _pulls_of(status: Status, events: Sequence[PodEvent]) -> list[PodEvent]:
    return [event for event in pull_faults(events) if f'"{status.get("image")}"' in event.message]


def _pull_failure(status: Status, text: str) -> Failure:
    return failure(
        "image_pull",
        f"Image {status.get('image')} of container {status.get('name')} cannot be pulled: {text}",
    )


def _gateway_fault(gateway: Status) -> Failure | None:
    if (gateway.get("restart_count") or 0) < GATEWAY_RESTARTS_AT_START:
        return None
    return gateway_failure(gateway, "does not start")


def gateway_failure(gateway: Status, what: str) -> Failure:
    """Return why the gateway's container keeps ending.

    :param what: what it does: ``does not start``.
    """
    ended = ended_state(gateway)
    reason, message = ended.get("reason"), ended.get("message") or ""
    if reason == "OOMKilled":
        return failure("gateway_memory", f"The gateway container {what}: it ran out of memory.")
    if missing_program(message):
        return failure("agent_missing", f"The gateway container {what}: {message}")
    how = f"exit code {ended.get('exit_code')}"
    return failure("gateway_crashed", f"The gateway container {what} ({how}).")
