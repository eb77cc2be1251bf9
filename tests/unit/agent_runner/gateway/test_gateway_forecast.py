from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.contract import Tokens
from agent_runner.gateway.anthropic_api import ANTHROPIC
from agent_runner.gateway.budget import Amount
from agent_runner.gateway.forecast import LONGEST_OUTPUT, USUAL_OUTPUT, Forecaster
from agent_runner.gateway.model_api import Asked
from agent_runner.gateway.openai_api import OPENAI
from agent_runner.gateway.price_table import FALLBACK_ANTHROPIC, PRICES
from agent_runner.gateway.pricing import PriceBook, cost_usd

OPUS = Asked(model="claude-opus-5-5", max_output=32_000)


def forecaster() -> Forecaster:
    return Forecaster(ANTHROPIC, PriceBook({}))


def test_a_first_call_fills_the_cache() -> None:
    guess = forecaster().forecast(OPUS, 40_000)
    assert guess.tokens == Tokens(input=10_000, output=USUAL_OUTPUT)
    # 5 USD to write to the cache, 20 of output, each a million.
    assert guess.forecast.estimate == Amount(pytest.approx(0.05 + 0.02), 11_000)
    # At the worst 2 bytes a token, kept for an hour at 8 USD, and all the output there may be.
    assert guess.forecast.worst == Amount(pytest.approx(0.16 + 0.64), 52_000)


def test_a_small_answer_is_no_dearer_than_its_limit() -> None:
    guess = forecaster().forecast(Asked(model="claude-opus-5-5", max_output=10), 400)
    assert guess.tokens.output == 10
    assert guess.forecast.worst.tokens == 210


def test_requests_without_limit_or_model_are_covered() -> None:
    guess = forecaster().forecast(Asked(model="", max_output=None), 4_000)
    assert guess.forecast.worst.usd == pytest.approx(
        (2_000 * FALLBACK_ANTHROPIC.cache_write_1h + LONGEST_OUTPUT * FALLBACK_ANTHROPIC.output) / 1e6
    )


def test_later_calls_are_estimated_by_what_earlier_ones_cost() -> None:
    guesses = forecaster()
    price = PRICES["claude-opus-5-5"]
    first = Tokens(cache_write=20_000, output=300)
    guesses.learn(OPUS, 60_000, first, cost_usd(price, first))
    for size in (62_000, 64_000, 66_000):
        tokens = Tokens(cache_read=size // 3, input=100, output=200)
        guesses.learn(OPUS, size, tokens, cost_usd(price, tokens))
    guess = guesses.forecast(OPUS, 68_000)
    assert guess.tokens.input == pytest.approx(68_000 / 3, rel=0.02)
    assert 200 <= guess.tokens.output <= 240
    # Most is read from the cache at a twentieth: far below a first call, and above what is certain.
    assert 22_667 * 0.2 / 1e6 < guess.forecast.estimate.usd < 0.5 * 22_667 * 5 / 1e6
    # Other models learn nothing from it.
    other = Asked(model="claude-haiku-4-5", max_output=None)
    assert guesses.forecast(other, 4_000).tokens == Tokens(input=1_000, output=USUAL_OUTPUT)


def test_names_that_an_agent_makes_up_do_not_fill_the_memory() -> None:
    guesses = forecaster()
    for number in range(1_000):
        guesses.learn(Asked(model=f"m{number}", max_output=1), 100, Tokens(input=1), 0.1)
    assert len(guesses._seen) == 100


@given(
    st.sampled_from([*PRICES, "other"]),
    st.none() | st.integers(0, 200_000),
    st.integers(0, 1 << 22),
    st.lists(st.tuples(st.integers(1, 1 << 22), *[st.integers(0, 1 << 20)] * 4), max_size=4),
)
def test_the_worst_is_never_less_than_the_estimate(
    model: str, limit: int | None, size: int, earlier: list[tuple[int, int, int, int, int]]
) -> None:
    asked, guesses = Asked(model=model, max_output=limit), forecaster()
    for body, *counts in earlier:
        tokens = Tokens(input=counts[0], output=counts[1], cache_read=counts[2], cache_write=counts[3])
        guesses.learn(asked, body, tokens, 0.3)
    guess = guesses.forecast(asked, size)
    assert guess.forecast.worst.usd >= guess.forecast.estimate.usd >= 0
    assert guess.forecast.worst.tokens >= guess.forecast.estimate.tokens >= 0
    json.dumps([guess.forecast.estimate.usd, guess.forecast.worst.usd], allow_nan=False)


@given(
    st.integers(1_000, 1 << 20),
    st.floats(2.0, 6.0),
    st.integers(0, 32_000),
    st.tuples(*[st.floats(0, 1)] * 3),
)
def test_no_call_of_text_costs_more_than_its_worst(
    size: int, bytes_per_token: float, output: int, parts: tuple[float, float, float]
) -> None:
    prompt = int(size / bytes_per_token)
    read = int(prompt * parts[0])
    write = int((prompt - read) * parts[1])
    tokens = Tokens(input=prompt - read - write, cache_read=read, cache_write=write, output=output)
    usd = cost_usd(PRICES["claude-opus-5-5"], tokens, cache_write_1h=int(write * parts[2]))
    worst = forecaster().forecast(OPUS, size).forecast.worst
    assert usd <= worst.usd + 1e-9
    assert prompt + output <= worst.tokens + 1


def test_the_requests_of_both_apis_are_read() -> None:
    assert ANTHROPIC.asked({"model": "m", "max_tokens": 5}) == Asked(model="m", max_output=5)
    assert OPENAI.asked({"model": "m", "max_output_tokens": 5}) == Asked(model="m", max_output=5)
    for api in (ANTHROPIC, OPENAI):
        for body in ({}, {"model": 3, "max_tokens": -1, "max_output_tokens": "9"}):
            assert api.asked(body) == Asked(model="", max_output=None)
