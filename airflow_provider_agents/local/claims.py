"""Persistent volume claims: folders that outlive the pods that mount them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.local import clock
from airflow_provider_agents.local.volumes import remove_tree

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_agents.local.api_errors import Json
    from airflow_provider_agents.local.objects import Change, ObjectStore

RESOURCE = "persistentvolumeclaims"


class Claims:
    """Binds claims to folders, and keeps one that is deleted until no pod uses it any more.

    :param folder: where the folders are.
    """

    def __init__(self, folder: Path, store: ObjectStore) -> None:
        self._folder = folder
        self._store = store

    def folder(self, claim: Json) -> Path:
        """Return the folder of a claim."""
        return self._folder / str(claim["metadata"]["uid"])

    def bind(self, claim: Json) -> None:
        """Fill in what a cluster's provisioner would: the claim is bound at once."""
        spec = claim["spec"]
        spec["volumeName"] = f"local-{claim['metadata']['name']}"[:63].rstrip("-.")
        spec.setdefault("volumeMode", "Filesystem")
        requests = (spec.get("resources") or {}).get("requests") or {}
        capacity = {"storage": requests.get("storage", "0")}
        claim["status"] = {
            "phase": "Bound",
            "accessModes": list(spec.get("accessModes") or []),
            "capacity": capacity,
        }

    def delete(self, claim: Json) -> Json:
        """Delete a claim, at once or when the last pod that mounts it has ended.

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
        """Remove claims that were deleted while the pod of ``change`` used them."""
        for claim in list(self._store.items(RESOURCE, change.item["metadata"]["namespace"])):
            if "deletionTimestamp" in claim["metadata"] and not self._in_use(claim):
                self._remove(claim)

    def _remove(self, claim: Json) -> Json:
        metadata = claim["metadata"]
        removed = self._store.remove(RESOURCE, metadata["namespace"], metadata["name"])
        remove_tree(self.folder(claim))
        return removed or claim

    def _in_use(self, claim: Json) -> bool:
        metadata = claim["metadata"]
        return any(
            (volume.get("persistentVolumeClaim") or {}).get("claimName") == metadata["name"]
            for pod in self._store.items("pods", metadata["namespace"])
            if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
            for volume in pod["spec"].get("volumes") or []
        )
