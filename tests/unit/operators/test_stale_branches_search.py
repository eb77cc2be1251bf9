"""Which pull requests a run of the housekeeping looks at, however many there are."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.hooks.github_models import ClosedRef
from airflow_provider_agents.operators import stale_branches
from airflow_provider_agents.operators.stale_branches import LOOK_BACK, SweepBranchesOperator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

UNTIL = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


class Search:
    """A forge's search over pull requests by when they were closed, which tells of so many."""

    def __init__(self, closed: list[datetime], most: int = 1000) -> None:
        self.closed, self.most = closed, most
        self.asked = 0

    async def own_closed_pull_requests(
        self, since: datetime, until: datetime, *, prefix: str
    ) -> tuple[list[ClosedRef], bool]:
        assert prefix == "ai/"
        self.asked += 1
        found = [number for number, moment in enumerate(self.closed) if since <= moment <= until]
        more = len(found) > self.most
        numbers = found[:100] if more else found
        return [ClosedRef(repository="acme/shop", number=n, branch=f"ai/task-{n:08x}") for n in numbers], more


@pytest.fixture
def candidates(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    def run(search: Search, until: datetime = UNTIL) -> list[int]:
        def ask(_: Any, repository: None, question: Callable[[Any], Awaitable[Any]]) -> Any:
            return asyncio.run(question(search))  # type: ignore[arg-type]

        monkeypatch.setattr(SweepBranchesOperator, "_ask", ask)
        return [ref.number for ref in SweepBranchesOperator(task_id="branches")._candidates(until)]

    return run


def spread(number: int, over: timedelta = LOOK_BACK) -> list[datetime]:
    return [UNTIL - over * index / number for index in range(number)]


def test_few_are_found_with_few_searches(candidates: Callable[..., list[int]]) -> None:
    search = Search(
        [UNTIL, UNTIL - LOOK_BACK, UNTIL - LOOK_BACK - timedelta(days=1), UNTIL + timedelta(days=1)]
    )
    assert sorted(candidates(search)) == [0, 1]
    assert search.asked == 6


def test_two_hundred_a_day_are_all_found(
    candidates: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stale_branches, "MOST_BRANCHES", 100_000)
    search = Search(spread(200 * 90))
    assert sorted(candidates(search)) == list(range(200 * 90))
    assert search.asked <= 6 * (1 + 2 + 4)


def test_a_burst_that_no_search_can_tell_of_is_bounded(candidates: Callable[..., list[int]]) -> None:
    search = Search([UNTIL] * 5000)
    assert len(candidates(search)) == 100
    assert search.asked < 30


def test_runs_take_turns_through_more_branches_than_one_can_look_at(
    candidates: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stale_branches, "MOST_BRANCHES", 50)
    search = Search(spread(173))
    seen: set[int] = set()
    for hour in range(4):
        found = candidates(search, UNTIL + timedelta(hours=hour))
        assert len(found) == len(set(found)) == 50
        seen |= set(found)
    assert len(seen) >= 172  # one is older than the window by the end
