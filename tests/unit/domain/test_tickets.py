"""The values that intake is built on: claims that survive, run ids that never change."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.tickets import (
    MOST_RUNS_KEPT,
    Claim,
    ClaimedRun,
    RunState,
    content_digest,
    run_id_of,
)

MOMENT = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
STATES: tuple[RunState, ...] = ("claimed", "started", "ended")
keys = st.text(min_size=1, max_size=12)
runs = st.builds(
    ClaimedRun,
    run_id=st.sampled_from([f"r{n}" for n in range(30)]),
    asks=st.lists(keys, max_size=3).map(tuple),
    state=st.sampled_from(STATES),
    at=st.none() | st.just(MOMENT),
)


def claim_of(*several: ClaimedRun) -> Claim:
    claim = Claim()
    for run in several:
        claim = claim.with_run(run)
    return claim


@given(st.lists(runs, max_size=40), st.lists(keys, max_size=5))
def test_a_claim_reads_back_as_it_was_written(several: list[ClaimedRun], refused: list[str]) -> None:
    claim = claim_of(*several).with_refusals(*refused)
    assert Claim.from_text(claim.to_text()) == claim
    assert claim.to_text().isascii()
    assert "\n" not in claim.to_text()


@given(st.lists(runs, max_size=60))
def test_no_ask_is_ever_forgotten_and_no_state_goes_back(several: list[ClaimedRun]) -> None:
    claim = Claim()
    for run in several:
        before = {each.run_id: STATES.index(each.state) for each in claim.runs}
        claim = claim.with_run(run)
        assert all(STATES.index(each.state) >= before.get(each.run_id, 0) for each in claim.runs)
        assert len(claim.runs) <= MOST_RUNS_KEPT
    assert claim.answered == {key for run in several for key in run.asks}


def test_a_runs_state_moves_on_by_its_id() -> None:
    claim = claim_of(ClaimedRun(run_id="a", asks=("1",)), ClaimedRun(run_id="b", asks=("2",)))
    moved = claim.with_state("a", "started").with_state("a", "claimed").with_state("unknown", "ended")
    assert [(run.run_id, run.state, run.asks) for run in moved.runs] == [
        ("a", "started", ("1",)),
        ("b", "claimed", ("2",)),
    ]
    assert moved.latest == moved.runs[1]
    assert Claim().latest is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"runs":[{}],"refused":[]}',
        '{"runs":[{"run_id":"a","asks":[],"state":"x"}],"refused":[]}',
        "null",
    ],
)
def test_what_is_no_claim_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Claim.from_text(text)


@given(st.text(max_size=300), st.text(max_size=300))
def test_run_ids_are_fit_for_airflow_and_tell_tickets_and_asks_apart(ticket: str, ask: str) -> None:
    made = run_id_of("github", ticket, ask)
    assert re.fullmatch(r"[A-Za-z0-9_.~:+-]{1,250}", made)
    assert made == run_id_of("github", ticket, ask)
    assert made != run_id_of("github", ticket + "x", ask)
    assert made != run_id_of("github", ticket, ask + "x")
    assert made != run_id_of("linear", ticket, ask)
    assert made != run_id_of("github", ticket, ask, host="ghes.example.com")


def test_run_ids_of_today_are_those_of_tomorrow() -> None:
    assert run_id_of("github", "I_kwDOA", "LE_1") == "ticket__github__I_kwDOA__ea1babdac9"
    assert run_id_of("jira", "10001", "5", host="Jira.Example.com") == run_id_of(
        "jira", "10001", "5", host="jira.example.com"
    )
    assert run_id_of("github", "a b", "1") != run_id_of("github", "a-b", "1")


@given(st.text(max_size=50), st.text(max_size=50))
def test_the_digest_holds_an_approval_to_its_text(title: str, body: str) -> None:
    digest = content_digest(title, body)
    assert digest == content_digest(f" {title}", f"{body}\n")
    assert digest != content_digest(title, body + "x")
    assert content_digest("a", "b\r\nc") == content_digest("a", "b\nc")
