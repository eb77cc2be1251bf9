"""List prices of models, for standard requests, as of :data:`DATE`.

Anthropic: what the Claude Code program 2.1.329 itself charges (``total_cost_usd``), measured by giving it
answers with known token counts; those of models that it no longer runs as Anthropic published them. OpenAI:
as OpenAI published them, at second hand, from price tables in public programs; where these differ, the dearer
one. Those of GPT-5.6 and GPT-6 are the least certain.

Batch, flex, priority and fast-mode prices, regional surcharges and discounts of a contract are not in it: an
installation that pays others sets its own.
"""

from __future__ import annotations

from dataclasses import dataclass

DATE = "2026-11"
"""Month in which the table was last checked."""

CACHE_READ_RATIO = 0.1
CACHE_WRITE_RATIO = 1.25
CACHE_WRITE_1H_RATIO = 2.0
"""What cached tokens usually cost, as a multiple of the price of other input."""

USD_PER_WEB_SEARCH = 0.01
"""A search by the server-side tool, on top of its tokens; the same at both APIs."""


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

    @property
    def dearest_prompt(self) -> float:
        """What a token of the prompt may cost at most."""
        return max(self.input, self.cache_read, self.cache_write, self.cache_write_1h)


def _claude(input_: float, output: float, cache_read: float | None = None) -> Price:
    return Price(
        input=input_,
        output=output,
        cache_read=input_ * CACHE_READ_RATIO if cache_read is None else cache_read,
        cache_write=input_ * CACHE_WRITE_RATIO,
        cache_write_1h=input_ * CACHE_WRITE_1H_RATIO,
    )


def _gpt(input_: float, output: float, *, cached: float = CACHE_READ_RATIO, written: float = 1.0) -> Price:
    """One price of OpenAI, whose cache has one lifetime.

    :param cached: price of cached input as a multiple of ``input_``.
    :param written: price of input that is written to the cache; before GPT-5.6 it cost nothing extra.
    """
    write = input_ * written
    return Price(
        input=input_, output=output, cache_read=input_ * cached, cache_write=write, cache_write_1h=write
    )


_CLAUDE = {
    "claude-fable-5": _claude(10, 50),
    "claude-fable-5-1": _claude(10, 50, 0.25),
    "claude-fable-5-2": _claude(8, 40, 0.2),
    "claude-mythos-5": _claude(10, 50),
    "claude-mythos-5-1": _claude(10, 50, 0.25),
    "claude-mythos-5-2": _claude(8, 40, 0.2),
    "claude-opus-5": _claude(5, 25),
    "claude-opus-5-5": _claude(4, 20, 0.2),
    "claude-opus-4-5": _claude(5, 25),
    "claude-opus-4-6": _claude(5, 25),
    "claude-opus-4-7": _claude(5, 25),
    "claude-opus-4-8": _claude(5, 25),
    "claude-sonnet-5": _claude(2, 10),
    "claude-sonnet-5-5": _claude(2, 10, 0.1),
    "claude-sonnet-4": _claude(3, 15),
    "claude-haiku-5-5": _claude(0.1, 0.5),
    "claude-haiku-4-5": _claude(1, 5),
    # Older models, which that program no longer runs.
    "claude-opus-4": _claude(15, 75),
    "claude-3-opus": _claude(15, 75),
    "claude-3-7-sonnet": _claude(3, 15),
    "claude-3-5-sonnet": _claude(3, 15),
    "claude-3-5-haiku": _claude(0.8, 4),
    "claude-3-haiku": Price(input=0.25, output=1.25, cache_read=0.03, cache_write=0.3, cache_write_1h=0.5),
}

_GPT = {
    "gpt-6-astra": _gpt(10, 50, written=1.25),
    "gpt-6.1-sol": _gpt(2, 10, written=1.25),
    "gpt-6-sol": _gpt(2, 10, written=1.25),
    "gpt-6-luna": _gpt(0.1, 0.5, written=1.25),
    "gpt-5.6": _gpt(5, 30, written=1.25),
    "gpt-5.6-cyber": _gpt(12.5, 75, written=1.25),
    "gpt-5.6-terra": _gpt(2.5, 15, written=1.25),
    "gpt-5.6-luna": _gpt(1, 6, written=1.25),
    "gpt-5.5": _gpt(5, 30),
    "gpt-5.5-pro": _gpt(30, 180, cached=1),
    "gpt-5.4": _gpt(2.5, 15),
    "gpt-5.4-pro": _gpt(30, 180, cached=1),
    "gpt-5.4-mini": _gpt(0.75, 4.5),
    "gpt-5.4-nano": _gpt(0.2, 1.25),
    "gpt-5.3-codex": _gpt(1.75, 14),
    "gpt-5.2": _gpt(1.75, 14),
    "gpt-5.2-pro": _gpt(21, 168, cached=1),
    "gpt-5.1": _gpt(1.25, 10),
    "gpt-5.1-codex-mini": _gpt(0.25, 2),
    "gpt-5": _gpt(1.25, 10),
    "gpt-5-pro": _gpt(15, 120, cached=1),
    "gpt-5-mini": _gpt(0.25, 2),
    "gpt-5-codex-mini": _gpt(0.25, 2),
    "gpt-5-nano": _gpt(0.05, 0.4),
    "codex-mini": _gpt(1.5, 6, cached=0.25),
}

PRICES: dict[str, Price] = {**_CLAUDE, **_GPT}
"""By model family: every model whose name starts with the key and is not matched by a longer key."""

_LONG_GPT = 272_000
_LONG_GPT_FAMILIES = (
    "gpt-6-astra", "gpt-6.1-sol", "gpt-6-sol", "gpt-6-luna",
    "gpt-5.6", "gpt-5.6-cyber", "gpt-5.6-terra", "gpt-5.6-luna", "gpt-5.5", "gpt-5.4",
)  # fmt: skip


def _long(price: Price) -> Price:
    """What OpenAI asks for a whole call whose prompt is long: input twice, output one and a half times."""
    return Price(
        input=price.input * 2,
        output=price.output * 1.5,
        cache_read=price.cache_read * 2,
        cache_write=price.cache_write * 2,
        cache_write_1h=price.cache_write_1h * 2,
    )


LONG_PROMPTS: dict[str, tuple[int, Price]] = {
    "claude-haiku-5-5": (100_000, _claude(0.5, 2.5)),
    **{family: (_LONG_GPT, _long(_GPT[family])) for family in _LONG_GPT_FAMILIES},
}
"""By model family: the price of a call whose prompt, cached parts included, has more tokens than this."""

FALLBACK_ANTHROPIC = max(_CLAUDE.values(), key=lambda price: price.output)
FALLBACK_OPENAI = max(_GPT.values(), key=lambda price: price.output)
"""For models that the table does not know, by the API that serves them."""
