"""What a cluster says of itself, read-only: namespaces, service accounts, rights, policies and quotas.

They are there for programs that look a cluster over before they use it. Nothing of it can be changed: whoever
has the token may do all that is served, and there are no network policies and no quotas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_agents.local.api_errors import Json, bad_request
from airflow_provider_agents.local.server import read_json, respond

if TYPE_CHECKING:
    from aiohttp import web

_AUTHORIZATION = "authorization.k8s.io/v1"
_NETWORKING = "networking.k8s.io/v1"
_NOT_SERVED = frozenset({"exec", "attach", "portforward", "proxy", "ephemeralcontainers", "eviction"})
"""Subresources of pods that the runtime does not have."""


class ClusterRoutes:
    """Serves the reads; every namespace and every service account exists.

    :param pod_security: the standard that every namespace enforces, ``restricted`` or ``none``.
    """

    def __init__(self, pod_security: str) -> None:
        self._pod_security = pod_security

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        namespace = "/api/v1/namespaces/{namespace}"
        router.add_get(namespace, self._namespace)
        router.add_get(namespace + "/serviceaccounts/{name}", self._service_account)
        router.add_get(namespace + "/resourcequotas", self._no_quotas)
        router.add_get(f"/apis/{_NETWORKING}/namespaces/{{namespace}}/networkpolicies", self._no_policies)
        router.add_post(f"/apis/{_AUTHORIZATION}/selfsubjectaccessreviews", self._review)

    async def _namespace(self, request: web.Request) -> web.Response:
        labels = {"kubernetes.io/metadata.name": request.match_info["namespace"]}
        if self._pod_security != "none":
            labels["pod-security.kubernetes.io/enforce"] = self._pod_security
        item: Json = {
            "kind": "Namespace",
            "apiVersion": "v1",
            "metadata": {"name": request.match_info["namespace"], "labels": labels},
            "spec": {},
            "status": {"phase": "Active"},
        }
        return respond(item)

    async def _service_account(self, request: web.Request) -> web.Response:
        found = request.match_info
        return respond(
            {
                "kind": "ServiceAccount",
                "apiVersion": "v1",
                "metadata": {"name": found["name"], "namespace": found["namespace"]},
                "automountServiceAccountToken": False,
            }
        )

    async def _no_quotas(self, request: web.Request) -> web.Response:
        return respond({"kind": "ResourceQuotaList", "apiVersion": "v1", "metadata": {}, "items": []})

    async def _no_policies(self, request: web.Request) -> web.Response:
        return respond({"kind": "NetworkPolicyList", "apiVersion": _NETWORKING, "metadata": {}, "items": []})

    async def _review(self, request: web.Request) -> web.Response:
        review: Any = await read_json(request)
        spec = review.get("spec") if isinstance(review, dict) else None
        asked = spec.get("resourceAttributes") if isinstance(spec, dict) else None
        if not isinstance(asked, dict):
            raise bad_request("spec.resourceAttributes of the review is needed")
        allowed = asked.get("subresource") not in _NOT_SERVED
        reason = "whoever has the token may do all that is served" if allowed else "this is not served"
        return respond(
            {
                "kind": "SelfSubjectAccessReview",
                "apiVersion": _AUTHORIZATION,
                "metadata": {},
                "spec": spec,
                "status": {"allowed": allowed, "reason": reason},
            },
            201,
        )
