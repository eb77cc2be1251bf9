"""Many objects in few queries: halves, limits, and who gets which error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks.github_batches import MOST_FAILURES, in_batches


class Server:
    """Answers with each key's square; queries that hold a poisonous key fail.

    :param down_after: queries after which all fail.
    """

    def __init__(self, *poison: int, error: ForgeError | None = None, down_after: int | None = None) -> None:
        self.poison = poison
        self.error = error or ForgeUnavailableError("timed out")
        self.down_after = down_after
        self.asked: list[list[int]] = []

    async def read(self, keys: list[int]) -> dict[int, int]:
        self.asked.append(list(keys))
        down = self.down_after is not None and len(self.asked) > self.down_after
        if down or set(keys) & set(self.poison):
            raise self.error
        return {key: key * key for key in keys}


async def test_all_are_read_once_in_the_order_asked_for() -> None:
    server = Server()
    assert await in_batches([3, 1, 3, 2, 5], 2, server.read) == {3: 9, 1: 1, 2: 4, 5: 25}
    assert server.asked == [[3, 1], [2, 5]]
    assert await in_batches([], 2, server.read) == {}


@given(poison=st.integers(0, 39))
async def test_one_poisonous_object_loses_only_itself(poison: int) -> None:
    server = Server(poison)
    found = await in_batches(range(40), 10, server.read)
    assert {key for key, value in found.items() if isinstance(value, ForgeError)} == {poison}
    assert len(server.asked) <= 4 + 2 * 4


async def test_two_in_different_halves_lose_only_themselves() -> None:
    found = await in_batches(range(10), 10, Server(0, 9).read)
    assert {key for key, value in found.items() if isinstance(value, ForgeError)} == {0, 9}


async def test_an_outage_is_not_asked_again_and_again() -> None:
    server = Server(down_after=0)
    with pytest.raises(ForgeUnavailableError, match="timed out"):
        await in_batches(range(1000), 10, server.read)
    assert len(server.asked) == MOST_FAILURES


async def test_an_outage_that_comes_later_leaves_what_was_read() -> None:
    server = Server(down_after=2)
    found = await in_batches(range(1000), 10, server.read)
    assert sum(isinstance(value, ForgeUnavailableError) for value in found.values()) == 980
    assert len(server.asked) == 2 + MOST_FAILURES


async def test_a_refused_query_is_not_sent_again() -> None:
    server = Server(0, error=ForgeAccessError("bad credentials"))
    with pytest.raises(ForgeAccessError):
        await in_batches(range(30), 10, server.read)
    assert len(server.asked) == 1


async def test_a_rate_limit_ends_it_even_after_successes() -> None:
    server = Server(25, error=ForgeRateLimitedError("used up"))
    with pytest.raises(ForgeRateLimitedError):
        await in_batches(range(40), 10, server.read)
    assert len(server.asked) == 3
