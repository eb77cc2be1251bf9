"""A run's workspace: the claim that its pods share one after the other, and when it may go.

The claim has one folder for each purpose, and every container mounts only the folders that are its own.
Its annotation ``agents.airflow/expires-at`` says until when it is kept if nobody asks for it any more.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

LABEL_INSTALLATION = "agents.airflow/installation"
LABEL_RUN = "agents.airflow/run"
LABEL_TICKET = "agents.airflow/ticket"

ANNOTATION_EXPIRES_AT = "agents.airflow/expires-at"
"""RFC 3339 in UTC: from then on the claim may be deleted, unless a pod mounts it or its run goes on."""
ANNOTATION_DAG_ID = "agents.airflow/dag-id"
ANNOTATION_RUN_ID = "agents.airflow/run-id"
ANNOTATION_TASK_ID = "agents.airflow/task-id"
"""The task that made the claim. With dag and run id: whose it is, in full, where labels are shortened."""

WORKSPACE_FOLDER = "workspace"
"""Checkout; mounted by the agent's container."""
HOME_FOLDER = "home"
"""The agent program's sessions; mounted by the agent's container."""
LEDGER_FOLDER = "ledger"
"""What the pods of the run spent; mounted by the gateway alone."""
FOLDERS = (WORKSPACE_FOLDER, HOME_FOLDER, LEDGER_FOLDER)
"""Each is a sub path of the claim, or a volume of its own where there is no claim."""

CLAIM_VOLUME = "run"
"""Name of the pod's volume that is the claim."""

ACCESS_MODE = "ReadWriteOnce"

_MAX_NAME = 63
_DIGEST_DIGITS = 16
_STAMP = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one folder is: a volume of the pod, and the sub path in it."""

    volume: str
    sub_path: str | None = None


def place(folder: str, claim: str | None) -> Place:
    """Return where ``folder`` of :data:`FOLDERS` is.

    :param claim: name of the run's claim; ``None``: every folder is an empty volume that ends with the pod.
    """
    if folder not in FOLDERS:
        raise ValueError(f"{folder!r} is none of {', '.join(FOLDERS)}")
    return Place(CLAIM_VOLUME, folder) if claim else Place(folder)


def volumes(claim: str | None) -> dict[str, str | None]:
    """Return the pod's volumes for the folders: name → claim that it is, or ``None`` for an empty one."""
    return {CLAIM_VOLUME: claim} if claim else dict.fromkeys(FOLDERS)


def claim_name(installation: str, dag_id: str, run_id: str, scope: str = "", map_index: int = -1) -> str:
    """Return the name of a run's claim: the same for the same run, and different for any other one.

    A DNS-1123 label: words that a person recognises, and a digest that keeps runs apart.

    :param scope: tells several pipelines of one run apart, e.g. the task group.
    :param map_index: of a mapped pipeline; -1 otherwise.
    """
    identity = json.dumps([installation, dag_id, run_id, scope, map_index])
    digest = hashlib.sha256(identity.encode()).hexdigest()[:_DIGEST_DIGITS]
    words = re.sub(r"[^a-z0-9]+", "-", f"{dag_id}-{run_id}".lower()).strip("-")
    room = _MAX_NAME - len("agents--") - _DIGEST_DIGITS
    words = words[:room].strip("-")
    return "-".join(part for part in ("agents", words, digest) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A run's claim: what it is called and what it is to be like. JSON-ready through :meth:`to_dict`."""

    claim: str
    namespace: str
    size: str = "10Gi"
    """Kubernetes quantity of bytes."""
    storage_class: str | None = None
    """``None``: the cluster's default."""
    expiry_hours: float = 168.0
    """How long it is kept after it was last asked for."""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    """Without the expiry, which moves."""

    def expires_at(self, now: datetime) -> str:
        """Return the value of :data:`ANNOTATION_EXPIRES_AT` for a claim that is asked for ``now``."""
        return stamp(now + timedelta(hours=self.expiry_hours))

    def manifest(self, now: datetime) -> dict[str, Any]:
        """Return the claim as Kubernetes takes it."""
        spec: dict[str, Any] = {
            "accessModes": [ACCESS_MODE],
            "resources": {"requests": {"storage": self.size}},
        }
        if self.storage_class:
            spec["storageClassName"] = self.storage_class
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": self.claim,
                "namespace": self.namespace,
                "labels": dict(self.labels),
                "annotations": {**self.annotations, ANNOTATION_EXPIRES_AT: self.expires_at(now)},
            },
            "spec": spec,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the values of an XCom."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Workspace | None:
        """Read what :meth:`to_dict` returned; ``None`` where there is no claim.

        :raises ValueError: if a claim is named, but the rest does not fit.
        """
        if not values or not values.get("claim"):
            return None
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        try:
            return cls(**known)
        except TypeError as error:
            raise ValueError(f"workspace: {error}") from None


