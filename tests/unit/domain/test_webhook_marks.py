"""The texts that marks and deliveries are kept in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.webhook_marks import (
    MARK_HOURS,
    MOST_CHARACTERS,
    MOST_NAMES,
    MOST_SEEN,
    SEEN_HOURS,
    changed,
    delivery_ids,
    is_seen,
    mark,
    read_marks,
    remember,
)

NOW = 1_800_000_000.0
DAY = 24 * 3600


def test_a_name_is_marked_by_the_moment() -> None:
    assert json.loads(mark(None, ["a/b#7"], NOW)) == {"a/b#7": 1_800_000_000_000}


def test_each_mark_is_another_one_even_where_the_clock_stands_or_goes_back() -> None:
    text, seen = mark(None, ["a/b"], NOW), set()
    for moment in (NOW, NOW, NOW - 3600, NOW + 0.001, NOW):
        before = read_marks(text)
        text = mark(text, ["a/b"], moment)
        assert changed(before, read_marks(text)) == ["a/b"]
        seen.add(text)
    assert len(seen) == 5


def test_other_marks_stay() -> None:
    text = mark(mark(None, ["a/b"], NOW), ["c/d"], NOW + 1)
    assert changed(read_marks(mark(None, ["a/b"], NOW)), read_marks(text)) == ["c/d"]


def test_marks_of_others_stay() -> None:
    assert read_marks(mark('{"a/b": "2026-01-01T00:00:00Z"}', ["c/d"], NOW))["a/b"] == "2026-01-01T00:00:00Z"


def test_old_marks_go() -> None:
    text = mark(mark(None, ["a/b"], NOW), ["c/d"], NOW + MARK_HOURS * 3600 + 1)
    assert list(read_marks(text)) == ["c/d"]


@pytest.mark.parametrize("broken", ["", "{", "[]", "null", '"x"', "[" * 50_000, " " * (MOST_CHARACTERS + 1)])
def test_a_text_that_cannot_be_read_is_begun_anew(broken: str) -> None:
    assert list(read_marks(mark(broken, ["a/b"], NOW))) == ["a/b"]
    assert is_seen(remember(broken, ["x"], NOW), ["x"])


def test_the_oldest_names_go_first() -> None:
    text = None
    for number in range(MOST_NAMES + 5):
        text = mark(text, [f"a/b#{number}"], NOW)
    text = mark(text, ["a/b#5"], NOW)
    names = list(read_marks(text or ""))
    assert (len(names), names[0], names[-1]) == (MOST_NAMES, "a/b#6", "a/b#5")


@given(st.lists(st.text(min_size=1, max_size=150), min_size=1, max_size=40), st.integers(0, 900))
def test_what_is_written_can_be_read_and_holds_what_was_just_marked(names: list[str], others: int) -> None:
    text = json.dumps({f"acme/{'x' * 60}#{number}": 1 for number in range(others)})
    written = mark(text, names, NOW)
    assert set(names) <= set(read_marks(written))


def test_it_never_is_longer_than_its_readers_take() -> None:
    text = mark(None, [f"{'o' * 39}/{'r' * 100}#{number}" for number in range(MOST_NAMES)], NOW)
    assert MOST_CHARACTERS * 0.8 < len(text) <= MOST_CHARACTERS
    assert f"{'o' * 39}/{'r' * 100}#{MOST_NAMES - 1}" in read_marks(text)


def test_a_delivery_is_known_by_its_id_and_by_its_body() -> None:
    ids = delivery_ids("github", "guid-1", b"body")
    text = remember(None, ids, NOW)
    assert is_seen(text, ids)
    assert is_seen(text, delivery_ids("github", "guid-2", b"body"))
    assert is_seen(text, delivery_ids("github", "guid-1", b"other"))
    assert not is_seen(text, delivery_ids("github", "guid-2", b"other"))
    assert not is_seen(text, delivery_ids("linear", "guid-1", b"body"))
    assert not is_seen(None, ids)


def test_a_body_cannot_be_taken_for_an_id() -> None:
    by_id, by_body = delivery_ids("github", "x", b"x")
    assert by_id != by_body


def test_deliveries_of_long_ago_and_the_oldest_of_many_are_forgotten() -> None:
    text = remember(None, ["old"], NOW)
    assert is_seen(remember(text, ["new"], NOW + SEEN_HOURS * 3600 - 1), ["old"])
    assert not is_seen(remember(text, ["new"], NOW + SEEN_HOURS * 3600 + 1), ["old"])
    for number in range(MOST_SEEN):
        text = remember(text, [f"id{number:014}"], NOW)
    assert not is_seen(text, ["old"])
    assert is_seen(text, [f"id{0:014}"])
    assert len(text) <= MOST_CHARACTERS
