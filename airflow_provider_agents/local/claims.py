"""Persistent volume claims: folders that outlive the pods that mount them."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING

from airflow_provider_agents.local import clock
from airflow_provider_agents.local.storage_classes import DEFAULT_CLASS, find_class
from airflow_provider_agents.local.volumes import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from airflow_provider_agents.local.api_errors import Json
    from airflow_provider_agents.local.events import EventRecorder
    from airflow_provider_agents.local.objects import Change, ObjectStore

log = logging.getLogger(__name__)

RESOURCE = "persistentvolumeclaims"

_REMOVED = ".removed-"
"""Starts the name of a folder whose claim is gone, and which is being removed."""


class Claims:
    """Binds claims to folders, and keeps one that is deleted until no pod holds it any more.

    :param folder: where the folders are.
    :param events: where it is told why a claim stays unbound.
    """

    def __init__(self, folder: Path, store: ObjectStore, events: EventRecorder) -> None:
        self._folder = folder
        self._store = store
        self._events = events
        self._removals: set[asyncio.Task[None]] = set()

    def folder(self, claim: Json) -> Path:
        """Return the folder of a claim."""
        return self._folder / str(claim["metadata"]["uid"])

    def recover(self) -> None:
        """Finish what an earlier server began: deletions, and the removal of folders."""
        for claim in list(self._store.items(RESOURCE)):
            if "deletionTimestamp" in claim["metadata"] and not self._in_use(claim):
                self._remove(claim)
        known = {str(claim["metadata"]["uid"]) for claim in self._store.items(RESOURCE)}
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            if folder.name not in known:
                self._clear(folder)

    async def settle(self) -> None:
        """Wait until the folders of removed claims are gone."""
        await asyncio.gather(*self._removals)

    def admit(self, claim: Json) -> None:
        """Fill in what the API server would: an absent storage class is the default one."""
        spec = claim["spec"]
        if spec.get("storageClassName") is None:
            spec["storageClassName"] = DEFAULT_CLASS
        spec.setdefault("volumeMode", "Filesystem")
        claim["status"] = {"phase": "Pending"}
        if find_class(spec["storageClassName"]):
            self._bind(claim)

    def created(self, claim: Json) -> None:
        """Tell in an event why a new claim is not bound."""
        name = claim["spec"]["storageClassName"]
        if claim["status"]["phase"] == "Pending" and find_class(name) is None:
            message = f'storageclass.storage.k8s.io "{name}" not found'
            self._events.record(claim, "ProvisioningFailed", message, warning=True)

    def set_bound(self, claim: Json, *, bound: bool) -> Json:
        """Take a claim's volume away or give it back, as where its storage has no room; its folder stays."""

        def change(item: Json) -> None:
            if bound:
                self._bind(item)
            else:
                item["status"] = {"phase": "Pending"}
                item["spec"].pop("volumeName", None)

        metadata = claim["metadata"]
        changed = self._store.update(RESOURCE, metadata["namespace"], metadata["name"], change) or claim
        if not bound:
            message = "failed to provision volume: the storage has no room (injected fault)"
            self._events.record(changed, "ProvisioningFailed", message, warning=True)
        return changed

    def grow(self, claim: Json) -> None:
        """Give a claim the size that it asks for by now."""
        if claim["status"]["phase"] == "Bound":
            claim["status"]["capacity"] = _capacity(claim)

    def obstacle(self, namespace: str, names: Iterable[str]) -> str:
        """Say why a pod with these claims cannot be scheduled, as the scheduler words it; empty: it can."""
        for name in names:
            claim = self._store.find(RESOURCE, namespace, name)
            if claim is None:
                return f'0/1 nodes are available: persistentvolumeclaim "{name}" not found.'
            if "deletionTimestamp" in claim["metadata"]:
                return f'0/1 nodes are available: persistentvolumeclaim "{name}" is being deleted.'
            if claim["status"]["phase"] != "Bound":
                return "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."
        return ""

    def delete(self, claim: Json) -> Json:
        """Delete a claim, at once or when the last pod that holds it is gone.

        :return: the claim as it is now, or as it was last.
        """
        metadata = claim["metadata"]
        if not self._in_use(claim):
            return self._remove(claim)

        def mark(item: Json) -> None:
            item["metadata"].setdefault("deletionTimestamp", clock.now())
            item["metadata"]["deletionGracePeriodSeconds"] = 0

        return self._store.update(RESOURCE, metadata["namespace"], metadata["name"], mark) or claim

    def pod_changed(self, change: Change) -> None:
        """Remove claims that were deleted while the pod of ``change`` held them."""
        for claim in list(self._store.items(RESOURCE, change.item["metadata"]["namespace"])):
            if "deletionTimestamp" in claim["metadata"] and not self._in_use(claim):
                self._remove(claim)

    def _bind(self, claim: Json) -> None:
        """Bind a claim at once, as a provisioner does when it has room."""
        spec = claim["spec"]
        spec["volumeName"] = f"local-{claim['metadata']['name']}"[:63].rstrip("-.")
        claim["status"] = {
            "phase": "Bound",
            "accessModes": list(spec.get("accessModes") or []),
            "capacity": _capacity(claim),
        }

    def _remove(self, claim: Json) -> Json:
        metadata = claim["metadata"]
        removed = self._store.remove(RESOURCE, metadata["namespace"], metadata["name"], metadata["uid"])
        self._clear(self.folder(claim))
        return removed or claim

    def _clear(self, folder: Path) -> None:
        """Remove a folder beside the loop: a checkout may have a hundred thousand files."""
        if not folder.exists():
            return
        if not folder.name.startswith(_REMOVED):
            folder = folder.rename(folder.with_name(f"{_REMOVED}{uuid.uuid4().hex}"))
        removal = asyncio.create_task(asyncio.to_thread(remove_tree, folder))
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    def _in_use(self, claim: Json) -> bool:
        """Say whether a pod holds the claim: one that is assigned to the node, until its object is gone."""
        metadata = claim["metadata"]
        return any(
            (volume.get("persistentVolumeClaim") or {}).get("claimName") == metadata["name"]
            for pod in self._store.items("pods", metadata["namespace"])
            if pod["spec"].get("nodeName")
            for volume in pod["spec"].get("volumes") or []
        )


def _capacity(claim: Json) -> Json:
    requests = (claim["spec"].get("resources") or {}).get("requests") or {}
    return {"storage": requests.get("storage", "0")}
