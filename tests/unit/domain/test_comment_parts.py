"""Long texts as several comments."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.comment_parts import MOST_CHARACTERS, comment_parts

_HEADING = re.compile(r"\*Part (\d+) of (\d+)\*\n\n")


def _bodies(parts: tuple[str, ...]) -> list[str]:
    return [_HEADING.sub("", part, count=1) for part in parts]


@pytest.mark.parametrize("size", [0, 1, MOST_CHARACTERS])
def test_what_fits_stays_as_it_is(size: int) -> None:
    assert comment_parts("x" * size) == ("x" * size,)


def test_one_character_more_makes_two_numbered_parts() -> None:
    line = "y" * 99
    parts = comment_parts("\n".join([line] * 601))
    assert [part.split("\n")[0] for part in parts] == ["*Part 1 of 2*", "*Part 2 of 2*"]
    assert all(len(part) <= MOST_CHARACTERS for part in parts)


@given(st.lists(st.text(alphabet="ab `~\u00e9", max_size=400), max_size=60))
def test_no_part_is_too_long_and_nothing_is_lost(lines: list[str]) -> None:
    text = "\n".join(lines)
    parts = comment_parts(text, 1_000)
    assert all(0 < len(part) <= 1_000 or text == "" for part in parts)
    kept = "".join(character for part in _bodies(parts) for character in part if character in "ab\u00e9")
    assert kept.replace("\n", "") == "".join(c for c in text if c in "ab\u00e9")


def test_cuts_are_between_lines() -> None:
    lines = [f"line {i} " + "z" * 90 for i in range(50)]
    bodies = _bodies(comment_parts("\n".join(lines), 1_000))
    assert [line for body in bodies for line in body.split("\n")] == lines


def test_a_line_that_is_longer_than_a_comment_is_cut_itself() -> None:
    bodies = _bodies(comment_parts("w" * 5_000, 1_000))
    assert "".join(body.replace("\n", "") for body in bodies) == "w" * 5_000


def test_a_code_block_is_closed_and_opened_again_at_a_cut() -> None:
    text = "\n".join(["````python", *["print('```')" + " " * 80] * 30, "````", "after"])
    bodies = _bodies(comment_parts(text, 1_000))
    assert len(bodies) > 2
    assert all(body.split("\n")[0] == "````python" and body.split("\n")[-1] == "````" for body in bodies[:-1])
    assert bodies[-1].split("\n")[0] == "````python"
    assert bodies[-1].endswith("````\nafter")


def test_too_small_a_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1,000"):
        comment_parts("x", 10)
