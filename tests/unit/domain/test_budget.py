"""What a task may still spend: nothing that a pod may have spent is ever forgotten, or counted twice."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.contract import Budget, Ledger, ModelUse, Reserve, Settled, Tokens
from airflow_provider_agents.domain.budget import LedgerRecord, allowance, from_values, is_spent, to_values

USE = ModelUse(model="claude-opus-5-5", calls=2, usd=0.25, tokens=Tokens(input=10, output=5))


def record(pod: str, **values: object) -> LedgerRecord:
    facts = {
        "task": "t",
        "repository": "acme/app",
        "step": "implement",
        "program": "claude",
        "day": "2026-01-02",
    }
    return LedgerRecord(pod=pod, **{**facts, **values})  # type: ignore[arg-type]


def spent(pod: str, usd: float, tokens: int = 0, **values: object) -> LedgerRecord:
    return record(pod, state="settled", usd=usd, token_count=tokens, **values)


def reserved(pod: str, usd: float, tokens: int = 0) -> LedgerRecord:
    return record(pod, usd=usd, token_count=tokens)


def test_settling_replaces_the_reserve_with_what_the_gateway_saw() -> None:
    ledger = Ledger(
        usd=0.25,
        tokens=Tokens(input=1, output=2, cache_read=3, cache_write=4),
        models=(USE,),
        settled=(Settled(pod="lost", usd=0.1, tokens=7, known=True),),
    )
    after = reserved("p", 1.0, 100).settled(ledger)
    assert (after.state, after.usd, after.token_count, after.models) == ("settled", 0.25, 10, (USE,))
    assert after.settles == ledger.settled


def test_records_come_back_as_they_were_kept() -> None:
    records = [
        reserved("p1", 1.0),
        spent("p2", 0.5, models=(USE,), settles=(Settled(pod="p1", usd=0.1, tokens=1, known=False),)),
    ]
    assert from_values(json.loads(json.dumps(to_values(records)))) == records


@pytest.mark.parametrize("values", [None, [], [{}], ["x"], [{"usd": 1}]])
def test_what_is_no_record_is_left_out(values: object) -> None:
    assert from_values(values) == []


def test_records_of_a_newer_version_are_read() -> None:
    (value,) = to_values([spent("p", 1.0)])
    assert from_values([value | {"colour": "blue"}]) == [spent("p", 1.0)]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], Budget(usd=1.0, tokens=100)),
        ([spent("a", 0.4, 30)], Budget(usd=0.6, tokens=70)),
        ([spent("a", 1.4, 130)], Budget(usd=0.0, tokens=0)),
        ([reserved("a", 1.0, 100)], Budget(usd=1.0, tokens=100, unsettled=(Reserve(pod="a", usd=1.0, tokens=100),))),
        (
            [reserved("a", 1.0, 100), spent("b", 0.2, 10, settles=(Settled(pod="a", usd=0.3, tokens=20, known=True),))],
            Budget(usd=0.5, tokens=70),
        ),
        # Settled by itself after all: what another pod once found counts no more.
        (
            [spent("a", 0.1, 5), spent("b", 0.2, 10, settles=(Settled(pod="a", usd=1.0, tokens=100, known=False),))],
            Budget(usd=0.7, tokens=85),
        ),
    ],
)  # fmt: skip
def test_what_is_left(records: list[LedgerRecord], expected: Budget) -> None:
    found = allowance(records, limit_usd=1.0, limit_tokens=100)
    assert found.usd == pytest.approx(expected.usd)
    assert (found.tokens, found.unsettled) == (expected.tokens, expected.unsettled)


def test_without_a_limit_there_is_none() -> None:
    assert allowance([spent("a", 5.0, 9)], limit_usd=None, limit_tokens=None) == Budget()


@pytest.mark.parametrize(
    ("budget", "kept", "spent_"),
    [
        (Budget(), False, False),
        (Budget(usd=0.01), False, False),
        (Budget(usd=0.0), True, True),
        (Budget(tokens=0), True, True),
        (Budget(usd=1.0, unsettled=(Reserve(pod="a", usd=1.0, tokens=0),)), True, False),
        (Budget(usd=1.0, unsettled=(Reserve(pod="a", usd=1.0, tokens=0),)), False, True),
        (Budget(tokens=10, unsettled=(Reserve(pod="a", usd=0, tokens=10),)), False, True),
        (Budget(unsettled=(Reserve(pod="a", usd=9.0, tokens=9),)), False, False),
    ],
)
def test_when_no_pod_need_be_made(budget: Budget, kept: bool, spent_: bool) -> None:
    assert is_spent(budget, ledgers_kept=kept) is spent_


amounts = st.floats(0, 2, allow_nan=False)


@given(st.lists(st.tuples(amounts, st.sampled_from(["settled", "lost", "found"])), max_size=8), amounts)
def test_a_run_never_gets_more_than_its_budget(pods: list[tuple[float, str]], limit: float) -> None:
    """Each pod spends at most what it was allowed; some are lost, some of those are found by a later pod."""
    records: list[LedgerRecord] = []
    total = 0.0
    for number, (wish, fate) in enumerate(pods):
        budget = allowance(records, limit_usd=limit, limit_tokens=None)
        assert budget.usd is not None
        if is_spent(budget, ledgers_kept=False):
            break
        # What the gateway does without ledgers of the lost: every reserve counts whole.
        free = budget.usd - sum(reserve.usd for reserve in budget.unsettled)
        use = min(wish, max(0.0, free))
        total += use
        mine = reserved(f"p{number}", budget.usd)
        if fate == "settled":
            mine = mine.settled(Ledger(usd=use))
        elif fate == "found":
            records.append(mine)
            mine = spent(
                f"q{number}", 0.0, settles=(Settled(pod=f"p{number}", usd=use, tokens=0, known=True),)
            )
        records.append(mine)
    assert total <= limit + 1e-9
