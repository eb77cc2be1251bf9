"""What the operators ask of a cluster beside pods' lives: its client, claims, who mounts them, its refusals.

Nothing of the Kubernetes client is imported with this module: DAG files reach it at every parse.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agent_runner.contract import failure
from airflow_provider_agents.domain import workspace as layout
from airflow_provider_agents.exceptions import InvalidInputError, StepError, StepInfrastructureError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kubernetes.client import CoreV1Api
    from kubernetes.client import models as k8s

    from airflow_provider_agents.exceptions import AgentsError

REQUEST_SECONDS = 30
"""Limit of one request."""
PAGE = 500
"""Objects that one answer may hold."""

NOT_ENDED = "status.phase!=Succeeded,status.phase!=Failed"
"""Field selector of pods that may still write."""


def cluster_client(kubernetes_conn_id: str) -> CoreV1Api:
    """Return the client of an Airflow connection.

    :raises InvalidInputError: if the connection leads to no cluster.
    """
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
    from airflow.sdk.exceptions import AirflowException
    from kubernetes.config import ConfigException

    try:
        client: CoreV1Api = KubernetesHook(conn_id=kubernetes_conn_id).core_v1_client
    except (ConfigException, AirflowException) as error:
        raise InvalidInputError(
            [f"kubernetes_conn_id: connection {kubernetes_conn_id!r} leads to no cluster: {error}"]
        ) from None
    return client


def pods(client: CoreV1Api, namespace: str, **selectors: str) -> Iterator[k8s.V1Pod]:
    """Yield the pods of a namespace, page by page.

    :param selectors: ``label_selector``, ``field_selector``.
    """
    yield from _pages(client.list_namespaced_pod, namespace, selectors)


def claims(client: CoreV1Api, namespace: str, **selectors: str) -> Iterator[k8s.V1PersistentVolumeClaim]:
    """Yield the claims of a namespace, page by page.

    :param selectors: ``label_selector``, ``field_selector``.
    """
    yield from _pages(client.list_namespaced_persistent_volume_claim, namespace, selectors)


def _pages(read: Callable[..., Any], namespace: str, selectors: dict[str, str]) -> Iterator[Any]:
    following: str | None = None
    while True:
        more = {"_continue": following} if following else {}
        page = read(namespace, limit=PAGE, _request_timeout=REQUEST_SECONDS, **selectors, **more)
        yield from page.items
        following = page.metadata._continue if page.metadata else None
        if not following:
            return


def claims_of(pod: k8s.V1Pod) -> set[str]:
    """Return the names of the claims that a pod mounts."""
    return {
        volume.persistent_volume_claim.claim_name
        for volume in pod.spec.volumes or []
        if volume.persistent_volume_claim
    }


def pods_mounting(client: CoreV1Api, namespace: str, claim: str, **selectors: str) -> list[str]:
    """Return the names of the pods that mount a claim, ended ones too unless the selectors say otherwise."""
    return sorted(
        pod.metadata.name for pod in pods(client, namespace, **selectors) if claim in claims_of(pod)
    )


def delete_object(delete: Callable[..., Any], item: Any, *, unchanged: bool = False) -> bool:
    """Delete an object, but no other one that has got its name since.

    :param delete: method of the client, for a namespaced object.
    :param unchanged: only if it still is as it was read.
    :return: false if it is gone, another one, or has changed.
    """
    from kubernetes.client import models as k8s

    metadata = item.metadata
    version = metadata.resource_version if unchanged else None
    seen = k8s.V1Preconditions(uid=metadata.uid, resource_version=version)
    try:
        delete(
            metadata.name,
            metadata.namespace,
            body=k8s.V1DeleteOptions(preconditions=seen),
            _request_timeout=REQUEST_SECONDS,
        )
    except request_errors() as error:
        if status_of(error) in (404, 409):
            return False
        raise
    return True


def workspace_volumes(claim: str | None) -> list[k8s.V1Volume]:
    """Return the volumes that hold the folders of the workspace.

    :param claim: name of the run's claim; ``None``: empty volumes, which end with the pod.
    """
    from kubernetes.client import models as k8s

    return [
        k8s.V1Volume(
            name=name,
            persistent_volume_claim=k8s.V1PersistentVolumeClaimVolumeSource(claim_name=source)
            if source
            else None,
            empty_dir=None if source else k8s.V1EmptyDirVolumeSource(),
        )
        for name, source in layout.volumes(claim).items()
    ]


def workspace_mount(folder: str, path: str, claim: str | None) -> k8s.V1VolumeMount:
    """Return the mount of one folder of the workspace.

    :param folder: one of :data:`~airflow_provider_agents.domain.workspace.FOLDERS`.
    :param path: where the container sees it.
    """
    from kubernetes.client import models as k8s

    where = layout.place(folder, claim)
    return k8s.V1VolumeMount(name=where.volume, sub_path=where.sub_path, mount_path=path)


def request_errors() -> tuple[type[Exception], ...]:
    """Return what a call of the client raises when it fails, for an ``except`` clause."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    return ApiException, HTTPError, OSError


def status_of(error: Exception) -> int | None:
    """Return the HTTP status of a failed call; ``None`` where there was no answer."""
    return getattr(error, "status", None) or None


def told(error: Exception) -> str:
    """Return what the API server said, without headers; or why it said nothing."""
    if status_of(error) is None:
        return f"no answer: {error}"
    try:
        message = json.loads(getattr(error, "body", None) or "")["message"]
    except (ValueError, TypeError, KeyError):
        message = None
    return str(message or getattr(error, "reason", None) or f"HTTP {status_of(error)}")


def refusal(error: Exception, doing: str, *, verb: str, resource: str, namespace: str) -> AgentsError:
    """Return the exception for a request that failed.

    :param error: one of :func:`request_errors`.
    :param doing: the act, for a person: ``claim x cannot be made``.
    :param verb: of the right that the request needs.
    :param resource: plural name of what was asked for.
    """
    status, said = status_of(error), told(error)
    if status == 403 and "exceeded quota" in said:
        return infrastructure("storage_quota", f"{doing}: {said}")
    if status == 403 and f'cannot {verb} resource "{resource}"' in said:
        remedy = (
            f"Give its Kubernetes identity the verb `{verb}` on `{resource}`; docs/deploy.md has all rights."
        )
        return InvalidInputError(
            [f"{doing}: Airflow may not {verb} {resource} in namespace {namespace}. {remedy} ({said})"]
        )
    if status == 401:
        return InvalidInputError([f"kubernetes_conn_id: {doing}: the credential is not accepted: {said}"])
    if status == 404:
        return InvalidInputError([f"namespace: {doing}: {said}. Create it, or correct `[agents] namespace`."])
    if status in (400, 403, 422):
        return InvalidInputError([f"{doing}: {said}"])
    return infrastructure("kubernetes_unavailable", f"{doing}: {said}")


def infrastructure(code: str, message: str) -> StepError:
    """Return the exception for a fault that may pass, by its code in the catalogue of failures."""
    return StepInfrastructureError.of(failure(code, message))
