"""The books of a step: written ahead, kept over tries and clears, seen by the other steps of the run."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import Store, TaskInstance, context

from agent_runner.contract import Budget, Ledger, Reserve, StepSpec, Tokens
from airflow_provider_agents.domain.budget import LedgerRecord
from airflow_provider_agents.exceptions import StepFailedError
from airflow_provider_agents.operators.step_books import LEDGER_KEY, StepBooks

ALL = Budget(usd=1.0, tokens=100)


def books(ti: TaskInstance, store: Store, *others: str) -> StepBooks:
    return StepBooks(context(ti, store), others)


def record(pod: str) -> LedgerRecord:
    return LedgerRecord(
        pod=pod, task="issue-3", repository="acme/shop", step="implement", program="claude", day="2026-01-02",
        usd=1.0, token_count=100,
    )  # fmt: skip


def test_a_reserve_is_there_before_the_pod_and_for_the_others_to_see() -> None:
    ti, store = TaskInstance("a"), Store()
    spec = StepSpec(
        step="implement", repository="acme/shop", base_branch="main", work_branch="ai/x", prompt="Do it."
    )
    books(ti, store).reserve_for("p1", "issue-3", spec, ALL, ledgers_kept=True)
    (kept,) = store.values[LEDGER_KEY]
    assert {key: kept[key] for key in ("pod", "state", "usd", "token_count", "step", "program", "task")} == {
        "pod": "p1", "state": "reserved", "usd": 1.0, "token_count": 100, "step": "implement",
        "program": "claude", "task": "issue-3",
    }  # fmt: skip
    assert ti.pushed[LEDGER_KEY] == store.values[LEDGER_KEY]
    other = TaskInstance("b", xcoms={"a:ledger": ti.pushed[LEDGER_KEY]})
    found = books(other, Store(), "a", "b").budget(1.0, 100)
    assert found == Budget(usd=1.0, tokens=100, unsettled=(Reserve(pod="p1", usd=1.0, tokens=100),))


def test_settled_is_what_the_ledger_says() -> None:
    ti, store = TaskInstance("a"), Store()
    mine = books(ti, store)
    mine.reserve(record("p1"))
    mine.settle("p1", Ledger(usd=0.25, tokens=Tokens(input=10, cache_read=5)))
    assert mine.budget(1.0, 100) == Budget(usd=0.75, tokens=85)


def test_a_pod_without_a_ledger_stays_reserved() -> None:
    ti, store = TaskInstance("a"), Store()
    mine = books(ti, store)
    mine.reserve(record("p1"))
    mine.settle("p1", None)
    assert [reserve.pod for reserve in mine.budget(1.0, None).unsettled] == ["p1"]


def test_what_was_settled_is_not_settled_again() -> None:
    ti, store = TaskInstance("a"), Store()
    mine = books(ti, store)
    mine.reserve(record("p1"))
    mine.settle("p1", Ledger(usd=0.25))
    mine.settle("p1", Ledger(usd=9.0))
    mine.settle("unknown", Ledger(usd=9.0))
    assert mine.budget(1.0, None).usd == 0.75


def test_tries_and_clears_forget_nothing() -> None:
    ti, store = TaskInstance("a"), Store()
    books(ti, store).reserve(record("p1"))
    for again in (ti.retry, lambda: ti.clear(3)):
        again()
        assert LEDGER_KEY not in ti.pushed  # Airflow wipes the XComs of a task before each try
        mine = books(ti, store)
        assert ti.pushed[LEDGER_KEY] == store.values[LEDGER_KEY]
    mine.settle("p1", Ledger(usd=0.4))
    mine.reserve(record("p2"))
    mine.settle("p2", Ledger(usd=0.5))
    assert mine.budget(1.0, None).usd == pytest.approx(0.1)


def test_the_reserve_of_a_pod_that_was_never_made_is_dropped() -> None:
    ti, store = TaskInstance("a"), Store()
    mine = books(ti, store)
    mine.reserve(record("p1"))
    mine.drop("p1")
    assert mine.budget(1.0, 100) == ALL


def test_the_own_task_among_the_others_is_not_counted_twice() -> None:
    ti, store = TaskInstance("a", xcoms={"a:ledger": [{"pod": "p1", "usd": 0.5}]}), Store()
    mine = books(ti, store, "a")
    mine.reserve(record("p1"))
    assert len(mine.budget(1.0, None).unsettled) == 1


def test_an_empty_budget_makes_no_pod_and_says_what_was_spent() -> None:
    ti, store = TaskInstance("a"), Store()
    mine = books(ti, store)
    mine.reserve(record("p1"))
    mine.settle("p1", Ledger(usd=1.2, tokens=Tokens(input=7)))
    with pytest.raises(StepFailedError, match=r"1\.00 USD were allowed, 1\.2000 are spent") as caught:
        mine.require(mine.budget(1.0, None), ledgers_kept=True)
    assert caught.value.failure is not None
    assert caught.value.failure.code == "budget_exhausted"
    with pytest.raises(StepFailedError, match="5 tokens were allowed, 7 are used"):
        mine.require(mine.budget(None, 5), ledgers_kept=True)
    mine.require(mine.budget(None, None), ledgers_kept=False)


def test_a_lost_pod_is_worth_another_pod_only_where_its_ledger_may_be_found() -> None:
    ti, store = TaskInstance("a"), Store()
    mine = books(ti, store)
    mine.reserve(record("lost-1"))
    budget = mine.budget(1.0, None)
    mine.require(budget, ledgers_kept=True)
    with pytest.raises(StepFailedError, match="lost-1"):
        mine.require(budget, ledgers_kept=False)


@pytest.mark.parametrize("garbage", [None, "x", [], [{}], [{"usd": 3}], {"a": 1}])
def test_garbage_of_another_task_is_no_record(garbage: Any) -> None:
    ti = TaskInstance("b", xcoms={"a:ledger": garbage})
    assert books(ti, Store(), "a").budget(1.0, None) == Budget(usd=1.0)
