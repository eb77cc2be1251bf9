"""Whose turn it is: tables of what is read and asked, and histories drawn by Hypothesis."""

from __future__ import annotations

import dataclasses
import itertools
import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pr_rule_turns import NOW, PARTS, answer, entry, reading, seen

from airflow_provider_agents.domain.pr_rule import PullRequestRule
from airflow_provider_agents.domain.pr_rule_turn import (
    GAVE_UP,
    READ_AGAIN_AFTER,
    UNSETTLED_AT_MOST,
    backoff,
    in_turn,
    is_due,
    listing_mark,
    turn,
    unread,
    wait_ends,
    waits_for_person,
    without_money,
)

if TYPE_CHECKING:
    from airflow_provider_agents.domain.pr_rule_state import Seen

HOUR = timedelta(hours=1)
RULE = PullRequestRule(instruction="Merge what is green.")


@pytest.mark.parametrize(
    ("known", "after", "expected"),
    [
        (None, timedelta(), True),
        (seen(), timedelta(), False),
        (seen(listing="other"), timedelta(), True),
        (seen(listing=""), timedelta(), True),
        (seen(retry_at=NOW + HOUR), timedelta(minutes=59), False),
        (seen(retry_at=NOW + HOUR), HOUR, True),
        (seen(), READ_AGAIN_AFTER - timedelta(seconds=1), False),
        (seen(), READ_AGAIN_AFTER, True),
        (seen(read_at=None), timedelta(), True),
    ],
)
def test_what_is_read_in_full(known: Seen | None, after: timedelta, expected: bool) -> None:
    assert is_due(known, "m1", NOW + after) is expected


@pytest.mark.parametrize(
    "other",
    [
        listing_mark(entry(title="Other"), "v1"),
        listing_mark(entry(), "v2"),
        listing_mark(entry(), "v1", "Degraded"),
        listing_mark(entry(updated_at=NOW + HOUR), "v1"),
    ],
)
def test_what_changes_the_mark_of_a_listing(other: str) -> None:
    assert other != listing_mark(entry(), "v1") == listing_mark(entry(), "v1")


def test_the_label_of_a_person_is_known_in_any_case() -> None:
    assert waits_for_person(entry(labels=("Needs-Human-Approval",)), RULE)
    assert not waits_for_person(entry(labels=("staging",)), RULE)


WAIT = answer("wait")
CHANGED: dict[str, Any] = {"context_hash": "h2", "parts": {**PARTS, "labels": "l2"}}


@pytest.mark.parametrize(
    ("now", "known", "read", "verdict"),
    [
        # Nobody was asked yet
        (NOW, None, {}, "ask"),
        (NOW, seen(answer=None), {}, "ask"),
        # An answer that acts
        (NOW, seen(), {}, "stands"),
        (NOW, seen(outcome="done"), {}, "rests"),
        (NOW, seen(outcome="dry_run"), {}, "rests"),
        (NOW, seen(outcome="guarded", guard="freeze"), {}, "stands"),
        (NOW, seen(outcome="failed", retry_at=NOW + HOUR), {}, "backs_off"),
        (NOW + HOUR, seen(outcome="failed", retry_at=NOW + HOUR), {}, "stands"),
        (NOW, seen(), CHANGED, "ask"),
        (NOW, seen(outcome="done"), CHANGED, "ask"),
        (NOW, seen(), {"version": "v2"}, "ask"),
        (NOW, seen(), {"head_sha": "b" * 40}, "ask"),
        # An answer that waits
        (NOW, seen(answer=WAIT), {}, "waits"),
        (NOW + 100 * HOUR, seen(answer=WAIT), {}, "waits"),
        (NOW, seen(answer=WAIT), CHANGED, "ask"),
        (NOW, seen(answer=WAIT), {"version": "v2"}, "ask"),
        (NOW, seen(answer=answer("wait", wait_for="labels")), CHANGED, "ask"),
        (NOW, seen(answer=answer("wait", wait_for="checks")), CHANGED, "waits"),
        (NOW + 24 * HOUR, seen(answer=answer("wait", wait_for="checks")), CHANGED, "ask"),
        (
            NOW,
            seen(answer=answer("wait", wait_for="review")),
            {"head_sha": "b" * 40, "context_hash": "h2", "parts": {**PARTS, "push": "p2"}},
            "waits",
        ),
        (NOW + HOUR, seen(answer=answer("wait", until=NOW + 2 * HOUR)), {}, "waits"),
        (NOW + 2 * HOUR, seen(answer=answer("wait", until=NOW + 2 * HOUR)), {}, "ask"),
        (NOW + 24 * HOUR, seen(answer=answer("wait", until=NOW + 99 * HOUR)), {}, "ask"),
        (NOW + timedelta(minutes=4), seen(answer=answer("wait", until=NOW)), {}, "waits"),
        (NOW + timedelta(minutes=5), seen(answer=answer("wait", until=NOW)), {}, "ask"),
        # The model gave no answer
        (NOW, seen(answer=None, failures=2, fault="timeout", retry_at=NOW + HOUR), {}, "backs_off"),
        (NOW, seen(answer=None, failures=2, fault="timeout", retry_at=NOW + HOUR), CHANGED, "backs_off"),
        (NOW + HOUR, seen(answer=None, failures=2, fault="timeout", retry_at=NOW + HOUR), {}, "ask"),
        (NOW, seen(answer=None, failures=2, retry_at=NOW + HOUR), {"head_sha": "b" * 40}, "ask"),
        (NOW, seen(answer=None, failures=2, retry_at=NOW + HOUR), {"version": "v2"}, "ask"),
        (NOW + 9 * HOUR, seen(answer=None, failures=5, guard=GAVE_UP, retry_at=NOW + HOUR), {}, "gave_up"),
        (NOW + 9 * HOUR, seen(answer=None, failures=5, guard=GAVE_UP), CHANGED, "ask"),
        (NOW + 9 * HOUR, seen(answer=None, failures=5, guard=GAVE_UP, outcome="failed"), {}, "ask"),
        # Something is unsettled
        (NOW, None, {"unsettled": "checks run"}, "unsettled"),
        (NOW, seen(), {**CHANGED, "unsettled": "checks run"}, "unsettled"),
        (NOW, seen(), {"unsettled": "checks run"}, "stands"),  # as it was when it was asked about
        (NOW, seen(unsettled_since=NOW - UNSETTLED_AT_MOST, answer=None), {"unsettled": "checks run"}, "ask"),
        (
            NOW,
            seen(unsettled_since=NOW - 9 * HOUR, answer=None),
            {"unsettled": "checks run", "head_sha": "b" * 40},
            "unsettled",
        ),
        (
            NOW + 3 * HOUR,
            seen(answer=answer("wait", until=NOW + HOUR)),
            {"unsettled": "checks run"},
            "unsettled",
        ),
    ],
)
def test_verdicts(now: datetime, known: Seen | None, read: dict[str, Any], verdict: str) -> None:
    found = turn(reading(**read), known, now)
    assert (found.verdict, bool(found.why)) == (verdict, True)


