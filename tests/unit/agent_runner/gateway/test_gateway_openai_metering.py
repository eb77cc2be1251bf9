from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.contract import Tokens
from agent_runner.gateway import metering
from agent_runner.gateway.metering import Meter, Reading
from agent_runner.gateway.openai_api import OPENAI

USAGE = {
    "input_tokens": 1_000,
    "input_tokens_details": {"cached_tokens": 600, "cache_write_tokens": 150},
    "output_tokens": 77,
    "output_tokens_details": {"reasoning_tokens": 40},
    "total_tokens": 1_077,
}
TOKENS = Tokens(input=250, cache_read=600, cache_write=150, output=77)


def response(kind: str = "completed", **values: Any) -> dict[str, Any]:
    body = {"id": "r", "model": "gpt-5.5-2026-04-23", "status": kind, "usage": USAGE, "output": []}
    return {"type": f"response.{kind}", "response": {**body, **values}}


CREATED = response("created", usage=None, status="in_progress")


def delta(words: str, kind: str = "response.output_text.delta") -> dict[str, Any]:
    return {"type": kind, "delta": words}


def sse(*events: dict[str, Any]) -> bytes:
    return "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events).encode()


def metered(data: bytes, places: list[int] | None = None) -> tuple[Meter, Reading]:
    ends = sorted({place % (len(data) + 1) for place in places or []} | {0, len(data)})
    meter = OPENAI.meter(True)
    for start, end in itertools.pairwise(ends):
        meter.feed(data[start:end])
    return meter, meter.finish()


WHOLE = sse(CREATED, delta("é\n\ndata: x"), response())


@given(st.lists(st.integers(0, len(WHOLE))))
def test_a_stream_is_metered_however_it_is_cut(places: list[int]) -> None:
    meter, reading = metered(WHOLE, places)
    assert reading is Reading.WHOLE
    assert meter.usage.tokens == TOKENS
    assert meter.usage.model == "gpt-5.5-2026-04-23"


@pytest.mark.parametrize("kind", ["completed", "incomplete", "failed"])
def test_every_end_tells_the_use(kind: str) -> None:
    meter, reading = metered(sse(CREATED, response(kind)))
    assert (meter.usage.tokens, reading) == (TOKENS, Reading.WHOLE)


def test_a_failure_costs_nothing_unless_something_was_given() -> None:
    failed = response("failed", usage=None)
    assert metered(sse(CREATED, failed))[1] is Reading.FAILED
    assert metered(sse({"type": "error", "code": "server_error"}))[1] is Reading.FAILED
    meter, reading = metered(sse(CREATED, delta("x" * 300), failed))
    assert (reading, meter.usage.output) == (Reading.NOTHING, 100)


def test_a_stream_that_breaks_off_tells_nothing_but_its_text() -> None:
    meter, reading = metered(
        sse(CREATED, delta("x" * 300), delta("y" * 300, "response.function_call_arguments.delta"))
    )
    assert (reading, meter.usage.output, meter.usage.model) == (Reading.NOTHING, 200, None)


def test_web_searches_are_counted() -> None:
    output = [{"type": "web_search_call"}, {"type": "message"}, {"type": "web_search_call"}, "x"]
    meter, _ = metered(sse(response(output=output)))
    assert meter.usage.web_searches == 2


@pytest.mark.parametrize(
    ("details", "tokens"),
    [
        (None, Tokens(input=1_000, output=77)),
        ({}, Tokens(input=1_000, output=77)),
        ({"cached_tokens": 5_000}, Tokens(cache_read=1_000, output=77)),
        (
            {"cached_tokens": 900, "cache_write_tokens": 900},
            Tokens(cache_read=900, cache_write=100, output=77),
        ),
        ({"cached_tokens": "6"}, Tokens(input=1_000, output=77)),
    ],
)
def test_cached_input_is_a_part_of_the_input(details: Any, tokens: Tokens) -> None:
    meter, _ = metered(sse(response(usage={**USAGE, "input_tokens_details": details})))
    assert meter.usage.tokens == tokens


