"""What a rule may spend in a day: tables, and histories with crashes drawn by Hypothesis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.pr_rule_budget import affordable, day_of, next_day, reserve, settle
from airflow_provider_agents.domain.pr_rule_state import RuleState

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
DAY = "2026-03-05"


@pytest.mark.parametrize(
    ("prices", "spent", "limit", "expected"),
    [
        ([], 0.0, 1.0, []),
        ([0.5, 0.5], 0.0, 1.0, [True, True]),
        ([0.1] * 10, 0.0, 1.0, [True] * 10),  # sums of floats do not count against the last one
        ([0.5, 0.6, 0.1], 0.0, 1.0, [True, False, False]),  # nobody overtakes the one whose turn it is
        ([2.0, 0.5], 0.0, 1.0, [False, True]),  # what no day can pay for holds nobody up
        ([0.1], 1.0, 1.0, [False]),
        ([0.1], 5.0, 1.0, [False]),
        ([0.1], 0.0, 0.0, [False]),
        ([0.0], 0.0, 0.0, [True]),
    ],
)
def test_affordable(prices: list[float], spent: float, limit: float, expected: list[bool]) -> None:
    assert affordable(prices, spent, limit) == expected


def test_a_day_is_one_of_utc() -> None:
    moment = datetime(2026, 3, 5, 23, 30, tzinfo=UTC).astimezone(
        datetime.fromisoformat("2026-01-01T00:00+05:00").tzinfo
    )
    assert day_of(moment) == DAY
    assert next_day(moment) == datetime(2026, 3, 6, tzinfo=UTC)


def test_what_is_set_aside_counts_until_it_is_settled() -> None:
    state = reserve(RuleState(), "run-1", 0.4, NOW)
    assert state.spent(DAY) == pytest.approx(0.4)
    assert settle(state, "run-1", DAY, 0.1, NOW, aside=0.4).spent(DAY) == pytest.approx(0.1)


def test_a_second_try_of_a_look_sets_aside_on_top() -> None:
    state = reserve(reserve(RuleState(), "run-1", 0.4, NOW), "run-1", 0.4, NOW)
    assert state.spent(DAY) == pytest.approx(0.8)
    settled = settle(state, "run-1", DAY, 0.1, NOW, aside=0.4)
    assert settled.spent(DAY) == pytest.approx(0.5), (
        "what the first try asked is nobody's any more, but was paid"
    )


def test_a_run_that_was_never_settled_stays_spent_on_its_day_and_not_on_the_next() -> None:
    state = reserve(RuleState(), "lost", 0.4, NOW)
    later = settle(state, "run-2", DAY, 0.0, NOW, aside=0.0)
    assert later.spent(DAY) == pytest.approx(0.4)
    assert later.spent("2026-03-06") == 0


def test_a_run_over_midnight_is_paid_on_the_day_on_which_it_was_set_aside() -> None:
    later = NOW + timedelta(days=1)
    state = settle(reserve(RuleState(), "run-1", 0.4, NOW), "run-1", DAY, 0.3, later, aside=0.4)
    assert state.usd == {DAY: 0.3}
    assert state.reserved == {}


def test_old_days_are_dropped() -> None:
    state = RuleState(usd={"2026-02-01": 1.0, DAY: 2.0}, reserved={"2026-02-01/lost": 1.0})
    state = settle(state, "run-1", DAY, 0.0, NOW, aside=0.0)
    assert state.usd == {DAY: 2.0}
    assert state.reserved == {}


@given(
    runs=st.lists(
        st.tuples(
            st.lists(st.tuples(st.floats(0.001, 0.5), st.floats(0, 1)), max_size=6),
            st.sampled_from(
                [
                    "settled",
                    "crashed before the questions",
                    "crashed before the act",
                    "look tried twice",
                    "cleared after the questions",
                ]
            ),
        ),
        max_size=20,
    ),
    limit=st.floats(0, 2),
)
def test_no_history_costs_more_than_the_limit(
    runs: list[tuple[list[tuple[float, float]], str]], limit: float
) -> None:
    """Each question costs at most what was set aside for it; any run may die at any point."""
    state, paid = RuleState(), 0.0
    for number, (questions, end) in enumerate(runs):
        prices = [price for price, _ in questions]
        allowed = affordable(prices, state.spent(DAY), limit)
        wanted = sum(price for price, ok in zip(prices, allowed, strict=True) if ok)
        state = reserve(state, f"run-{number}", wanted, NOW)
        if end == "cleared after the questions":
            paid += sum(price * share for (price, share), ok in zip(questions, allowed, strict=True) if ok)
        if end in ("look tried twice", "cleared after the questions"):
            allowed = affordable(prices, state.spent(DAY), limit)
            wanted = sum(price for price, ok in zip(prices, allowed, strict=True) if ok)
            state = reserve(state, f"run-{number}", wanted, NOW)
        if end == "crashed before the questions":
            continue
        cost = sum(price * share for (price, share), ok in zip(questions, allowed, strict=True) if ok)
        paid += cost
        if end != "crashed before the act":
            state = settle(state, f"run-{number}", DAY, cost, NOW, aside=wanted)
        assert paid <= state.spent(DAY) + 1e-4
        assert paid <= limit + 1e-4
