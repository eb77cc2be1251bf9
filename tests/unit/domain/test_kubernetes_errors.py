"""Errors of the Kubernetes API, as it words them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_agents.domain.kubernetes_errors import api_failure


def status(message: str) -> str:
    return json.dumps({"kind": "Status", "status": "Failure", "message": message})


@pytest.mark.parametrize(
    ("code", "body", "expected", "retryable"),
    [
        (403, status('pods is forbidden: User "system:serviceaccount:airflow:worker" cannot create resource "pods"'), "kubernetes_refused", False),
        (401, status("Unauthorized"), "kubernetes_refused", False),
        (403, status('pods "x" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=4'), "unschedulable", True),
        (403, status('pods "x" is forbidden: violates PodSecurity "restricted:latest": hostPath'), "pod_refused", False),
        (400, status('admission webhook "policy.example" denied the request: no'), "pod_refused", False),
        (422, status('Pod "x" is invalid: spec.containers[0].resources'), "pod_refused", False),
        (404, status('namespaces "agents" not found'), "pod_refused", False),
        (500, status("etcdserver: request timed out"), "kubernetes_unavailable", True),
        (503, "upstream connect error", "kubernetes_unavailable", True),
        (None, "ConnectionRefusedError", "kubernetes_unavailable", True),
        (None, None, "kubernetes_unavailable", True),
    ],
)  # fmt: skip
def test_what_an_answer_means(code: int | None, body: Any, expected: str, retryable: bool) -> None:
    found = api_failure("creating pod agents/x", code, body)
    assert (found.code, found.retryable) == (expected, retryable)
    assert "creating pod agents/x" in found.message
    assert found.remedy


@pytest.mark.parametrize(
    "body", [b'{"message": "no such thing"}', '{"message": "no such thing"}', "no such thing"]
)
def test_the_words_are_those_of_the_api(body: Any) -> None:
    assert api_failure("x", 403, body).message == "Kubernetes answered 403 to x: no such thing"


@pytest.mark.parametrize("body", ["[]", '{"kind": "Status"}', b"\xff", "x" * 9_999])
def test_an_odd_answer_is_quoted_and_bounded(body: Any) -> None:
    assert len(api_failure("x", 500, body).message) < 600
