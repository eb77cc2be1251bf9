"""One deadline for all of a question: what is repeated, what is left at once, and what it costs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from agent_runner.contract import Tokens
from airflow_provider_agents.domain.pr_rule import PullRequestRule
from airflow_provider_agents.domain.pr_rule_prompt import RulePrompt
from airflow_provider_agents.hooks import pr_rule_asking
from airflow_provider_agents.hooks.pr_rule_asking import LEAST_LEFT, LONGEST_PAUSE, Asking
from airflow_provider_agents.hooks.pr_rule_prices import QuestionPrices
from airflow_provider_agents.hooks.pr_rule_reply import Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

RULE = PullRequestRule(instruction="Merge what is green.")
PROMPT = RulePrompt(contract="c", rule="r", facts="f", schema={})
ANSWER = {"action": "wait", "reason": "Checks run.", "confidence": 1, "wait_for": "checks", "until": ""}
PAID = Tokens(input=1000, output=100)


def asking() -> Asking:
    return Asking(rule=RULE, model="claude-sonnet-4-5", prices=QuestionPrices())


class Plays:
    """Sends what it is told to, the last reply for ever, and notes when."""

    def __init__(self, *replies: Reply, seconds: float = 0) -> None:
        self.replies = list(replies)
        self.seconds = seconds
        self.at: list[float] = []

    async def __call__(self) -> Reply:
        self.at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.seconds)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


def busy(**more: Any) -> Reply:
    return Reply(**{"fault": "overloaded", **more})


async def replied(send: Callable[[], Awaitable[Reply]], seconds: float = 60) -> Reply:
    return await pr_rule_asking._within(send, seconds)


@pytest.mark.looptime
async def test_a_busy_api_is_asked_again_after_short_pauses() -> None:
    sends = Plays(busy(), busy(fault="unavailable"), Reply(values=ANSWER))
    assert (await replied(sends)).values == ANSWER
    assert sends.at == pytest.approx([0, 0.5, 2.5])
    sends = Plays(busy())
    assert (await replied(sends)).fault == "overloaded"
    assert len(sends.at) == 3


@pytest.mark.looptime
@pytest.mark.parametrize("fault", ["denied", "refused", "truncated", "malformed", "timeout"])
async def test_what_stays_is_not_repeated(fault: Any) -> None:
    sends = Plays(Reply(fault=fault))
    assert (await replied(sends)).fault == fault
    assert len(sends.at) == 1


@pytest.mark.looptime
async def test_the_pause_is_the_one_that_the_api_names() -> None:
    sends = Plays(busy(retry_after=7.0), Reply(values=ANSWER))
    await replied(sends)
    assert sends.at == pytest.approx([0, 7])


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        (busy(retry_after=LONGEST_PAUSE + 1), 600),
        (busy(retry_after=5.0), 5 + LEAST_LEFT - 0.1),
        (busy(repeatable=False), 600),
    ],
)
async def test_no_worker_sleeps_for_an_api(reply: Reply, seconds: float) -> None:
    sends = Plays(reply)
    assert await replied(sends, seconds) is reply
    assert len(sends.at) == 1
    assert asyncio.get_running_loop().time() < 0.1


@pytest.mark.looptime
async def test_the_deadline_is_for_all_requests_together() -> None:
    sends = Plays(busy(), seconds=25)
    reply = await replied(sends, 60)
    assert reply.fault == "timeout"
    assert "60 s" in reply.detail
    assert asyncio.get_running_loop().time() == pytest.approx(60)


def test_an_answer_is_checked_and_priced() -> None:
    call = asking().ask(PROMPT, Plays(Reply(values=ANSWER, tokens=PAID, request_id="req_1")))
    assert call.answer is not None
    assert (call.answer.action, call.answer.wait_for) == ("wait", "checks")
    assert (call.fault, call.request_id, call.tokens, call.priced) == ("", "req_1", PAID, True)
    assert call.usd == pytest.approx((1000 * 3 + 100 * 15) / 1e6)


def test_an_answer_that_the_rule_does_not_allow_is_paid_and_none() -> None:
    call = asking().ask(PROMPT, Plays(Reply(values={**ANSWER, "action": "comment"}, tokens=PAID)))
    assert (call.answer, call.fault) == (None, "malformed")
    assert "action" in call.detail
    assert call.usd > 0


def test_a_fault_is_handed_on() -> None:
    reply = busy(fault="rate_limited", detail="Too many", retry_after=90.0)
    call = asking().ask(PROMPT, Plays(reply))
    assert (call.answer, call.fault, call.detail, call.retry_after) == (
        None,
        "rate_limited",
        "Too many",
        90.0,
    )
    assert (call.usd, call.model) == (0.0, "claude-sonnet-4-5")


def test_a_question_that_ran_out_of_time_costs_the_most() -> None:
    asked = asking()
    assert asked.ask(PROMPT, Plays(Reply(fault="timeout"))).usd == asked.most_usd(PROMPT) > 0
