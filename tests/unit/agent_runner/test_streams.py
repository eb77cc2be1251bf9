"""Lines, tails, plain text and untrusted JSON: bounded, and safe to write again."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.console import MAX_LINE, one_line, output_line, plain
from agent_runner.contract import RESULT_MARKER
from agent_runner.process import LineSplitter, Tail
from agent_runner.untrusted_json import read_object


@given(st.binary(max_size=300), st.lists(st.integers(1, 20), max_size=30))
def test_splitting_does_not_depend_on_the_chunks(data: bytes, cuts: list[int]) -> None:
    splitter = LineSplitter(1_000)
    lines: list[bytes] = []
    rest = data
    for cut in cuts:
        lines += splitter.feed(rest[:cut])
        rest = rest[cut:]
    lines += splitter.feed(rest) + splitter.flush()
    expected = data.split(b"\n")
    assert lines == (expected if expected[-1] else expected[:-1])


def test_of_a_long_line_only_the_start_is_kept() -> None:
    splitter = LineSplitter(4)
    assert splitter.feed(b"abc") == []
    assert splitter.feed(b"defgh") == []
    assert splitter.feed(b"ij\nk\n") == [b"abcd", b"k"]


@given(st.lists(st.binary(max_size=50), max_size=50))
def test_tail_is_the_end(chunks: list[bytes]) -> None:
    tail = Tail(64)
    for chunk in chunks:
        tail.feed(chunk)
    assert tail.text() == b"".join(chunks)[-64:].decode(errors="replace")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("a\x00b\x08\x7f\u2028c", "abc"),
        ("a\r\nb\rc\td", "a\nb\nc\td"),
        ("\x9b31mred", "red"),
        ("\x1b(Bx\x1b=y", "xy"),
    ],
)
def test_plain(text: str, expected: str) -> None:
    assert plain(text) == expected


@given(st.text(max_size=50), st.text(max_size=50))
def test_no_line_can_hold_the_marker(before: str, after: str) -> None:
    for text in (
        before + RESULT_MARKER + after,
        before + RESULT_MARKER[:5] + "\x1b[0m" + RESULT_MARKER[5:] + after,
    ):
        for line in (one_line(text), output_line(text)):
            assert RESULT_MARKER not in line
            assert "\n" not in line


def test_long_lines_are_cut() -> None:
    assert len(one_line("x" * 100_000)) == MAX_LINE
    assert one_line("x" * 100_000).endswith("…")


@given(st.binary(max_size=100) | st.text(max_size=100).map(lambda t: json.dumps({"a": t}).encode()))
def test_what_is_read_can_be_written(line: bytes) -> None:
    value = read_object(line)
    assert value is None or json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"a": NaN, "b": -Infinity, "c": 1e999}', {"a": None, "b": None, "c": None}),
        (b'{"a": "\\ud800"}', {"a": "?"}),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
        (b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", None),
        (b"[" * 100_000, None),
        (b'{"a": ' + b"9" * 5_000 + b"}", None),
        (b"3", None),
    ],
)
def test_odd_json(line: bytes, expected: object) -> None:
    assert read_object(line) == expected
