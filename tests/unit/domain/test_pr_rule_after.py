"""What a rule remembers once a run has ended: tables, and crashes."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from pr_rule_turns import NOW, PARTS, answer, decision, look, question, reading, seen

from airflow_provider_agents.domain.pr_rule_after import (
    UNLISTED_AGAIN_AFTER,
    after,
    after_failure,
    error_type,
    errors_of,
)
from airflow_provider_agents.domain.pr_rule_budget import reserve
from airflow_provider_agents.domain.pr_rule_look import Look, LookFault
from airflow_provider_agents.domain.pr_rule_state import FORGET_AFTER, MOST_GONE, RuleState
from airflow_provider_agents.domain.pr_rule_turn import GAVE_UP, is_due, turn

KEY = "acme/shop#7"
DAY = "2026-03-05"
END = NOW + timedelta(minutes=2)


def asked(**values: Any) -> Look:
    """Return the look of a run that asks about one pull request."""
    fresh = seen(answer=None, answered_at=None, version="", context_hash="", parts={})
    return look(**{"matched": (KEY,), "seen": {KEY: fresh}, "asked": {KEY: question()}, **values})


def booked() -> RuleState:
    return reserve(RuleState(), "run-1", 0.05, NOW)


def test_an_answer_that_was_carried_out() -> None:
    state = after(booked(), asked(), [decision()], END)
    known = state.pull_requests[KEY]
    assert (known.answer, known.answered_at, known.outcome) == (answer(), NOW, "done")
    assert (known.version, known.context_hash, known.parts["checks"]) == ("v1", "h1", "c1")
    assert (state.usd, state.reserved, state.look_at) == ({DAY: 0.01}, {}, None)
    assert (state.processed, state.actions, state.errors) == (1, {"merge": 1}, {})
    assert state.last_pass is not None
    assert (state.last_pass.asked, state.last_pass.acted, state.last_pass.ended_at) == (1, 1, END)
    assert turn(reading(), known, END).verdict == "rests"


def test_an_answer_that_was_put_off_stands_and_the_next_look_is_then() -> None:
    later = END + timedelta(hours=3)
    put_off = decision(outcome="guarded", action="wait", guard="freeze", retry_at=later)
    state = after(booked(), asked(), [put_off], END)
    assert (state.look_at, state.actions) == (later, {"wait": 1})
    assert turn(reading(), state.pull_requests[KEY], later).verdict == "stands"


@pytest.mark.parametrize(
    ("until", "expected"),
    [(None, None), (NOW + timedelta(hours=2), NOW + timedelta(hours=2)), (NOW, NOW + timedelta(minutes=5))],
)
def test_an_answer_that_waits_is_looked_at_when_its_time_has_come(until: Any, expected: Any) -> None:
    waits = decision(answer=answer("wait", until=until), action="wait", outcome="waiting")
    assert after(booked(), asked(), [waits], END).look_at == expected


def test_no_answer_is_counted_and_asked_for_later() -> None:
    retry_at = NOW + timedelta(minutes=5)
    none = decision(
        answer=None, fault="rate_limited", detail="slow down", usd=0.0, retry_at=retry_at, action="wait"
    )
    state = after(booked(), asked(), [none], END)
    known = state.pull_requests[KEY]
    assert (known.failures, known.fault, known.answer, state.look_at) == (1, "rate_limited", None, retry_at)
    assert (state.errors, state.usd) == ({"ai": 1}, {})
    assert state.last_error == "acme/shop#7: rate_limited: slow down"
    again = after(state, dataclasses.replace(asked(at=END), seen={KEY: known}), [decision()], END)
    assert (again.pull_requests[KEY].failures, again.pull_requests[KEY].fault) == (0, "")


def test_a_question_that_was_lost_costs_all_that_was_set_aside_and_comes_again() -> None:
    state = after(booked(), asked(), [], END)
    assert (state.spent(DAY), state.reserved, state.errors) == (0.05, {}, {"ai": 1})
    assert state.pull_requests[KEY].failures == 1
    assert state.look_at == END  # a minute after the look


def test_an_answer_that_did_not_come_in_time_may_cost_all_the_same() -> None:
    late = decision(answer=None, fault="timeout", usd=0.0, action="wait")
    assert after(booked(), asked(), [late], END).spent(DAY) == 0.05


def test_where_people_were_called_because_answers_are_of_no_use_nobody_is_asked_again() -> None:
    useless = decision(
        answer=None, fault="malformed", failures=5, guard=GAVE_UP, outcome="done", action="escalate"
    )
    state = after(booked(), asked(), [useless], END)
    assert turn(reading(), state.pull_requests[KEY], END + timedelta(days=9)).verdict == "gave_up"


def test_a_rule_that_was_edited_before_the_question_costs_nothing_and_is_read_again() -> None:
    edited = decision(answer=None, outcome="superseded", asked=False, usd=0.0, action="wait")
    state = after(booked(), asked(), [edited], END)
    known = state.pull_requests[KEY]
    assert (known.listing, known.failures, state.spent(DAY), state.processed) == ("", 0, 0, 0)


def test_an_answer_that_stood_and_was_carried_out() -> None:
    earlier = RuleState(pull_requests={KEY: seen(outcome="guarded", guard="freeze")})
    done = after(earlier, look(matched=(KEY,), standing=(KEY,)), [decision(asked=False, usd=0.5)], END)
    assert (done.pull_requests[KEY].outcome, done.pull_requests[KEY].guard) == ("done", "")
    assert (done.usd, done.processed) == ({}, 1)


def test_an_answer_that_stood_and_of_which_nothing_came_is_tried_again() -> None:
    earlier = RuleState(pull_requests={KEY: seen(outcome="guarded")})
    state = after(earlier, look(matched=(KEY,), standing=(KEY,)), [], NOW)
    assert state.look_at == NOW + timedelta(minutes=1)


def test_a_run_that_is_recorded_twice_counts_once() -> None:
    """As after a clear of the task that ends it, or a worker that died after the write."""
    once = after(booked(), asked(), [decision(outcome="failed", retry_at=END)], END)
    twice = after(once, asked(), [decision(outcome="done")], END)
    assert (twice.usd, twice.processed, twice.errors) == (once.usd, once.processed, once.errors)
    assert twice.pull_requests[KEY].outcome == "done"


def test_an_old_run_that_is_cleared_does_not_overwrite_what_is_known_since() -> None:
    later = NOW + timedelta(hours=1)
    newer = after(booked(), asked(run_id="run-2", at=later), [decision(decided_at=later)], later)
    assert after(newer, asked(at=NOW), [decision(outcome="failed")], later) == newer


def test_a_question_that_is_cleared_on_its_own_is_paid_for_and_its_answer_stands() -> None:
    once = after(booked(), asked(), [decision(answer=answer("wait"), outcome="waiting")], END)
    later = END + timedelta(minutes=5)
    new = decision(decided_at=later, usd=0.02, outcome="guarded", guard="settling", retry_at=later)
    twice = after(once, asked(), [new], later + timedelta(minutes=1))
    assert twice.spent(DAY) == pytest.approx(0.03)
    stands = twice.pull_requests[KEY]
    assert (stands.answer, stands.answered_at, stands.guard) == (new.answer, later, "settling")
    assert turn(reading(), stands, later).verdict == "stands"
    tried_again = after(twice, asked(), [new], later + timedelta(minutes=2))
    assert tried_again.spent(DAY) == pytest.approx(0.03)


def test_a_question_of_an_old_run_that_is_cleared_is_paid_for_and_changes_nothing_else() -> None:
    later = NOW + timedelta(hours=1)
    newer = after(booked(), asked(run_id="run-2", at=later), [decision(decided_at=later)], later)
    again = decision(decided_at=later + timedelta(minutes=5), answer=answer("close"))
    found = after(newer, asked(at=NOW), [again], later + timedelta(minutes=6))
    assert found.spent(DAY) == pytest.approx(newer.spent(DAY) + 0.01)
    assert found.pull_requests == newer.pull_requests


def test_a_clock_that_was_far_ahead_once_keeps_no_run_from_being_recorded() -> None:
    ahead = NOW + timedelta(days=400)
    first = after(booked(), asked(at=ahead), [decision()], ahead)
    assert after(first, asked(run_id="run-2", at=NOW), [decision()], END).processed == 2


def test_a_worker_whose_clock_is_behind_is_not_an_old_run() -> None:
    first = after(booked(), asked(at=END), [decision()], END)
    assert after(first, asked(run_id="run-2", at=NOW), [decision()], END).processed == 2


def test_what_is_not_listed_any_more_is_forgotten_after_a_while_and_what_could_not_be_listed_is_not() -> None:
    old = seen(seen_at=NOW - FORGET_AFTER)
    many = {f"acme/docs#{number}": seen(seen_at=NOW - timedelta(hours=number)) for number in range(1, 301)}
    state = RuleState(pull_requests={KEY: old, **many})
    kept = after(state, look(), [], END).pull_requests
    assert KEY not in kept
    assert set(kept) == {f"acme/docs#{number}" for number in range(1, MOST_GONE + 1)}
    blind = after(state, look(unlisted=("acme/docs",), list_again=True), [], END)
    assert len(blind.pull_requests) == 300
    assert blind.look_at == END + UNLISTED_AGAIN_AFTER
    without_names = after(state, look(unlisted=("acme",)), [], END)
    assert len(without_names.pull_requests) == 300
    assert without_names.look_at is None, (
        "it lacks a right, which the watcher or the sweep finds when it is given"
    )


def test_what_is_not_open_any_more_brings_no_run() -> None:
    gone = RuleState(pull_requests={KEY: seen(retry_at=NOW)})
    assert after(gone, look(), [], END).look_at is None
    assert after(gone, look(matched=(KEY,)), [], END).look_at == END


def test_what_waits_for_a_person_brings_no_run() -> None:
    late = seen(answer=answer("wait"), retry_at=NOW)
    state = RuleState(pull_requests={KEY: late})
    assert after(state, look(matched=(KEY,), with_people=(KEY,), poll_seconds=60.0), [], END).look_at is None


def test_after_an_answer_given_while_checks_ran_the_next_one_waits_as_long() -> None:
    late = seen(answer=None, answered_at=None, unsettled_since=NOW - timedelta(hours=7))
    state = after(booked(), asked(seen={KEY: late}), [decision(answer=answer("wait"))], END)
    known = state.pull_requests[KEY]
    another = reading(context_hash="h2", parts={**PARTS, "checks": "c2"}, unsettled="Checks run: test.")
    assert turn(another, known, NOW + timedelta(hours=5)).verdict == "unsettled"
    assert turn(another, known, NOW + timedelta(hours=6)).verdict == "ask"


def test_what_became_of_an_answer_that_was_superseded_is_looked_at_in_the_next_run() -> None:
    state = after(booked(), asked(), [decision(outcome="superseded")], END)
    assert is_due(state.pull_requests[KEY], "m1", END)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"left": 3}, END),
        ({"left": 3, "not_before": END + timedelta(hours=1)}, END + timedelta(hours=1)),
        (
            {"matched": (KEY,), "seen": {KEY: seen(answer=answer("wait"))}, "poll_seconds": 60.0},
            END + timedelta(minutes=1),
        ),
        ({"matched": (KEY,), "seen": {KEY: seen(outcome="done")}, "poll_seconds": 60.0}, None),
    ],
)
def test_when_to_look_again_although_nothing_changes(values: dict[str, Any], expected: Any) -> None:
    assert after(RuleState(), look(**values), [], END).look_at == expected


def test_faults_are_counted_by_type_and_the_last_one_stays_until_the_next() -> None:
    fault = LookFault(type="github", text="acme/docs: no right")
    state = after(RuleState(), look(faults=(fault, LookFault(type="argocd", text="away"))), [], END)
    assert (state.errors, state.last_error, state.last_error_at) == (
        {"github": 1, "argocd": 1},
        "acme/docs: no right",
        END,
    )
    later = after(state, look(at=END), [], END + timedelta(hours=1))
    assert (later.last_error, later.last_error_at) == ("acme/docs: no right", END)
    assert later.last_pass is not None
    assert later.last_pass.faults == ()


def test_a_look_that_failed_is_remembered_and_nothing_else_changes() -> None:
    state = after_failure(RuleState(processed=3, usd={DAY: 1.0}), "github", "away", END)
    assert (state.last_error, state.errors, state.processed, state.usd) == (
        "away",
        {"github": 1},
        3,
        {DAY: 1.0},
    )
    assert state.look_at == END + UNLISTED_AGAIN_AFTER


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, None),
        ({"outcome": "failed"}, "github"),
        ({"fault": "timeout", "answer": None}, "ai"),
        ({"fault": "unavailable", "answer": None, "model": ""}, "github"),
    ],
)
def test_whose_fault_it_is(values: dict[str, Any], expected: str | None) -> None:
    assert error_type(decision(**values)) == expected


def test_what_went_wrong_in_a_run_is_told_by_type() -> None:
    faults = (LookFault(type="github", text="x"), LookFault(type="github", text="y"))
    one = asked(faults=faults, asked={KEY: question(), "acme/shop#8": question()})
    assert errors_of(one, [decision(fault="timeout", answer=None)]) == {"github": 2, "ai": 2}


def test_the_look_is_the_same_after_the_way_through_an_xcom() -> None:
    one = asked(
        unlisted=("acme/docs",),
        standing=(KEY,),
        not_before=END,
        poll_seconds=60.0,
        faults=(LookFault(type="ai", text="x"),),
    )
    assert Look.from_dict(one.to_dict()) == one
