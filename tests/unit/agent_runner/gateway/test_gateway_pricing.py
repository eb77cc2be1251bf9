from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.contract import TokenPrice, Tokens
from agent_runner.gateway.price_table import FALLBACK_ANTHROPIC, FALLBACK_OPENAI, PRICES, Price
from agent_runner.gateway.pricing import PriceBook, cost_usd

MILLION = 1_000_000


def price_of(model: str, prompt: int = 0, **overrides: TokenPrice) -> Price | None:
    priced = PriceBook(overrides).price_of(model, prompt, FALLBACK_ANTHROPIC)
    assert priced.known or priced.price is FALLBACK_ANTHROPIC
    return priced.price if priced.known else None


@pytest.mark.parametrize(
    ("model", "input_", "output"),
    [
        ("claude-opus-5-5", 4, 20),
        ("claude-opus-5-5-20261001", 4, 20),
        ("claude-opus-5-5[1m]", 4, 20),
        ("claude-opus-5-20260501", 5, 25),
        ("claude-opus-4-20250514", 15, 75),
        ("claude-opus-4-1-20250805", 15, 75),
        ("claude-opus-4-5-20251101", 5, 25),
        ("claude-sonnet-4-5", 3, 15),
        ("claude-haiku-4-5-20251001", 1, 5),
        ("claude-3-5-haiku-latest", 0.8, 4),
        ("anthropic/claude-sonnet-5", 2, 10),
        ("us.anthropic.Claude-Sonnet-5-v1:0", 2, 10),
        ("gpt-5", 1.25, 10),
        ("gpt-5-2025-08-07", 1.25, 10),
        ("gpt-5-codex", 1.25, 10),
        ("gpt-5-mini", 0.25, 2),
        ("gpt-5.5", 5, 30),
        ("gpt-5.5-pro-2026-04-23", 30, 180),
        ("gpt-5.6-sol", 5, 30),
        ("openai/gpt-6.1-sol", 2, 10),
        ("openai.gpt-6-luna", 0.1, 0.5),
    ],
)
def test_models_are_found_by_family(model: str, input_: float, output: float) -> None:
    price = price_of(model)
    assert price is not None
    assert (price.input, price.output) == (input_, output)


@pytest.mark.parametrize(
    "model",
    ["", "gpt-5.9", "gpt-50", "gpt", "claude", "claude-", "claude-opus", "claude-haiku-9", "claude-opus-45"],
)
def test_others_are_unknown(model: str) -> None:
    assert price_of(model) is None


def test_every_kind_of_token_has_its_price() -> None:
    price = PRICES["claude-opus-5-5"]
    assert cost_usd(price, Tokens(input=MILLION)) == pytest.approx(4)
    assert cost_usd(price, Tokens(output=MILLION)) == pytest.approx(20)
    assert cost_usd(price, Tokens(cache_read=MILLION)) == pytest.approx(0.2)
    assert cost_usd(price, Tokens(cache_write=MILLION)) == pytest.approx(5)
    assert cost_usd(price, Tokens(cache_write=MILLION), cache_write_1h=MILLION) == pytest.approx(8)
    assert cost_usd(price, Tokens(), web_searches=3) == pytest.approx(0.03)


def test_long_prompts_may_cost_more() -> None:
    short, long = price_of("claude-haiku-5-5", 100_000), price_of("claude-haiku-5-5", 100_001)
    assert short is not None
    assert long is not None
    assert (short.input, long.input) == (0.1, 0.5)
    assert price_of("claude-opus-5-5", 900_000) == price_of("claude-opus-5-5")


@pytest.mark.parametrize(("fallback", "start"), [(FALLBACK_ANTHROPIC, "claude-"), (FALLBACK_OPENAI, "gpt-")])
def test_the_fallback_is_the_dearest_of_its_api(fallback: Price, start: str) -> None:
    for family, price in PRICES.items():
        if family.startswith(start):
            for kind in ("input", "output", "cache_read", "cache_write", "cache_write_1h"):
                assert getattr(fallback, kind) >= getattr(price, kind), family


def test_prices_of_the_installation_win() -> None:
    own = TokenPrice(input=100, output=200)
    price = price_of("claude-opus-5-5", claude=own)
    assert price == Price(input=100, output=200, cache_read=10, cache_write=125, cache_write_1h=200)
    # The longest of its own families, and upper case is no matter.
    longer = {"claude-opus": TokenPrice(input=1, output=2), "Claude-Opus-5": TokenPrice(input=3, output=4)}
    priced = PriceBook(longer).price_of("anthropic/claude-opus-5-5", 0, FALLBACK_ANTHROPIC)
    assert (priced.price.input, priced.known) == (3, True)
    given_all = TokenPrice(input=1, output=2, cache_read=0, cache_write=10)
    assert price_of("m", m=given_all) == Price(
        input=1, output=2, cache_read=0, cache_write=10, cache_write_1h=16
    )


def test_an_unknown_model_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    book = PriceBook({})
    for model in ("new", "new", "newer\n"):
        book.price_of(model, 0, FALLBACK_OPENAI)
    assert [record.getMessage().split(" has")[0] for record in caplog.records] == [
        "model 'new'",
        "model 'newer\\n'",
    ]


@given(st.sampled_from(list(PRICES.values())), st.tuples(*[st.integers(0, 10**7)] * 4))
def test_more_tokens_never_cost_less(price: object, counts: tuple[int, int, int, int]) -> None:
    tokens = Tokens(input=counts[0], output=counts[1], cache_read=counts[2], cache_write=counts[3])
    assert cost_usd(price, tokens + Tokens(output=1)) > cost_usd(price, tokens) >= 0  # type: ignore[arg-type]
