"""Storage classes: there is one, the default, and a claim of any other stays unbound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.local.api_errors import ApiError
from airflow_provider_agents.local.server import respond

if TYPE_CHECKING:
    from aiohttp import web

    from airflow_provider_agents.local.api_errors import Json

DEFAULT_CLASS = "local"

_GROUP = "storage.k8s.io/v1"
_CLASSES: dict[str, Json] = {
    DEFAULT_CLASS: {
        "apiVersion": _GROUP,
        "kind": "StorageClass",
        "metadata": {
            "name": DEFAULT_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "agents.airflow/local",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
        "allowVolumeExpansion": True,
    }
}


def find_class(name: str) -> Json | None:
    """Return a storage class, or ``None``."""
    return _CLASSES.get(name)


class StorageClassRoutes:
    """Serves the storage classes; they cannot be changed."""

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        router.add_get(f"/apis/{_GROUP}", self._resources)
        collection = f"/apis/{_GROUP}/storageclasses"
        router.add_get(collection, self._list)
        router.add_get(collection + "/{name}", self._get)

    async def _resources(self, request: web.Request) -> web.Response:
        entry = {
            "name": "storageclasses",
            "singularName": "storageclass",
            "namespaced": False,
            "kind": "StorageClass",
            "verbs": ["get", "list"],
        }
        return respond(
            {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": _GROUP, "resources": [entry]}
        )

    async def _list(self, request: web.Request) -> web.Response:
        items = list(_CLASSES.values())
        return respond({"kind": "StorageClassList", "apiVersion": _GROUP, "metadata": {}, "items": items})

    async def _get(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if (found := find_class(name)) is None:
            details = {"name": name, "group": "storage.k8s.io", "kind": "storageclasses"}
            raise ApiError(404, "NotFound", f'storageclasses.storage.k8s.io "{name}" not found', details)
        return respond(found)
