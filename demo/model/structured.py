"""Answers of a form that the request sets: a schema for the text, or one tool that must be called.

The script writes both as a call of ``StructuredOutput``, which is how Claude Code's own tool for it is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from demo.model.errors import invalid_request

STRUCTURED_OUTPUT = "StructuredOutput"
"""Claude Code's tool for the output that a schema asks for; elsewhere it is the form that the API has for it."""


@dataclass(frozen=True, slots=True)
class Form:
    """What the answer must look like."""

    schema: Mapping[str, Any]
    tool: str | None = None
    """Name of the tool that must be called; ``None``: the text is JSON of the schema."""
    agent: bool = False
    """Whether an agent program asks, which offers tools of its own: its answer is the script's, fitting or not."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Return the names of the fields that the answer may have."""
        return tuple(self.schema.get("properties", {}))


def messages_form(body: Mapping[str, Any]) -> Form | None:
    """Return the form that a Messages request sets; ``None``: it sets none, or has Claude Code's own tool."""
    tools = [tool for tool in body.get("tools") or () if isinstance(tool, Mapping)]
    if any(tool.get("name") == STRUCTURED_OUTPUT for tool in tools):
        return None
    if (schema := _json_schema(body.get("output_config"))) is not None:
        return Form(schema, agent=bool(tools))
    choice = body.get("tool_choice")
    if not isinstance(choice, Mapping) or choice.get("type") not in ("tool", "any"):
        return None
    return _forced(tools, choice.get("name"), "input_schema")


def responses_form(body: Mapping[str, Any]) -> Form | None:
    """Return the form that a Responses request sets; ``None``: it sets none."""
    if (schema := _json_schema(body.get("text"))) is not None:
        items = body.get("input")
        kinds = (
            [item.get("type") for item in items if isinstance(item, Mapping)]
            if isinstance(items, list)
            else []
        )
        return Form(schema, agent=bool(body.get("tools")) or "additional_tools" in kinds)
    choice = body.get("tool_choice")
    tools = [
        tool
        for tool in body.get("tools") or ()
        if isinstance(tool, Mapping) and tool.get("type") == "function"
    ]
    if isinstance(choice, Mapping):
        return _forced(tools, choice.get("name"), "parameters") if choice.get("type") == "function" else None
    return _forced(tools, None, "parameters") if choice == "required" else None


def _json_schema(holder: object) -> Mapping[str, Any] | None:
    form = holder.get("format") if isinstance(holder, Mapping) else None
    if not isinstance(form, Mapping) or form.get("type") != "json_schema":
        return None
    schema = form.get("schema")
    if not isinstance(schema, Mapping):
        raise invalid_request("format.schema: Field required")
    return schema


def _forced(tools: list[Mapping[str, Any]], name: object, key: str) -> Form | None:
    """Return the form of the tool that must be called: the named one, or the only one."""
    found = [tool for tool in tools if name is None or tool.get("name") == name]
    if len(found) != 1:
        return None
    schema = found[0].get(key)
    return Form(schema if isinstance(schema, Mapping) else {}, str(found[0].get("name")))


def fitted(values: Mapping[str, Any], form: Form) -> dict[str, Any]:
    """Return the script's values in the form of an answer: what must be there and is not, is as little as it can be.
    An agent program gets them as they are.

    :raises demo.model.errors.ApiError: a value is none that a model bound to the schema could give.
    """
    if form.agent:
        return dict(values)
    properties = form.schema.get("properties", {})
    for name, value in values.items():
        if name not in properties and form.schema.get("additionalProperties") is False:
            raise invalid_request(
                f"the script's answer has {name!r}, which the schema of the request has not"
            )
        allowed = properties.get(name, {}).get("enum")
        if allowed is not None and value not in allowed:
            raise invalid_request(f"the script's answer has {name}: {value!r}, which is none of {allowed!r}")
    least = {
        name: _least(properties.get(name, {}))
        for name in form.schema.get("required", ())
        if name not in values
    }
    return {**values, **least}


def _least(schema: Mapping[str, Any]) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    if variants := schema.get("anyOf"):
        kinds = [variant.get("type") for variant in variants]
        return None if "null" in kinds else _least(variants[0])
    kind = schema.get("type")
    if isinstance(kind, list):
        return None if "null" in kind else _least({**schema, "type": kind[0]})
    empty: dict[object, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False, "array": []}
    if kind == "object":
        return fitted({}, Form(schema))
    return empty.get(kind)
