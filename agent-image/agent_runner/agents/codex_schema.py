"""Structured output with Codex: its API takes strict schemas only, and nobody checks the answer.

A strict schema demands every property of an object and no other. What was optional is therefore asked for as
"or null", and nulls that stand for nothing are dropped from the answer before it is checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent_runner.agents.output_schema import listed

_NOT_STRICT = frozenset(
    {
        "$schema", "allOf", "contains", "default", "dependentRequired", "dependentSchemas", "else", "if",
        "maxContains", "maxLength", "maxProperties", "minContains", "minLength", "minProperties", "not", "oneOf",
        "patternProperties", "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties", "uniqueItems",
    }
)  # fmt: skip
"""Keywords that the API refuses in a strict schema."""


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


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "type" in schema:
        made = {**schema, "type": list(dict.fromkeys([*listed(schema["type"]), "null"]))}
        return (
            {**made, "enum": [*made["enum"], None]} if "enum" in made and None not in made["enum"] else made
        )
    return {"anyOf": [schema, {"type": "null"}]}


def _allows(schema: Mapping[str, Any], name: str) -> bool:
    return name in listed(schema.get("type", ()))
