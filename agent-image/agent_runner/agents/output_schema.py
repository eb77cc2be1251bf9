"""Structured output held to the JSON schema that was asked for.

Types, properties, items, enumerations, alternatives and limits are checked; other keywords are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MAX_FAULTS = 5
_MAX_DEPTH = 50

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (Mapping,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def faults(schema: Mapping[str, Any], value: Any) -> list[str]:
    """Say where ``value`` does not fit ``schema``, the first few places; empty: it fits."""
    found = []
    for fault in _faults(schema, value, "the answer", _MAX_DEPTH):
        found.append(fault)
        if len(found) == MAX_FAULTS:
            break
    return found


def _faults(schema: Mapping[str, Any], value: Any, where: str, depth: int) -> Iterator[str]:
    if depth == 0:
        yield f"{where}: nested too deeply"
        return
    wanted = schema.get("type")
    if wanted is not None and not any(_is(value, name) for name in listed(wanted)):
        yield f"{where}: {' or '.join(map(str, listed(wanted)))} is needed, not {_kind(value)}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: none of the values that are allowed"
    if "const" in schema and value != schema["const"]:
        yield f"{where}: not the value that is needed"
    if (choices := schema.get("anyOf")) and not any(
        next(_faults(each, value, where, depth - 1), None) is None for each in choices
    ):
        yield f"{where}: fits none of the alternatives"
    yield from _beyond_limits(schema, value, where)
    if isinstance(value, dict):
        yield from _object_faults(schema, value, where, depth)
    elif isinstance(value, list) and isinstance(items := schema.get("items"), Mapping):
        for index, each in enumerate(value):
            yield from _faults(items, each, f"{where}[{index}]", depth - 1)


def _object_faults(
    schema: Mapping[str, Any], value: Mapping[str, Any], where: str, depth: int
) -> Iterator[str]:
    properties = schema.get("properties") or {}
    yield from (f"{where}: {name} is missing" for name in schema.get("required") or () if name not in value)
    for name, each in value.items():
        if name in properties:
            yield from _faults(properties[name], each, f"{where}.{name}", depth - 1)
        elif schema.get("additionalProperties") is False:
            yield f"{where}: {name[:40]!r} is not asked for"


def _beyond_limits(schema: Mapping[str, Any], value: Any, where: str) -> Iterator[str]:
    if isinstance(value, str | list):
        low, high = ("minLength", "maxLength") if isinstance(value, str) else ("minItems", "maxItems")
        if len(value) < schema.get(low, 0):
            yield f"{where}: shorter than {schema[low]}"
        if high in schema and len(value) > schema[high]:
            yield f"{where}: longer than {schema[high]}"
    elif _is(value, "number"):
        if "minimum" in schema and value < schema["minimum"]:
            yield f"{where}: less than {schema['minimum']}"
        if "maximum" in schema and value > schema["maximum"]:
            yield f"{where}: more than {schema['maximum']}"


def listed(value: Any) -> list[Any]:
    """Return what a schema's ``type`` allows, which is one name or several."""
    return [value] if isinstance(value, str) else list(value)


def _is(value: Any, name: Any) -> bool:
    if isinstance(value, bool):
        return bool(name == "boolean")
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(str(name), ()))


def _kind(value: Any) -> str:
    return next((name for name in _TYPES if _is(value, name)), type(value).__name__)
