"""A cluster of claims and pods in dictionaries, which refuses what a test tells it to."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import MaxRetryError

from airflow_provider_agents.domain.workspace import ANNOTATION_EXPIRES_AT, LABEL_INSTALLATION

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

NAMESPACE = "agent-system"


def refused(status: int, message: str) -> ApiException:
    """Return an error as the API server words it."""
    error = ApiException(status=status, reason="Refused")
    error.body = json.dumps({"kind": "Status", "message": message})
    return error


def forbidden(verb: str, resource: str) -> ApiException:
    """Return the error for a right that is missing."""
    return refused(
        403,
        f'{resource} is forbidden: User "system:serviceaccount:airflow:worker" cannot {verb} resource '
        f'"{resource}" in API group "" in the namespace "{NAMESPACE}"',
    )


AWAY = MaxRetryError(None, "/api", OSError("connection refused"))  # type: ignore[arg-type]


class Cluster:
    """What of ``CoreV1Api`` the workspace asks for. Keeps every change in :attr:`journal`.

    :attr:`faults` has the errors to raise, by method, each once; the last one stays.
    """

    def __init__(self) -> None:
        self.claims: dict[str, k8s.V1PersistentVolumeClaim] = {}
        self.pods: dict[str, k8s.V1Pod] = {}
        self.journal: list[str] = []
        self.faults: dict[str, list[Exception | None]] = {}
        self.before: dict[str, Callable[[], None]] = {}
        self.page = 500
        self.api_client = None
        self._version = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> Cluster:
        """Be the cluster that the operators are connected to."""
        for module in ("workspace", "sweep"):
            path = f"airflow_provider_agents.operators.{module}.cluster_client"
            monkeypatch.setattr(path, lambda conn_id: self)
        return self

    # Of a test

    def add_claim(
        self, name: str, expires: str | None = None, **metadata: Any
    ) -> k8s.V1PersistentVolumeClaim:
        """Put a claim there."""
        annotations = metadata.pop("annotations", {})
        if expires is not None:
            annotations = {**annotations, ANNOTATION_EXPIRES_AT: expires}
        labels = metadata.pop("labels", {LABEL_INSTALLATION: "default"})
        resources = k8s.V1VolumeResourceRequirements(requests={"storage": "10Gi"})
        claim = k8s.V1PersistentVolumeClaim(
            metadata=k8s.V1ObjectMeta(
                name=name,
                namespace=NAMESPACE,
                labels=labels,
                annotations=annotations,
                uid=f"uid-{self._next()}",
                resource_version=self._next(),
                **metadata,
            ),
            spec=k8s.V1PersistentVolumeClaimSpec(resources=resources),
            status=k8s.V1PersistentVolumeClaimStatus(phase="Bound"),
        )
        self.claims[name] = claim
        return claim

    def add_pod(
        self, name: str, phase: str, claim: str | None = None, ended: datetime | None = None, **metadata: Any
    ) -> k8s.V1Pod:
        """Put a pod there."""
        source = k8s.V1PersistentVolumeClaimVolumeSource(claim_name=claim) if claim else None
        state = k8s.V1ContainerState(
            terminated=k8s.V1ContainerStateTerminated(exit_code=0, finished_at=ended) if ended else None
        )
        pod = k8s.V1Pod(
            metadata=k8s.V1ObjectMeta(
                name=name,
                namespace=NAMESPACE,
                labels=metadata.pop("labels", {LABEL_INSTALLATION: "default"}),
                uid=f"uid-{self._next()}",
                resource_version=self._next(),
                **metadata,
            ),
            spec=k8s.V1PodSpec(
                containers=[], volumes=[k8s.V1Volume(name="run", persistent_volume_claim=source)]
            ),
            status=k8s.V1PodStatus(
                phase=phase,
                container_statuses=[
                    k8s.V1ContainerStatus(
                        name="base", image="i", image_id="", ready=False, restart_count=0, state=state
                    )
                ],
            ),
        )
        self.pods[name] = pod
        return pod

    # Of the client

    def read_namespaced_persistent_volume_claim(self, name: str, namespace: str, **_: Any) -> Any:
        self._call("read")
        return _copy(self._find(self.claims, name))

    def create_namespaced_persistent_volume_claim(self, namespace: str, body: Any, **_: Any) -> Any:
        self._call("create")
        name = body["metadata"]["name"]
        if name in self.claims:
            raise refused(409, f'persistentvolumeclaims "{name}" already exists')
        self.journal.append(f"create {name} {body['spec']['resources']['requests']['storage']}")
        claim = self.add_claim(name, labels=body["metadata"]["labels"])
        claim.metadata.annotations = dict(body["metadata"]["annotations"])
        return claim

    def patch_namespaced_persistent_volume_claim(self, name: str, namespace: str, body: Any, **_: Any) -> Any:
        self._call("grow" if "spec" in body else "patch")
        claim = self._find(self.claims, name)
        expected = (body.get("metadata") or {}).get("resourceVersion")
        if expected not in (None, claim.metadata.resource_version):
            raise refused(409, "the object has been modified")
        claim.metadata.resource_version = self._next()
        if "spec" in body:
            claim.spec.resources.requests = body["spec"]["resources"]["requests"]
            self.journal.append(f"grow {name} {claim.spec.resources.requests['storage']}")
        else:
            claim.metadata.annotations.update(body["metadata"]["annotations"])
            self.journal.append(f"keep {name}")
        return claim

    def delete_namespaced_persistent_volume_claim(
        self, name: str, namespace: str, body: Any, **_: Any
    ) -> None:
        self._delete(self.claims, name, body)

    def delete_namespaced_pod(self, name: str, namespace: str, body: Any, **_: Any) -> None:
        self._delete(self.pods, name, body)

    def list_namespaced_persistent_volume_claim(self, namespace: str, **options: Any) -> Any:
        return self._list("claims", self.claims, options)

    def list_namespaced_pod(self, namespace: str, **options: Any) -> Any:
        return self._list("pods", self.pods, options)

    # Helpers

    def _list(self, kind: str, items: dict[str, Any], options: dict[str, Any]) -> Any:
        self._call(f"list {kind}")
        found = list(items.values())
        if selector := options.get("label_selector"):
            wanted = dict(part.split("=") for part in selector.split(","))
            found = [item for item in found if wanted.items() <= (item.metadata.labels or {}).items()]
        if options.get("field_selector"):
            found = [item for item in found if item.status.phase not in ("Succeeded", "Failed")]
        begin = int(options.get("_continue") or 0)
        end = begin + min(self.page, options["limit"])
        following = str(end) if end < len(found) else None
        return SimpleNamespace(items=found[begin:end], metadata=SimpleNamespace(_continue=following))

    def _delete(self, items: dict[str, Any], name: str, body: Any) -> None:
        self._call("delete")
        self._call(f"delete {name}")
        metadata = self._find(items, name).metadata
        seen = body.preconditions
        if seen.uid != metadata.uid or seen.resource_version not in (None, metadata.resource_version):
            raise refused(409, "the precondition does not hold")
        self.journal.append(f"delete {name}")
        del items[name]

    def _find(self, items: dict[str, Any], name: str) -> Any:
        if name not in items:
            raise refused(404, f'"{name}" not found')
        return items[name]

    def _call(self, what: str) -> None:
        if action := self.before.pop(what, None):
            action()
        errors = self.faults.get(what, [])
        error = (errors.pop(0) if len(errors) > 1 else errors[0]) if errors else None
        if error is not None:
            raise error

    def _next(self) -> str:
        self._version += 1
        return str(self._version)


def _copy(claim: k8s.V1PersistentVolumeClaim) -> k8s.V1PersistentVolumeClaim:
    """Return a claim as it was when it was read."""
    metadata = k8s.V1ObjectMeta(
        name=claim.metadata.name,
        namespace=claim.metadata.namespace,
        annotations=dict(claim.metadata.annotations),
        uid=claim.metadata.uid,
        resource_version=claim.metadata.resource_version,
        deletion_timestamp=claim.metadata.deletion_timestamp,
    )
    return k8s.V1PersistentVolumeClaim(metadata=metadata, spec=claim.spec, status=claim.status)


def now() -> datetime:
    return datetime.now(tz=UTC)
