"""What models were found not to take, by connection and model."""

from __future__ import annotations

import pytest

from airflow_provider_agents.hooks.pr_rule_refinements import Refinements

BOTH = frozenset({"temperature", "structured output"})


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("`temperature` is deprecated for this model.", {"structured output"}),
        ("output_config.format: Extra inputs are not permitted", {"temperature"}),
        ("This model does not support structured outputs", {"temperature"}),
    ],
)
@pytest.mark.parametrize("status", [400, 422])
def test_a_refusal_is_remembered_for_its_model(words: str, left: set[str], status: int) -> None:
    known = Refinements()
    assert known.of("a", "m") == BOTH
    assert known.refused("a", "m", status, words, BOTH)
    assert known.of("a", "m") == left
    assert known.of("a", "n") == known.of("b", "m") == BOTH
    # Sent without it, the same words are about something else.
    assert not known.refused("a", "m", status, words, known.of("a", "m"))


@pytest.mark.parametrize(
    ("status", "words"), [(401, "temperature"), (500, "output_config"), (400, "max_tokens: too many")]
)
def test_other_refusals_are_not(status: int, words: str) -> None:
    known = Refinements()
    assert not known.refused("a", "m", status, words, BOTH)
    assert known.of("a", "m") == BOTH


def test_one_after_the_other() -> None:
    known = Refinements()
    words = "temperature and output_config are not permitted"
    seen = []
    while known.refused("a", "m", 400, words, known.of("a", "m")):
        seen.append(known.of("a", "m"))
    assert len(seen) == 2
    assert known.of("a", "m") == frozenset()


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        ("claude-opus-4-8", False),
        ("eu.anthropic.claude-opus-5-5-v1:0", False),
        ("claude-sonnet-5", False),
        ("claude-sonnet-4-5", True),
        ("claude-haiku-4-5", True),
        ("gpt-5.5", True),
    ],
)
def test_families_that_take_no_temperature(model: str, takes: bool) -> None:
    assert ("temperature" in Refinements().of("a", model)) is takes
