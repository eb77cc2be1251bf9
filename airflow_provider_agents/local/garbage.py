"""Objects that belong to a pod go with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.local.claims import RESOURCE, Claims

if TYPE_CHECKING:
    from airflow_provider_agents.local.objects import ObjectStore

_OWNED = ("secrets", "configmaps", RESOURCE)


def collect_garbage(store: ObjectStore, claims: Claims) -> None:
    """Delete the objects whose owners are all gone. Owners that are no pods are taken to exist."""
    living = {pod["metadata"]["uid"] for pod in store.items("pods")}
    for resource in _OWNED:
        for item in list(store.items(resource)):
            metadata = item["metadata"]
            owners = metadata.get("ownerReferences") or []
            if not owners or any(
                owner.get("kind") != "Pod" or owner.get("uid") in living for owner in owners
            ):
                continue
            if resource == RESOURCE:
                claims.delete(item)
            else:
                store.remove(resource, metadata["namespace"], metadata["name"])
