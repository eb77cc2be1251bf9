"""The two APIs that the stand-in speaks, as far as its server has to tell them apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demo.model import messages, responses, streaming
from demo.model.errors import ApiError, invalid_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from aiohttp import web

    from demo.model.play import Answer
    from demo.model.script import Script


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One API."""

    name: str
    answer: Callable[[Script, Mapping[str, Any]], Answer]
    events: Callable[[Answer], Iterator[tuple[str, dict[str, Any]]]]
    check: Callable[[web.Request, Mapping[str, Any]], None]
    """Raises :class:`ApiError` for what the API demands beside a conversation."""
    usage: Callable[[Answer], dict[str, Any]]
    error: Callable[[ApiError, str], dict[str, Any]]
    """Body of the answer for an error and the request's id."""
    key: Callable[[web.Request], str]
    """The key that a request bears; empty: none."""
    key_fault: tuple[str, str, str]
    """Name of the error for a key, what is said where it is missing, and where it is another one."""
    conversation: str
    """Field of the request with the conversation."""
    models: tuple[str, ...]
    model_list: Callable[[Iterable[str]], dict[str, Any]]


def of(request: web.Request) -> Api:
    """Return the API that a request is for, by its path, or for a path of both by its headers."""
    if request.path.startswith("/v1/responses"):
        return OPENAI
    if request.path.startswith("/v1/models") and "anthropic-version" not in request.headers:
        return OPENAI
    return ANTHROPIC


def _bearer(request: web.Request) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ")


def _anthropic_key(request: web.Request) -> str:
    # Agent programs send the first header; Anthropic's Python library, from version 2 on, the second.
    return request.headers.get("x-api-key") or _bearer(request)


def _check_messages(request: web.Request, body: Mapping[str, Any]) -> None:
    limit = body.get("max_tokens")
    if request.path == "/v1/messages" and (not isinstance(limit, int) or limit < 1):
        raise invalid_request("max_tokens: Field required, a whole number of at least 1")


def _check_responses(_: web.Request, body: Mapping[str, Any]) -> None:
    if body.get("previous_response_id") is not None:
        raise invalid_request("previous_response_id: this stand-in stores nothing; send the whole input")


ANTHROPIC = Api(
    name="anthropic",
    answer=messages.answer,
    events=lambda answer: streaming.events(answer.message, answer.usage),
    check=_check_messages,
    usage=lambda answer: answer.usage.as_json(),
    error=lambda error, request_id: error.body(request_id),
    key=_anthropic_key,
    key_fault=("authentication_error", "x-api-key header is required", "invalid x-api-key"),
    conversation="messages",
    models=("claude-opus-5-5", "claude-sonnet-5", "claude-haiku-4-5"),
    model_list=lambda models: {
        "data": [
            {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
            for name in models
        ],
        "has_more": False,
    },
)
OPENAI = Api(
    name="openai",
    answer=responses.answer,
    events=lambda answer: responses.events(answer.message),
    check=_check_responses,
    usage=lambda answer: responses.usage_json(answer.usage),
    error=lambda error, _: error.openai_body(),
    key=_bearer,
    key_fault=("invalid_api_key", "You didn't provide an API key.", "Incorrect API key provided."),
    conversation="input",
    models=("gpt-6.1-sol", "gpt-5.5"),
    model_list=lambda models: {
        "object": "list",
        "data": [
            {"id": name, "object": "model", "created": 1_767_225_600, "owned_by": "stand-in"}
            for name in models
        ],
    },
)
