"""Pods that stay after their step, for a person to look at, until housekeeping deletes them."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.providers.cncf.kubernetes.pod_generator import make_safe_label_value

from airflow_provider_agents import settings
from airflow_provider_agents.domain.housekeeping import ENDED_PHASES, LABEL_READ, PodKeep
from airflow_provider_agents.domain.workspace import LABEL_INSTALLATION, LABEL_RUN
from airflow_provider_agents.operators.kubernetes_objects import (
    claims_of,
    delete_object,
    pods,
    request_errors,
    told,
)

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api
    from kubernetes.client import models as k8s

    from airflow_provider_agents.domain.workspace import Workspace

log = logging.getLogger(__name__)


def pod_keep() -> PodKeep:
    """Return how long ended pods are kept: what the options of ``[agents]`` say, negative ones as 0."""
    unread = settings.amount("workspace_expiry_hours", 168.0)
    return PodKeep(succeeded=_hours(_succeeded()), failed=_hours(_failed()), unread=_hours(unread))


def on_finish_action() -> str:
    """Return what a step does with its pod after its result was read; housekeeping does the rest."""
    if _succeeded() > 0:
        return "keep_pod"
    return "delete_succeeded_pod" if _failed() > 0 else "delete_pod"


def drop_credentials(client: CoreV1Api, pod: k8s.V1Pod) -> None:
    """Delete the short-lived secret of an ended pod that is kept, if it has one. A failure is only logged."""
    from airflow_provider_agents.operators import step_secrets

    own = step_secrets.name_of(pod.metadata.name)
    mounted = {
        source.secret.name
        for volume in pod.spec.volumes or []
        for source in (volume.projected.sources if volume.projected else None) or []
        if source.secret
    }
    if own in mounted:
        step_secrets.delete(client, pod.metadata.namespace, own)


def delete_ended_pods(client: CoreV1Api, workspace: Workspace, *, only_read: bool) -> int:
    """Delete a run's ended pods that mount its claim: the cluster keeps it as long as they are there.

    One that cannot be deleted is logged, and left to housekeeping.

    :param only_read: leave those alone whose result nobody has read.
    :return: how many were deleted.
    """
    label = make_safe_label_value(settings.text("installation", "default"))
    selector = f"{LABEL_INSTALLATION}={label}"
    if run := workspace.labels.get(LABEL_RUN):
        selector += f",{LABEL_RUN}={run}"  # not thousands of pods that other runs left
    if only_read:
        selector += f",{LABEL_READ}=True"
    deleted = 0
    try:
        for pod in list(pods(client, workspace.namespace, label_selector=selector)):
            if pod.status.phase in ENDED_PHASES and workspace.claim in claims_of(pod):
                deleted += delete_object(client.delete_namespaced_pod, pod)
    except request_errors() as error:
        log.warning(
            "Ended pods that mount claim %s stay until the next housekeeping: %s",
            workspace.claim,
            told(error),
        )
    return deleted


def _succeeded() -> float:
    return settings.amount("pod_keep_hours", 24.0)


def _failed() -> float:
    return settings.amount("failed_pod_keep_hours", 168.0)


def _hours(number: float) -> timedelta:
    return timedelta(hours=max(number, 0.0))
