"""What the local runtime says of itself as a cluster, for programs that look one over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.local.runtime import LocalKubernetes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Api

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@pytest.mark.parametrize(("pod_security", "label"), [("restricted", "restricted"), ("none", None)])
async def test_every_namespace_is_there_and_says_what_it_enforces(
    tmp_path: Path, connect: Callable[[LocalKubernetes], Api], pod_security: str, label: str | None
) -> None:
    async with LocalKubernetes(tmp_path / "data", pod_security=pod_security) as runtime:
        found = await connect(runtime).ok("GET", "/api/v1/namespaces/anything")
    assert found["status"]["phase"] == "Active"
    assert found["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") == label


async def test_every_service_account_is_there_without_a_token(api: Api) -> None:
    found = await api.ok("GET", "serviceaccounts/agent-runner")
    assert found["metadata"] == {"name": "agent-runner", "namespace": "test"}
    assert found["automountServiceAccountToken"] is False


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("resourcequotas", "ResourceQuotaList"),
        ("/apis/networking.k8s.io/v1/namespaces/test/networkpolicies", "NetworkPolicyList"),
    ],
)
async def test_there_are_neither_quotas_nor_policies(api: Api, path: str, kind: str) -> None:
    found = await api.ok("GET", path)
    assert (found["kind"], found["items"]) == (kind, [])


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ({"resource": "pods", "verb": "create"}, True),
        ({"resource": "pods", "subresource": "log", "verb": "get"}, True),
        ({"resource": "pods", "subresource": "exec", "verb": "create"}, False),
    ],
)
async def test_all_that_is_served_is_allowed(api: Api, asked: dict[str, Any], allowed: bool) -> None:
    review = {"spec": {"resourceAttributes": {"namespace": "test", **asked}}}
    answer = await api.ok("POST", REVIEWS, review)
    assert answer["status"]["allowed"] is allowed
    assert answer["spec"] == review["spec"]


@pytest.mark.parametrize("body", [None, [], {}, {"spec": {"nonResourceAttributes": {"path": "/"}}}])
async def test_a_review_of_nothing_is_refused(api: Api, body: Any) -> None:
    status, answer = await api.call("POST", REVIEWS, body)
    assert (status, answer["reason"]) == (400, "BadRequest")
