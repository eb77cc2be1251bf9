"""Structured output with Codex: its API takes strict schemas only, and nobody checks the answer.

A strict schema demands every property of an object and no other. What was optional is therefore asked for as
"or null", and nulls that stand for nothing are dropped from the answer before it is checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MAX_FAULTS = 5
_MAX_DEPTH = 50
_NOT_STRICT = frozenset(
    {
        "$schema", "allOf", "contains", "default", "dependentRequired", "dependentSchemas", "else", "if",
        "maxContains", "maxLength", "maxProperties", "minContains", "minLength", "minProperties", "not", "oneOf",
        "patternProperties", "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties", "uniqueItems",
    }
)  # fmt: skip
"""Keywords that the API refuses in a strict schema."""

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (Mapping,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``schema`` as the API takes it."""
    made = {key: value for key, value in schema.items() if key not in _NOT_STRICT}
    if isinstance(properties := schema.get("properties"), Mapping):
        required = schema.get("required") or ()
        made["properties"] = {
            name: strict(inner) if name in required else _or_null(strict(inner))
            for name, inner in properties.items()
        }
    if "properties" in made or _allows(schema, "object"):
        made.setdefault("properties", {})
        made["required"] = list(made["properties"])
        made["additionalProperties"] = False
    if isinstance(items := schema.get("items"), Mapping):
        made["items"] = strict(items)
    for key in ("anyOf", "$defs", "definitions"):
        inner = schema.get(key)
        if isinstance(inner, list):
            made[key] = [strict(each) for each in inner]
        elif isinstance(inner, Mapping):
            made[key] = {name: strict(each) for name, each in inner.items()}
    return made


def without_nulls(schema: Mapping[str, Any], value: Any) -> Any:
    """Return ``value`` without the nulls of properties that ``schema`` makes optional."""
    if isinstance(value, list) and isinstance(items := schema.get("items"), Mapping):
        return [without_nulls(items, each) for each in value]
    properties = schema.get("properties")
    if not isinstance(value, dict) or not isinstance(properties, Mapping):
        return value
    required = schema.get("required") or ()
    return {
        name: without_nulls(properties.get(name) or {}, each)
        for name, each in value.items()
        if each is not None or name in required or name not in properties
    }


def faults(schema: Mapping[str, Any], value: Any) -> list[str]:
    """Say where ``value`` does not fit ``schema``, the first few places; empty: it fits.

    Types, properties, items, enumerations, alternatives and limits are checked; other keywords are not.
    """
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
    if wanted is not None and not any(_is(value, name) for name in _listed(wanted)):
        yield f"{where}: {' or '.join(map(str, _listed(wanted)))} is needed, not {_kind(value)}"
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


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "type" in schema:
        made = {**schema, "type": list(dict.fromkeys([*_listed(schema["type"]), "null"]))}
        return (
            {**made, "enum": [*made["enum"], None]} if "enum" in made and None not in made["enum"] else made
        )
    return {"anyOf": [schema, {"type": "null"}]}


def _allows(schema: Mapping[str, Any], name: str) -> bool:
    return name in _listed(schema.get("type", ()))


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else list(value)


def _is(value: Any, name: Any) -> bool:
    if isinstance(value, bool):
        return bool(name == "boolean")
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(str(name), ()))


def _kind(value: Any) -> str:
    return next((name for name in _TYPES if _is(value, name)), type(value).__name__)
