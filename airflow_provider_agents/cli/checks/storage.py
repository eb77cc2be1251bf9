"""Storage of runs: the class of their claims, the cache claim, and what the namespace's quota leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_agents import settings
from airflow_provider_agents.cli.checks.cluster import unread
from airflow_provider_agents.cli.deployment import REQUEST_SECONDS
from airflow_provider_agents.cli.report import Finding, failed, ok, warning
from airflow_provider_agents.domain.quantity import half, size
from airflow_provider_agents.operators.kubernetes_objects import request_errors, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_agents.cli.deployment import Deployment

_DEFAULT = "storageclass.kubernetes.io/is-default-class"


def storage_class(deployment: Deployment) -> Iterator[Finding]:
    """Check that the claims of runs have a storage class."""
    from kubernetes.client import StorageV1Api

    if settings.text("workspace", "claim") != "claim":
        yield ok("no storage class is needed: [agents] workspace is ephemeral")
        return
    name = settings.text("storage_class")
    try:
        found = StorageV1Api(deployment.core.api_client).list_storage_class(_request_timeout=REQUEST_SECONDS)
    except request_errors() as error:
        yield unread("storage classes", error, "kubectl get storageclasses")
        return
    names = {item.metadata.name: item.metadata.annotations or {} for item in found.items}
    listed = ", ".join(sorted(names)) or "none"
    if name and name not in names:
        yield failed(
            f"there is no storage class {name}; the claims of runs would wait for ever",
            f"Correct [agents] storage_class: the cluster has {listed}.",
        )
    elif not name and not any(notes.get(_DEFAULT) == "true" for notes in names.values()):
        yield failed(
            "the cluster has no default storage class; the claims of runs would wait for ever",
            f"Set [agents] storage_class (the cluster has {listed}), make one the default, or set [agents] workspace to "
            "ephemeral.",
        )
    else:
        yield ok(f"storage class {name}" if name else "the cluster has a default storage class")


def cache_claim(deployment: Deployment) -> Iterator[Finding]:
    """Check the cache claim, where one is set: without it, steps run, but slowly."""
    name = settings.text("cache_claim")
    if not name:
        yield ok("no cache claim is set: each step fetches what it needs")
        return
    try:
        claim = deployment.core.read_namespaced_persistent_volume_claim(
            name, deployment.namespace, _request_timeout=REQUEST_SECONDS
        )
    except request_errors() as error:
        if status_of(error) == 404:
            yield warning(
                f"there is no cache claim {name} in namespace {deployment.namespace}: steps run without a cache",
                "Apply deploy/ (docs/cache.md), or empty [agents] cache_claim.",
            )
            return
        yield unread(f"claim {name}", error, f"kubectl get pvc {name} --namespace {deployment.namespace}")
        return
    phase = claim.status.phase if claim.status else None
    if phase != "Bound":
        yield warning(
            f"the cache claim {name} is {phase or 'of unknown phase'}: bound is what it should be, unless its class waits "
            "for the first pod",
            f"Look at its events: kubectl describe pvc {name} --namespace {deployment.namespace}",
        )
        return
    modes = claim.spec.access_modes or []
    if "ReadWriteMany" not in modes:
        yield warning(
            f"the cache claim {name} can be mounted on one node at a time ({', '.join(modes)}): steps on other nodes wait",
            "Use a storage class with ReadWriteMany, or a cluster of one node.",
        )
        return
    yield ok(f"the cache claim {name} is bound")


def quota(deployment: Deployment) -> Iterator[Finding]:
    """Check that the quotas of the namespace leave room for one more step."""
    look = f"kubectl describe quota --namespace {deployment.namespace}"
    try:
        found = deployment.core.list_namespaced_resource_quota(
            deployment.namespace, _request_timeout=REQUEST_SECONDS
        )
    except request_errors() as error:
        yield unread("quotas", error, look)
        return
    step = _one_step(deployment.form_defaults)
    full = False
    for item in found.items:
        hard, used = (item.status.hard or {}, item.status.used or {}) if item.status else ({}, {})
        for resource, amount in step.items():
            if resource not in hard:
                continue
            try:
                left = _amount(hard[resource]) - _amount(used.get(resource, "0"))
            except ValueError:
                continue  # so large that it is written in a unit which no step needs
            if left < amount:
                full = True
                yield failed(
                    f"quota {item.metadata.name} leaves no room for a step: {resource} {used.get(resource, '0')} of "
                    f"{hard[resource]} is used",
                    f"Raise it, or wait for running steps and delete what is left over ({look}).",
                    resource,
                )
    if not full:
        yield ok("the quotas leave room for a step" if found.items else "the namespace has no quota", "")


def _one_step(defaults: Mapping[str, Any]) -> dict[str, float]:
    """Return what one step of the defaults takes of a quota: its agent, and the gateway."""
    cpu, memory = str(defaults.get("cpu", "4")), str(defaults.get("memory", "8Gi"))
    workspace = settings.text("workspace_size", "10Gi")
    wanted = {
        "pods": 1.0,
        "requests.cpu": _amount(half(cpu)) + 0.05,
        "requests.memory": _amount(half(memory)) + size("64Mi"),
        "limits.cpu": _amount(cpu) + 1,
        "limits.memory": _amount(memory) + size("512Mi"),
        "persistentvolumeclaims": 1.0,
        "requests.storage": _amount(workspace),
    }
    wanted |= {"cpu": wanted["requests.cpu"], "memory": wanted["requests.memory"]}
    if settings.text("workspace", "claim") != "claim":
        del wanted["persistentvolumeclaims"], wanted["requests.storage"]
    return wanted


def _amount(quantity: str) -> float:
    """Return any quantity as a number: ``500m`` is 0.5."""
    if quantity.endswith("m"):
        return float(quantity[:-1]) / 1000
    return size(quantity)
