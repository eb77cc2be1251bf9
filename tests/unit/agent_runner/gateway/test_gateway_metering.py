from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.contract import Tokens
from agent_runner.gateway import metering
from agent_runner.gateway.anthropic_api import MessagesJsonMeter, MessagesStreamMeter
from agent_runner.gateway.metering import Reading, StreamMeter, json_object

START = {
    "type": "message_start",
    "message": {
        "type": "message",
        "model": "claude-opus-5-5",
        "usage": {
            "input_tokens": 11,
            "cache_creation_input_tokens": 22,
            "cache_read_input_tokens": 33,
            "output_tokens": 1,
            "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 20},
        },
    },
}
ALL = Tokens(input=11, cache_write=22, cache_read=33, output=44)


def delta(output: int, **more: Any) -> dict[str, Any]:
    return {"type": "message_delta", "usage": {"output_tokens": output, **more}}


def text(words: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "delta": {"type": "text_delta", "text": words}}


def sse(*events: dict[str, Any], ending: str = "\n") -> bytes:
    return "".join(
        f"event: {e['type']}{ending}data: {json.dumps(e)}{ending}{ending}" for e in events
    ).encode()


def metered(data: bytes, places: list[int] | None = None) -> tuple[StreamMeter, Reading]:
    ends = sorted({place % (len(data) + 1) for place in places or []} | {0, len(data)})
    meter = MessagesStreamMeter()
    for start, end in itertools.pairwise(ends):
        meter.feed(data[start:end])
    return meter, meter.finish()


WHOLE = sse(
    START,
    text('data: {"type":"message_delta"}\n'),
    text("é\n\n"),
    delta(7),
    delta(44),
    {"type": "message_stop"},
)


@given(st.lists(st.integers(0, len(WHOLE))), st.sampled_from(["\n", "\r\n"]))
def test_a_stream_is_metered_however_it_is_cut(places: list[int], ending: str) -> None:
    meter, reading = metered(WHOLE.replace(b"\n", ending.encode()), places)
    assert meter.usage.tokens == ALL
    assert meter.usage.cache_write_1h == 20
    assert meter.usage.model == "claude-opus-5-5"
    assert reading is Reading.WHOLE


@given(st.lists(st.binary(max_size=80)))
def test_no_stream_crashes_the_meter(chunks: list[bytes]) -> None:
    meter = MessagesStreamMeter()
    for chunk in chunks:
        meter.feed(chunk)
    assert meter.finish() in (Reading.NOTHING, Reading.FAILED)
    assert meter.usage.tokens == Tokens()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "message",
                    "usage",
                    "model",
                    "delta",
                    "input_tokens",
                    "cache_creation",
                    "server_tool_use",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
)


@given(st.sampled_from(["message_start", "message_delta", "content_block_delta", "message"]), JSON, JSON)
def test_no_event_crashes_the_meter(kind: str, one: Any, other: Any) -> None:
    event = {"type": kind, "message": one, "usage": other, "delta": one}
    data = json.dumps(event).encode()
    meter, _ = metered(b"data: " + data + b"\n\n")
    plain = MessagesJsonMeter()
    plain.feed(data)
    plain.finish()
    for usage in (meter.usage, plain.usage):
        assert min(usage.input, usage.output, usage.cache_read, usage.cache_write, usage.web_searches) >= 0
        assert usage.cache_write_1h <= usage.cache_write


def test_later_counts_replace_earlier_ones_and_absent_ones_stay() -> None:
    meter, _ = metered(
        sse(START, delta(10, input_tokens=12), delta(50, server_tool_use={"web_search_requests": 3}))
    )
    assert meter.usage.tokens == Tokens(input=12, cache_write=22, cache_read=33, output=50)
    assert meter.usage.web_searches == 3


def test_a_stream_that_breaks_off_is_estimated_from_its_text() -> None:
    meter, reading = metered(sse(START, text("x" * 3_000), text("y" * 300)))
    assert reading is Reading.PROMPT
    assert meter.usage.output == 1_100
    assert meter.usage.input == 11


def test_a_stream_that_breaks_off_at_once_keeps_what_was_said() -> None:
    meter, reading = metered(sse(START))
    assert reading is Reading.PROMPT
    assert meter.usage.output == 1


def test_an_unended_last_line_counts() -> None:
    meter, reading = metered(sse(START, delta(44)).rstrip())
    assert meter.usage.output == 44
    assert reading is Reading.WHOLE


