"""What the tokens of a model call cost, in USD.

A model is found by the longest family that its name starts with, so that dated names
(``claude-haiku-4-5-20251001``) and names with a provider in front (``anthropic/…``, ``us.anthropic.…``) are
covered. An unknown model is charged at the dearest price of its API, because a budget must rather stop too
early than never.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_runner.gateway.price_table import (
    CACHE_READ_RATIO,
    CACHE_WRITE_1H_RATIO,
    CACHE_WRITE_RATIO,
    LONG_PROMPTS,
    PRICES,
    USD_PER_WEB_SEARCH,
    Price,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent_runner.contract import TokenPrice, Tokens

log = logging.getLogger(__name__)

_MAX_REMEMBERED = 100
"""How many unknown names are remembered, to say each once: an agent may make them up."""


@dataclass(frozen=True, slots=True)
class Priced:
    """The price of a model, and whether it is known."""

    price: Price
    known: bool


class PriceBook:
    """The prices that one installation pays.

    :param overrides: family → price; wins over the table, also over a longer family there.
    """

    def __init__(self, overrides: Mapping[str, TokenPrice]) -> None:
        self._overrides = {family.lower(): _override(price) for family, price in overrides.items()}
        self._said: set[str] = set()

    def price_of(self, model: str, prompt_tokens: int, fallback: Price) -> Priced:
        """Return the price of a call of ``model``.

        :param prompt_tokens: all tokens of the call's prompt, read from and written to the cache included:
            some models cost more beyond a bound.
        :param fallback: the price of models that nobody knows; each is said in the log once.
        """
        name = model.lower()
        if (family := _longest(name, self._overrides)) is not None:
            return Priced(self._overrides[family], known=True)
        if (family := _longest(name, PRICES)) is not None:
            bound, dearer = LONG_PROMPTS.get(family, (0, None))
            return Priced(
                dearer if dearer is not None and prompt_tokens > bound else PRICES[family], known=True
            )
        if model not in self._said and len(self._said) < _MAX_REMEMBERED:
            self._said.add(model)
            log.warning(
                "model %r has no price: it is charged at %.2f USD input and %.2f USD output per million tokens",
                model[:100],
                fallback.input,
                fallback.output,
            )
        return Priced(fallback, known=False)


def _override(price: TokenPrice) -> Price:
    """Fill in what an installation has not given, at the usual ratios."""
    write = price.input * CACHE_WRITE_RATIO if price.cache_write is None else price.cache_write
    return Price(
        input=price.input,
        output=price.output,
        cache_read=price.input * CACHE_READ_RATIO if price.cache_read is None else price.cache_read,
        cache_write=write,
        cache_write_1h=write * CACHE_WRITE_1H_RATIO / CACHE_WRITE_RATIO,
    )


def _longest(name: str, families: Iterable[str]) -> str | None:
    """Return the longest family that ``name``, or what follows a provider in it, starts with."""
    starts = [0, *(at + 1 for at, letter in enumerate(name) if letter in "/.:")]
    fitting = (family for family in families if any(_starts(name[at:], family) for at in starts))
    return max(fitting, key=len, default=None)


def _starts(name: str, family: str) -> bool:
    """Whether ``name`` is of ``family``: what follows does not go on with its last word or number."""
    if not name.startswith(family):
        return False
    rest = name[len(family) :]
    return not rest[:1].isalnum() and not (rest[:1] == "." and rest[1:2].isdigit())


def cost_usd(price: Price, tokens: Tokens, *, cache_write_1h: int = 0, web_searches: int = 0) -> float:
    """Return what a call cost.

    :param cache_write_1h: how many of ``tokens.cache_write`` are kept for an hour.
    :param web_searches: searches that the server-side tool made.
    """
    micro = (
        tokens.input * price.input
        + tokens.output * price.output
        + tokens.cache_read * price.cache_read
        + (tokens.cache_write - cache_write_1h) * price.cache_write
        + cache_write_1h * price.cache_write_1h
    )
    return micro / 1_000_000 + web_searches * USD_PER_WEB_SEARCH
