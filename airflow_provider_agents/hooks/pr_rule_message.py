"""Reads an answer of Anthropic's Messages API as a rule's decision, or as the reason why there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent_runner.contract import Tokens
from airflow_provider_agents.hooks.pr_rule_reply import Reply, json_object, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthropic.types import Message

    from airflow_provider_agents.domain.pr_rule_decision import Fault

TOOL = "decide"
"""Name of the tool that a model without structured output must call."""

TOO_LONG = "the answer, with what the model thought before it, is longer than `model.max_tokens` of the rule: raise it"

_STOPPED: Mapping[str, tuple[Fault, str]] = {
    "max_tokens": ("truncated", TOO_LONG),
    "model_context_window_exceeded": (
        "truncated",
        "the prompt fills the model's context window: show less in the rule's `context`",
    ),
}
_ENDED = frozenset({"end_turn", "stop_sequence", "tool_use"})


def read_message(message: object) -> Reply:
    """Return what an answer is: nothing is read out of prose, and half an answer is none."""
    from anthropic.types import Message

    if not isinstance(message, Message):
        return Reply(
            fault="malformed",
            detail="the answer is none of the Messages API: correct the host of the model's connection",
        )
    try:
        paid = _paid(message)
    except (AttributeError, TypeError) as error:
        return Reply(fault="malformed", detail=f"the answer lacks what the Messages API gives: {error}")
    if message.stop_reason == "refusal":
        return replace(paid, fault="refused", detail=_refusal(message))
    if stopped := _STOPPED.get(message.stop_reason or ""):
        return replace(paid, fault=stopped[0], detail=stopped[1])
    if message.stop_reason not in _ENDED:
        return replace(paid, fault="malformed", detail=f"the answer stopped for {message.stop_reason!r}")
    try:
        return replace(paid, values=_values(message))
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        return replace(
            paid, fault="malformed", detail=f"the answer is not of the form asked for: {one_line(error)}"
        )


def _paid(message: Message) -> Reply:
    """Return what an answer cost, whatever it says."""
    usage = message.usage
    kept = usage.cache_creation
    return Reply(
        tokens=Tokens(
            input=_count(usage.input_tokens),
            output=_count(usage.output_tokens),
            cache_read=_count(usage.cache_read_input_tokens or 0),
            cache_write=_count(usage.cache_creation_input_tokens or 0),
        ),
        cache_write_1h=_count(kept.ephemeral_1h_input_tokens) if kept else 0,
        request_id=message._request_id or message.id,
    )


def _count(value: object) -> int:
    """Return a number of tokens: the library hands on whatever the answer has in its place."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(f"{value!r} is no number of tokens")
    return value


def _refusal(message: Message) -> str:
    told = message.stop_details
    about = f" ({told.category})" if told and told.category else ""
    why = f": {one_line(told.explanation)}" if told and told.explanation else ""
    return f"the model refuses to answer{about}{why}"


def _values(message: Message) -> Mapping[str, Any]:
    """Return what a whole answer holds.

    :raises ValueError: it is not JSON alone, or not one call of the tool.
    """
    calls = [block for block in message.content if block.type == "tool_use"]
    if not calls:
        return json_object("".join(block.text for block in message.content if block.type == "text"))
    if len(calls) != 1 or calls[0].name != TOOL or not isinstance(calls[0].input, dict):
        raise ValueError("it calls other tools, or more than one")
    return calls[0].input
