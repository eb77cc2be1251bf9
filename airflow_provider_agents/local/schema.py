"""The types of an object's fields, as the official Kubernetes client declares them."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from airflow_provider_agents.local.api_errors import KINDS

_LIST = re.compile(r"list\[(.+)\]")
_DICTIONARY = re.compile(r"dict(?:\(|\[)str, (.+)(?:\)|\])")
_SIMPLE: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "bool": bool,
    "int": int,
    "float": (int, float),
    "datetime": str,
}
_ALLOWED_AS_NUMBER = re.compile(r".*\.(limits|requests|capacity)\.[^.]+")


def type_fault(resource: str, item: Any) -> str | None:
    """Return the first field of an object that has another type than it must have; unknown fields are let be.

    :param resource: plural name of the object's resource.
    """
    kind = KINDS[resource]
    return _check(item, "CoreV1Event" if kind == "Event" else f"V1{kind}", "")


def _check(value: Any, expected: str, path: str) -> str | None:
    if value is None or expected == "object":
        return None
    if found := _LIST.fullmatch(expected):
        if not isinstance(value, list):
            return _fault(value, "a list", path)
        checks = (_check(entry, found[1], f"{path}[{index}]") for index, entry in enumerate(value))
        # A list with a hole in it is none: the entries are what the rest of the runtime works with.
        holes = (f"{path}[{index}] is null" for index, entry in enumerate(value) if entry is None)
        return next(filter(None, (*checks, *holes)), None)
    if found := _DICTIONARY.fullmatch(expected):
        if not isinstance(value, dict):
            return _fault(value, "an object", path)
        return next(
            filter(None, (_check(each, found[1], f"{path}.{key}") for key, each in value.items())), None
        )
    if expected in _SIMPLE:
        fits = isinstance(value, _SIMPLE[expected]) and (expected == "bool") is isinstance(value, bool)
        # A quantity may be written as a number.
        fits = fits or (type(value) in (int, float) and bool(_ALLOWED_AS_NUMBER.fullmatch(path)))
        return None if fits else _fault(value, expected, path)
    if not isinstance(value, dict):
        return _fault(value, "an object", path)
    fields = _fields(expected)
    known = ((key, each, fields[key]) for key, each in value.items() if key in fields)
    return next(filter(None, (_check(each, kind, f"{path}.{key}") for key, each, kind in known)), None)


def _fault(value: Any, expected: str, path: str) -> str:
    return f"{path.lstrip('.') or 'the body'}: {type(value).__name__} where {expected} is expected"


@cache
def _fields(model: str) -> dict[str, str]:
    """Return the declared type of each field of a model by its name in JSON."""
    from kubernetes.client import models

    declared = getattr(models, model)
    return {declared.attribute_map[name]: kind for name, kind in declared.openapi_types.items()}
