from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.gateway.budget import (
    Admission,
    Amount,
    BudgetGate,
    BudgetSpentError,
    Forecast,
    Limit,
    fits,
)


def forecast(estimate: float, worst: float, tokens: tuple[int, int] = (0, 0)) -> Forecast:
    return Forecast(Amount(estimate, tokens[0]), Amount(worst, tokens[1]))


@pytest.mark.parametrize(
    ("limit", "spent", "calls", "fitting"),
    [
        (Limit(), Amount(1e9, 10**12), [(5, 9)] * 100, True),
        # A call alone needs its estimate.
        (Limit(usd=1), Amount(0.9), [(0.1, 50)], True),
        (Limit(usd=1), Amount(0.9), [(0.11, 50)], False),
        (Limit(usd=0), Amount(), [(0.01, 0.01)], False),
        (Limit(usd=0), Amount(), [(0, 0)], True),
        # Of several, all but the widest count at their worst.
        (Limit(usd=10), Amount(), [(1, 9), (1, 9)], True),
        (Limit(usd=10), Amount(), [(1, 9), (1, 9.1)], True),
        (Limit(usd=10), Amount(), [(1, 9.2), (1, 9.1)], False),
        (Limit(usd=10), Amount(), [(1, 9), (1, 9), (0, 0.1)], False),
        (Limit(usd=10), Amount(4), [(1, 3), (1, 3), (1, 3)], False),
        (Limit(usd=10), Amount(3), [(1, 3), (1, 3), (1, 3)], True),
    ],
)
def test_what_fits(limit: Limit, spent: Amount, calls: list[tuple[float, float]], fitting: bool) -> None:
    assert fits(limit, spent, [forecast(*call) for call in calls]) is fitting
    in_tokens = Limit(tokens=None if limit.usd is None else round(limit.usd * 100))
    converted = [forecast(0, 0, (round(e * 100), round(w * 100))) for e, w in calls]
    assert fits(in_tokens, Amount(0, round(spent.usd * 100)), converted) is fitting


def test_both_parts_must_fit() -> None:
    call = forecast(1, 1, (10, 10))
    assert fits(Limit(usd=1, tokens=10), Amount(), [call])
    assert not fits(Limit(usd=1, tokens=9), Amount(), [call])
    assert not fits(Limit(usd=0.9, tokens=10), Amount(), [call])


def test_what_is_left_is_never_less_than_nothing() -> None:
    assert Limit(usd=1.0, tokens=10).less(Amount(0.25, 4)) == Limit(usd=0.75, tokens=6)
    assert Limit(usd=1.0, tokens=10).less(Amount(2, 20)) == Limit(usd=0.0, tokens=0)
    assert Limit().less(Amount(2, 20)) == Limit()


class Caller:
    """One call at a gate: it enters, and leaves when it is told to."""

    def __init__(self, gate: BudgetGate, call: Forecast) -> None:
        self.gate = gate
        self.call = call
        self.task = asyncio.ensure_future(gate.enter(call))

    @property
    def state(self) -> str:
        if not self.task.done():
            return "waits"
        if self.task.cancelled():
            return "left"
        return "runs" if self.task.exception() is None else "refused"

    def end(self, usd: float = 0.0, tokens: int = 0) -> None:
        admission: Admission = self.task.result()
        self.gate.leave(admission, Amount(usd, tokens))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def calls(gate: BudgetGate, *forecasts: Forecast) -> list[Caller]:
    callers = [Caller(gate, each) for each in forecasts]
    await settle()
    return callers


async def test_without_a_limit_nothing_waits() -> None:
    gate = BudgetGate(Limit(), Amount())
    callers = await calls(gate, *[forecast(1e6, 1e9, (10**9, 10**12))] * 50)
    assert {caller.state for caller in callers} == {"runs"}


async def test_near_the_end_calls_run_one_by_one_in_the_order_they_came() -> None:
    gate = BudgetGate(Limit(usd=1), Amount(0.5))
    callers = await calls(gate, *[forecast(0.05, 2)] * 4, forecast(0.001, 0.002))
    for turn in range(3):
        # The last would fit beside the others, and waits all the same: nobody is overtaken.
        assert [caller.state for caller in callers[turn:]] == ["runs"] + ["waits"] * (4 - turn)
        callers[turn].end(0.05)
        await settle()
    assert [caller.state for caller in callers[3:]] == ["runs", "runs"]
    assert gate.spent == Amount(pytest.approx(0.65))


async def test_a_call_that_cannot_fit_any_more_is_refused_at_once() -> None:
    gate = BudgetGate(Limit(usd=1), Amount())
    first, second = await calls(gate, forecast(0.1, 9), forecast(0.5, 9))
    assert (first.state, second.state) == ("runs", "waits")
    (third,) = await calls(gate, forecast(1.1, 9))
    # It needs more than all there is.
    assert (second.state, third.state) == ("waits", "refused")
    first.end(0.8)
    await settle()
    assert second.state == "refused"
    with pytest.raises(BudgetSpentError) as caught:
        await second.task
    assert caught.value.part == "USD"
    assert str(caught.value) == (
        "the budget of this task is spent: 1.00 USD allowed to this step, 0.80 spent, and this call needs about "
        "0.50; raise budget_usd"
    )
    (small,) = await calls(gate, forecast(0.2, 9))
    assert small.state == "runs"