def stamp(moment: datetime) -> str:
    """Return a moment as RFC 3339 in UTC, in whole seconds."""
    return moment.astimezone(UTC).strftime(_STAMP)


def read_stamp(text: str) -> datetime:
    """Read an RFC 3339 moment.

    :raises ValueError: if it is none, or does not say its distance from UTC.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} does not say its time zone")
    return moment


def is_expired(annotations: Mapping[str, str], now: datetime) -> bool:
    """Say whether the claim's time is over.

    :raises ValueError: if the annotation is missing or malformed.
    """
    text = annotations.get(ANNOTATION_EXPIRES_AT)
    if text is None:
        raise ValueError(f"it has no annotation {ANNOTATION_EXPIRES_AT}")
    try:
        return read_stamp(text) <= now
    except ValueError:
        raise ValueError(
            f"its annotation {ANNOTATION_EXPIRES_AT} is {text!r}, not a moment like 2026-01-31T12:00:00Z"
        ) from None


def ending(decisions: Iterable[Any]) -> str | None:
    """Say why a run needs its workspace no more, or ``None`` where it may go on when a task is cleared.

    :param decisions: what the gates of the run decided, in their order; the last one counts.
    """
    last = None
    for decision in decisions:
        if isinstance(decision, Mapping) and decision.get("verdict"):
            last = decision
    if last is None or last["verdict"] not in ("done", "stop"):
        return None
    return str(last.get("message") or f"The last gate decided {last['verdict']}.")


# Sweeping


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSeen:
    """A claim as a sweep finds it."""

    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    being_deleted: bool = False


@dataclass(frozen=True, slots=True)
class SweepDecision:
    """What a sweep does with one object, and why."""

    action: Literal["keep", "delete"]
    reason: str
    faulty: bool = False
    """True where a person should look at the object."""


def sweep_claim(
    claim: ClaimSeen,
    *,
    living_pods: Sequence[str],
    run_state: str | None,
    now: datetime,
    installation: str,
) -> SweepDecision:
    """Decide about one claim.

    :param living_pods: names of the pods that mount it and have not ended.
    :param run_state: state of its DAG run; ``None``: unknown, or the run was deleted.
    :param installation: value of the label of this installation.
    """
    if claim.labels.get(LABEL_INSTALLATION) != installation:
        return SweepDecision("keep", "It belongs to another installation.")
    if claim.being_deleted:
        return SweepDecision("keep", "It is being deleted already.")
    try:
        expired = is_expired(claim.annotations, now)
    except ValueError as error:
        return SweepDecision("keep", f"Nobody can tell when it expires: {error}.", faulty=True)
    until = claim.annotations[ANNOTATION_EXPIRES_AT]
    if not expired:
        return SweepDecision("keep", f"It is kept until {until}.")
    if living_pods:
        return SweepDecision("keep", f"It expired at {until}, but is mounted by {', '.join(living_pods)}.")
    if run_state in ("running", "queued"):
        return SweepDecision("keep", f"It expired at {until}, but its run is {run_state}.")
    return SweepDecision("delete", f"It expired at {until}.")


def sweep_pod(pod: Mapping[str, Any], *, now: datetime, keep: timedelta, installation: str) -> SweepDecision:
    """Decide about a pod that may have ended without anybody reading its result.

    :param pod: as ``to_dict()`` of the Kubernetes client gives it (snake case).
    :param keep: how long an ended pod is kept.
    """
    metadata, status = pod.get("metadata") or {}, pod.get("status") or {}
    if (metadata.get("labels") or {}).get(LABEL_INSTALLATION) != installation:
        return SweepDecision("keep", "It belongs to another installation.")
    if status.get("phase") not in ("Succeeded", "Failed"):
        return SweepDecision("keep", "It has not ended.")
    if metadata.get("deletion_timestamp"):
        return SweepDecision("keep", "It is being deleted already.")
    ended = _ended_at(pod)
    if ended is None:
        return SweepDecision("keep", "Nobody can tell when it ended.", faulty=True)
    if now - ended < keep:
        return SweepDecision("keep", f"It ended at {stamp(ended)} and is kept until {stamp(ended + keep)}.")
    return SweepDecision("delete", f"It ended at {stamp(ended)}.")


def _ended_at(pod: Mapping[str, Any]) -> datetime | None:
    """Return when the last container ended; for a pod without containers (evicted early) when it was made."""
    status = pod.get("status") or {}
    containers = [*(status.get("init_container_statuses") or ()), *(status.get("container_statuses") or ())]
    ends = [
        moment
        for container in containers
        if (moment := ((container.get("state") or {}).get("terminated") or {}).get("finished_at"))
    ]
    begin = status.get("start_time") or (pod.get("metadata") or {}).get("creation_timestamp")
    moments = [moment for moment in (*ends, begin) if isinstance(moment, datetime)]
    return max(moments, default=None)
