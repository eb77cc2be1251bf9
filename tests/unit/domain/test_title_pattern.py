"""Regular expressions over titles: those that a made title could hang are refused, and what is left is quick."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_agents.domain.title_pattern import MOST_CHARACTERS, TITLE_CHARACTERS, pattern_fault

USUAL = (
    "",
    "^Bump",
    "^(Bump|Update) .+ from .+ to .+",
    r"^[a-z]+\([a-z-]+\): .+",
    r"^(build\(deps[a-z-]*\)|chore\(deps[a-z-]*\))?:? ?[Bb]ump",
    r"\[[A-Z]{2,6}-\d+\]",
    r"(?i)^(feat|fix|docs)!?:",
    r"^(?!WIP|Draft)",
    r"v(\d+\.){2}\d+",
    r"(?:Bump|Update)+",
    r"(?:\d{4}-)*x",
    "(a|b|c)*",
    "(?>a+)b",
)


@pytest.mark.parametrize("pattern", USUAL)
def test_usual_expressions_are_taken(pattern: str) -> None:
    assert pattern_fault(pattern) == ""


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(a+)*", "repeats a group"),
        ("^(a+)+$", "repeats a group"),
        (r"^(\w+\s?)*$", "repeats a group"),
        ("(a|a?)+$", "repeats a group"),
        ("(a|ab)*c", "repeats a group"),
        ("(?:x|)*y", "repeats a group"),
        ("((ab|cd)|a.)*z", "repeats a group"),
        ("(?i:(ab|Ac|A.)*z)", "repeats a group"),
        ("(?=(a+)*b)", "repeats a group"),
        (r"(\u4e00\u4e00|\w)*x", "repeats a group"),
        (r"(\u4e00\u4e00|[^a])*x", "repeats a group"),
        (r"(?:[\u3000-\ua48d]{2}|\w)*x", "repeats a group"),
        ("(?:a?){30}a{30}", "repeats a group"),
        ("(.*){1,11}x", "repeats a group"),
        ("a?" * 66 + "a" * 66, "too many ways"),
        (".*.*.*.*x", "too many ways"),
        ("((a{1,9}){1,9}){1,9}x", "too many ways"),
        ("(a|a.)" * 25 + "x", "too many ways"),
        (r"(a)\1", "refers back"),
        (r"(?P<x>a)?(?(x)b|c)", "refers back"),
        ("(", "is not a regular expression"),
        ("a{99999999999}", "is not a regular expression"),
        ("x" * (MOST_CHARACTERS + 1), "more than 200 characters"),
    ],
)
def test_what_a_title_could_hang_is_refused(pattern: str, words: str) -> None:
    assert words in pattern_fault(pattern)


@pytest.mark.parametrize(
    ("pattern", "title"),
    [
        (".*.*.*!", "a" * TITLE_CHARACTERS),
        (r"(\d+\.){2}\d+!", "1." * (TITLE_CHARACTERS // 2)),
        ("^[a-z]*[a-z]*[a-z]*!", "a" * TITLE_CHARACTERS),
        ("(?:a|a.)" * 24 + "x", "a" * TITLE_CHARACTERS),
    ],
)
def test_the_worst_that_is_taken_takes_less_than_two_seconds(pattern: str, title: str) -> None:
    assert pattern_fault(pattern) == ""
    began = time.process_time()
    assert re.match(pattern, title) is None
    assert time.process_time() - began < 2


ATOMS = st.sampled_from(["a", "b", "[ab]", "[^a]", ".", r"\w", "ab", "(?:a|b)", "(?:ab|a)", "(?:a|)"])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("(?:{0[0]}|{0[1]})".format),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,3}", "{3,}"])).map(
            "(?:{0[0]}){0[1]}".format
        ),
    ),
    max_leaves=8,
)


@given(PATTERNS, st.text("ab", min_size=1, max_size=3))
@settings(max_examples=120, deadline=None)
def test_no_drawn_expression_that_is_taken_is_slow(pattern: str, unit: str) -> None:
    if pattern_fault(pattern + "!"):
        return
    began = time.process_time()
    re.match(pattern + "!", (unit * TITLE_CHARACTERS)[:TITLE_CHARACTERS])
    assert time.process_time() - began < 4