def test_an_answer_that_acts_does_not_outlive_its_head_even_if_the_head_comes_back() -> None:
    moved = turn(reading(head_sha="b" * 40, mark="m2", unsettled="checks run"), seen(), NOW)
    back = turn(reading(mark="m3"), moved.seen, NOW + HOUR)
    assert back.verdict == "ask"
    assert back.seen.head_first_seen == NOW + HOUR


def test_when_a_head_was_first_seen_is_told_by_the_clock_of_the_checks() -> None:
    by_github = NOW - timedelta(seconds=3)
    first = turn(reading(read_at=by_github), None, NOW).seen
    assert first.head_first_seen == by_github
    later = turn(reading(read_at=by_github + HOUR), first, NOW + HOUR).seen
    assert later.head_first_seen == by_github


def test_an_answer_comes_back_where_the_checks_ran_once_more_with_the_same_end() -> None:
    running = turn(reading(context_hash="h2", unsettled="checks run", mark="m2"), seen(guard="freeze"), NOW)
    assert running.verdict == "unsettled"
    assert turn(reading(mark="m3"), running.seen, NOW + HOUR).verdict == "stands"


def test_what_the_listing_does_not_show_is_read_again_less_and_less_often() -> None:
    known, moments, now = None, [NOW], NOW
    for _ in range(6):
        found = turn(reading(unsettled="mergeable unknown", listing_settled=True), known, now)
        assert found.seen.retry_at is not None
        known, now = found.seen, found.seen.retry_at
        moments.append(now)
    pauses = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(moments)]
    assert pauses[0] == 60
    assert pauses == sorted(pauses)
    visible = turn(reading(unsettled="checks run"), None, NOW)
    assert visible.seen.retry_at == NOW + UNSETTLED_AT_MOST


def test_one_that_cannot_be_read_goes_behind_the_others_and_is_tried_again() -> None:
    known = unread(None, "m1", NOW)
    assert not is_due(known, "m1", NOW + timedelta(minutes=4))
    assert is_due(known, "m1", NOW + timedelta(minutes=5))
    a_day_on = unread(known, "m1", NOW + 24 * HOUR)
    assert a_day_on.retry_at == NOW + 24 * HOUR + 2.4 * HOUR
    later = entry(8, created_at=NOW - HOUR)
    assert in_turn([entry(7, created_at=NOW - 2 * HOUR), later], {entry(7).key: known}, NOW) == [
        later,
        entry(7, created_at=NOW - 2 * HOUR),
    ]


