"""Asks a model within one deadline: short repetitions where they may help, and the answer checked and priced."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.pr_rule_answer import parse_answer
from airflow_provider_agents.domain.pr_rule_decision import ModelCall
from airflow_provider_agents.hooks.pr_rule_reply import PASSING, Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_agents.domain.pr_rule import PullRequestRule
    from airflow_provider_agents.domain.pr_rule_prompt import RulePrompt
    from airflow_provider_agents.hooks.pr_rule_prices import QuestionPrices

PAUSES = (0.5, 2.0)
"""Seconds before each repetition of a request that found the API busy, where it names none."""
LONGEST_PAUSE = 10.0
"""Seconds; an API that wants more is asked again by a later run, not by a worker that sleeps."""
LEAST_LEFT = 3.0
"""Seconds that must remain for the answer after a pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A model, as far as asking it is the same for all libraries."""

    rule: PullRequestRule
    model: str
    prices: QuestionPrices

    def most_usd(self, prompt: RulePrompt) -> float:
        """Return what one question may cost at the most."""
        return self.prices.most(self.model, prompt, self.rule.model.max_tokens)

    def ask(self, prompt: RulePrompt, send: Callable[[], Awaitable[Reply]]) -> ModelCall:
        """Send until there is an answer, a fault that stays, or no time.

        A question that ran out of time is charged at the most that it may cost: what was generated for nobody is
        on the bill as well, and no answer says how much it was.

        :param send: sends one request; raises nothing but what is a mistake in the connection.
        """
        started = time.monotonic()
        reply = asyncio.run(_within(send, self.rule.model.timeout))
        usd, priced = self.prices.cost(
            reply.model or self.model, reply.tokens, cache_write_1h=reply.cache_write_1h
        )
        if reply.fault == "timeout":
            usd = max(usd, self.most_usd(prompt))
        fault, detail, answer = reply.fault, reply.detail, None
        if not fault:
            try:
                answer = parse_answer(reply.values or {}, self.rule, datetime.now(UTC))
            except ValueError as error:
                fault, detail = "malformed", f"the answer does not fit the rule: {error}"
        return ModelCall(
            answer=answer,
            fault=fault,
            detail=detail,
            model=reply.model or self.model,
            tokens=reply.tokens,
            usd=usd,
            priced=priced,
            seconds=time.monotonic() - started,
            request_id=reply.request_id,
            retry_after=reply.retry_after,
        )


async def _within(send: Callable[[], Awaitable[Reply]], seconds: float) -> Reply:
    deadline = asyncio.get_running_loop().time() + seconds
    try:
        async with asyncio.timeout_at(deadline):
            return await _repeated(send, deadline)
    except TimeoutError:
        return Reply(
            fault="timeout",
            detail=f"no answer within {seconds:g} s (`model.timeout` of the rule)",
        )


async def _repeated(send: Callable[[], Awaitable[Reply]], deadline: float) -> Reply:
    loop = asyncio.get_running_loop()
    for usual in PAUSES:
        reply = await send()
        if reply.fault not in PASSING or not reply.repeatable:
            return reply
        pause = usual if reply.retry_after is None else reply.retry_after
        if pause > LONGEST_PAUSE or loop.time() + pause + LEAST_LEFT > deadline:
            return reply
        await asyncio.sleep(pause)
    return await send()
