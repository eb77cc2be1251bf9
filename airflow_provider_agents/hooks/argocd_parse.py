"""From Argo CD's JSON to readings, tolerant of what is absent: a new application has hardly any status.

Pure functions; every text is cut, as much of it comes from the cluster.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast, get_args

from airflow_provider_agents.domain.argocd_application import (
    ApplicationReading,
    ApplicationSource,
    DeployedRevision,
    Sync,
    Workload,
)
from airflow_provider_agents.domain.pr_rule import Health

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_CHARACTERS = 1000
"""Of one text."""
MOST_ENTRIES = 100
"""Of one list."""
MOST_SAYING = 3
"""Resources that are quoted."""
WORKLOAD_KINDS = {
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("apps", "ReplicaSet"),
    ("argoproj.io", "Rollout"),
}


def reading(body: Mapping[str, Any], name: str, now: datetime) -> ApplicationReading:
    """Return the reading of an application.

    :param body: an ``Application`` as the API gives it.
    :param name: that was asked for.
    :raises ValueError: it is no application, or another one.
    """
    told = _text(_map(body.get("metadata")).get("name"))
    if told != name:
        raise ValueError(f"it is of {told!r}" if told else "it is no application")
    spec, status = _map(body.get("spec")), _map(body.get("status"))
    health, sync = _map(status.get("health")), _map(status.get("sync"))
    operation = _map(status.get("operationState"))
    several = tuple(_maps(spec.get("sources")))
    sources = several or ((_map(spec["source"]),) if spec.get("source") else ())
    policy = _map(spec.get("syncPolicy"))
    automated = policy.get("automated")
    return ApplicationReading(
        name=name,
        observed_at=now,
        health=_health(health.get("status")),
        health_message=_text(health.get("message")) or _resources_say(status.get("resources")),
        health_since=moment(health.get("lastTransitionTime")),
        sync=_sync(sync.get("status")),
        revisions=_revisions(sync, several=bool(several)),
        sources=tuple(_source(one) for one in sources),
        project=_text(spec.get("project")),
        destination_namespace=_text(_map(spec.get("destination")).get("namespace")),
        images=_texts(_map(status.get("summary")).get("images")),
        history=tuple(
            _deployed(one, several=bool(several)) for one in _maps(status.get("history"), last=True)
        ),
        automated=isinstance(automated, dict) and automated.get("enabled") is not False,
        operation_phase=_text(operation.get("phase")),
        operation_message=_text(operation.get("message")),
        conditions=tuple(
            f"{_text(one.get('type'))}: {_text(one.get('message'))}"
            for one in _maps(status.get("conditions"))
        ),
        reconciled_at=moment(status.get("reconciledAt")),
    )


def workload_nodes(tree: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the nodes of a resource tree that run in copies, without those that another one of them owns."""
    nodes = [
        node
        for node in _maps(tree.get("nodes"), most=100_000)
        if (node.get("group"), node.get("kind")) in WORKLOAD_KINDS
    ]
    return [
        node
        for node in nodes
        if not any(
            (parent.get("group"), parent.get("kind")) in WORKLOAD_KINDS
            for parent in _maps(node.get("parentRefs"))
        )
    ]


def workload(node: Mapping[str, Any], answer: Mapping[str, Any]) -> Workload | None:
    """Return how many copies a workload has; ``None`` where the answer holds no live object.

    :param node: of the resource tree.
    :param answer: of the call for one resource, whose ``manifest`` is JSON as text.
    """
    try:
        manifest = json.loads(_whole_text(answer.get("manifest")))
    except (ValueError, RecursionError):
        return None
    if not isinstance(manifest, dict) or not manifest.get("kind"):
        return None
    spec, status = _map(manifest.get("spec")), _map(manifest.get("status"))
    kind = _text(node.get("kind"))
    if kind == "DaemonSet":
        desired = _count(status.get("desiredNumberScheduled"), 0)
        available = _count(status.get("numberAvailable"), 0)
    else:
        desired = _count(spec.get("replicas"), 1)
        available = _count(status.get("availableReplicas"), 0)
    return Workload(
        kind=kind,
        namespace=_text(node.get("namespace")),
        name=_text(node.get("name")),
        desired=desired,
        available=available,
    )


def moment(value: Any) -> datetime | None:
    """Return a moment that Kubernetes wrote; ``None`` where it is none."""
    if not isinstance(value, str) or not value:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _resources_say(resources: Any) -> str:
    """Return what the resources that are ill say of themselves: Argo CD fills an application's own message no more."""
    said = []
    for one in _maps(resources, most=10_000):
        health = _map(one.get("health"))
        if health.get("status") in ("Degraded", "Missing") and (words := _text(health.get("message"))):
            said.append(f"{_text(one.get('kind'))} {_text(one.get('name'))}: {words}")
    return "; ".join(said[:MOST_SAYING])[:MOST_CHARACTERS]


def _source(values: Mapping[str, Any]) -> ApplicationSource:
    return ApplicationSource(
        repo_url=_text(values.get("repoURL")),
        path=_text(values.get("path")),
        chart=_text(values.get("chart")),
        target_revision=_text(values.get("targetRevision")),
    )


def _deployed(values: Mapping[str, Any], *, several: bool) -> DeployedRevision:
    return DeployedRevision(
        id=_count(values.get("id"), 0),
        revisions=_revisions(values, several=several),
        deployed_at=moment(values.get("deployedAt")),
    )


def _revisions(values: Mapping[str, Any], *, several: bool) -> tuple[str, ...]:
    if several or not values.get("revision"):
        return _texts(values.get("revisions"))
    return (_text(values["revision"]),)


def _health(value: Any) -> Health:
    return cast("Health", value) if value in get_args(Health) else "Unknown"


def _sync(value: Any) -> Sync:
    return cast("Sync", value) if value in get_args(Sync) else "Unknown"


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _maps(value: Any, *, most: int = MOST_ENTRIES, last: bool = False) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (one for one in (value[-most:] if last else value[:most]) if isinstance(one, dict))


def _whole_text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _text(value: Any) -> str:
    return _whole_text(value)[:MOST_CHARACTERS]


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(one) for one in value[:MOST_ENTRIES]) if isinstance(value, list) else ()


def _count(value: Any, absent: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else absent
