"""The short-lived Kubernetes secrets of steps: made before their pod, owned by it, swept when left behind."""

from __future__ import annotations

import base64
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_agents.domain.housekeeping import ENDED_PHASES
from airflow_provider_agents.hooks.unlogged import unlogged_bodies
from airflow_provider_agents.operators.kubernetes_objects import REQUEST_SECONDS, refusal, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kubernetes.client import CoreV1Api
    from kubernetes.client import models as k8s

KIND_LABEL = "agents.airflow/kind"
KIND = "step-credentials"
INSTALLATION_LABEL = "agents.airflow/installation"
POD_ANNOTATION = "agents.airflow/pod"
"""Of a secret: the pod that it is for."""

LEFTOVER_AGE = timedelta(hours=1)
"""From this age on a secret may have been left behind: its pod is made right after it."""
PAGE = 100

log = logging.getLogger(__name__)


def name_of(pod_name: str) -> str:
    """Return the name of the secret of a pod."""
    return f"{pod_name}-credentials"


def put(
    client: CoreV1Api,
    namespace: str,
    name: str,
    pod_name: str,
    data: Mapping[str, str],
    labels: Mapping[str, str],
) -> None:
    """Create a secret, or replace the values of the one that is there.

    :raises InvalidInputError: Airflow may not; the message names the right that it needs.
    :raises StepInfrastructureError: the cluster does not answer.
    """
    from kubernetes.client.exceptions import ApiException

    values = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {**labels, KIND_LABEL: KIND},
            "annotations": {POD_ANNOTATION: pod_name},
        },
        "data": values,
    }
    verb = "create"
    try:
        with unlogged_bodies():
            try:
                client.create_namespaced_secret(namespace, body, _request_timeout=REQUEST_SECONDS)
            except ApiException as error:
                if error.status != 409:
                    raise
                verb = "patch"
                new = {"data": values}
                client.patch_namespaced_secret(name, namespace, new, _request_timeout=REQUEST_SECONDS)
    except Exception as error:
        raise refusal(
            error, f"Secret {name} cannot be made", verb=verb, resource="secrets", namespace=namespace
        ) from None


def adopt(client: CoreV1Api, namespace: str, name: str, pod_name: str) -> bool:
    """Let a pod own its secret; say whether it does now. A failure is only logged."""
    try:
        pod = client.read_namespaced_pod(pod_name, namespace, _request_timeout=REQUEST_SECONDS)
        _own(client, namespace, name, pod)
    except Exception as error:
        log.warning(
            "Secret %s could not be handed over to pod %s, the sweeper will see to it: %s",
            name,
            pod_name,
            _words(error),
        )
        return False
    return True


def delete(client: CoreV1Api, namespace: str, name: str) -> bool:
    """Delete a secret; say whether it is gone. A failure is only logged."""
    from kubernetes.client.exceptions import ApiException

    try:
        with unlogged_bodies():
            client.delete_namespaced_secret(name, namespace, _request_timeout=REQUEST_SECONDS)
    except Exception as error:
        if isinstance(error, ApiException) and error.status == 404:
            return True
        log.warning("Secret %s could not be deleted, the sweeper will see to it: %s", name, _words(error))
        return False
    return True


def delete_leftovers(
    client: CoreV1Api, namespace: str, installation: str, *, dry_run: bool = False
) -> list[str]:
    """Delete the secrets of steps whose pod is not there, or has ended; return their names.

    A secret without an owner whose pod lives is handed over to it. One object that fails does not stop the
    rest: it is logged.

    :param installation: only secrets of this one, ``[agents] installation``.
    :param dry_run: change nothing; return what would be deleted.
    :raises InvalidInputError: Airflow may not list secrets.
    :raises StepInfrastructureError: the cluster does not answer.
    """
    before = datetime.now(UTC) - LEFTOVER_AGE
    deleted = []
    try:
        found = [
            secret.metadata
            for secret in _secrets(client, namespace, installation)
            if secret.metadata.creation_timestamp < before
        ]
    except Exception as error:
        raise refusal(
            error, "Leftover secrets cannot be found", verb="list", resource="secrets", namespace=namespace
        ) from None
    for metadata in found:
        pod_name = (metadata.annotations or {}).get(POD_ANNOTATION, "")
        found_pod = _look(client, namespace, pod_name)
        # One whose owner is gone is the cluster's to collect.
        if found_pod == "unknown" or (metadata.owner_references and found_pod != "ended"):
            continue
        if found_pod == "lives":
            if not dry_run:
                adopt(client, namespace, metadata.name, pod_name)
        elif dry_run or delete(client, namespace, metadata.name):
            deleted.append(metadata.name)
    return deleted


def _secrets(client: CoreV1Api, namespace: str, installation: str) -> Iterator[k8s.V1Secret]:
    from airflow.providers.cncf.kubernetes.pod_generator import make_safe_label_value

    selector = f"{KIND_LABEL}={KIND},{INSTALLATION_LABEL}={make_safe_label_value(installation)}"
    following: str | None = None
    while True:
        more = {"_continue": following} if following else {}
        with unlogged_bodies():
            page = client.list_namespaced_secret(
                namespace, label_selector=selector, limit=PAGE, _request_timeout=REQUEST_SECONDS, **more
            )
        yield from page.items
        following = page.metadata._continue if page.metadata else None
        if not following:
            return


def _own(client: CoreV1Api, namespace: str, name: str, pod: k8s.V1Pod) -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.metadata.uid}
    body = {"metadata": {"ownerReferences": [owner]}}
    with unlogged_bodies():
        client.patch_namespaced_secret(name, namespace, body, _request_timeout=REQUEST_SECONDS)


def _look(client: CoreV1Api, namespace: str, pod_name: str) -> Literal["gone", "ended", "lives", "unknown"]:
    """Say what became of a pod; ``unknown`` where that cannot be known now."""
    from kubernetes.client.exceptions import ApiException

    if not pod_name:
        return "gone"
    try:
        pod = client.read_namespaced_pod(pod_name, namespace, _request_timeout=REQUEST_SECONDS)
    except Exception as error:
        if isinstance(error, ApiException) and error.status == 404:
            return "gone"
        log.warning("Pod %s could not be read: %s", pod_name, _words(error))
        return "unknown"
    ended = pod.status is not None and pod.status.phase in ENDED_PHASES
    return "ended" if ended else "lives"


def _words(error: Exception) -> str:
    """Return what the cluster said, without the headers that the exception's own text holds."""
    from kubernetes.client.exceptions import ApiException

    return told(error) if isinstance(error, ApiException) else f"{type(error).__name__}: {error}"
