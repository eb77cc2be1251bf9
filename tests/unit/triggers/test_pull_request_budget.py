"""The pace of a poll on what is left of a rate limit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.hooks.github_models import RateLimit
from airflow_provider_agents.triggers.pull_request_budget import RateBudget

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def limit(remaining: int, *, of: int = 5_000, reset_in: float = 1_800) -> RateLimit:
    return RateLimit(
        limit=of, remaining=remaining, used=of - remaining, reset_at=NOW + timedelta(seconds=reset_in)
    )


def budget(*remaining: int) -> RateBudget:
    made = RateBudget()
    for each in remaining:
        made.note(limit(each), NOW)
    return made


@pytest.mark.parametrize(
    ("remaining", "low"),
    [
        ((1_000,), False),
        ((999,), True),
        ((999, 2_499), True),
        ((999, 2_500), False),
        ((999, 2_500, 2_499), False),
        ((999, 2_500, 999), True),
    ],
)
def test_hysteresis(remaining: tuple[int, ...], low: bool) -> None:
    found = budget(*remaining)
    assert found.low(NOW) is low
    assert (found.pause(100, 0, NOW) > 0) is low
    assert bool(found.notice(NOW)) is low


def test_without_a_limit_there_is_no_pause() -> None:
    made = budget(10)
    made.note(None, NOW)
    assert made.pause(1_000, 100, NOW) == 0
    assert RateBudget().pause(1_000, 100, NOW) == 0
    made.note(limit(0, of=0), NOW)
    assert not made.low(NOW)


def test_a_reset_ends_the_pause() -> None:
    made = budget(10)
    assert made.low(NOW)
    assert not made.low(NOW + timedelta(seconds=1_800))
    assert made.pause(100, 0, NOW + timedelta(seconds=1_800)) == 0


def test_the_reserve_is_left_to_those_who_act() -> None:
    assert budget(250).pause(1, 0, NOW) == 1_800
    assert budget(200).pause(1, 0, NOW) == 1_800


@given(
    remaining=st.integers(0, 999),
    pulses=st.integers(0, 2_000),
    snapshots=st.integers(0, 50),
    reset_in=st.integers(1, 3_600),  # whole seconds, as GitHub's headers have them
)
def test_what_is_left_lasts_until_the_reset(
    remaining: int, pulses: int, snapshots: int, reset_in: int
) -> None:
    made = RateBudget()
    made.note(limit(remaining, reset_in=reset_in), NOW)
    pause = made.pause(pulses, snapshots, NOW)
    points = -(-pulses // 100) + 0.2 * snapshots
    assert 0 <= pause <= reset_in + 0.001
    if 0 < points < remaining - 250:
        # At this pace the points above the reserve are not spent before the reset.
        assert points * (reset_in / pause) <= remaining - 250 + 1e-6
