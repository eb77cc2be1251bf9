"""The catalogue of failures: complete, worded for people, and written down."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import pytest
from failure_table import PAGE, split, table

from agent_runner.contract import FAILURES, FailureCategory, failure

ROOT = Path(__file__).parents[3]
CATEGORIES = typing.get_args(FailureCategory)
PASSING = ("network", "rate_limit", "evicted", "scheduling", "storage")


@pytest.mark.parametrize("code", FAILURES)
def test_a_failure_says_what_to_do(code: str) -> None:
    kind = FAILURES[code]
    assert re.fullmatch(r"[a-z][a-z0-9_]{2,40}", code)
    assert kind.category in CATEGORIES
    assert re.fullmatch(r"[A-Z`].{5,250}\.", kind.remedy), kind.remedy


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_is_used(category: str) -> None:
    assert any(kind.category == category for kind in FAILURES.values())


@pytest.mark.parametrize("category", PASSING)
def test_what_passes_by_itself_is_repeated(category: str) -> None:
    assert all(kind.retryable for kind in FAILURES.values() if kind.category == category)


@pytest.mark.parametrize("category", ["auth", "quota", "budget", "context", "tests", "config"])
def test_what_a_person_must_change_is_not_repeated(category: str) -> None:
    assert not any(kind.retryable for kind in FAILURES.values() if kind.category == category)


def test_a_failure_is_made_from_the_catalogue() -> None:
    found = failure("evicted", "It was evicted.")
    kind = FAILURES["evicted"]
    assert (found.category, found.remedy, found.retryable) == (kind.category, kind.remedy, kind.retryable)
    assert (found.code, found.message) == ("evicted", "It was evicted.")


@pytest.mark.parametrize("remedy", ["Do this.", ""])
def test_a_better_remedy_takes_the_place_of_the_usual_one(remedy: str) -> None:
    assert failure("evicted", "m", remedy=remedy).remedy == remedy


def test_a_code_that_nobody_knows_is_an_error_of_the_caller() -> None:
    with pytest.raises(KeyError, match="no_such_code"):
        failure("no_such_code", "m")


def test_every_code_that_the_project_names_is_in_the_catalogue() -> None:
    named = set()
    for folder in ("agent-image/agent_runner", "airflow_provider_agents"):
        for file in (ROOT / folder).rglob("*.py"):
            named |= set(re.findall(r"\b(?:failure|failed)\(\s*\"([a-z0-9_]+)\"", file.read_text()))
    assert "image_pull" in named
    assert named <= set(FAILURES)


def test_the_page_shows_the_catalogue() -> None:
    _, written, _ = split(PAGE.read_text())
    assert written.strip() == table().strip(), "run tests/unit/agent_runner/failure_table.py"
