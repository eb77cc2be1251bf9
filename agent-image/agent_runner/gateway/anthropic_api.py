"""Anthropic's Messages API."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any

from aiohttp import web

from agent_runner.contract import SECRET_KEY_ANTHROPIC, SECRET_KEY_ANTHROPIC_OAUTH
from agent_runner.gateway.messages_policy import check_messages_request
from agent_runner.gateway.metering import (
    STRING,
    JsonMeter,
    Meter,
    Reading,
    StreamMeter,
    Usage,
    count,
    model_of,
)
from agent_runner.gateway.model_api import Asked, Fault, ModelApi
from agent_runner.gateway.price_table import FALLBACK_ANTHROPIC

_OAUTH_BETA = "oauth-2025-04-20"
"""Tells the API to take the token of a subscription."""

_ERRORS: dict[Fault, tuple[int, str]] = {
    "not_served": (404, "not_found_error"),
    "unusable": (400, "invalid_request_error"),
    "request": (400, "invalid_request_error"),
    "too_large": (413, "request_too_large"),
    # Claude Code repeats a 401 for three minutes.
    "credential": (403, "permission_error"),
    "budget": (402, "billing_error"),
    "unreachable": (502, "api_error"),
    "answer": (400, "invalid_request_error"),
}


class MessagesStreamMeter(StreamMeter):
    """Reads the events of a streamed message.

    The first event has the counts of the prompt; a later one replaces the output's, which is one token until
    then.
    """

    DELTA = re.compile(
        rb'data: ?\{"type": ?"content_block_delta", ?"index": ?\d+, ?"delta": ?\{"type": ?"\w+", ?"\w+": ?'
        + STRING
    )

    def __init__(self) -> None:
        super().__init__()
        self._started = False
        self._final = False
        self._failed = False

    def _event(self, event: Mapping[str, Any]) -> None:
        match event.get("type"):
            case "message_start" if isinstance(message := event.get("message"), Mapping):
                self._started = True
                self.usage.model = model_of(message)
                _update(self.usage, message.get("usage"))
            case "message_delta":
                _update(self.usage, event.get("usage"))
                self._final = True
            case "content_block_delta" if isinstance(delta := event.get("delta"), Mapping):
                self._generated += sum(
                    len(text.encode("utf-8", "replace")) for text in delta.values() if isinstance(text, str)
                ) - len(str(delta.get("type", "")))
            case "error":
                self._failed = True

    def _reading(self) -> Reading:
        if not self._started:
            return Reading.FAILED if self._failed else Reading.NOTHING
        return Reading.WHOLE if self._final else Reading.PROMPT


class MessagesJsonMeter(JsonMeter):
    """Reads a message that comes in one piece."""

    def _answer(self, answer: Mapping[str, Any]) -> Reading:
        if answer.get("type") != "message":
            return Reading.FAILED if answer.get("type") == "error" else Reading.NOTHING
        self.usage.model = model_of(answer)
        _update(self.usage, answer.get("usage"))
        return Reading.WHOLE


def _update(usage: Usage, counts: object) -> None:
    """Take the counts that there are; they replace earlier ones, because they are running totals."""
    if not isinstance(counts, Mapping):
        return
    usage.input = count(counts, "input_tokens", usage.input)
    usage.output = count(counts, "output_tokens", usage.output)
    usage.cache_read = count(counts, "cache_read_input_tokens", usage.cache_read)
    usage.cache_write = count(counts, "cache_creation_input_tokens", usage.cache_write)
    if isinstance(parts := counts.get("cache_creation"), Mapping):
        usage.cache_write_1h = count(parts, "ephemeral_1h_input_tokens", usage.cache_write_1h)
    usage.cache_write_1h = min(usage.cache_write_1h, usage.cache_write)
    if isinstance(tools := counts.get("server_tool_use"), Mapping):
        usage.web_searches = count(tools, "web_search_requests", usage.web_searches)


def _authorize(headers: MutableMapping[str, str], key: str, value: str) -> None:
    if key == SECRET_KEY_ANTHROPIC:
        headers["x-api-key"] = value
        return
    headers["Authorization"] = f"Bearer {value}"
    betas = [beta.strip() for beta in headers.get("anthropic-beta", "").split(",") if beta.strip()]
    if _OAUTH_BETA not in betas:
        betas.append(_OAUTH_BETA)
    headers["anthropic-beta"] = ",".join(betas)


def _asked(body: Mapping[str, object]) -> Asked:
    model = body.get("model")
    limit = count(body, "max_tokens", -1)
    return Asked(model=model if isinstance(model, str) else "", max_output=None if limit < 0 else limit)


def _meter(streamed: bool) -> Meter:
    return MessagesStreamMeter() if streamed else MessagesJsonMeter()


def _error(fault: Fault, message: str) -> web.Response:
    status, kind = _ERRORS[fault]
    return web.json_response(
        {"type": "error", "error": {"type": kind, "message": f"agent gateway: {message}"}}, status=status
    )


ANTHROPIC = ModelApi(
    name="anthropic",
    metered_path="v1/messages",
    free_paths=frozenset({"v1/messages/count_tokens"}),
    secret_keys=(SECRET_KEY_ANTHROPIC, SECRET_KEY_ANTHROPIC_OAUTH),
    authorize=_authorize,
    request_headers=("anthropic-version", "anthropic-beta", "Content-Type", "User-Agent"),
    answer_headers=frozenset(
        {"content-type", "content-length", "retry-after", "request-id", "x-should-retry"}
    ),
    answer_prefixes=("anthropic-",),
    asked=_asked,
    meter=_meter,
    check=check_messages_request,
    error=_error,
    fallback=FALLBACK_ANTHROPIC,
)
