"""What a question costs, and the most that it may cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.contract import Tokens
from agent_runner.gateway.price_table import PRICES
from airflow_provider_agents.domain.pr_rule_prompt import RulePrompt
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.hooks.pr_rule_prices import DEAREST, QuestionPrices

MANY = Tokens(input=1_000_000, output=1_000_000)


def test_the_table_and_its_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    assert QuestionPrices().cost("us.anthropic.claude-haiku-4-5-v1", MANY) == (pytest.approx(6), True)
    monkeypatch.setenv("AIRFLOW__AGENTS__PRICES", '{"claude-haiku": {"input": 2, "output": 8}}')
    assert QuestionPrices().cost("claude-haiku-4-5", MANY) == (pytest.approx(10), True)


def test_a_model_that_nobody_knows_is_the_dearest() -> None:
    usd, known = QuestionPrices().cost("who-knows", MANY)
    assert not known
    assert usd == pytest.approx(DEAREST.input + DEAREST.output)
    assert DEAREST.output == max(price.output for price in PRICES.values())


def test_cached_tokens_have_their_own_prices() -> None:
    tokens = Tokens(cache_read=1_000_000, cache_write=1_000_000)
    usd, _ = QuestionPrices().cost("claude-sonnet-4-5", tokens, cache_write_1h=400_000)
    assert usd == pytest.approx(0.3 + 0.6 * 3.75 + 0.4 * 6)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"m": 1}', '{"m": {"input": -1, "output": 1}}', '{"m": {"input": 1}}']
)
def test_prices_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__PRICES", text)
    with pytest.raises(InvalidInputError, match=r"\[agents\] prices"):
        QuestionPrices()


@given(
    st.text(max_size=2_000),
    st.integers(64, 32_000),
    st.sampled_from(["claude-opus-5", "gpt-5.5", "who-knows"]),
)
def test_no_question_costs_more_than_the_most(facts: str, max_tokens: int, model: str) -> None:
    """Even where every two bytes are a token, all of it is written to the cache, and the answer is the longest."""
    prices = QuestionPrices()
    prompt = RulePrompt(contract="Decide.", rule="Merge.", facts=facts, schema={"type": "object"})
    size = len(f"Decide.Merge.{facts}".encode())
    tokens = Tokens(cache_write=size // 2, output=max_tokens)
    assert prices.cost(model, tokens)[0] <= prices.most(model, prompt, max_tokens)
