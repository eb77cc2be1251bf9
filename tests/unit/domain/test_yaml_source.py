"""YAML as people write it: what is read, and what is said about what is not."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_agents.domain.source_definition import SourceDefinition
from airflow_provider_agents.domain.yaml_source import (
    MAX_BYTES,
    MAX_DEPTH,
    Document,
    load_documents,
    load_yaml,
    validate,
)


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    colour: str = ""
    size: int = Field(default=1, ge=1)


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    on: bool = False
    ratio: float = 0
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    named: dict[str, Inner] = Field(default_factory=dict)
    either: str | Inner | None = None


def read(text: str) -> Document:
    document = load_yaml(text, "x.yaml")
    assert document.faults == ()
    return document


def fault(text: str) -> str:
    (found,) = load_yaml(text, "x.yaml").faults
    return found


def faults(text: str) -> list[str]:
    value, found = validate(Model, load_yaml(text, "x.yaml"))
    assert value is None
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"), ("no", "no"), ("Yes", "Yes"), ("true", True), ("FALSE", False), ("~", None), ("", None),
        ("12:30", "12:30"), ("010", "010"), ("0o10", 8), ("0x1F", 31), ("-7", -7), ("1_000", "1_000"),
        ("1.5", 1.5), ("1e3", 1000.0), (".nan", ".nan"), ("-.inf", "-.inf"), ("1e999", "1e999"),
        ("2026-01-02", "2026-01-02"), ("'5'", "5"), ("!!str 5", "5"), ("! 5", "5"), ("9" * 5_000, "9" * 5_000),
    ],
)  # fmt: skip
def test_plain_values_are_what_they_look_like(text: str, value: Any) -> None:
    found = read(f"a: {text}\n").value["a"]
    assert (found, type(found)) == (value, type(value))


def test_keys_are_texts() -> None:
    assert read("on: 1\n7: 2\nnull: 3\n").value == {"on": 1, "7": 2, "null": 3}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "\ufeff# x", "null"])
def test_an_empty_file_is_an_empty_mapping(text: str) -> None:
    assert read(text).value == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n", "x.yaml:1: the top is a list"),
        ("\njust words\n", "x.yaml:2: the top is a single value"),
        ("a: 1\nb: *c\n", "x.yaml:2: alias `*c` is not supported"),
        ("a: &x 1\nb: {<<: 1}\n", "x.yaml:2: merge key"),
        ("a: !!python/object/apply:os.system [x]\n", "x.yaml:1: tag"),
        ("a: !!python/name:os.system\n", "x.yaml:1: tag"),
        ("a: !!binary aGk=\n", "x.yaml:1: tag"),
        ("a:\n\tb: 1\n", "x.yaml:2: a tab in the indentation; use spaces"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2: a second document"),
        ("a: 1\nb: 'open\n", "x.yaml:3: is not YAML"),
        ("a: b: c\n", "x.yaml:1: is not YAML: mapping values are not allowed here"),
        ("a: 1\nb: \x07\n", "x.yaml:2: a control character"),
        ("? [a]\n: 1\n", "x.yaml:1: a mapping or list as a key"),
        ("? {a: 1}\n: 1\n", "x.yaml:1: a mapping or list as a key"),
        ("a: " + "[" * 200, f"x.yaml:1: more than {MAX_DEPTH} levels deep"),
        ("a: " + "{b: " * 200, f"x.yaml:1: more than {MAX_DEPTH} levels deep"),
        ("%YAML 9.1\n---\na: 1\n", "is not YAML"),
        ("a: 1\nb:\n  c: 1\na: 2\n", "x.yaml:4: a: is there twice, first in line 1"),
        ("a:\n  b: 1\n  b: {c: [1]}\n", "x.yaml:3: a.b: is there twice, first in line 2"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    assert words in fault(text)


def test_a_bomb_of_aliases_is_refused_before_it_grows() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert "alias" in fault("\n".join(lines))


def test_the_size_is_limited() -> None:
    assert "is larger than 256 KB" in fault("a: " + "x" * MAX_BYTES)
    assert "is larger than 256 KB" in fault("a: " + "ä" * (MAX_BYTES // 2))


@pytest.mark.parametrize(
    "text", ["[" * 250_000, "{" * 250_000, "a: [" * 60_000, "? " * 120_000, "- " * 120_000]
)
def test_what_is_deep_is_refused_at_once(text: str) -> None:
    started = time.process_time()
    assert load_yaml(text, "x.yaml").faults
    assert time.process_time() - started < 1


@given(st.text(max_size=200))
def test_no_text_raises(text: str) -> None:
    document = load_yaml(text, "x.yaml")
    assert all(found.startswith("x.yaml:") for found in document.faults)
    validate(Model, document)


@given(st.dictionaries(st.text(min_size=1), st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(min_size=1), inner), max_leaves=10,
)))  # fmt: skip
def test_what_a_program_writes_is_read_again(value: dict[str, Any]) -> None:
    text = yaml.safe_dump(value, allow_unicode=False)
    document = load_yaml(text, "x.yaml")
    if any(mark in text for mark in ("!!", "? ", "&id")) or "<<" in str(value):
        return
    assert document.faults == ()
    assert document.value == value


def test_lines_of_keys_and_items() -> None:
    document = read("# c\na: 1\n\nb:\n  - x\n  - y: 2\n    z: |\n      t\n\n      u\nc: {d: [1,\n  2]}\n")
    assert document.lines == {
        ("a",): 2, ("b",): 4, ("b", 0): 5, ("b", 1): 6, ("b", 1, "y"): 6, ("b", 1, "z"): 7,
        ("c",): 11, ("c", "d"): 11, ("c", "d", 0): 11, ("c", "d", 1): 12,
    }  # fmt: skip
    assert document.place(("b", 1, "nothing", "there")) == "x.yaml:6"
    assert document.place(()) == "x.yaml:2"


def test_a_part_keeps_its_lines() -> None:
    part = read("a:\n  b:\n    c: 1\n  d: 2\n").part("a", "b")
    assert (part.value, part.place(("c",))) == ({"c": 1}, "x.yaml:3")
    assert read("a: 1\n").part("a", 0, "z").value == {}
    part = read("# x\na:\n  b: {nam: 1}\n").part("a", "b")
    assert validate(Model, part)[1] == [
        "x.yaml:3: a.b.nam: unknown key; did you mean `name`?",
        "x.yaml:3: a.b.name: is missing",
    ]


def test_several_documents() -> None:
    first, second = load_documents("a: 1\n---\n# nothing\n---\nname: 5\n", "x.yaml")
    assert (first.value, second.value) == ({"a": 1}, {"name": 5})
    assert validate(Model, second)[1] == ["x.yaml:5: name: should be text (put it in quotes) (given: 5)"]
    assert validate(Model, load_documents("a: 1\n---\n---\nb: [", "x.yaml")[0])[1][0].startswith("x.yaml:4: ")
    assert load_documents("", "x.yaml") == []


def test_validate_makes_the_value() -> None:
    value, found = validate(Model, load_yaml("name: a\non: no\nratio: 2\nmany: [{size: 2}]\n", "x.yaml"))
    assert found == []
    assert value == Model(name="a", on=False, ratio=2, many=(Inner(size=2),))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("name: a\nratoi: 1\n", "x.yaml:2: ratoi: unknown key; did you mean `ratio`?"),
        ("name: a\nRatio: 1\n", "x.yaml:2: Ratio: unknown key; did you mean `ratio`?"),
        ("name: a\neit: 1\n", "x.yaml:2: eit: unknown key; did you mean `either`?"),
        ("name: a\nzzz: 1\n", "x.yaml:2: zzz: unknown key; known keys are either, inner, many, name, named, on, ratio"),
        ("name: a\ninner:\n  color: red\n", "x.yaml:3: inner.color: unknown key; did you mean `colour`?"),
        ("name: a\nmany:\n  - {}\n  - sise: 1\n", "x.yaml:4: many.1.sise: unknown key; did you mean `size`?"),
        ("name: a\nnamed:\n  one:\n    colur: 1\n", "x.yaml:4: named.one.colur: unknown key; did you mean `colour`?"),
        ("on: true\n", "x.yaml:1: name: is missing"),
        ("name: a\ninner: x\n", "x.yaml:2: inner: should be a mapping (given: 'x')"),
        ("name: a\nmany: x\n", "x.yaml:2: many: should be a list (given: 'x')"),
        ("name: a\nnamed: []\n", "x.yaml:2: named: should be a mapping"),
        ("name: 5\n", "x.yaml:1: name: should be text (put it in quotes) (given: 5)"),
        ("name: a\ninner: {size: 0}\n", "x.yaml:2: inner.size: should be greater than or equal to 1 (given: 0)"),
    ],
)  # fmt: skip
def test_faults_name_file_line_and_the_nearest_key(text: str, wanted: str) -> None:
    assert faults(text) == [wanted]


def test_branches_of_a_union_are_no_part_of_the_path() -> None:
    found = faults("name: a\neither: [1]\n")
    assert len(found) == 1
    assert found[0].startswith("x.yaml:2: either: should be ")
    assert ", or should be a mapping" in found[0]


def test_all_faults_in_the_order_of_the_file() -> None:
    text = "source: github\nrepositoris: [a/b]\nrepositories:\n  - nope\nask:\n  labls: [x]\nevery: 1\n"
    value, found = validate(SourceDefinition, load_yaml(text, "tickets/shop.yaml"))
    assert value is None
    assert [one.split(": ")[0] for one in found] == [f"tickets/shop.yaml:{line}" for line in (2, 4, 6, 7)]
    assert found[0] == "tickets/shop.yaml:2: repositoris: unknown key; did you mean `repositories`?"


def test_a_long_value_is_not_shown() -> None:
    (found,) = faults(f"name: a\nratio: {'x' * 200}\n")
    assert "xxx" not in found
