"""OpenAI's Responses API."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any

from aiohttp import web

from agent_runner.contract import SECRET_KEY_OPENAI
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
from agent_runner.gateway.price_table import FALLBACK_OPENAI
from agent_runner.gateway.responses_policy import check_responses_request

# Codex 0.163 ends at once on 400 and shows the body; it repeats 401, 402, 403 and 404 for seven seconds, and
# hides the words of a 429 behind its own. The codes are those of the failures that a step reports.
_ERRORS: dict[Fault, tuple[int, str, str]] = {
    "not_served": (404, "invalid_request_error", "not_served"),
    "unusable": (400, "invalid_request_error", "gateway_crashed"),
    "request": (400, "invalid_request_error", "model_request_refused"),
    "too_large": (400, "invalid_request_error", "model_request_refused"),
    "credential": (400, "invalid_request_error", "model_credential"),
    "budget": (400, "insufficient_quota", "budget_exhausted"),
    "unreachable": (502, "server_error", "model_unavailable"),
    "answer": (400, "invalid_request_error", "model_request_refused"),
}


class ResponsesStreamMeter(StreamMeter):
    """Reads the events of a streamed response. Only the last one tells what was used."""

    DELTA = re.compile(
        rb'data: ?\{"type": ?"response\.[a-z_.]+\.delta"'
        rb'(?:, ?"(?!delta")\w+": ?(?:"[^"\\]*+"|\d++))*+, ?"delta": ?' + STRING
    )
    _ENDS = ("response.completed", "response.incomplete", "response.failed")

    def __init__(self) -> None:
        super().__init__()
        self._told: Reading | None = None

    def _event(self, event: Mapping[str, Any]) -> None:
        kind = event.get("type")
        if not isinstance(kind, str):
            return
        response = event.get("response")
        if kind in self._ENDS and isinstance(response, Mapping):
            self._told = _take(self.usage, response, failed=kind == "response.failed")
        elif kind == "error":
            self._told = Reading.FAILED
        elif isinstance(delta := event.get("delta"), str):
            self._generated += len(delta.encode("utf-8", "replace"))

    def _reading(self) -> Reading:
        if self._told is Reading.FAILED and self._generated:
            return Reading.NOTHING
        return self._told or Reading.NOTHING


class ResponsesJsonMeter(JsonMeter):
    """Reads a response that comes in one piece."""

    def _answer(self, answer: Mapping[str, Any]) -> Reading:
        return _take(self.usage, answer, failed=answer.get("status") == "failed")


def _take(usage: Usage, response: Mapping[str, Any], *, failed: bool) -> Reading:
    counts = response.get("usage")
    if not isinstance(counts, Mapping) or "input_tokens" not in counts:
        return Reading.FAILED if failed else Reading.NOTHING
    usage.model = model_of(response)
    details = counts.get("input_tokens_details")
    details = details if isinstance(details, Mapping) else {}
    # All of the prompt here; what was read from and written to the cache is part of it.
    prompt = count(counts, "input_tokens", 0)
    usage.cache_read = min(count(details, "cached_tokens", 0), prompt)
    usage.cache_write = min(count(details, "cache_write_tokens", 0), prompt - usage.cache_read)
    usage.input = prompt - usage.cache_read - usage.cache_write
    usage.output = count(counts, "output_tokens", 0)
    output = response.get("output")
    usage.web_searches = sum(
        isinstance(item, Mapping) and item.get("type") == "web_search_call"
        for item in (output if isinstance(output, list) else [])
    )
    return Reading.WHOLE


def _authorize(headers: MutableMapping[str, str], key: str, value: str) -> None:
    headers["Authorization"] = f"Bearer {value}"


def _asked(body: Mapping[str, object]) -> Asked:
    model = body.get("model")
    limit = count(body, "max_output_tokens", -1)
    return Asked(model=model if isinstance(model, str) else "", max_output=None if limit < 0 else limit)


def _meter(streamed: bool) -> Meter:
    return ResponsesStreamMeter() if streamed else ResponsesJsonMeter()


def _error(fault: Fault, message: str) -> web.Response:
    status, kind, code = _ERRORS[fault]
    error = {"message": f"agent gateway: {message}", "type": kind, "param": None, "code": code}
    return web.json_response({"error": error}, status=status)


OPENAI = ModelApi(
    name="openai",
    metered_path="v1/responses",
    secret_keys=(SECRET_KEY_OPENAI,),
    authorize=_authorize,
    request_headers=(
        "Content-Type",
        "Accept",
        "User-Agent",
        "OpenAI-Beta",
        "session-id",
        "x-client-request-id",
    ),
    answer_headers=frozenset(
        {
            "content-type",
            "content-length",
            "retry-after",
            "retry-after-ms",
            "x-request-id",
            "x-should-retry",
            "x-reasoning-included",
        }
    ),
    answer_prefixes=("openai-", "x-ratelimit-"),
    asked=_asked,
    meter=_meter,
    check=check_responses_request,
    error=_error,
    fallback=FALLBACK_OPENAI,
)
