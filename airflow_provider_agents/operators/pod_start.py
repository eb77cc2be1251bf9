"""What happens before a step's pod is made: one that is there is found, and nothing may be in its way."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider_agents.operators.pod_parts import LABEL_PREFIX
from airflow_provider_agents.operators.workspace_claim import ensure_claim, wait_until_free

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api
    from kubernetes.client import models as k8s

    from airflow_provider_agents.domain.workspace import Workspace
    from airflow_provider_agents.operators.pod_reader import PodReader

log = logging.getLogger(__name__)

_IDENTITY = (
    "dag_id",
    "run_id",
    "task_id",
    "map_index",
    f"{LABEL_PREFIX}generation",
    f"{LABEL_PREFIX}spec",
)
"""Labels that tell the pods of one step, in one generation, from all others."""


def earlier_pods(
    client: CoreV1Api, wanted: k8s.V1Pod, *, read_label: str
) -> tuple[k8s.V1Pod | None, list[k8s.V1Pod]]:
    """Return the pod that an earlier try made for the same step, if any, and those that are being deleted.

    :param wanted: the pod as it would be made.
    :param read_label: key of the label that a pod has whose result was read.
    """
    labels = wanted.metadata.labels
    selector = ",".join(f"{key}={labels[key]}" for key in _IDENTITY if key in labels)
    found = client.list_namespaced_pod(
        namespace=wanted.metadata.namespace, label_selector=f"{selector},{read_label}!=True"
    ).items
    alive = [pod for pod in found if not pod.metadata.deletion_timestamp]
    dying = [pod for pod in found if pod.metadata.deletion_timestamp]
    return min(alive, key=lambda pod: pod.metadata.creation_timestamp, default=None), dying


def make_way(
    client: CoreV1Api, reader: PodReader, workspace: Workspace | None, dying: list[k8s.V1Pod]
) -> None:
    """See that nothing else works for the step or on the run's claim, and that the claim is there.

    :param dying: pods of the step that are being deleted.
    :raises StepInfrastructureError: something does not end, or the claim cannot be had.
    """
    reader.wait_until_gone(dying)
    if workspace is None:
        return
    if ensure_claim(client, workspace):
        log.warning(
            "The run's claim %s was gone and is made anew: the agent starts a new session.", workspace.claim
        )
    wait_until_free(client, workspace.namespace, workspace.claim)