@pytest.mark.parametrize("model", [None, "", 3])
def test_an_answer_may_name_no_model(model: Any) -> None:
    meter, reading = metered(sse(response(model=model)))
    assert (meter.usage.model, reading) == (None, Reading.WHOLE)


def test_a_plain_answer() -> None:
    data, meter = json.dumps(response()["response"]).encode(), OPENAI.meter(False)
    for at in range(0, len(data), 10):
        meter.feed(data[at : at + 10])
    assert meter.finish() is Reading.WHOLE
    assert meter.usage.tokens == TOKENS


@pytest.mark.parametrize(
    ("data", "reading"),
    [
        (b"", Reading.NOTHING),
        (b"[]", Reading.NOTHING),
        (b'{"usage": {}}', Reading.NOTHING),
        (b'{"status": "failed", "usage": null}', Reading.FAILED),
    ],
)
def test_a_plain_answer_without_use(data: bytes, reading: Reading) -> None:
    meter = OPENAI.meter(False)
    meter.feed(data)
    assert meter.finish() is reading
    assert meter.usage.tokens == Tokens()


def test_a_last_event_beyond_the_bound_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "MAX_LINE_BYTES", 1_000)
    meter, reading = metered(sse(delta("x" * 30), response(output=[{"text": "x" * 3_000}])))
    assert reading is Reading.NOTHING
    # What was held of it counts as text: rather too much than nothing.
    assert 10 <= meter.usage.output <= 1_100


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "usage", "model", "output", "input_tokens", "input_tokens_details", "cached_tokens"]
            ),
            inner,
            max_size=4,
        )
    ),
)


@given(st.sampled_from(["response.completed", "response.failed", "x.delta", "error"]) | JSON, JSON, JSON)
def test_no_event_crashes_the_meter(kind: Any, one: Any, other: Any) -> None:
    data = json.dumps({"type": kind, "response": one, "delta": other}).encode()
    meter, _ = metered(b"data: " + data + b"\n\n")
    plain = OPENAI.meter(False)
    plain.feed(json.dumps(one).encode())
    plain.finish()
    for usage in (meter.usage, plain.usage):
        assert min(usage.input, usage.output, usage.cache_read, usage.cache_write, usage.web_searches) >= 0


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize(
    "kind", ["response.output_text.delta", "response.custom_tool_call_input.delta", "response.refusal.delta"]
)
def test_pieces_of_the_answer_are_counted_without_being_parsed(
    monkeypatch: pytest.MonkeyPatch, separators: tuple[str, str], kind: str
) -> None:
    parsed: list[bytes] = []
    monkeypatch.setattr(metering, "json_object", lambda text: parsed.append(text) or {})
    event = {
        "type": kind,
        "sequence_number": 4,
        "item_id": "msg_1",
        "output_index": 0,
        "delta": "x" * 300,
        "logprobs": [],
        "obfuscation": "x" * 30,
    }
    meter, _ = metered(f"data: {json.dumps(event, separators=separators)}\n\n".encode() * 10)
    assert meter.usage.output == 1_000
    assert parsed == []


@given(st.text(), st.booleans())
def test_words_within_a_text_hide_no_counts_and_bring_none(words: str, usual: bool) -> None:
    looks_like = words + sse(delta("x"), response()).decode()
    event = delta(looks_like) if usual else dict(reversed(delta(looks_like).items()))
    meter, reading = metered(sse(CREATED) + b"data: " + json.dumps(event).encode() + b"\n\n")
    assert reading is Reading.NOTHING
    assert meter.usage.output >= len(looks_like.encode("utf-8", "replace")) // 3
    meter, reading = metered(sse(CREATED, response(output=[delta(looks_like)], note=looks_like)))
    assert (reading, meter.usage.tokens) == (Reading.WHOLE, TOKENS)
