"""What a container may learn about its own pod: fields and resources of the downward API."""

from __future__ import annotations

import json
import math
import os
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_agents.local.api_errors import Json

_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_FIELDS = {
    "metadata.name": ("metadata", "name"),
    "metadata.namespace": ("metadata", "namespace"),
    "metadata.uid": ("metadata", "uid"),
    "spec.nodeName": ("spec", "nodeName"),
    "spec.serviceAccountName": ("spec", "serviceAccountName"),
    "status.hostIP": ("status", "hostIP"),
    "status.podIP": ("status", "podIP"),
}
_SUFFIXES: dict[str, int | Decimal] = {
    "": 1, "m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50,
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([A-Za-z]*)")


def is_field(path: str) -> bool:
    """Say whether :func:`field_value` knows ``path``."""
    return (
        path in _FIELDS or path in ("metadata.labels", "metadata.annotations") or bool(_KEYED.fullmatch(path))
    )


def field_value(pod: Json, path: str) -> str:
    """Return a field of the pod as text; an absent label or annotation is empty.

    :param path: a ``fieldPath`` that :func:`is_field` knows.
    """
    if found := _KEYED.fullmatch(path):
        return str((pod["metadata"].get(found[1]) or {}).get(found[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        entries = pod["metadata"].get(path.partition(".")[2]) or {}
        return "\n".join(f"{key}={json.dumps(entries[key], ensure_ascii=False)}" for key in sorted(entries))
    part, name = _FIELDS[path]
    return str((pod.get(part) or {}).get(name, ""))


def quantity(text: str | int | float) -> Decimal:
    """Return a resource quantity, such as ``500m`` or ``2Gi``, as a number.

    :raises ValueError: if it is not one.
    """
    found = _QUANTITY.fullmatch(str(text))
    if not found or found[2] not in _SUFFIXES:
        raise ValueError(f"{text!r} is not a resource quantity such as 500m or 2Gi")
    try:
        return Decimal(found[1]) * _SUFFIXES[found[2]]
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is not a resource quantity such as 500m or 2Gi") from error


def resource_value(container: Json, reference: Json) -> str:
    """Return a request or limit of a container as a whole number of divisors, rounded up.

    A limit that is not set is what the machine has, as with Kubernetes.

    :param reference: a ``resourceFieldRef``: ``resource`` (``limits.cpu`` …) and ``divisor``.
    """
    kind, _, resource = reference["resource"].partition(".")
    resources = container.get("resources") or {}
    value = (resources.get(kind) or {}).get(resource)
    if value is None and kind == "requests":
        value = 0
    if value is None:
        machine = {"cpu": os.cpu_count() or 1, "memory": _machine_memory()}
        value = machine.get(resource, 0)
    divisor = quantity(reference.get("divisor") or "1") or Decimal(1)
    return str(math.ceil(quantity(value) / divisor))


def _machine_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
