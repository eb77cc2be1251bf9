"""What is done about pools that are there, and about those that are not."""

from __future__ import annotations

import dataclasses

import pytest

from airflow_provider_agents.domain.pools import ONE_AT_A_TIME, PoolSpec, mended, wanted_pools

STEPS, ADMISSION, RULES = wanted_pools(5)


def test_pools_that_are_missing_are_made() -> None:
    for wanted in (STEPS, ADMISSION, RULES):
        assert mended(wanted, None)[0] == wanted
    assert (STEPS.slots, STEPS.include_deferred, STEPS.made_with) == (5, True, 5)
    for single in (ADMISSION, RULES):
        assert (single.slots, single.include_deferred) == (1, False)


def test_pools_that_are_right_stay() -> None:
    for wanted in (STEPS, ADMISSION, RULES):
        assert mended(wanted, wanted) == (None, "")


@pytest.mark.parametrize("slots", [1, 8])
def test_the_option_changes_a_pool_that_nobody_touched(slots: int) -> None:
    wanted = wanted_pools(slots)[0]
    changed, why = mended(wanted, STEPS)
    assert changed == wanted
    assert f"{slots} slots now" in why
    assert mended(wanted, changed) == (None, "")


@pytest.mark.parametrize("slots", [-1, 0, 3, 40])
def test_what_a_person_set_stays(slots: int) -> None:
    wanted = wanted_pools(8)[0]
    for found in (
        dataclasses.replace(STEPS, slots=slots),
        PoolSpec(name="agents", slots=slots, include_deferred=False, description="ours"),
    ):
        assert mended(wanted, found) == (None, "")


@pytest.mark.parametrize("wanted", [ADMISSION, RULES])
@pytest.mark.parametrize(("slots", "after"), [(1, 1), (2, 1), (-1, 1), (0, 0)])
def test_a_critical_section_is_one_at_a_time_or_held(wanted: PoolSpec, slots: int, after: int) -> None:
    found = PoolSpec(name=wanted.name, slots=slots, include_deferred=True, description="mine")
    changed, why = mended(wanted, found)
    assert changed == PoolSpec(name=wanted.name, slots=after, include_deferred=False, description="mine")
    assert ONE_AT_A_TIME[wanted.name] in why


def test_an_option_of_nothing_leaves_one_slot() -> None:
    assert wanted_pools(0)[0].slots == 1