async def test_tokens_are_limited_alike() -> None:
    gate = BudgetGate(Limit(tokens=1_000), Amount(5.0, 900))
    running, waiting = await calls(gate, forecast(0, 0, (100, 500)), forecast(0, 0, (100, 500)))
    assert (running.state, waiting.state) == ("runs", "waits")
    assert gate.used_up is None
    running.end(1.0, 100)
    assert gate.used_up == "tokens"
    with pytest.raises(
        BudgetSpentError, match=r"1,000 tokens allowed .*, 1,000 spent, .* about 100; raise budget_tokens"
    ):
        await waiting.task


async def test_who_goes_away_leaves_the_queue_clean() -> None:
    gate = BudgetGate(Limit(usd=1), Amount())
    first, second, third = await calls(gate, forecast(0.1, 9), forecast(0.1, 9), forecast(0.0, 0.1))
    second.task.cancel()
    await settle()
    # The third was behind the second only.
    assert [each.state for each in (first, second, third)] == ["runs", "left", "runs"]
    assert gate.waiting == 0
    third.end(0.1)
    first.end(0.1)
    (last,) = await calls(gate, forecast(0.8, 9))
    assert last.state == "runs"


async def test_a_turn_that_comes_in_the_moment_of_going_away_is_given_back() -> None:
    gate = BudgetGate(Limit(usd=1), Amount())
    first, second, third = await calls(gate, forecast(0.1, 9), forecast(0.1, 9), forecast(0.1, 9))
    first.end(0.1)
    # The second is admitted now, but has not run on yet.
    second.task.cancel()
    await settle()
    assert [each.state for each in (second, third)] == ["left", "runs"]


# Any interleaving

CALL = st.tuples(
    st.floats(0, 3),  # estimate
    st.floats(0, 9),  # what it may cost more at most
    st.floats(0, 1),  # how much of that it does
    st.floats(0, 1),  # how much of the estimate, where it does not
    st.integers(0, 300),
    st.integers(0, 900),
)


@given(
    usd=st.none() | st.floats(0, 20),
    tokens=st.none() | st.integers(0, 2_000),
    spent=st.floats(0, 5),
    plan=st.lists(CALL, max_size=25),
    order=st.lists(st.tuples(st.sampled_from(["come", "end", "go"]), st.integers(0, 99)), max_size=80),
)
def test_the_limit_is_passed_by_one_wrong_estimate_at_most(
    usd: float | None,
    tokens: int | None,
    spent: float,
    plan: list[tuple[float, float, float, float, int, int]],
    order: list[tuple[str, int]],
) -> None:
    async def run() -> None:
        limit = Limit(usd, tokens)
        gate = BudgetGate(limit, Amount(spent))
        todo = iter(plan)
        callers: list[tuple[Caller, Amount]] = []
        ended: list[tuple[Forecast, Amount]] = []

        def come() -> None:
            call = next(todo, None)
            if call is not None:
                estimate, more, share, less, few, many = call
                guess = forecast(estimate, estimate + more, (few, few + many))
                cost = (
                    Amount(estimate + more * share, few + round(many * share))
                    if share > 0.5
                    else Amount(estimate * less, round(few * less))
                )
                callers.append((Caller(gate, guess), cost))

        def running() -> list[tuple[Caller, Amount]]:
            return [each for each in callers if each[0].state == "runs"]

        def end(number: int) -> None:
            if chosen := running():
                caller, cost = chosen[number % len(chosen)]
                callers.remove((caller, cost))
                caller.end(cost.usd, cost.tokens)
                ended.append((caller.call, cost))

        def go(number: int) -> None:
            if chosen := [each for each, _ in callers if each.state == "waits"]:
                chosen[number % len(chosen)].task.cancel()

        async def look() -> None:
            await settle()
            states = [caller.state for caller, _ in callers]
            # First come, first served: nobody runs who came after one that waits.
            if "waits" in states:
                assert "runs" not in states[states.index("waits") :]
                # No deadlock: who waits, waits for somebody.
                assert "runs" in states
            for caller, _ in callers:
                if caller.state == "refused":
                    assert limit.passed_by(gate.spent + caller.call.estimate)

        for step, number in order:
            {"come": lambda _: come(), "end": end, "go": go}[step](number)
            await look()
        for _ in range(len(plan) * 2 + 1):
            come()
            end(0)
            await look()
        assert not running()
        assert gate.waiting == 0

        total = Amount(math.fsum([spent, *(cost.usd for _, cost in ended)]), sum(c.tokens for _, c in ended))
        if ended and usd is not None:
            wrong = max(0.0, *(cost.usd - call.estimate.usd for call, cost in ended), 0.0)
            assert total.usd <= max(usd, spent) + wrong + 1e-9
        if ended and tokens is not None:
            wrong_tokens = max(0, *(cost.tokens - call.estimate.tokens for call, cost in ended), 0)
            assert total.tokens <= tokens + wrong_tokens

    asyncio.run(run())


def test_equal_calls_use_up_the_budget_to_the_last_estimate() -> None:
    async def run() -> int:
        gate = BudgetGate(Limit(usd=10), Amount())
        for done in range(1_000):
            try:
                admission = await gate.enter(forecast(0.3, 2.0))
            except BudgetSpentError:
                return done
            gate.leave(admission, Amount(0.3))
        raise AssertionError("never refused")

    assert asyncio.run(run()) == 33


def test_the_message_names_small_amounts() -> None:
    gate = BudgetGate(Limit(usd=0.02), Amount(0.0312))
    assert gate.message("USD") == (
        "the budget of this task is spent: 0.0200 USD allowed to this step, 0.0312 spent; raise budget_usd"
    )