def test_an_error_before_anything_was_given_costs_nothing() -> None:
    assert metered(sse({"type": "error", "error": {"type": "overloaded_error"}}))[1] is Reading.FAILED
    assert metered(sse(START, {"type": "error"}))[1] is Reading.PROMPT
    assert metered(b"")[1] is Reading.NOTHING


def test_a_line_beyond_the_bound_is_skipped_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "MAX_LINE_BYTES", 1_000)
    meter = MessagesStreamMeter()
    meter.feed(sse(START) + b"data: ")
    for _ in range(100):
        meter.feed(b"x" * 100)
        assert len(meter._line) <= 1_000
    meter.feed(b"\n\n" + sse(delta(44)))
    assert meter.finish() is Reading.WHOLE
    assert meter.usage.tokens == ALL


def test_a_plain_answer() -> None:
    answer = {**START["message"], "usage": {**START["message"]["usage"], "output_tokens": 44}}  # type: ignore[dict-item]
    data, meter = json.dumps(answer).encode(), MessagesJsonMeter()
    for at in range(0, len(data), 10):
        meter.feed(data[at : at + 10])
    assert meter.finish() is Reading.WHOLE
    assert meter.usage.tokens == ALL
    assert meter.usage.model == "claude-opus-5-5"


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"type":"error","usage":{"input_tokens":5}}', b"[" * 100_000]
)
def test_a_plain_answer_that_is_no_message_counts_nothing(data: bytes) -> None:
    meter = MessagesJsonMeter()
    meter.feed(data)
    assert meter.finish() is (Reading.FAILED if b"error" in data else Reading.NOTHING)
    assert meter.usage.tokens == Tokens()
    assert meter.usage.model is None


def test_a_plain_answer_beyond_the_bound_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "MAX_JSON_BYTES", 100)
    meter = MessagesJsonMeter()
    for _ in range(10):
        meter.feed(b"x" * 60)
        assert len(meter._body) <= 100
    assert meter.finish() is Reading.NOTHING


COMPACT, WIDE = (",", ":"), (", ", ": ")


def line(event: dict[str, Any], separators: tuple[str, str]) -> bytes:
    return f"data: {json.dumps(event, separators=separators)}\n\n".encode()


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The lines that are parsed as JSON."""
    lines: list[bytes] = []

    def note(text: bytes) -> dict[str, Any]:
        lines.append(text)
        return json_object(text)

    monkeypatch.setattr(metering, "json_object", note)
    return lines


@pytest.mark.parametrize("separators", [COMPACT, WIDE])
@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("text_delta", "text"),
        ("input_json_delta", "partial_json"),
        ("thinking_delta", "thinking"),
        ("signature_delta", "signature"),
    ],
)
def test_pieces_of_the_answer_are_counted_without_being_parsed(
    parsed: list[bytes], separators: tuple[str, str], kind: str, key: str
) -> None:
    event = {"type": "content_block_delta", "index": 12, "delta": {"type": kind, key: "x" * 300}}
    meter, _ = metered(line(event, separators) * 10)
    assert meter.usage.output == 1_000
    assert parsed == []


@given(st.text(), st.sampled_from([COMPACT, WIDE]), st.booleans())
def test_a_piece_counts_at_least_its_text_whichever_way_it_is_read(
    words: str, separators: tuple[str, str], usual: bool
) -> None:
    delta = {"type": "text_delta", "text": words}
    event = {"type": "content_block_delta", "index": 0, "delta": delta}
    meter, _ = metered(line(event if usual else dict(reversed(event.items())), separators))
    size = len(words.encode("utf-8", "replace"))
    assert -(-size // 3) <= meter.usage.output <= -(-len(json.dumps(words)) // 3)


@given(st.text(), st.sampled_from([COMPACT, WIDE]))
def test_words_within_a_text_hide_no_counts_and_bring_none(words: str, separators: tuple[str, str]) -> None:
    looks_like = words + line(text("x"), COMPACT).decode() + line(delta(99), COMPACT).decode()
    for event in (text(looks_like), {**text(looks_like), "index": 0}):
        meter, reading = metered(line(START, separators) + line(event, separators))
        assert reading is Reading.PROMPT
    for counts in (delta(44), {"note": looks_like, **delta(44)}, {**delta(44), "delta": text(looks_like)}):
        meter, reading = metered(line(START, separators) + line(counts, separators))
        assert (reading, meter.usage.tokens) == (Reading.WHOLE, ALL)


def test_a_long_text_of_escapes_is_matched_in_one_pass() -> None:
    started = time.perf_counter()
    # Without its end: what backtracks would not end, either.
    metered(line(text("\\" * 500_000), COMPACT)[: -len('"}}\n\n')] + b"\n")
    assert time.perf_counter() - started < 5
