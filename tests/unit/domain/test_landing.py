"""The landing decision: each rule, their order, and what must never happen."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, get_args

import pytest
from fakes import FAILED, HEAD, NEXT_HEAD, PASSED
from hypothesis import Phase, given, settings
from landing_cases import (
    BOUNDS,
    EXCLUSIVE,
    JUST_NOW,
    LONG_AGO,
    MESSAGES,
    MINUTES_AGO,
    OBJECTION,
    PRIORITIES,
    TABLE,
    THREAD,
    Case,
    Changes,
    a_round,
    case,
    judge,
    outcome_of_bound,
    said,
)
from landing_properties import CASES, PROPERTIES

from airflow_provider_agents.domain import landing
from airflow_provider_agents.domain.commands import pending_commands
from airflow_provider_agents.domain.landing import ACTS_AND_WAITS, RULES, Verdict, decide
from airflow_provider_agents.domain.pull_request import Check, Comment

BY_NAME = {rule.__name__: rule for rule in RULES}


@pytest.mark.parametrize(
    ("reading", "policy", "history", "verdict", "reason"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_each_rule(reading: Changes, policy: Changes, history: Changes, verdict: str, reason: str) -> None:
    decision = judge(reading, policy, history)
    assert (decision.verdict, decision.reason) == (verdict, reason), decision.message


@pytest.mark.parametrize(
    ("first", "second", "reading", "policy", "history"),
    PRIORITIES,
    ids=[f"{r[0]}-{r[1]}" for r in PRIORITIES],
)
def test_priority(first: str, second: str, reading: Changes, policy: Changes, history: Changes) -> None:
    facts = case(reading, policy, history)
    assert BY_NAME[first](*facts)
    assert BY_NAME[second](*facts)
    assert decide(*facts).rule == first


def test_every_pair_of_neighbours_is_looked_at() -> None:
    neighbours = set(itertools.pairwise(BY_NAME))
    assert neighbours == {row[:2] for row in PRIORITIES} | set(EXCLUSIVE)


@settings(max_examples=400)
@given(CASES)
def test_exclusive_neighbours_never_both_apply(facts: Case) -> None:
    for first, second in EXCLUSIVE:
        assert not (BY_NAME[first](*facts) and BY_NAME[second](*facts)), (first, second)


def test_every_rule_decides_a_row_of_the_table() -> None:
    deciding = {judge(*row[1:4]).rule for row in TABLE}
    assert deciding == {*BY_NAME, "merge"}


@pytest.mark.parametrize("holds", PROPERTIES, ids=[each.__name__ for each in PROPERTIES])
def test_property(holds: Any) -> None:
    @settings(max_examples=400)
    @given(CASES)
    def every_case(facts: Case) -> None:
        holds(*facts)

    every_case()


def test_the_generated_cases_reach_every_verdict() -> None:
    """The properties above say nothing of a case that is never made. Re-runs come from ``judge_failure``."""
    reached = set()

    @settings(max_examples=2_000, phases=[Phase.generate], deadline=None, database=None, derandomize=True)
    @given(CASES)
    def every_case(facts: Case) -> None:
        reached.add(decide(*facts).verdict)

    every_case()
    assert reached == set(get_args(Verdict)) - {"rerun_checks"}


@pytest.mark.parametrize(("facts", "text"), MESSAGES, ids=[row[1] for row in MESSAGES])
def test_messages_name_what_they_are_about(facts: Case, text: str) -> None:
    assert text in decide(*facts).message


@pytest.mark.parametrize("conclusion", ["NEUTRAL", "SKIPPED"])
def test_neutral_and_skipped_checks_are_passed_checks(conclusion: str) -> None:
    check = Check(name="optional", state="passed", kind="check_run", conclusion=conclusion)
    assert judge({"checks": (check, PASSED)}).verdict == "merge"


def test_a_new_comment_in_an_answered_thread_is_a_new_objection() -> None:
    more = (*THREAD.comments, Comment(author="olga", body="Still", can_write=True))
    again = dataclasses.replace(THREAD, comments=more)
    answered = {"rounds": (a_round(head=NEXT_HEAD, answered=(THREAD.key,)),)}
    assert judge({"threads": (again,)}, history=answered).verdict == "fix"


def test_a_second_objection_of_the_same_person_is_a_new_one() -> None:
    again = dataclasses.replace(OBJECTION, head_sha=HEAD, body="Now this.")
    answered = {"rounds": (a_round(head=NEXT_HEAD, answered=(OBJECTION.key,)),)}
    assert judge({"reviews": (again,)}, history=answered).verdict == "fix"


def test_our_reply_in_a_thread_is_no_new_objection() -> None:
    """Or each round would answer the answer of the one before."""
    reply = Comment(author="agents", body="Done.", can_write=True, own=True)
    replied = dataclasses.replace(THREAD, comments=(*THREAD.comments, reply))
    answered = {"rounds": (a_round(head=NEXT_HEAD, answered=(THREAD.key,)),)}
    assert judge({"threads": (replied,)}, history=answered).reason == "awaiting_reviewer"


def test_oscillation_spends_the_rounds() -> None:
    """Failing, conflict, failing, conflict …: whatever it looks like in between, the run ends."""
    history: dict[str, Any] = {"rounds": ()}
    for turn in range(20):
        failing = turn % 2 == 0
        reading = {"checks": (FAILED,)} if failing else {"mergeable": "CONFLICTING"}
        head = f"{turn:040x}"
        decision = judge({**reading, "head_sha": head}, {}, {**history, "heads_first_seen": {head: LONG_AGO}})
        if decision.verdict == "escalate":
            break
        assert decision.verdict == "fix"
        history["rounds"] = (*history["rounds"], a_round(decision.reason, head, f"{turn + 1:040x}"))
    assert (decision.verdict, decision.reason, len(history["rounds"])) == ("escalate", "rounds_exhausted", 5)


@pytest.mark.parametrize(("facts", "wanted"), [row[1:] for row in BOUNDS], ids=[row[0] for row in BOUNDS])
def test_bounds(facts: Case, wanted: str) -> None:
    assert outcome_of_bound(facts, wanted) == wanted


def test_consent_is_to_the_head_that_was_there() -> None:
    """``/merge``, written while the first head stood, is no consent to the head that a fix pushed since."""
    merge = said("/merge", created_at=MINUTES_AGO)
    seen = {HEAD: LONG_AGO, NEXT_HEAD: JUST_NOW}
    facts = case({"head_sha": NEXT_HEAD, "comments": (merge,)}, history={"heads_first_seen": seen})
    (command,) = pending_commands(facts[0], facts[2])
    assert not command.about_head


def test_rules_are_named_in_order_and_documented() -> None:
    assert len(BY_NAME) == len(RULES)
    for rule in RULES:
        assert rule.__doc__, rule.__name__
    assert set(get_args(Verdict)) > ACTS_AND_WAITS
    assert set(landing.__all__) <= set(vars(landing))
