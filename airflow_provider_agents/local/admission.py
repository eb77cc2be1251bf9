"""What happens to an object before it is stored: identity, defaults, validation, pod security."""

from __future__ import annotations

import base64
import secrets
from typing import Any

from airflow_provider_agents.local import pod_security, pod_validation, validation
from airflow_provider_agents.local.api_errors import KINDS, Fault, Json, bad_request, forbidden, invalid
from airflow_provider_agents.local.pod_status import new_status
from airflow_provider_agents.local.schema import type_fault

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SERVER_FIELDS = (
    "uid", "resourceVersion", "creationTimestamp", "generation", "selfLink", "managedFields",
    "deletionTimestamp", "deletionGracePeriodSeconds",
)  # fmt: skip
_UNCHANGEABLE = ("name", "namespace", "uid", "creationTimestamp", *_SERVER_FIELDS[-2:])


class Admission:
    """Takes in new and changed objects.

    :param pod_security_level: ``restricted`` (every namespace enforces it) or ``none``.
    """

    def __init__(self, pod_security_level: str) -> None:
        if pod_security_level not in ("restricted", "none"):
            raise ValueError(f"pod security {pod_security_level!r}: choose restricted or none")
        self._restricted = pod_security_level == "restricted"

    def create(self, resource: str, namespace: str, body: Any) -> Json:
        """Return the object to store for the body of a create request.

        :raises ApiError: 400, 403 or 422, if it is refused.
        """
        item = _as_object(resource, body)
        metadata = item["metadata"]
        if metadata.get("namespace") not in (None, "", namespace):
            raise bad_request(
                f"the namespace of the provided object does not match the namespace sent on the request: "
                f"{metadata['namespace']} and {namespace}"
            )
        for field in _SERVER_FIELDS:
            metadata.pop(field, None)
        if not metadata.get("name") and metadata.get("generateName"):
            suffix = "".join(secrets.choice(_ALPHABET) for _ in range(5))
            metadata["name"] = metadata["generateName"][:58] + suffix
        item.pop("status", None)
        if resource == "pods":
            _set_pod_defaults(item)
        if resource == "secrets":
            _encode_secret(item)
        self._validate(resource, item)
        if resource == "pods":
            item["status"] = new_status(item["spec"])
        return item

    def update(self, resource: str, old: Json, new: Any) -> Json:
        """Return the object to store for a changed one; what only the server may set stays as it is.

        :raises ApiError: 400, 409 or 422, if the change is refused.
        """
        item = _as_object(resource, new)
        metadata = item["metadata"]
        for field in _UNCHANGEABLE:
            if field in old["metadata"]:
                metadata[field] = old["metadata"][field]
            else:
                metadata.pop(field, None)
        metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
        if "status" in old:
            item["status"] = old["status"]
        if resource == "secrets":
            _encode_secret(item)
        name = metadata["name"]
        if old.get("immutable") and any(old.get(part) != item.get(part) for part in ("data", "binaryData")):
            fault = Fault("data", "Forbidden", "field is immutable when `immutable` is set")
            raise invalid(resource, name, [fault])
        faults = validation.validate_metadata(metadata)
        if resource == "pods":
            faults += pod_validation.validate_update(old, item)
        elif resource in ("secrets", "configmaps"):
            faults += validation.validate_data(item)
        elif resource == "persistentvolumeclaims":
            faults += validation.validate_claim_update(old, item)
        if faults:
            raise invalid(resource, name, faults)
        return item

    def _validate(self, resource: str, item: Json) -> None:
        name = str(item["metadata"].get("name") or "")
        faults = validation.validate_metadata(item["metadata"])
        match resource:
            case "pods":
                faults += pod_validation.validate_pod(item)
                # Admission comes before validation on a cluster; it needs a specification that can be read.
                if self._restricted and item["spec"].get("containers"):
                    found = pod_security.violations(item["spec"])
                    if found:
                        raise forbidden(
                            "pods", name, f'violates PodSecurity "restricted:latest": {", ".join(found)}'
                        )
            case "secrets" | "configmaps":
                faults += validation.validate_data(item)
            case "persistentvolumeclaims":
                faults += validation.validate_claim(item)
        if faults:
            raise invalid(resource, name, faults)


def _as_object(resource: str, body: Any) -> Json:
    kind = KINDS[resource]
    if not isinstance(body, dict):
        raise bad_request(f"the body of the request is not a {kind}")
    item = dict(body)
    if item.get("kind") not in (None, "", kind) or item.get("apiVersion") not in (None, "", "v1"):
        raise bad_request(
            f"{item.get('kind')} in version {item.get('apiVersion')} cannot be handled as a {kind} in version v1"
        )
    item["kind"], item["apiVersion"] = kind, "v1"
    if fault := type_fault(resource, item):
        raise bad_request(f"{kind} in version v1 cannot be handled as a {kind}: {fault}")
    item["metadata"] = dict(item.get("metadata") or {})
    return item


def _encode_secret(item: Json) -> None:
    plain = item.pop("stringData", None) or {}
    encoded = {key: base64.b64encode(str(value).encode()).decode() for key, value in plain.items()}
    item["data"] = {**(item.get("data") or {}), **encoded}
    item.setdefault("type", "Opaque")


def _set_pod_defaults(item: Json) -> None:
    """Fill in what the API server would."""
    spec = item["spec"] = _without_nulls(item.get("spec") or {})
    defaults: Json = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "serviceAccountName": "default",
        "enableServiceLinks": True,
        "priority": 0,
        "preemptionPolicy": "PreemptLowerPriority",
    }
    for key, value in defaults.items():
        spec.setdefault(key, value)
    spec["serviceAccount"] = spec["serviceAccountName"]
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        container.setdefault("resources", {})
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        tag = str(container.get("image") or "").rpartition("/")[2].partition(":")[2]
        container.setdefault("imagePullPolicy", "Always" if tag in ("", "latest") else "IfNotPresent")
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if container.get(probe):
                times = {
                    "timeoutSeconds": 1,
                    "periodSeconds": 10,
                    "successThreshold": 1,
                    "failureThreshold": 3,
                }
                container[probe] = times | container[probe]
    for volume in spec.get("volumes") or []:
        if set(volume) == {"name"}:
            volume["emptyDir"] = {}
        for kind in ("secret", "configMap", "downwardAPI", "projected"):
            if isinstance(volume.get(kind), dict):
                volume[kind].setdefault("defaultMode", 0o644)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list):
        return [_without_nulls(entry) for entry in value]
    return value
