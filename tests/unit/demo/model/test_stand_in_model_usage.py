"""Token counts: from sizes, with a cache that grows by the conversation's own prefix."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from demo.model.usage import measure

ANSWER = [{"type": "text", "text": "y" * 400}]
MARK = {"cache_control": {"type": "ephemeral"}}


def block(size: int, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": "x" * size, **more}


def request(turns: int, *, mark: bool = True, text: int = 4_000) -> dict[str, Any]:
    """A conversation with some answers, whose last block bears the cache mark as Claude Code sets it."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": [block(text)]}]
    for _ in range(turns):
        messages += [{"role": "assistant", "content": ANSWER}, {"role": "user", "content": [block(800)]}]
    if mark:
        messages[-1]["content"] = [{**messages[-1]["content"][0], **MARK}]
    return {
        "system": [block(2_000, **(MARK if mark else {}))],
        "messages": messages,
        "tools": [{"name": "Read"}],
    }


def test_the_first_request_writes_the_cache() -> None:
    usage = measure(request(0), ANSWER)
    assert usage.cache_read == 0
    assert 1_500 <= usage.cache_creation <= 1_550
    assert usage.input == 1
    assert 100 <= usage.output <= 115


def test_each_request_reads_what_the_one_before_it_wrote() -> None:
    usages = [measure(request(turns), ANSWER) for turns in range(4)]
    for before, after in itertools.pairwise(usages):
        assert after.cache_read == before.cache_read + before.cache_creation
        assert 0 < after.cache_creation < 400


def test_without_a_mark_nothing_is_cached() -> None:
    usage = measure(request(2, mark=False), ANSWER)
    assert (usage.cache_read, usage.cache_creation) == (0, 0)
    assert usage.input > 1_500


def test_what_follows_the_last_mark_is_plain_input() -> None:
    body = request(0)
    body["messages"].append({"role": "user", "content": [block(1_200)]})
    usage = measure(body, ANSWER)
    assert 300 <= usage.input <= 315


def test_a_mark_itself_counts_nothing() -> None:
    # One token stays plain input even where all of the request is marked.
    assert abs(measure(request(1), []).prompt - measure(request(1, mark=False), []).prompt) <= 1


def test_the_object_of_an_answer() -> None:
    usage = measure(request(1), ANSWER)
    shown = usage.as_json(output=1)
    assert shown["output_tokens"] == 1
    assert usage.as_json()["output_tokens"] == usage.output
    assert sum(shown["cache_creation"].values()) == shown["cache_creation_input_tokens"]


@given(st.integers(0, 5), st.integers(0, 5_000), st.booleans())
def test_the_parts_add_up_to_the_size_of_the_request(turns: int, text: int, mark: bool) -> None:
    body = request(turns, mark=mark, text=text)
    usage = measure(body, ANSWER)
    assert min(usage.cache_read, usage.cache_creation) >= 0
    assert usage.input >= 1
    size = len(json.dumps(body, separators=(",", ":"))) / 4
    assert 0.8 * size - 40 <= usage.prompt <= size + 4
