from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from airflow_provider_agents.hooks.model_api import ModelCredential, check

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "sk-canary-0123456789"
MODELS = "GET /v1/models"


def error(status: int, message: str = "no") -> Any:
    return status, {"error": {"type": "x", "message": message}}


@pytest.mark.parametrize(
    ("kind", "headers", "query"),
    [
        ("anthropic-api-key", {"x-api-key": KEY, "anthropic-version": "2023-06-01"}, {"limit": "1"}),
        (
            "anthropic-oauth-token",
            {"Authorization": f"Bearer {KEY}", "anthropic-beta": "oauth-2025-04-20"},
            {"limit": "1"},
        ),
        ("openai-api-key", {"Authorization": f"Bearer {KEY}"}, {}),
    ],
)
async def test_each_api_is_asked_in_its_own_way(stub, kind: str, headers: Any, query: Any) -> None:
    stub.on(MODELS, {"data": []})
    assert (await check(stub.url + "/", ModelCredential(kind, KEY))).state == "accepted"
    (asked,) = stub.asked
    assert headers.items() <= asked.headers.items()
    assert asked.query == query
    assert ("x-api-key" in asked.headers) == (kind == "anthropic-api-key")


@pytest.mark.parametrize(
    ("kind", "reply", "state"),
    [
        ("anthropic-api-key", error(401, "invalid x-api-key"), "refused"),
        ("anthropic-api-key", error(403), "refused"),
        ("anthropic-oauth-token", error(401), "refused"),
        ("anthropic-oauth-token", error(403), "unknown"),
        ("openai-api-key", error(401), "refused"),
        ("openai-api-key", error(403, "Missing scopes: api.model.read"), "unknown"),
        ("openai-api-key", error(403, "Country not supported"), "refused"),
        ("anthropic-api-key", error(404), "unknown"),
        ("anthropic-api-key", error(429), "unknown"),
        ("anthropic-api-key", error(529), "unknown"),
        ("anthropic-api-key", (302, {}, {"Location": "http://elsewhere.example.com/"}), "unknown"),
    ],
)
async def test_only_a_refusal_of_the_credential_counts_as_one(
    stub, kind: str, reply: Any, state: str
) -> None:
    stub.on(MODELS, reply)
    verdict = await check(stub.url, ModelCredential(kind, KEY))
    assert verdict.state == state
    assert f"HTTP {reply[0]}" in verdict.detail


async def test_the_credential_is_in_no_message(stub) -> None:
    stub.on(MODELS, error(401, f"{KEY} is wrong"))
    verdict = await check(stub.url, ModelCredential("anthropic-api-key", KEY))
    assert verdict.detail == "HTTP 401, '*** is wrong'"
    assert KEY not in repr(ModelCredential("anthropic-api-key", KEY))


async def test_an_api_that_is_not_reached(unused_tcp_port_factory: Callable[[], int]) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port_factory()}"
    verdict = await check(url, ModelCredential("anthropic-api-key", KEY))
    assert verdict.state == "unknown"
    assert "ClientConnectorError" in verdict.detail


@pytest.mark.parametrize("value", [f"{KEY}\r\nX-Evil: 1", KEY])
async def test_what_cannot_be_sent_is_not_known(value: str) -> None:
    verdict = await check("not a url", ModelCredential("anthropic-api-key", value))
    assert verdict.state == "unknown"
    assert KEY not in verdict.detail


async def test_an_api_that_hangs_is_left(stub) -> None:
    async def hang(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(5)
        return web.Response()

    stub.on(MODELS, hang)
    verdict = await check(stub.url, ModelCredential("anthropic-api-key", KEY), timeout_seconds=0.1)
    assert verdict.state == "unknown"


def test_a_forge_token_is_not_a_models() -> None:
    with pytest.raises(ValueError, match="'github-token' is no key of a model"):
        ModelCredential("github-token", KEY).headers()
