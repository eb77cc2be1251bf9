"""Answers of a form that the request sets: which form, what is filled in, how an answer ends, what is cached."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from demo.model import Script, StandInModel
from demo.model.errors import ApiError
from demo.model.prompt_cache import LIFETIME_SECONDS, MOST_ENTRIES, PromptCache
from demo.model.structured import Form, fitted, messages_form, responses_form
from demo.model.usage import measure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "action": {"enum": ["merge", "wait"]},
        "reason": {"type": "string"},
        "labels": {"type": "array", "items": {"type": "string"}},
        "confidence": {"type": "number"},
        "until": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "since": {"type": ["string", "null"]},
        "sure": {"type": "boolean"},
        "by": {"type": "object", "properties": {"kind": {"const": "model"}}, "required": ["kind"]},
    },
    "required": ["action", "reason", "labels", "confidence", "until", "since", "sure", "by"],
    "additionalProperties": False,
}
OUTPUT_CONFIG = {"format": {"type": "json_schema", "schema": SCHEMA}}
TOOL = {"name": "decide", "input_schema": SCHEMA}
FUNCTION = {"type": "function", "name": "decide", "parameters": SCHEMA}
LEAST = {
    "action": "merge", "reason": "", "labels": [], "confidence": 0, "until": None, "since": None, "sure": False,
    "by": {"kind": "model"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("body", "tool"),
    [
        ({"output_config": OUTPUT_CONFIG}, None),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "decide"}}, "decide"),
        ({"tools": [TOOL], "tool_choice": {"type": "any"}}, "decide"),
    ],
)
def test_a_messages_request_sets_a_form(body: dict[str, Any], tool: str | None) -> None:
    assert messages_form(body) == Form(SCHEMA, tool)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"output_config": {"effort": "low"}},
        {"output_config": {"format": {"type": "text"}}},
        {"tools": [TOOL]},
        {"tools": [TOOL], "tool_choice": {"type": "auto"}},
        {"tools": [TOOL, {"name": "other"}], "tool_choice": {"type": "any"}},
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}},
        # Claude Code's own tool for it is a tool like any other.
        {"tools": [{"name": "StructuredOutput"}], "output_config": OUTPUT_CONFIG},
    ],
)
def test_a_messages_request_sets_none(body: dict[str, Any]) -> None:
    assert messages_form(body) is None


@pytest.mark.parametrize(
    ("body", "tool"),
    [
        ({"text": {"format": {"type": "json_schema", "schema": SCHEMA}}}, None),
        ({"tools": [FUNCTION], "tool_choice": "required"}, "decide"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "decide"}}, "decide"),
    ],
)
def test_a_responses_request_sets_a_form(body: dict[str, Any], tool: str | None) -> None:
    assert responses_form(body) == Form(SCHEMA, tool)


def test_an_agent_program_gets_what_the_script_says() -> None:
    """It checks the answer itself, and has to find one that does not fit."""
    form = responses_form({"text": OUTPUT_CONFIG, "tools": [{"type": "custom", "name": "exec"}]})
    assert form == Form(SCHEMA, agent=True)
    assert form == responses_form(
        {"text": OUTPUT_CONFIG, "input": [{"type": "additional_tools", "tools": []}]}
    )
    assert form is not None
    assert fitted({"mood": "good"}, form) == {"mood": "good"}
    assert messages_form({"output_config": OUTPUT_CONFIG, "tools": [{"name": "Read"}]}) == Form(
        SCHEMA, agent=True
    )


@pytest.mark.parametrize("choice", ["auto", None, {"type": "custom", "name": "decide"}])
def test_a_responses_request_sets_none(choice: Any) -> None:
    assert responses_form({"tools": [FUNCTION], "tool_choice": choice}) is None


def test_a_schema_must_be_one() -> None:
    with pytest.raises(ApiError, match="schema"):
        messages_form({"output_config": {"format": {"type": "json_schema", "schema": "none"}}})


def test_what_must_be_there_is_filled_in() -> None:
    assert fitted({}, Form(SCHEMA)) == LEAST
    assert fitted({"action": "wait", "confidence": 1}, Form(SCHEMA)) == {
        **LEAST,
        "action": "wait",
        "confidence": 1,
    }


@pytest.mark.parametrize(
    ("values", "said"), [({"action": "explode"}, "none of"), ({"mood": "good"}, "'mood'")]
)
def test_an_answer_that_no_model_could_give_is_a_fault_of_the_script(
    values: dict[str, Any], said: str
) -> None:
    with pytest.raises(ApiError, match=said):
        fitted(values, Form(SCHEMA))


@pytest.fixture
async def ask() -> AsyncIterator[Any]:
    """Asks a stand-in that plays one turn of a scene for questions about ``#7``."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:

        async def question(turn: dict[str, Any], path: str = "/v1/messages", **more: Any) -> tuple[int, Any]:
            scene = {"name": "rule", "when": {"fields": ["action"], "matches": r"#7\b"}, "turns": [turn]}
            body: dict[str, Any] = {"model": "claude-x", "max_tokens": 9, **more}
            body["messages" if "messages" in path else "input"] = [{"role": "user", "content": "Facts of #7"}]
            async with StandInModel(Script.of({"scenes": [scene]})) as model:
                headers = {"anthropic-version": "2023-06-01"}
                async with session.post(model.url + path, json=body, headers=headers) as answer:
                    return answer.status, await answer.json()

        yield question


ANSWERED = {"calls": [{"tool": "StructuredOutput", "input": {"action": "wait"}}]}


