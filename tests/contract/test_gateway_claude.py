"""The real Claude Code program through the gateway, against a scripted Messages API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from claude_world import KEY, PROGRAM, World, open_world

from agent_runner import contract
from agent_runner.contract import Tokens
from agent_runner.gateway.price_table import PRICES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from agent_runner.gateway.server import Gateway

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Claude Code is not installed")

USAGES = [
    {
        "input_tokens": 1200,
        "cache_creation_input_tokens": 3000,
        "cache_read_input_tokens": 0,
        "output_tokens": 77,
    },
    {
        "input_tokens": 40,
        "cache_creation_input_tokens": 500,
        "cache_read_input_tokens": 4200,
        "output_tokens": 260,
    },
]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    tool = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "env; echo ran > ran"}}
    async with open_world(tmp_path) as world:
        world.api.turns = [(tool, USAGES[0]), ({"type": "text", "text": "done"}, USAGES[1])]
        yield world


@pytest.fixture
async def gateway(world: World) -> Gateway:
    return await world.gateway()


async def test_a_run_passes_and_its_use_is_in_the_ledger(world: World, gateway: Gateway) -> None:
    code, result, _, printed = await world.run()
    assert code == 0, result
    assert result["result"] == "done"
    assert (world.folder / "work" / "ran").read_text() == "ran\n"
    assert [request.headers["x-api-key"] for request in world.api.seen] == [KEY, KEY]
    for request in world.api.seen:
        assert "Authorization" not in request.headers
        assert request.headers["Accept-Encoding"] == "identity"
        assert request.headers["anthropic-version"]
        assert request.query_string == "beta=true"
    assert KEY not in printed
    assert KEY not in json.dumps(world.api.bodies), "the agent's own environment must not hold the key"

    usage, ledger = result["usage"], gateway.ledger
    assert ledger.tokens == Tokens(
        input=usage["input_tokens"],
        output=usage["output_tokens"],
        cache_read=usage["cache_read_input_tokens"],
        cache_write=usage["cache_creation_input_tokens"],
    )
    assert ledger.tokens.output == 337
    assert ledger.usd == pytest.approx(result["total_cost_usd"])
    assert ledger.model_calls == 2
    assert ledger.unpriced_models == ()


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (
            lambda path, _: path.unlink(),
            "no credential: key anthropic-api-key of secret agent-secrets does not exist; add it, or key anthropic-oauth-token",
        ),
        (
            lambda _, api: setattr(api, "status", 401),
            "the model API refused the credential in key anthropic-api-key of secret agent-secrets (HTTP 401)",
        ),
    ],
)
async def test_missing_or_refused_key_ends_the_run_at_once(
    world: World, gateway: Gateway, break_it: Any, said: str
) -> None:
    break_it(world.folder / "secrets" / contract.SECRET_KEY_ANTHROPIC, world.api)
    code, result, seconds, _ = await world.run()
    assert code == 1
    assert result["is_error"] is True
    assert result["api_error_status"] == 403
    assert said in result["result"]
    assert seconds < 30, "the program retries a 401 for three minutes"
    assert len(world.api.seen) <= 2
    assert gateway.ledger.usd == 0


@pytest.mark.parametrize(
    ("model", "prompt"), [("claude-sonnet-5-5", 40), ("claude-haiku-5-5", 40), ("claude-haiku-5-5", 99_000)]
)
async def test_prices_are_those_of_the_program(
    world: World, gateway: Gateway, model: str, prompt: int
) -> None:
    """The newest of each family; the long prompt is beyond the bound with its cached part."""
    assert model in PRICES
    world.api.turns = [({"type": "text", "text": "done"}, {**USAGES[1], "input_tokens": prompt})]
    code, result, _, _ = await world.run("--model", model)
    assert code == 0, result
    assert gateway.ledger.usd == pytest.approx(result["total_cost_usd"])
