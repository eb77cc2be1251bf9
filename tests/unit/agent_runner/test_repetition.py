"""What counts as the same tool call, and what is done about it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.repetition import GIVE_UP_AT, REMARK_AT, Repetition

CALL = ("Bash", {"command": "make test"}, "2 failed")


def observed(*calls: tuple[str, object, object], lane: str = "") -> Repetition:
    repetition = Repetition()
    for name, given_, output in calls:
        repetition.observe(name, given_, output, lane=lane)
    return repetition


@pytest.mark.parametrize(
    "other",
    [
        ("Read", {"command": "make test"}, "2 failed"),
        ("Bash", {"command": "make lint"}, "2 failed"),
        ("Bash", {"command": "make test"}, "1 failed"),
    ],
)
def test_another_call_in_between_starts_the_count_anew(other: tuple[str, object, object]) -> None:
    assert observed(CALL, CALL, other, CALL).advice is None
    advice = observed(CALL, CALL, other, CALL, CALL, CALL).advice
    assert advice is not None
    assert advice[1].times == REMARK_AT


def test_remark_once_then_give_up() -> None:
    repetition = observed(*[CALL] * REMARK_AT)
    advice = repetition.advice
    assert advice is not None
    assert (advice[0], advice[1].tool, advice[1].call) == ("remark", "Bash", "make test")
    repetition.remarked()
    assert repetition.advice is None
    repetition.observe(*CALL)
    assert repetition.advice is None
    repetition.observe(*CALL)
    advice = repetition.advice
    assert advice is not None
    assert (advice[0], advice[1].times) == ("give_up", GIVE_UP_AT)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1 failed in 0.12s", "1 failed in 3.40s"),
        ("took 5 ms", "took 17 ms"),
        ("[12:01:02,123] no", "[12:01:09,001] no"),
        ("<Shop object at 0x7f00dead>", "<Shop object at 0x7f11beef>"),
        ([{"type": "text", "text": "in 1.0s"}], [{"type": "text", "text": "in 2.0s"}]),
    ],
)
def test_times_and_addresses_make_no_difference(first: object, second: object) -> None:
    calls = [("Bash", {"command": "x"}, output) for output in (first, second, first)]
    assert observed(*calls).advice is not None


@pytest.mark.parametrize(("first", "second"), [("2 failed", "3 failed"), ("line 10", "line 11"), ("", None)])
def test_other_numbers_do(first: object, second: object) -> None:
    calls = [("Bash", {"command": "x"}, output) for output in (first, second, first)]
    assert observed(*calls).advice is None


def test_subagents_count_each_for_itself() -> None:
    repetition = Repetition()
    for lane in ("a", "b", ""):
        repetition.observe(*CALL, lane=lane)
    assert repetition.advice is None


def test_lanes_are_bounded() -> None:
    repetition = observed(CALL, CALL, lane="old")
    for number in range(1_000):
        repetition.observe(*CALL, lane=str(number))
    repetition.observe(*CALL, lane="old")
    assert repetition.advice is None


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([{"x": 1}, None]), st.sampled_from(["", "o"])))
)
def test_advice_follows_from_the_longest_streak(calls: list[tuple[str, object, object]]) -> None:
    longest = streak = 0
    for number, call in enumerate(calls):
        streak = streak + 1 if number and calls[number - 1] == call else 1
        longest = max(longest, streak)
    advice = observed(*calls).advice
    expected = "give_up" if longest >= GIVE_UP_AT else "remark" if longest >= REMARK_AT else None
    assert (advice and advice[0]) == expected


@given(
    st.recursive(st.none() | st.text() | st.floats(), lambda x: st.lists(x) | st.dictionaries(st.text(), x))
)
def test_anything_can_be_observed(value: object) -> None:
    advice = observed(*[("x", value, value)] * REMARK_AT).advice
    assert advice is not None
    assert len(advice[1].call) <= 300
