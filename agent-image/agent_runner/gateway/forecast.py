"""What a model call will cost, guessed from its request and from earlier calls of the same model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_runner.contract import Tokens
from agent_runner.gateway.budget import Amount, Forecast
from agent_runner.gateway.pricing import cost_usd

if TYPE_CHECKING:
    from agent_runner.gateway.model_api import Asked, ModelApi
    from agent_runner.gateway.pricing import PriceBook

USUAL_BYTES_PER_TOKEN = 4.0
"""Of a request that nothing is known about: prose and code in JSON."""

DENSEST_BYTES_PER_TOKEN = 2.0
"""Digits, hexadecimal dumps and small scripts come near; text and code do not."""

USUAL_OUTPUT = 1_000
"""Output tokens of a call that nothing is known about."""

LONGEST_OUTPUT = 128_000
"""Most output tokens of today's models, for requests that set no limit."""

_FADING = 0.7
"""What an earlier call still weighs after a further one. The first call of a conversation fills the cache, the
next ones read it: a plain mean would stay too high for long."""

_MAX_MODELS = 100
"""How many models are remembered: an agent may make up names."""


@dataclass(frozen=True, slots=True)
class CallForecast:
    """The forecast of one call, with the estimate by kind of token."""

    forecast: Forecast
    tokens: Tokens
    """The estimate: the prompt as plain input, and the output."""


@dataclass(slots=True)
class _Seen:
    """Fading sums over the calls of one model."""

    bytes: float = 0.0
    prompt: float = 0.0
    prompt_usd: float = 0.0
    output: float = 0.0
    calls: float = 0.0


class Forecaster:
    """Guesses costs, and learns from what calls really cost."""

    def __init__(self, api: ModelApi, prices: PriceBook) -> None:
        self._api = api
        self._prices = prices
        self._seen: dict[str, _Seen] = {}

    def forecast(self, asked: Asked, size: int) -> CallForecast:
        """Return the forecast of a call.

        :param size: bytes of the body.
        """
        seen = self._seen.get(asked.model)
        limit = LONGEST_OUTPUT if asked.max_output is None else asked.max_output
        if seen is None or not seen.bytes:
            prompt, output = round(size / USUAL_BYTES_PER_TOKEN), USUAL_OUTPUT
        else:
            prompt, output = round(size * seen.prompt / seen.bytes), round(seen.output / seen.calls)
        output = min(output, limit)
        price = self._prices.price_of(asked.model, prompt, self._api.fallback).price
        if seen is None or not seen.bytes:
            # As a first call: what can be cached is written to the cache.
            prompt_usd = prompt * max(price.input, price.cache_write) / 1e6
        else:
            prompt_usd = size * seen.prompt_usd / seen.bytes
        estimate = Amount(prompt_usd + output * price.output / 1e6, prompt + output)

        most = max(prompt, round(size / DENSEST_BYTES_PER_TOKEN))
        dearest = self._prices.price_of(asked.model, most, self._api.fallback).price
        worst = Amount((most * dearest.dearest_prompt + limit * dearest.output) / 1e6, most + limit)
        return CallForecast(
            Forecast(estimate, Amount(max(estimate.usd, worst.usd), max(estimate.tokens, worst.tokens))),
            Tokens(input=prompt, output=output),
        )

    def learn(self, asked: Asked, size: int, tokens: Tokens, usd: float) -> None:
        """Take note of a call that told its whole use."""
        if asked.model not in self._seen and len(self._seen) >= _MAX_MODELS:
            return
        prompt = tokens.input + tokens.cache_read + tokens.cache_write
        price = self._prices.price_of(asked.model, prompt, self._api.fallback).price
        output_usd = cost_usd(price, Tokens(output=tokens.output))
        seen = self._seen.setdefault(asked.model, _Seen())
        seen.bytes = seen.bytes * _FADING + size
        seen.prompt = seen.prompt * _FADING + prompt
        seen.prompt_usd = seen.prompt_usd * _FADING + max(0.0, usd - output_usd)
        seen.output = seen.output * _FADING + tokens.output
        seen.calls = seen.calls * _FADING + 1
