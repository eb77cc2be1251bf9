"""What makes an object valid. Each function returns all faults it finds."""

from __future__ import annotations

import base64
import binascii
import copy
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.local import downward, names
from airflow_provider_agents.local.api_errors import Fault, Json

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_ANNOTATIONS = 262_144
"""Bytes that all annotations of an object may have, keys included."""

MAX_DATA = 1_048_576
"""Bytes that the values of a secret or config map may have."""

_METADATA_MAPS = ("labels", "annotations")


def validate_metadata(metadata: Json) -> list[Fault]:
    """Check name, labels, annotations, finalizers and owners."""
    faults = []
    if not metadata.get("name"):
        faults.append(Fault("metadata.name", "Required", "name or generateName is required"))
    elif problem := names.dns_subdomain(str(metadata["name"])):
        faults.append(Fault("metadata.name", "Invalid", problem, metadata["name"]))
    for part in _METADATA_MAPS:
        entries = metadata.get(part) or {}
        if not isinstance(entries, dict):
            faults.append(Fault(f"metadata.{part}", "Invalid", "must be an object"))
            continue
        for key, value in entries.items():
            field = f"metadata.{part}"
            if problem := names.qualified_name(key):
                faults.append(Fault(field, "Invalid", problem, key))
            if not isinstance(value, str):
                faults.append(Fault(field, "Invalid", f"the value of {key} must be a string"))
            elif part == "labels" and (problem := names.label_value(value)):
                faults.append(Fault(field, "Invalid", problem, value))
    if not faults:
        entries = metadata.get("annotations") or {}
        size = sum(len(key.encode()) + len(value.encode()) for key, value in entries.items())
        if size > MAX_ANNOTATIONS:
            detail = f"may not be more than {MAX_ANNOTATIONS} bytes"
            faults.append(Fault("metadata.annotations", "TooLong", detail))
    if metadata.get("finalizers"):
        detail = "the local pod runtime does not support finalizers"
        faults.append(Fault("metadata.finalizers", "Forbidden", detail))
    for index, owner in enumerate(metadata.get("ownerReferences") or []):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                place = f"metadata.ownerReferences[{index}].{field}"
                faults.append(Fault(place, "Required", "must not be empty"))
    return faults


def validate_data(item: Json) -> list[Fault]:
    """Check the keys, the encoding and the size of a secret or config map."""
    faults: list[Fault] = []
    size = 0
    encoded = ("data",) if item["kind"] == "Secret" else ("binaryData",)
    for part in ("data", "binaryData"):
        for key, value in (item.get(part) or {}).items():
            field = f"{part}[{key}]"
            if problem := names.data_key(key):
                faults.append(Fault(field, "Invalid", problem, key))
            if not isinstance(value, str):
                faults.append(Fault(field, "Invalid", "must be a string"))
                continue
            size += len(value)
            if part in encoded:
                try:
                    base64.b64decode(value, validate=True)
                except (binascii.Error, ValueError):
                    faults.append(Fault(field, "Invalid", "must be base64"))
    if size > MAX_DATA * (4 if item["kind"] == "Secret" else 3) // 3:
        faults.append(Fault("data", "TooLong", f"may not be more than {MAX_DATA} bytes"))
    return faults


def validate_claim(item: Json) -> list[Fault]:
    """Check the specification of a persistent volume claim."""
    spec = item.get("spec") or {}
    faults = []
    if not spec.get("accessModes"):
        faults.append(Fault("spec.accessModes", "Required", "at least 1 access mode is required"))
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    field = "spec.resources.requests[storage]"
    if storage is None:
        faults.append(Fault(field, "Required", "say how much storage is wanted"))
    else:
        faults += check_quantity(field, storage)
    return faults


def validate_claim_update(old: Json, new: Json) -> list[Fault]:
    """Check a change of a claim: a bound one may ask for more storage, nothing else may change."""
    if new.get("spec") == old["spec"]:
        return []
    before, after = copy.deepcopy(old["spec"]), copy.deepcopy(new.get("spec") or {})
    was = before.get("resources", {}).get("requests", {}).pop("storage", None)
    now = ((after.get("resources") or {}).get("requests") or {}).pop("storage", None)
    if before != after or old["status"]["phase"] != "Bound":
        detail = "spec is immutable after creation except resources.requests for bound claims"
        return [Fault("spec", "Forbidden", detail)]
    field = "spec.resources.requests.storage"
    if faults := check_quantity(field, now):
        return faults
    if downward.quantity(now) < downward.quantity(was):
        return [Fault(field, "Forbidden", "field can not be less than status.capacity")]
    return []


def check_quantity(field: str, value: Any) -> list[Fault]:
    """Check a resource quantity such as ``500m`` or ``2Gi``."""
    try:
        if downward.quantity(value) < 0:
            return [Fault(field, "Invalid", "must be greater than or equal to 0", str(value))]
    except ValueError as error:
        return [Fault(field, "Invalid", str(error), str(value))]
    return []


def duplicates(field: str, values: Iterable[Any]) -> list[Fault]:
    """Return a fault for each value that was there before.

    :param field: path with ``{}`` for the position.
    """
    faults, seen = [], set()
    for index, value in enumerate(values):
        if value in seen:
            faults.append(Fault(field.format(index), "Duplicate", "", value))
        seen.add(value)
    return faults
