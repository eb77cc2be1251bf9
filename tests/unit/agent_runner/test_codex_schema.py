"""Schemas as the strict API takes them, and answers held to them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.agents.codex_schema import strict, without_nulls
from agent_runner.agents.output_schema import MAX_FAULTS, faults

TEXT = {"type": "string"}


def thing(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


def test_strict_demands_everything_and_nothing_else() -> None:
    made = strict(
        {
            **thing(["a"], a={"type": "string", "maxLength": 3, "pattern": "x"}, b={"type": "integer"}),
            "$schema": "https://json-schema.org/draft/2020-12/schema",
        }
    )
    assert made == {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": "x"}, "b": {"type": ["integer", "null"]}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }


def test_strict_reaches_every_level() -> None:
    inner = thing([], x=TEXT)
    made = strict(
        thing(["list", "one"], list={"type": "array", "items": inner}, one={"anyOf": [inner, TEXT]})
    )
    for found in (made["properties"]["list"]["items"], made["properties"]["one"]["anyOf"][0]):
        assert found["required"] == ["x"]
        assert found["additionalProperties"] is False
        assert found["properties"]["x"] == {"type": ["string", "null"]}


@pytest.mark.parametrize(
    ("optional", "made"),
    [
        ({"type": "string", "enum": ["a"]}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"anyOf": [TEXT]}, {"anyOf": [{"anyOf": [TEXT]}, {"type": "null"}]}),
    ],
)
def test_what_is_optional_may_be_null(optional: dict[str, Any], made: dict[str, Any]) -> None:
    assert strict(thing([], a=optional))["properties"]["a"] == made


def test_nulls_that_stand_for_nothing_are_dropped_and_others_stay() -> None:
    nullable = {"type": ["string", "null"]}
    schema = thing(
        ["kept", "list"], kept=nullable, gone=TEXT, list={"type": "array", "items": thing([], a=TEXT)}
    )
    value = {"kept": None, "gone": None, "list": [{"a": None}, {"a": "x"}], "unknown": None}
    assert without_nulls(schema, value) == {"kept": None, "list": [{}, {"a": "x"}], "unknown": None}


@pytest.mark.parametrize(
    ("schema", "value", "said"),
    [
        (TEXT, 1, "string is needed, not integer"),
        ({"type": "integer"}, True, "integer is needed, not boolean"),
        ({"type": "integer"}, 1.5, "integer is needed, not number"),
        ({"type": ["string", "null"]}, [], "string or null is needed, not array"),
        (thing(["a"], a=TEXT), {}, "the answer: a is missing"),
        (thing([], a=TEXT), {"a": 1}, "the answer.a: string is needed"),
        ({**thing([], a=TEXT), "additionalProperties": False}, {"b": 1}, "'b' is not asked for"),
        ({"type": "array", "items": TEXT}, ["a", 1], "the answer[1]: string is needed"),
        ({"enum": ["a", "b"]}, "c", "none of the values"),
        ({"const": 1}, 2, "not the value"),
        ({"anyOf": [TEXT, {"type": "null"}]}, 1, "none of the alternatives"),
        ({"type": "string", "maxLength": 2}, "abc", "longer than 2"),
        ({"type": "array", "minItems": 1}, [], "shorter than 1"),
        ({"type": "number", "minimum": 1}, 0.5, "less than 1"),
        ({"type": "number", "maximum": 1}, 2, "more than 1"),
    ],
)
def test_each_fault_is_named_with_its_place(schema: dict[str, Any], value: Any, said: str) -> None:
    [fault] = faults(schema, value)
    assert said in fault


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (thing(["a"], a=TEXT), {"a": "x", "more": 1}),
        ({"type": "integer"}, 2.0),
        ({"anyOf": [TEXT, {"type": "null"}]}, None),
        ({"type": "string", "unknownKeyword": 1}, "x"),
        ({}, {"anything": []}),
    ],
)
def test_what_fits(schema: dict[str, Any], value: Any) -> None:
    assert faults(schema, value) == []


def test_no_more_faults_than_a_person_reads() -> None:
    assert len(faults({"type": "array", "items": TEXT}, [1] * 100)) == MAX_FAULTS


def test_a_schema_that_refers_to_itself_by_nesting_ends() -> None:
    schema: dict[str, Any] = {}
    schema["items"] = schema
    value: Any = []
    for _ in range(500):
        value = [value]
    assert "nested too deeply" in faults(schema, value)[0]


SCHEMAS = st.recursive(
    st.sampled_from([{"type": "string"}, {"type": "integer"}, {"type": "boolean"}]),
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(
            lambda properties, some: {
                "type": "object", "properties": properties, "required": sorted(properties)[:some],
            },
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            st.integers(0, 3),
        ),
    ),
    max_leaves=6,
)  # fmt: skip


@given(st.data(), SCHEMAS)
def test_what_fits_the_strict_schema_fits_the_one_asked_for(
    data: st.DataObject, schema: dict[str, Any]
) -> None:
    value = data.draw(answers(strict(schema)))
    assert faults(strict(schema), value) == []
    assert faults(schema, without_nulls(schema, value)) == []
    json.dumps(strict(schema))


def answers(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit a strict schema."""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return st.one_of([_of(kind, schema) for kind in kinds])


def _of(kind: str, schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    match kind:
        case "object":
            return st.fixed_dictionaries({name: answers(each) for name, each in schema["properties"].items()})
        case "array":
            return st.lists(answers(schema["items"]), max_size=2)
        case "string":
            return st.text(max_size=3)
        case "integer":
            return st.integers()
        case "boolean":
            return st.booleans()
    return st.none()
