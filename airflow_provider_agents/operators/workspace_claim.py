"""The claim of a run on the cluster: made, kept, waited for, given back.

Every change names the version that it was decided on, so that a sweep that found the claim expired and a
step that has just asked for it cannot both win.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.quantity import size
from airflow_provider_agents.domain.workspace import ANNOTATION_EXPIRES_AT, Workspace
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.operators.kept_pods import delete_ended_pods
from airflow_provider_agents.operators.kubernetes_objects import (
    NOT_ENDED,
    REQUEST_SECONDS,
    delete_object,
    infrastructure,
    pods_mounting,
    refusal,
    request_errors,
    status_of,
    told,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernetes.client import CoreV1Api
    from kubernetes.client import models as k8s

log = logging.getLogger(__name__)

RESOURCE = "persistentvolumeclaims"

GONE_SECONDS = 180.0
"""How long a claim that is being deleted is waited for: longer than a pod's grace."""
FREE_SECONDS = 180.0
"""How long another pod that mounts the claim is waited for: longer than a pod's grace."""
POLL_SECONDS = 2.0

_CONFLICTS = 5
"""How often a change is decided anew because the object has moved."""
_CLASSES = "`kubectl get storageclass` shows those it has; an empty option takes its default."


def ensure_claim(
    client: CoreV1Api,
    workspace: Workspace,
    *,
    seconds: float = GONE_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Make the claim if it is not there; if it is, keep it for longer, and let it grow to a raised size.

    A claim that is being deleted, or whose volume was lost, is waited for until it is gone and made anew.
    It need not be bound afterwards: many storage classes wait for the first pod.

    :param seconds: most that is waited for a claim to be gone.
    :return: whether it was made anew, so that nothing of an earlier pod is in it.
    :raises InvalidInputError: if the cluster refuses it for what was asked, or for a right that is missing.
    :raises StepInfrastructureError: if it does not go, the quota is used up, or the cluster does not answer.
    """
    give_up = clock() + seconds
    while True:
        outcome = _attempt(client, workspace)
        if outcome is not None:
            return outcome
        if clock() >= give_up:
            raise _not_gone(client, workspace, seconds)
        sleep(POLL_SECONDS)


def _attempt(client: CoreV1Api, workspace: Workspace) -> bool | None:
    """Return what :func:`ensure_claim` does, or ``None`` where it has to look again."""
    claim = find_claim(client, workspace.namespace, workspace.claim)
    if claim is None:
        return True if _create(client, workspace) else None
    if claim.metadata.deletion_timestamp:
        delete_ended_pods(client, workspace, only_read=True)
        return None
    if claim.status and claim.status.phase == "Lost":
        log.warning("The volume of claim %s is lost; the claim is made anew.", workspace.claim)
        _delete(client, claim)
        return None
    return False if _refresh(client, workspace, claim) else None


def _create(client: CoreV1Api, workspace: Workspace) -> bool:
    try:
        client.create_namespaced_persistent_volume_claim(
            workspace.namespace, workspace.manifest(_now()), _request_timeout=REQUEST_SECONDS
        )
    except request_errors() as error:
        if status_of(error) == 409:
            return False
        raise _refusal(error, workspace, "cannot be made", "create") from error
    log.info("Claim %s of %s is made.", workspace.claim, workspace.size)
    return True


def _refresh(client: CoreV1Api, workspace: Workspace, claim: k8s.V1PersistentVolumeClaim) -> bool:
    if not _set_expiry(client, workspace, claim, workspace.expires_at(_now())):
        return False
    _grow(client, workspace, claim)
    return True


def _set_expiry(
    client: CoreV1Api, workspace: Workspace, claim: k8s.V1PersistentVolumeClaim, until: str
) -> bool:
    """Change the claim as it was read; return false where it has moved or is gone."""
    metadata = {
        "resourceVersion": claim.metadata.resource_version,
        "annotations": {ANNOTATION_EXPIRES_AT: until},
    }
    try:
        client.patch_namespaced_persistent_volume_claim(
            workspace.claim, workspace.namespace, {"metadata": metadata}, _request_timeout=REQUEST_SECONDS
        )
    except request_errors() as error:
        if status_of(error) in (404, 409):
            return False
        raise _refusal(error, workspace, "cannot be kept for longer", "patch") from error
    return True


def _grow(client: CoreV1Api, workspace: Workspace, claim: k8s.V1PersistentVolumeClaim) -> None:
    """Ask for a raised size. A storage class that cannot give it leaves the claim as it is."""
    present = ((claim.spec.resources and claim.spec.resources.requests) or {}).get("storage", "")
    try:
        if size(workspace.size) <= size(present):
            return
    except ValueError:
        return
    try:
        client.patch_namespaced_persistent_volume_claim(
            workspace.claim,
            workspace.namespace,
            {"spec": {"resources": {"requests": {"storage": workspace.size}}}},
            _request_timeout=REQUEST_SECONDS,
        )
    except request_errors() as error:
        log.warning(
            "Claim %s keeps its size of %s, %s cannot be had: %s. To have it, delete the claim: the run then "
            "goes on with a fresh checkout.",
            workspace.claim, present, workspace.size, told(error),
        )  # fmt: skip
    else:
        log.info("Claim %s grows from %s to %s.", workspace.claim, present, workspace.size)


def keep_claim(client: CoreV1Api, workspace: Workspace) -> str | None:
    """Keep the claim for its expiry time from now on.

    :return: until when, as RFC 3339; ``None`` if it is not there, or being deleted.
    :raises AgentsError: if the cluster refuses or does not answer.
    """
    for _ in range(_CONFLICTS):
        claim = find_claim(client, workspace.namespace, workspace.claim)
        if claim is None or claim.metadata.deletion_timestamp:
            return None
        until = workspace.expires_at(_now())
        if _set_expiry(client, workspace, claim, until):
            return until
    raise infrastructure("claim_unsettled", f"claim {workspace.claim} changed at each of {_CONFLICTS} tries")


def release_claim(client: CoreV1Api, workspace: Workspace) -> bool:
    """Delete the claim of a run that ended for good, and the ended pods that the cluster would keep it for.

    :return: false if there is none, or it is being deleted already.
    :raises AgentsError: if the cluster refuses or does not answer.
    """
    claim = find_claim(client, workspace.namespace, workspace.claim)
    if claim is None:
        return False
    deleted = not claim.metadata.deletion_timestamp and _delete(client, claim)
    delete_ended_pods(client, workspace, only_read=False)
    return deleted


def _delete(client: CoreV1Api, claim: k8s.V1PersistentVolumeClaim) -> bool:
    name, namespace = claim.metadata.name, claim.metadata.namespace
    try:
        return delete_object(client.delete_namespaced_persistent_volume_claim, claim)
    except request_errors() as error:
        doing = f"claim {name} cannot be deleted"
        raise refusal(error, doing, verb="delete", resource=RESOURCE, namespace=namespace) from error


def find_claim(client: CoreV1Api, namespace: str, name: str) -> k8s.V1PersistentVolumeClaim | None:
    """Return a claim, or ``None``.

    :raises AgentsError: if the cluster refuses or does not answer.
    """
    try:
        return client.read_namespaced_persistent_volume_claim(
            name, namespace, _request_timeout=REQUEST_SECONDS
        )
    except request_errors() as error:
        if status_of(error) == 404:
            return None
        raise refusal(
            error, f"claim {name} cannot be read", verb="get", resource=RESOURCE, namespace=namespace
        ) from error


def check_storage_class(client: CoreV1Api, name: str) -> None:
    """Raise where the cluster says that there is no such storage class.

    A claim of one would wait for ever. Reading storage classes is a right of the whole cluster: where Airflow
    does not have it, nothing is checked.

    :raises InvalidInputError: if there is none of that name.
    """
    from kubernetes.client import StorageV1Api

    try:
        StorageV1Api(client.api_client).read_storage_class(name, _request_timeout=REQUEST_SECONDS)
    except request_errors() as error:
        if status_of(error) == 404:
            raise InvalidInputError(
                [f"[agents] storage_class: the cluster has no storage class {name!r}. {_CLASSES}"]
            ) from None
        log.debug("Storage class %s cannot be checked: %s", name, told(error))


def wait_until_free(
    client: CoreV1Api,
    namespace: str,
    claim: str,
    *,
    except_pod: str | None = None,
    seconds: float = FREE_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Wait until no pod mounts the claim that has not ended: two agents must not share a checkout.

    A pod in its deletion grace counts: its containers still write.

    :param except_pod: name of a pod that may mount it.
    :param seconds: most that is waited.
    :raises StepInfrastructureError: if a pod still mounts it then; the message names it.
    """
    give_up, told_of = clock() + seconds, False
    while True:
        try:
            found = pods_mounting(client, namespace, claim, field_selector=NOT_ENDED)
        except request_errors() as error:
            doing = f"pods that mount claim {claim} cannot be listed"
            raise refusal(error, doing, verb="list", resource="pods", namespace=namespace) from error
        living = [name for name in found if name != except_pod]
        if not living:
            return
        names = ", ".join(living)
        if clock() >= give_up:
            raise infrastructure(
                "claim_held",
                f"claim {claim} is still mounted by {names} after {seconds:.0f} s. If the node of a pod is gone, "
                f"delete it by force: kubectl delete pod --namespace {namespace} --force {' '.join(living)}",
            )
        if not told_of:
            log.info("Claim %s is mounted by %s; waiting until it has ended.", claim, names)
            told_of = True
        sleep(POLL_SECONDS)


def _not_gone(client: CoreV1Api, workspace: Workspace, seconds: float) -> Exception:
    """Return the exception for a claim that could not be had: it names the pods that hold it."""
    try:
        # Ended ones too: a cluster keeps a claim until their objects are gone.
        holding = pods_mounting(client, workspace.namespace, workspace.claim)
    except request_errors() as error:
        return _refusal(
            error, workspace, "does not go; the pods that hold it cannot be listed", "list", "pods"
        )
    if not holding:
        return infrastructure(
            "claim_unsettled", f"claim {workspace.claim} was neither usable nor gone for {seconds:.0f} s"
        )
    names = " ".join(holding)
    return infrastructure(
        "claim_held",
        f"claim {workspace.claim} is being deleted, and {', '.join(holding)} held it for {seconds:.0f} s, ended "
        f"or not: kubectl delete pod --namespace {workspace.namespace} {names}",
    )


def _refusal(
    error: Exception, workspace: Workspace, what: str, verb: str, resource: str = RESOURCE
) -> Exception:
    return refusal(
        error,
        f"claim {workspace.claim} {what}",
        verb=verb,
        resource=resource,
        namespace=workspace.namespace,
    )


def _now() -> datetime:
    return datetime.now(tz=UTC)
