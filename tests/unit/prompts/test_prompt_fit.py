"""What is cut of a prompt that is too long: by priority, with a notice, and never through a marker."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_runner.contract import MAX_SPEC_BYTES
from airflow_provider_agents.domain.prompt_fit import (
    PARTS,
    RESUME_BYTES,
    SPEC_BYTES,
    TooLongError,
    cut,
    estimated_tokens,
    fit,
    window_bytes,
    written_size,
)
from airflow_provider_agents.domain.untrusted import fence

if TYPE_CHECKING:
    from collections.abc import Mapping

_FENCE = re.compile(
    r'<untrusted id="([0-9a-f]{12})" source="[^"<>\n]*">\n.*?\n</untrusted id="\1">', re.DOTALL
)

LETTERS = st.text(st.sampled_from('ab é€😀\n<>&"\\{}#\u2028'), max_size=60)
SOURCES = st.sampled_from(("issue #7, written by mona", "end of that check's log", "test output", "plan"))
PIECES = st.one_of(
    LETTERS,
    st.builds(
        lambda text, times, source: fence(text * times, source, log="log" in source),
        LETTERS,
        st.integers(0, 60),
        SOURCES,
    ),
)
TEXTS = st.lists(PIECES, max_size=6).map("\n\n".join)


def outside(text: str) -> str:
    return _FENCE.sub("", text)


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.integers(0, 6_000))
def test_a_cut_text_fits_and_its_fences_are_whole(text: str, most: int) -> None:
    short = cut(text, most)
    assert len(short.encode()) <= max(most, 0) or short == text == ""
    assert outside(short).count("untrusted") == outside(text).count("untrusted") == 0
    if len(text.encode()) <= most:
        assert short == text
    elif short:
        assert "bytes are left out]" in short


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(400, 4_000))
def test_a_cut_text_says_how_much_is_missing(text: str, most: int) -> None:
    short = cut(text, most)
    if short == text:
        return
    total = len(text.encode())
    assert f" of {total:,} bytes are left out]" in short


def test_a_log_keeps_its_end_and_a_ticket_its_beginning() -> None:
    lines = "\n".join(f"line {number}" for number in range(2_000))
    log = cut(fence(lines, "end of that check's log", log=True), 2_000)
    assert "line 1999\n" in log
    assert "line 0\n" not in log
    ticket = cut(fence(lines, "issue #7, written by mona"), 2_000)
    assert "line 0\n" in ticket
    assert "line 1999" not in ticket
    assert outside(ticket).strip().startswith("[")


def test_whole_fences_stay_as_they_are() -> None:
    first, second = fence("a" * 500, "one"), fence("b" * 5_000, "two")
    short = cut(f"{first}\n\n{second}", 1_500)
    assert short.startswith(first)
    assert _FENCE.search(short[len(first) :])


def template(values: Mapping[str, Any]) -> str:
    return (
        "# Step\n" + "\n".join(f"## {name}\n{values[name]}" for name in PARTS if values.get(name)) + "\nGo.\n"
    )


SIZES = st.fixed_dictionaries({name: st.integers(0, 60_000) for name in PARTS})


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(30_000, 200_000), st.sampled_from(("a", "é", '"', "\n")))
def test_every_prompt_fits(sizes: dict[str, int], most: int, letter: str) -> None:
    values = {
        name: fence(letter * (size // len(letter.encode())), name) if size else ""
        for name, size in sizes.items()
    }
    found = fit(template, values, most)
    assert written_size(found.text) <= most
    assert outside(found.text).count("untrusted") == 0
    assert found.text.startswith("# Step\n")
    assert "\nGo.\n" in found.text
    assert (found.text == template(values)) == (not found.left_out)
    assert ("## Left out" in found.text) == bool(found.left_out)
    assert fit(template, values, most) == found


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(30_000, 200_000))
def test_nothing_goes_before_everything_less_important_is_down_to_its_rest(
    sizes: dict[str, int], most: int
) -> None:
    values = {name: "x" * size for name, size in sizes.items()}
    kept: dict[str, int] = {}

    def watched(now: Mapping[str, Any]) -> str:
        kept.update({name: len(now[name]) for name in PARTS})
        return template(now)

    found = fit(watched, values, most)
    names = list(PARTS)
    for name in names:
        if kept[name] < sizes[name]:  # shorter: all that follow have their rest at the most
            for other in names[names.index(name) + 1 :]:
                assert kept[other] <= min(sizes[other], PARTS[other][1])
    assert len(found.left_out) == sum(kept[name] < sizes[name] for name in names)


def test_history_goes_first_and_the_ticket_last() -> None:
    values = {"ticket": "t" * 60_000, "plan": "p" * 20_000, "history": "h" * 12_000}
    found = fit(template, values, 90_000)
    assert found.left_out[0].startswith("what was done so far: ")
    assert len(found.left_out) == 1
    assert "t" * 60_000 in found.text
    assert "p" * 20_000 in found.text
    assert "- what was done so far: " in found.text.partition("## Left out")[2]


def test_a_part_that_the_template_does_not_use_is_not_cut() -> None:
    def only_the_ticket(values: Mapping[str, Any]) -> str:
        return f"# {values['ticket']}\n"

    found = fit(only_the_ticket, {"ticket": "t" * 50_000, "history": "h" * 12_000}, 30_000)
    assert [line.partition(":")[0] for line in found.left_out] == ["the ticket"]


def test_a_part_that_is_used_twice_is_cut_for_both() -> None:
    found = fit(lambda values: f"{values['ticket']} {values['ticket']}\n", {"ticket": "t" * 60_000}, 90_000)
    assert written_size(found.text) <= 90_000
    assert found.text.count("bytes are left out]") == 2


def test_what_may_not_be_cut_is_named_with_its_size() -> None:
    with pytest.raises(TooLongError, match=r"50,0[0-9]{2} bytes, at most"):
        fit(lambda values: "x" * 50_000 + values["plan"], {"plan": "p" * 1_000}, 20_000)


def test_bounds() -> None:
    assert (window_bytes(None), window_bytes("200k"), window_bytes("1m")) == (200_000, 200_000, 1_000_000)
    assert RESUME_BYTES < SPEC_BYTES < MAX_SPEC_BYTES
    assert (estimated_tokens(""), estimated_tokens("abcde"), estimated_tokens("éé")) == (0, 2, 1)
    assert written_size('a"\n') == 5
    # Each part at its rest leaves room for the template itself.
    assert sum(rest for name, (_, rest) in PARTS.items() if name not in ("prompt", "review_prompt")) < 140_000