async def test_the_answer_is_json_where_a_schema_is_set(ask: Any) -> None:
    status, message = await ask({**ANSWERED, "text": "I think:"}, output_config=OUTPUT_CONFIG)
    assert (status, message["stop_reason"]) == (200, "end_turn")
    [block] = message["content"]
    assert json.loads(block["text"]) == {**LEAST, "action": "wait"}


async def test_the_answer_is_a_call_where_a_tool_is_forced(ask: Any) -> None:
    _, message = await ask(ANSWERED, tools=[TOOL], tool_choice={"type": "tool", "name": "decide"})
    [block] = message["content"]
    assert (block["type"], block["name"], block["input"]) == (
        "tool_use",
        "decide",
        {**LEAST, "action": "wait"},
    )
    assert message["stop_reason"] == "tool_use"


@pytest.mark.parametrize("more", [{}, {"output_config": {"format": {"type": "json_schema", "schema": {}}}}])
async def test_a_scene_for_fields_is_for_no_other_request(ask: Any, more: dict[str, Any]) -> None:
    _, message = await ask(ANSWERED, **more)
    assert "plays a script" in message["content"][0]["text"]


async def test_prose_is_said_where_the_script_has_it(ask: Any) -> None:
    _, message = await ask({"text": "I would merge."}, output_config=OUTPUT_CONFIG)
    assert message["content"] == [{"type": "text", "text": "I would merge."}]


async def test_an_answer_ends_as_the_script_says(ask: Any) -> None:
    _, refused = await ask({"stop_reason": "refusal"}, output_config=OUTPUT_CONFIG)
    assert (refused["stop_reason"], refused["content"][0]["text"]) == ("refusal", "")
    _, cut = await ask({**ANSWERED, "stop_reason": "max_tokens"}, output_config=OUTPUT_CONFIG)
    assert cut["stop_reason"] == "max_tokens"
    assert json.dumps({**ANSWERED["calls"][0]["input"]})[:10] == cut["content"][0]["text"][:10]
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        json.loads(cut["content"][0]["text"])


async def test_responses_have_the_same(ask: Any) -> None:
    forced = {"tools": [FUNCTION], "tool_choice": "required"}
    _, called = await ask(ANSWERED, "/v1/responses", **forced)
    [item] = called["output"]
    assert (item["type"], item["name"]) == ("function_call", "decide")
    assert json.loads(item["arguments"]) == {**LEAST, "action": "wait"}
    assert called["status"] == "completed"
    _, refused = await ask({"text": "No.", "stop_reason": "refusal"}, "/v1/responses", **forced)
    assert refused["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]
    _, cut = await ask({**ANSWERED, "stop_reason": "max_tokens"}, "/v1/responses", **forced)
    assert (cut["status"], cut["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


async def test_an_answer_can_drip(ask: Any) -> None:
    started = time.monotonic()
    status, message = await ask({**ANSWERED, "drip_seconds": 0.0005}, output_config=OUTPUT_CONFIG)
    assert (status, message["stop_reason"]) == (200, "end_turn")
    assert time.monotonic() - started > 0.0005 * 500


def question(rule: str, *, model: str = "claude-sonnet-4-5", facts: str = "a", **more: Any) -> dict[str, Any]:
    mark = {"cache_control": {"type": "ephemeral"}}
    system = [{"type": "text", "text": "Decide."}, {"type": "text", "text": rule, **mark}]
    return {
        "model": model,
        "system": system,
        "messages": [{"role": "user", "content": facts}],
        "output_config": OUTPUT_CONFIG,
        **more,
    }


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


LONG = "x" * 20_000


def read(cache: PromptCache, body: dict[str, Any]) -> tuple[bool, bool]:
    """Return whether the question wrote and whether it read the cache."""
    usage = cache.used(body, before := measure(body, []))
    assert usage.prompt == before.prompt
    return usage.cache_creation > 0, usage.cache_read > 0


def test_the_same_rule_is_read_from_the_cache_for_five_minutes() -> None:
    cache = PromptCache(clock := Clock())
    assert read(cache, question(LONG)) == (True, False)
    clock.now = LIFETIME_SECONDS - 1
    assert read(cache, question(LONG, facts="b")) == (False, True)
    # A reading renews it.
    clock.now = 2 * LIFETIME_SECONDS - 2
    assert read(cache, question(LONG)) == (False, True)
    clock.now = 4 * LIFETIME_SECONDS
    assert read(cache, question(LONG)) == (True, False)


@pytest.mark.parametrize(
    "other",
    [
        question(LONG + "y"),
        question(LONG, model="claude-sonnet-5"),
        question(LONG, output_config={"format": {"type": "json_schema", "schema": {}}}),
        question(LONG, tools=[TOOL]),
    ],
)
def test_another_beginning_is_another_entry(other: dict[str, Any]) -> None:
    cache = PromptCache(Clock())
    read(cache, question(LONG))
    assert read(cache, other) == (True, False)


@pytest.mark.parametrize(("model", "size", "cached"), [
    ("claude-sonnet-4-5", 3_000, False), ("claude-sonnet-4-5", 5_000, True),
    ("claude-opus-4-8", 15_000, False), ("us.anthropic.claude-haiku-4-5-v1", 17_000, True),
])  # fmt: skip
def test_what_is_short_is_not_cached(model: str, size: int, cached: bool) -> None:
    cache = PromptCache(Clock())
    assert read(cache, question("x" * size, model=model)) == (cached, False)
    assert read(cache, question("x" * size, model=model)) == (False, cached)


def test_the_cache_does_not_grow_for_ever() -> None:
    cache = PromptCache(Clock())
    for number in range(MOST_ENTRIES + 10):
        read(cache, question(LONG + str(number)))
    assert len(cache._known) == MOST_ENTRIES
