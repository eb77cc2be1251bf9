"""What a question of a rule costs, by the price book that agents' steps are charged by as well."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from agent_runner.contract import ContractError, GatewayConfig
from agent_runner.gateway.price_table import FALLBACK_ANTHROPIC, FALLBACK_OPENAI
from agent_runner.gateway.pricing import PriceBook, cost_usd
from airflow_provider_agents import settings
from airflow_provider_agents.exceptions import InvalidInputError

if TYPE_CHECKING:
    from agent_runner.contract import Tokens
    from agent_runner.gateway.price_table import Price
    from airflow_provider_agents.domain.pr_rule_prompt import RulePrompt

DENSEST_BYTES_PER_TOKEN = 2
"""Bytes of a prompt that a token stands for at the least; usual text has twice as many."""
HIDDEN_TOKENS = 1_000
"""What an API adds to a prompt of its own, to have an answer of a form."""
DEAREST = max(FALLBACK_ANTHROPIC, FALLBACK_OPENAI, key=lambda price: price.output)
"""For a model that nobody knows, where its vendor is not known either."""


class QuestionPrices:
    """The prices that questions are charged by.

    :param fallback: price of models that the book does not know.
    :raises InvalidInputError: ``[agents] prices`` cannot be read.
    """

    def __init__(self, fallback: Price = DEAREST) -> None:
        self._book = _book()
        self._fallback = fallback

    def cost(self, model: str, tokens: Tokens, *, cache_write_1h: int = 0) -> tuple[float, bool]:
        """Return what a question cost in USD, and whether the model's price is known.

        :param cache_write_1h: how many of ``tokens.cache_write`` are kept for an hour.
        """
        prompt = tokens.input + tokens.cache_read + tokens.cache_write
        priced = self._book.price_of(model, prompt, self._fallback)
        return cost_usd(priced.price, tokens, cache_write_1h=cache_write_1h), priced.known

    def most(self, model: str, prompt: RulePrompt, max_tokens: int) -> float:
        """Return what a question may cost at the most, in USD: by the bytes of its prompt and the longest answer."""
        schema = json.dumps(dict(prompt.schema), ensure_ascii=False)
        size = sum(len(part.encode()) for part in (prompt.contract, prompt.rule, prompt.facts, schema))
        tokens = HIDDEN_TOKENS + -(-size // DENSEST_BYTES_PER_TOKEN)
        price = self._book.price_of(model, tokens, self._fallback).price
        return (tokens * max(price.input, price.cache_write) + max_tokens * price.output) / 1_000_000


def _book() -> PriceBook:
    text = settings.text("prices")
    if not text:
        return PriceBook({})
    # The contract's reader checks each price, and needs the rest of a configuration around them.
    around = {"repository": "a/b", "work_branch": "c", "forge_url": "https://github.com"}
    try:
        config = GatewayConfig.from_json(json.dumps({**around, "prices": json.loads(text)}))
    except (ValueError, ContractError) as error:
        raise InvalidInputError([f"[agents] prices: {error}"]) from None
    return PriceBook(config.prices)
