"""A run's workspace: the claim that its pods share one after the other, and when it may go.

The claim has one folder for each purpose, and every container mounts only the folders that are its own.
Its annotation ``agents.airflow/expires-at`` says until when it is kept if nobody asks for it any more.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

LABEL_INSTALLATION = "agents.airflow/installation"
LABEL_RUN = "agents.airflow/run"
LABEL_TICKET = "agents.airflow/ticket"

ANNOTATION_EXPIRES_AT = "agents.airflow/expires-at"
"""RFC 3339 in UTC: from then on the claim may be deleted, unless a pod mounts it or its run goes on."""
ANNOTATION_DAG_ID = "agents.airflow/dag-id"
ANNOTATION_RUN_ID = "agents.airflow/run-id"
ANNOTATION_TASK_ID = "agents.airflow/task-id"
"""The task that made the claim. With dag and run id: whose it is, in full, where labels are shortened."""

GIVEN_BACK_KEY = "workspace_given_back"
"""XCom of the teardown of a run that ended for good: why nobody will go on with it."""

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
