"""What model tokens cost, in USD.

List prices of Anthropic's API for standard requests. Source, except where a line says otherwise: what the
Claude Code program 2.1.329 itself charges (``total_cost_usd``), measured in November 2026 by giving it answers
with known token counts. Batch, priority and fast-mode prices, regional surcharges and discounts of a contract
are not in it.

A model is found by the longest prefix of its name, so that dated names (``claude-haiku-4-5-20251001``) and
names with a provider in front (``anthropic/…``, ``us.anthropic.…``) are covered. An unknown model is charged
at the dearest price known, because a budget must rather stop too early than never.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent_runner.contract import Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD per million tokens."""

    input: float
    output: float
    cache_read: float
    cache_write: float
    """Cache entries that live five minutes."""
    cache_write_1h: float
    """Cache entries that live an hour."""


USD_PER_WEB_SEARCH = 0.01
"""A search by the server-side tool, on top of its tokens."""


def _price(input_: float, output: float, cache_read: float | None = None) -> Price:
    """Anthropic's usual ratios: a cache read costs a tenth of input, a write 1.25 times, for an hour twice."""
    return Price(
        input=input_,
        output=output,
        cache_read=input_ / 10 if cache_read is None else cache_read,
        cache_write=input_ * 1.25,
        cache_write_1h=input_ * 2,
    )


PRICES: dict[str, Price] = {
    "claude-fable-5": _price(10, 50),
    "claude-fable-5-1": _price(10, 50, 0.25),
    "claude-fable-5-2": _price(8, 40, 0.2),
    "claude-mythos-5": _price(10, 50),
    "claude-mythos-5-1": _price(10, 50, 0.25),
    "claude-mythos-5-2": _price(8, 40, 0.2),
    "claude-opus-5": _price(5, 25),
    "claude-opus-5-5": _price(4, 20, 0.2),
    "claude-opus-4-5": _price(5, 25),
    "claude-opus-4-6": _price(5, 25),
    "claude-opus-4-7": _price(5, 25),
    "claude-opus-4-8": _price(5, 25),
    "claude-sonnet-5": _price(2, 10),
    "claude-sonnet-5-5": _price(2, 10, 0.1),
    "claude-sonnet-4": _price(3, 15),
    "claude-haiku-5-5": _price(0.1, 0.5),
    "claude-haiku-4-5": _price(1, 5),
    # Older models, which that program no longer runs: prices as Anthropic published them.
    "claude-opus-4": _price(15, 75),
    "claude-3-opus": _price(15, 75),
    "claude-3-7-sonnet": _price(3, 15),
    "claude-3-5-sonnet": _price(3, 15),
    "claude-3-5-haiku": _price(0.8, 4),
    "claude-3-haiku": Price(input=0.25, output=1.25, cache_read=0.03, cache_write=0.3, cache_write_1h=0.5),
}
"""By model family: every model whose name starts with the key and is not matched by a longer key."""

LONG_PROMPTS: dict[str, tuple[int, Price]] = {"claude-haiku-5-5": (100_000, _price(0.5, 2.5))}
"""By model family: the price of a call whose prompt, cached parts included, has more tokens than this."""

FALLBACK = max(PRICES.values(), key=lambda price: price.output)
"""For models that the table does not know."""


def price_of(model: str, prompt_tokens: int = 0) -> Price | None:
    """Return the price of ``model``, or ``None`` where the table does not know it.

    :param prompt_tokens: all tokens of the call's prompt, read from and written to the cache included.
    """
    name = model.lower()
    start = name.find("claude-")
    families = [family for family in PRICES if start >= 0 and _starts(name[start:], family)]
    if not families:
        return None
    family = max(families, key=len)
    bound, dearer = LONG_PROMPTS.get(family, (0, None))
    return dearer if dearer is not None and prompt_tokens > bound else PRICES[family]


def _starts(name: str, family: str) -> bool:
    """Whether ``name`` is of ``family``: the next character does not go on with the last number or word."""
    return name.startswith(family) and not name[len(family) : len(family) + 1].isalnum()


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
