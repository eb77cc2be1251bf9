"""The NetworkPolicies of the pods: present, closed towards the inside, open towards GitHub and the model."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_agents import settings
from airflow_provider_agents.cli.checks.cluster import unread
from airflow_provider_agents.cli.deployment import REQUEST_SECONDS
from airflow_provider_agents.cli.network_policy import egress_allowed, ingress_rules, selecting
from airflow_provider_agents.cli.report import Finding, ok, warning
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.operators.kubernetes_objects import request_errors
from airflow_provider_agents.operators.pod_parts import LABEL_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_agents.cli.deployment import Deployment

METADATA_ADDRESS = "169.254.169.254"
"""Where clouds give every process of a node the node's credentials."""
PRIVATE_ADDRESSES = ("10.0.0.1", "172.16.0.1", "192.168.0.1")


def pod_labels() -> dict[str, str]:
    """Return labels that every pod of this installation has, as far as policies may select by them."""
    return {
        f"{LABEL_PREFIX}installation": settings.text("installation", "default"),
        f"{LABEL_PREFIX}step": "implement",
        "kubernetes_pod_operator": "True",
    }


def policies(deployment: Deployment) -> Iterator[Finding]:
    """Check what the policies of the namespace let the pods reach, and who may reach them."""
    from kubernetes.client import NetworkingV1Api

    namespace = deployment.namespace
    client = deployment.core.api_client
    try:
        answer = NetworkingV1Api(client).list_namespaced_network_policy(
            namespace, _request_timeout=REQUEST_SECONDS
        )
    except request_errors() as error:
        yield unread("NetworkPolicies", error, f"kubectl get networkpolicies --namespace {namespace}")
        return
    found: list[dict[str, Any]] = client.sanitize_for_serialization(answer)["items"]
    labels = pod_labels()
    if not selecting(found, labels, "Egress"):
        yield warning(
            f"no NetworkPolicy of namespace {namespace} limits what the agents' pods reach: also the cloud's metadata "
            "address, and everything inside the cluster",
            "Apply the policies of deploy/ (docs/deploy.md), and use a network plugin that enforces them.",
            "egress",
        )
        return
    open_doors = False
    if egress_allowed(found, labels, METADATA_ADDRESS, 80):
        open_doors = True
        yield warning(
            f"the NetworkPolicies let the pods reach the metadata address {METADATA_ADDRESS}, which hands out the node's "
            "credentials in most clouds",
            "Put 169.254.0.0/16 into `except` of the ipBlock, as the policies of deploy/ do.",
            "metadata",
        )
    inside = [address for address in PRIVATE_ADDRESSES if egress_allowed(found, labels, address, 443)]
    if inside:
        open_doors = True
        yield warning(
            f"the NetworkPolicies let the pods reach private addresses ({', '.join(inside)}, port 443)",
            "Put 10.0.0.0/8, 172.16.0.0/12 and 192.168.0.0/16 into `except` of the ipBlock, but for what the agents need.",
            "private ranges",
        )
    rules = ingress_rules(found, labels)
    if rules is None or rules:
        open_doors = True
        yield warning(
            "the NetworkPolicies let others connect to the agents' pods, which serve nothing",
            "Add the policy of deploy/ that denies all ingress.",
            "ingress",
        )
    for url in _needed(deployment):
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        addresses = _addresses(parts.hostname or "", port)
        if addresses and not any(egress_allowed(found, labels, address, port) for address in addresses):
            open_doors = True
            yield warning(
                f"the NetworkPolicies do not let the pods reach {parts.hostname} ({addresses[0]}, port {port})",
                "Allow it, unless another kind of policy (Cilium, Calico) does.",
                url,
            )
    if not open_doors:
        yield ok("the NetworkPolicies close the pods towards the inside and leave GitHub and the model open")


def _needed(deployment: Deployment) -> list[str]:
    """Return the addresses that the pods have to reach."""
    option, default = (
        ("openai_url", "https://api.openai.com")
        if deployment.program == "codex"
        else ("anthropic_url", "https://api.anthropic.com")
    )
    urls = [settings.text(option, default)]
    try:
        urls.insert(0, deployment.github.urls.git_url)
    except InvalidInputError:
        return urls
    return urls


def _addresses(host: str, port: int) -> list[str]:
    """Return the IPv4 addresses of a name as this machine knows them; none where it knows none."""
    try:
        found = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({str(entry[4][0]) for entry in found})
