"""History and policy of landing: what they count, and that they survive JSON."""

from __future__ import annotations

import dataclasses
import json

import pytest
from fakes import HEAD, NEXT_HEAD, NOW
from hypothesis import given
from landing_cases import LONG_AGO, POLICY, SEEN, Changes, a_round, reviewed
from landing_properties import HISTORIES, POLICIES

from airflow_provider_agents.domain.authority_rules import AuthorityRules, Who
from airflow_provider_agents.domain.landing_history import LandingHistory
from airflow_provider_agents.domain.landing_policy import LandingPolicy


@given(HISTORIES, POLICIES)
def test_they_survive_json(changes: Changes, knobs: Changes) -> None:
    history = dataclasses.replace(SEEN, **changes)
    assert LandingHistory.from_dict(json.loads(json.dumps(history.to_dict()))) == history
    policy = dataclasses.replace(POLICY, **knobs)
    assert LandingPolicy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy


def test_every_field_is_written() -> None:
    assert set(LandingHistory().to_dict()) == {field.name for field in dataclasses.fields(LandingHistory)}
    assert set(LandingPolicy().to_dict()) == {field.name for field in dataclasses.fields(LandingPolicy)}


def test_parts_that_are_absent_are_empty() -> None:
    assert LandingHistory.from_dict({}) == LandingHistory()
    older = {"rounds": [{"reason": "conflict", "head_sha": HEAD}]}
    assert LandingHistory.from_dict(older).rounds == (a_round("conflict"),)


def test_what_it_counts() -> None:
    rounds = (a_round(answered=("a",)), a_round("conflict", answered=("b",)), a_round(head=NEXT_HEAD))
    history = dataclasses.replace(SEEN, rounds=rounds, reviews=(*reviewed("approve"), *reviewed("comment")))
    assert history.answered == {"a", "b"}
    assert [history.rounds_for(reason) for reason in ("checks_failed", "conflict", "other")] == [2, 1, 0]
    assert history.first_seen(HEAD, NOW) == LONG_AGO
    assert history.first_seen(NEXT_HEAD, NOW) == NOW
    assert (review := history.review_of(HEAD)) is not None
    assert review.verdict == "comment"
    assert history.review_of(NEXT_HEAD) is None


def test_an_unknown_knob_is_refused() -> None:
    with pytest.raises(TypeError):
        LandingPolicy.from_dict({"auto_merg": True})


def test_the_rules_of_the_run_travel_along() -> None:
    rules = AuthorityRules(merge=Who(permission="admin", users=("mona",)))
    history = LandingHistory(authority=rules)
    assert LandingHistory.from_dict(json.loads(json.dumps(history.to_dict()))).authority == rules
    # Where nothing is written down, nothing is stored at every gate.
    assert LandingHistory().to_dict()["authority"] == {}
