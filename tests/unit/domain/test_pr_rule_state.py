"""The memory of a rule as text: what is written is read again, and what is damaged says so."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pr_rule_turns import NOW, answer, seen

from airflow_provider_agents.domain.pr_rule_decision import RuleAnswer
from airflow_provider_agents.domain.pr_rule_state import VERSION, Pass, RuleState, Seen

MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
TEXTS = st.text(max_size=20)
ANSWERS = st.builds(
    RuleAnswer,
    action=st.sampled_from(["merge", "wait", "label", "comment"]),
    reason=TEXTS,
    confidence=st.floats(0, 1),
    wait_for=st.sampled_from(["anything", "checks"]),
    until=st.none() | MOMENTS,
    comment=TEXTS,
    labels=st.lists(TEXTS, max_size=2).map(tuple),
    reviewers=st.lists(TEXTS, max_size=2).map(tuple),
)
SEEN = st.builds(
    Seen,
    seen_at=MOMENTS,
    listing=TEXTS,
    read_at=st.none() | MOMENTS,
    head_sha=TEXTS,
    head_first_seen=st.none() | MOMENTS,
    considered_at=st.none() | MOMENTS,
    unsettled_since=st.none() | MOMENTS,
    version=TEXTS,
    context_hash=TEXTS,
    parts=st.dictionaries(TEXTS, TEXTS, max_size=3),
    answer=st.none() | ANSWERS,
    answered_at=st.none() | MOMENTS,
    outcome=TEXTS,
    guard=TEXTS,
    failures=st.integers(0, 9),
    fault=TEXTS,
    retry_at=st.none() | MOMENTS,
)
STATES = st.builds(
    RuleState,
    pull_requests=st.dictionaries(TEXTS, SEEN, max_size=3),
    last_pass=st.none()
    | st.builds(
        Pass, at=MOMENTS, ended_at=st.none() | MOMENTS, asked=st.integers(0, 9), faults=st.just(("x",))
    ),
    last_error=TEXTS,
    last_error_at=st.none() | MOMENTS,
    processed=st.integers(0, 99),
    actions=st.dictionaries(TEXTS, st.integers(0, 9), max_size=2),
    errors=st.dictionaries(TEXTS, st.integers(0, 9), max_size=2),
    usd=st.dictionaries(TEXTS, st.floats(0, 9), max_size=2),
    reserved=st.dictionaries(TEXTS, st.floats(0, 9), max_size=2),
    look_at=st.none() | MOMENTS,
)


@given(state=STATES)
def test_what_is_written_is_read_again(state: RuleState) -> None:
    assert RuleState.from_text(state.to_text()) == state


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "null",
        "{}",
        json.dumps({"version": VERSION + 1}),
        json.dumps({"version": VERSION}),
        RuleState().to_text()[:-5],
        RuleState().to_text().replace('"look_at":null', '"look_at":7'),
        RuleState(pull_requests={"a/b#1": seen()}).to_text().replace("2026-03-05", "2026-93-05"),
        RuleState(pull_requests={"a/b#1": seen()}).to_text().replace("+00:00", ""),
        RuleState().to_text().replace('"usd":{}', '"usd":[]'),
        RuleState().to_text().replace('"reserved":{}', '"reserved":{"2026-03-05/a":"0.5"}'),
        RuleState().to_text().replace('"processed":0', '"processed":null'),
    ],
)
def test_what_is_damaged_says_so(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (of json, of datetime, or ours)
        RuleState.from_text(text)


def test_a_pull_request_takes_no_more_room_than_it_must() -> None:
    many = {f"acme/shop#{number}": seen(answer=answer("wait", reason="x" * 500)) for number in range(1000)}
    assert len(RuleState(pull_requests=many).to_text()) < 1_300_000
    bare = Seen(seen_at=NOW)
    assert bare.to_dict() == {"seen_at": NOW.isoformat()}


def test_what_was_spent_on_a_day_is_what_was_paid_and_what_is_set_aside() -> None:
    state = RuleState(
        usd={"2026-03-05": 1.0, "2026-03-04": 8.0},
        reserved={"2026-03-05/a": 0.5, "2026-03-05/b": 0.25, "2026-03-04/c": 8.0},
    )
    assert state.spent("2026-03-05") == 1.75
    assert state.spent((NOW + timedelta(days=1)).date().isoformat()) == 0
