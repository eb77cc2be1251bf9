"""The stand-in's objects in the form of Argo CD's interface."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from demo.argocd.state import Application


def application_json(app: Application) -> dict[str, Any]:
    """Return an application as ``GET /api/v1/applications/{name}`` does."""
    source = {"repoURL": app.repo_url, "path": app.path, "targetRevision": app.target_revision}
    where = {"server": "https://kubernetes.default.svc", "namespace": app.destination_namespace or app.name}
    origin = {"sources": app.sources} if app.sources else {"source": source}
    at = {"revisions": app.revisions} if app.sources else {"revision": app.revision}
    spec: dict[str, Any] = {"project": app.project, "destination": where, **origin}
    if app.automated:
        spec["syncPolicy"] = {"automated": {"prune": True, "selfHeal": True}}
    status: dict[str, Any] = {
        "sync": {"status": app.sync, "comparedTo": {**origin, "destination": where}, **at},
        "health": {"status": app.health, "lastTransitionTime": stamp(app.health_since)},
        "resources": [
            {
                "group": "apps",
                "version": "v1",
                "kind": "Deployment",
                "namespace": where["namespace"],
                "name": app.name,
                "status": app.sync,
                "health": {"status": app.health, "message": app.health_message},
            }
        ],
        "history": [
            {
                "id": one.id,
                "revision": one.revision,
                "deployStartedAt": stamp(one.started_at),
                "deployedAt": stamp(one.deployed_at),
                "source": source,
            }
            for one in app.history
        ],
        "reconciledAt": stamp(app.reconciled_at),
        "sourceType": "Directory",
        "summary": {"images": [image(app)] if app.image else []},
    }
    if app.condition:
        status["conditions"] = [{"type": "ComparisonError", "message": app.condition}]
    if app.history:
        last = app.history[-1]
        status["operationState"] = {
            "phase": app.phase,
            "message": "successfully synced (all tasks run)" if app.phase == "Succeeded" else app.phase,
            "startedAt": stamp(last.started_at),
            "finishedAt": stamp(last.deployed_at),
            "operation": {"sync": {"revision": last.revision}},
            "syncResult": {"revision": last.revision, "source": source},
        }
    return {"metadata": {"name": app.name, "namespace": app.namespace}, "spec": spec, "status": status}


def tree_json(app: Application) -> dict[str, Any]:
    """Return the resource tree: the Deployment, its ReplicaSet, and a service beside."""
    namespace = app.destination_namespace or app.name
    deployment = {
        "group": "apps",
        "version": "v1",
        "kind": "Deployment",
        "namespace": namespace,
        "name": app.name,
        "uid": f"{app.name}-1",
    }
    health = {"health": {"status": app.health, "message": app.health_message}}
    replica_set = {
        **deployment,
        "kind": "ReplicaSet",
        "name": f"{app.name}-5d4f",
        "uid": f"{app.name}-2",
        "parentRefs": [deployment],
    }
    service = {
        "version": "v1",
        "kind": "Service",
        "namespace": namespace,
        "name": app.name,
        "uid": f"{app.name}-3",
    }
    return {"nodes": [{**deployment, **health}, {**replica_set, **health}, service]}


def resource_json(app: Application, kind: str, name: str) -> dict[str, Any] | None:
    """Return a live object as Argo CD does, JSON as text inside JSON; ``None`` where it is not the application's."""
    if (kind, name) != ("Deployment", app.name):
        return None
    # Kubernetes leaves zeros out.
    counts = {"availableReplicas": app.available_now} if app.available_now else {}
    manifest = {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": app.destination_namespace or app.name},
        "spec": {
            "replicas": app.replicas,
            "template": {"spec": {"containers": [{"name": "app", "image": image(app)}]}},
        },
        "status": {"replicas": app.replicas, **counts},
    }
    return {"manifest": json.dumps(manifest)}


def image(app: Application) -> str:
    """Return the image that runs."""
    return f"{app.image}:{app.revision[:12] or 'latest'}"


def stamp(moment: datetime) -> str:
    """Return a moment as Kubernetes writes it, in whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
