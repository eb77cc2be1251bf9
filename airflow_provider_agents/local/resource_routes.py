"""Routes of the objects: create, get, list, watch, replace, patch and delete."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.local.api_errors import KINDS, ApiError, Json, bad_request, conflict
from airflow_provider_agents.local.patching import apply_patch
from airflow_provider_agents.local.selectors import Selector
from airflow_provider_agents.local.server import flag, number, read_json, respond
from airflow_provider_agents.local.watching import watch

if TYPE_CHECKING:
    from aiohttp import web

    from airflow_provider_agents.local.admission import Admission
    from airflow_provider_agents.local.pods import Pods
    from airflow_provider_agents.local.services import Services

RESOURCE = "{resource:" + "|".join(KINDS) + "}"


class ResourceRoutes:
    """Serves the objects of the store."""

    def __init__(self, services: Services, pods: Pods, admission: Admission) -> None:
        self._services = services
        self._store = services.store
        self._pods = pods
        self._admission = admission

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        collection = f"/api/v1/namespaces/{{namespace}}/{RESOURCE}"
        single = collection + "/{name}"
        router.add_get(f"/api/v1/{RESOURCE}", self._list)
        router.add_get(collection, self._list)
        router.add_post(collection, self._create)
        router.add_delete(collection, self._delete_selected)
        router.add_get(single, self._get)
        router.add_get(single + "/status", self._get)
        router.add_put(single, self._replace)
        router.add_patch(single, self._patch)
        router.add_delete(single, self._delete)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        resource, namespace = request.match_info["resource"], request.match_info.get("namespace")
        selector = _selector(request)
        if flag(request, "watch"):
            return await watch(
                request, self._store, resource, namespace, selector, number(request, "timeoutSeconds")
            )
        selected = [item for item in self._store.items(resource, namespace) if selector.matches(item)]
        metadata = {"resourceVersion": str(self._store.version)}
        return respond(
            {"kind": f"{KINDS[resource]}List", "apiVersion": "v1", "metadata": metadata, "items": selected}
        )

    async def _get(self, request: web.Request) -> web.StreamResponse:
        return respond(self._store.get(*_place(request)))

    async def _create(self, request: web.Request) -> web.StreamResponse:
        resource, namespace = request.match_info["resource"], request.match_info["namespace"]
        _refuse_dry_run(request, None)
        if problem := _namespace_problem(namespace):
            raise problem
        item = self._admission.create(resource, namespace, await read_json(request))
        if resource != "persistentvolumeclaims":
            return respond(self._store.create(resource, namespace, item), 201)
        self._services.claims.admit(item)
        claim = self._store.create(resource, namespace, item)
        self._services.claims.created(claim)
        return respond(claim, 201)

    async def _replace(self, request: web.Request) -> web.StreamResponse:
        resource, namespace, name = _place(request)
        _refuse_dry_run(request, None)
        body = await read_json(request)
        return self._change(resource, namespace, name, body, lambda current: copy.deepcopy(body))

    async def _patch(self, request: web.Request) -> web.StreamResponse:
        resource, namespace, name = _place(request)
        _refuse_dry_run(request, None)
        patch = await read_json(request)
        kind = request.content_type
        return self._change(resource, namespace, name, patch, lambda item: apply_patch(item, patch, kind))

    def _change(self, resource: str, namespace: str, name: str, body: Any, apply: Any) -> web.Response:
        current = self._store.get(resource, namespace, name)
        metadata = (body.get("metadata") or {}) if isinstance(body, dict) else {}
        expected = metadata.get("resourceVersion")
        if expected and expected != current["metadata"]["resourceVersion"]:
            raise conflict(
                resource, name, "the object has been modified; read the latest version and try again"
            )
        if metadata.get("name") not in (None, name):
            raise bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL"
            )
        changed = self._admission.update(resource, current, apply(current))

        if resource == "persistentvolumeclaims":
            self._services.claims.grow(changed)

        def store(item: Json) -> None:
            item.clear()
            item.update(changed)

        return respond(self._store.update(resource, namespace, name, store))

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        resource, namespace, name = _place(request)
        options = await read_json(request) or {}
        _refuse_dry_run(request, options)
        grace = number(request, "gracePeriodSeconds")
        grace = options.get("gracePeriodSeconds") if grace is None else grace
        current = self._store.get(resource, namespace, name)
        for field, wanted in (options.get("preconditions") or {}).items():
            if wanted and current["metadata"].get(field) != wanted:
                raise conflict(
                    resource, name, f"the {field} in the precondition ({wanted}) is not the object's"
                )
        return respond(self._delete_one(resource, current, grace))

    async def _delete_selected(self, request: web.Request) -> web.StreamResponse:
        resource, namespace = request.match_info["resource"], request.match_info["namespace"]
        options = await read_json(request) or {}
        _refuse_dry_run(request, options)
        grace = number(request, "gracePeriodSeconds")
        grace = options.get("gracePeriodSeconds") if grace is None else grace
        selector = _selector(request)
        selected = [item for item in self._store.items(resource, namespace) if selector.matches(item)]
        for item in selected:
            self._delete_one(resource, item, grace)
        metadata = {"resourceVersion": str(self._store.version)}
        return respond(
            {"kind": f"{KINDS[resource]}List", "apiVersion": "v1", "metadata": metadata, "items": selected}
        )

    def _delete_one(self, resource: str, item: Json, grace: float | None) -> Json:
        metadata = item["metadata"]
        if resource == "pods":
            return self._pods.delete(metadata["namespace"], metadata["name"], grace)
        if resource == "persistentvolumeclaims":
            return self._services.claims.delete(item)
        self._store.remove(resource, metadata["namespace"], metadata["name"])
        details = {"name": metadata["name"], "kind": resource, "uid": metadata["uid"]}
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": details,
        }


def _place(request: web.Request) -> tuple[str, str, str]:
    found = request.match_info
    return found["resource"], found["namespace"], found["name"]


def _selector(request: web.Request) -> Selector:
    query = request.query
    return Selector.parse(
        request.match_info["resource"], query.get("labelSelector", ""), query.get("fieldSelector", "")
    )


def _refuse_dry_run(request: web.Request, options: Json | None) -> None:
    if request.query.get("dryRun") or (options or {}).get("dryRun"):
        raise bad_request("the local pod runtime does not support dryRun")


def _namespace_problem(namespace: str) -> ApiError | None:
    if re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", namespace):
        return None
    return ApiError(
        404, "NotFound", f'namespaces "{namespace}" not found', {"name": namespace, "kind": "namespaces"}
    )
