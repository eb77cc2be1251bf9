"""The image of the pods: pinned, and pulled by the pods that there were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents import settings
from airflow_provider_agents.cli.checks.cluster import unread
from airflow_provider_agents.cli.deployment import REQUEST_SECONDS
from airflow_provider_agents.cli.report import Finding, failed, ok, skipped, warning
from airflow_provider_agents.operators.kubernetes_objects import request_errors
from airflow_provider_agents.operators.pod_parts import LABEL_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubernetes.client import models as k8s

    from airflow_provider_agents.cli.deployment import Deployment

NOT_PULLED = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_LATEST_PODS = 50


def image(deployment: Deployment) -> Iterator[Finding]:
    """Check the name of the image, and what became of it in the latest pods of this installation."""
    name = settings.text("image", "airflow-agents/agent:latest")
    tag = name.rpartition("/")[2].partition(":")[2]
    if "@" not in name and tag in ("", "latest"):
        yield warning(
            f"[agents] image is {name}: which version runs is left to chance",
            "Name a version or a digest: registry.example.com/airflow-agents/agent:0.1.0",
            name,
        )
    selector = f"{LABEL_PREFIX}installation={settings.text('installation', 'default')}"
    try:
        found = deployment.core.list_namespaced_pod(
            deployment.namespace,
            label_selector=selector,
            limit=_LATEST_PODS,
            _request_timeout=REQUEST_SECONDS,
        )
    except request_errors() as error:
        yield unread("pods", error, f"kubectl get pods --namespace {deployment.namespace}")
        return
    pulled = False
    for pod in found.items:
        for status in _statuses(pod):
            waiting = status.state.waiting if status.state else None
            if waiting and waiting.reason in NOT_PULLED:
                yield failed(
                    f"pod {pod.metadata.name} cannot pull {status.image}: {waiting.message or waiting.reason}",
                    "Correct [agents] image, push the image, or give the pods image pull secrets (docs/deploy.md).",
                    str(status.image),
                )
                return
            pulled = pulled or bool(status.image_id)
    if pulled:
        yield ok("the latest pods pulled their image")
    else:
        yield skipped("no pod has shown yet whether the image can be pulled")


def _statuses(pod: k8s.V1Pod) -> list[k8s.V1ContainerStatus]:
    if not pod.status:
        return []
    return [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]
