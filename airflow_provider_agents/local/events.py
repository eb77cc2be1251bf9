"""Events: what happened to a pod or a claim, as ``kubectl describe`` shows it."""

from __future__ import annotations

import uuid
from collections import deque
from typing import TYPE_CHECKING

from airflow_provider_agents.local import clock

if TYPE_CHECKING:
    from airflow_provider_agents.local.api_errors import Json
    from airflow_provider_agents.local.objects import ObjectStore

MAX_EVENTS = 2_000
"""Events kept in all; the oldest go first."""


_COMPONENTS = {"Pod": "kubelet", "PersistentVolumeClaim": "persistentvolume-controller"}


class EventRecorder:
    """Writes events into the store. The same event again raises its count."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._order: deque[tuple[str, str]] = deque()
        self._known: dict[tuple[str, ...], tuple[str, str]] = {}

    def record(
        self, item: Json, reason: str, message: str, *, warning: bool = False, container: str | None = None
    ) -> None:
        """Record that ``reason`` happened to ``item``, a pod or a claim.

        :param container: field path of the container it happened to, such as ``spec.containers{base}``.
        """
        metadata, kind = item["metadata"], item["kind"]
        component = "default-scheduler" if reason in ("Scheduled", "FailedScheduling") else _COMPONENTS[kind]
        key = (metadata["uid"], reason, message, container or "")
        if key in self._known:
            namespace, name = self._known[key]
            if self._store.update("events", namespace, name, _again):
                return
        name = f"{metadata['name']}.{uuid.uuid4().hex[:16]}"
        reference = {
            "kind": kind,
            "apiVersion": "v1",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        }
        if container:
            reference["fieldPath"] = container
        moment = clock.now()
        event = {
            "metadata": {"name": name},
            "involvedObject": reference,
            "reason": reason,
            "message": message,
            "type": "Warning" if warning else "Normal",
            "source": {"component": component, "host": "local"},
            "reportingComponent": component,
            "reportingInstance": "local",
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "eventTime": None,
            "count": 1,
        }
        self._store.create("events", metadata["namespace"], event)
        self._known[key] = (metadata["namespace"], name)
        self._order.append((metadata["namespace"], name))
        if len(self._order) > MAX_EVENTS:
            oldest = self._order.popleft()
            self._store.remove("events", *oldest)
            self._known = {known: place for known, place in self._known.items() if place != oldest}


def _again(event: Json) -> None:
    event["count"] += 1
    event["lastTimestamp"] = clock.now()