def test_a_clock_that_was_far_ahead_once_holds_nobody_up() -> None:
    ahead = NOW + timedelta(days=400)
    unsettled = turn(reading(unsettled="checks run"), None, ahead).seen
    assert is_due(unsettled, "m1", NOW)
    held_up = turn(reading(unsettled="checks run"), unsettled, NOW)
    assert turn(reading(unsettled="checks run"), held_up.seen, NOW + UNSETTLED_AT_MOST).verdict == "ask"
    failing = seen(answer=None, failures=1, fault="timeout", read_at=ahead, retry_at=ahead)
    assert turn(reading(), failing, NOW).verdict == "ask"
    assert turn(reading(), seen(outcome="failed", retry_at=ahead), NOW).verdict == "stands"


def test_without_money_it_keeps_its_turn_and_is_not_read_until_then() -> None:
    taken = turn(reading(), None, NOW)
    known = without_money(taken, None, NOW + 12 * HOUR)
    assert known.considered_at is None
    assert not is_due(known, "m1", NOW + HOUR)
    assert turn(reading(), known, NOW + 12 * HOUR).verdict == "ask"


@pytest.mark.parametrize(
    ("failures", "retry_after", "minutes"),
    [(1, None, 1), (2, None, 5), (3, None, 15), (4, None, 60), (9, None, 60), (1, 120.0, 2), (1, 1e6, 60)],
)
def test_backoff(failures: int, retry_after: float | None, minutes: int) -> None:
    assert backoff(failures, retry_after) == timedelta(minutes=minutes)


def test_an_answer_without_an_end_has_none() -> None:
    assert wait_ends(answer("wait"), NOW) is None


# Histories

CHANGES = st.fixed_dictionaries(
    {
        "head_sha": st.sampled_from(["a" * 40, "b" * 40]),
        "context_hash": st.sampled_from(["h1", "h2"]),
        "version": st.sampled_from(["v1", "v2"]),
        "unsettled": st.sampled_from(["", "checks run"]),
        "mark": st.sampled_from(["m1", "m2"]),
    }
)
ANSWERS = st.sampled_from([answer(), answer("close"), WAIT, answer("wait", wait_for="checks")])


@given(
    given_answer=ANSWERS,
    outcome=st.sampled_from(["done", "dry_run", "guarded", "failed", ""]),
    hours=st.integers(0, 500),
)
def test_while_nothing_changes_nobody_is_ever_asked(given_answer: Any, outcome: str, hours: int) -> None:
    known = seen(answer=given_answer, outcome=outcome)
    for hour in range(0, hours, 7):
        found = turn(reading(), known, NOW + hour * HOUR)
        assert found.verdict != "ask"
        known = found.seen


@given(steps=st.lists(st.tuples(CHANGES, st.integers(0, 20)), min_size=1, max_size=30))
def test_an_answer_stands_only_for_the_rule_the_head_and_the_facts_that_it_was_given_for(
    steps: list[tuple[dict[str, str], int]],
) -> None:
    known: Seen | None = None
    asked_about: tuple[str, str, str] | None = None
    now = NOW
    pending_since: datetime | None = None
    head = ""
    for change, hours in steps:
        now += hours * HOUR
        read = reading(**change)
        if not read.unsettled or read.head_sha != head:
            pending_since = None
        head = read.head_sha
        if read.unsettled and pending_since is None:
            pending_since = now
        found = turn(read, known, now)
        known = found.seen
        about = (read.version, read.head_sha, read.context_hash)
        if found.verdict == "stands":
            assert about == asked_about
        if found.verdict == "ask":
            if read.unsettled:
                assert pending_since is not None
                assert now - pending_since >= UNSETTLED_AT_MOST
            asked_about = about
            known = dataclasses.replace(
                known, version=read.version, context_hash=read.context_hash, answer=answer(), answered_at=now
            )


@given(
    count=st.integers(1, 60),
    most=st.integers(1, 20),
    broken=st.sets(st.integers(0, 59)),
    busy=st.sets(st.integers(0, 59)),
)
def test_everyone_is_considered_within_as_many_runs_as_it_takes(
    count: int, most: int, broken: set[int], busy: set[int]
) -> None:
    """Broken ones fail each time, busy ones change each time; neither keeps anybody from their turn."""
    known: dict[str, Seen] = {}
    considered: set[int] = set()
    runs = math.ceil(count / most)
    for run in range(runs):
        now = NOW + run * timedelta(minutes=10)
        entries = [
            entry(number, updated_at=now if number in busy else NOW, created_at=NOW - number * HOUR)
            for number in range(count)
        ]
        due = [each for each in entries if is_due(known.get(each.key), listing_mark(each, "v1"), now)]
        for each in in_turn(due, known, now)[:most]:
            mark = listing_mark(each, "v1")
            before = known.get(each.key)
            known[each.key] = (
                unread(before, mark, now)
                if each.number in broken
                else turn(reading(mark=mark), before, now).seen
            )
            considered.add(each.number)
    assert considered == set(range(count))
