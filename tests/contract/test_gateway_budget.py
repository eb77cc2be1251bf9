"""A budget that ends while the real programs work, and a gateway that dies in the middle of a call."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from claude_world import PROGRAM, World, open_world
from gateway_world import start_process, stop_process

from agent_runner import contract
from agent_runner.contract import Budget, Reserve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

needs_claude = pytest.mark.skipif(PROGRAM is None, reason="Claude Code is not installed")

TOOL = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "true"}}
FIRST = {
    "input_tokens": 200,
    "cache_creation_input_tokens": 12_000,
    "cache_read_input_tokens": 0,
    "output_tokens": 300,
}
LATER = {
    "input_tokens": 100,
    "cache_creation_input_tokens": 500,
    "cache_read_input_tokens": 12_000,
    "output_tokens": 300,
}


def codex_program() -> str | None:
    """The program that its PyPI package brings, or the one on the PATH."""
    spec = importlib.util.find_spec("codex_cli_bin")
    bundled = Path(spec.origin).parent / "bin/codex" if spec and spec.origin else None
    return str(bundled) if bundled and bundled.is_file() else shutil.which("codex")


CODEX = codex_program()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as world:
        yield world


def turns(world: World, number: int) -> None:
    """The model calls a tool so many times, and is done then."""
    tools = [({**TOOL, "id": f"toolu_{at}"}, LATER if at else FIRST) for at in range(number)]
    world.api.turns = [*tools, ({"type": "text", "text": "done"}, LATER)]


def wrong_estimates(world: World) -> float:
    """How much more than estimated the worst of the calls cost, in USD."""
    events = world.events()
    begun = {event["id"]: event["estimate_usd"] for event in events if event["event"] == "model_call_begun"}
    ended = {event["id"]: event["usd"] for event in events if event["event"] == "model_call"}
    return max(0.0, *(usd - begun[call] for call, usd in ended.items()))


@needs_claude
async def test_claude_ends_at_once_when_nothing_is_left(world: World) -> None:
    turns(world, 5)
    gateway = await world.gateway(
        budget=Budget(usd=1.0, unsettled=(Reserve(pod="lost", usd=0.999, tokens=1),))
    )
    code, result, seconds, _ = await world.run()
    assert code == 1
    assert result["is_error"] is True
    assert result["api_error_status"] == 402
    assert (
        "agent gateway: the budget of this task is spent: 0.0010 USD allowed to this step" in result["result"]
    )
    assert seconds < 30, "a retried error takes three minutes"
    assert world.api.seen == []
    assert gateway.ledger.usd == 0
    assert gateway.ledger.budget_refusals <= 2


@needs_claude
@pytest.mark.parametrize("budget", [Budget(usd=0.15), Budget(tokens=60_000)])
async def test_claude_is_stopped_while_it_works(world: World, budget: Budget) -> None:
    turns(world, 40)
    gateway = await world.gateway(budget=budget)
    code, result, seconds, _ = await world.run()
    assert code == 1
    assert result["api_error_status"] == 402
    assert "the budget of this task is spent" in result["result"]
    assert seconds < 60
    ledger = gateway.ledger
    assert 3 <= ledger.model_calls < 40
    assert ledger.model_calls == len(world.api.seen), "every call that went out is in the ledger"
    assert ledger.refusals == (ledger.refusals[0],)
    if budget.usd is not None:
        assert 0.6 * budget.usd < ledger.usd <= budget.usd + wrong_estimates(world)
    else:
        used = (
            ledger.tokens.input + ledger.tokens.output + ledger.tokens.cache_read + ledger.tokens.cache_write
        )
        assert 30_000 < used <= 60_000 + 13_000


@needs_claude
async def test_a_gateway_that_is_killed_in_a_call_charges_it_and_serves_on(
    world: World, tmp_path: Path
) -> None:
    turns(world, 2)
    budget = Budget(usd=5.0)
    log = tmp_path / "gateway.log"
    process = await start_process(world, log, budget=budget)  # type: ignore[arg-type]
    address = (tmp_path / "url").read_text()
    again: list[asyncio.subprocess.Process] = []

    async def kill() -> None:
        world.api.before = None
        await stop_process(process)
        again.append(await start_process(world, log, budget=budget))  # type: ignore[arg-type]

    world.api.before = kill
    code, result, _, _ = await world.run()
    assert code == 0, (result, log.read_text())
    assert (tmp_path / "url").read_text() == address, "the program would not find another one"
    await stop_process(again[0], 15)
    ledger, events = world.ledger(), world.events()
    begun = [event for event in events if event["event"] == "model_call_begun"]
    ended = [event for event in events if event["event"] == "model_call"]
    (lost,) = {event["id"] for event in begun} - {event["id"] for event in ended}
    estimate = next(event["estimate_usd"] for event in begun if event["id"] == lost)
    assert ledger.usd == pytest.approx(estimate + sum(event["usd"] for event in ended))
    assert ledger.model_calls == 2
    assert ledger.tokens.output == 1_000 + 300 + 300, "an estimate and two answers"
    assert sum(use.usd for use in ledger.models) == pytest.approx(ledger.usd)


@pytest.mark.skipif(CODEX is None, reason="Codex is not installed")
async def test_codex_ends_at_once_when_nothing_is_left(world: World, tmp_path: Path) -> None:
    (tmp_path / "secrets" / contract.SECRET_KEY_OPENAI).write_text("sk-canary")
    gateway = await world.gateway(budget=Budget(usd=0.001))
    code, events, seconds = await run_codex(tmp_path, gateway.url)
    assert code == 1
    failed = [event for event in events if event["type"] == "turn.failed"]
    assert "agent gateway: the budget of this task is spent" in failed[0]["error"]["message"]
    assert "budget_exhausted" in failed[0]["error"]["message"]
    assert not any("Reconnecting" in json.dumps(event) for event in events)
    assert seconds < 20
    assert gateway.ledger.budget_refusals == 1
    assert world.api.seen == []


async def run_codex(folder: Path, gateway: str) -> tuple[int, list[dict[str, Any]], float]:
    """Run Codex; return its exit code, its events and its seconds."""
    assert CODEX
    for name in ("codex", "codex-work"):
        (folder / name).mkdir()
    (folder / "codex" / "config.toml").write_text(
        f"""
model = "gpt-5.5"
model_provider = "gateway"
check_for_update_on_startup = false
web_search = "disabled"
[analytics]
enabled = false
[features]
plugins = false
[model_providers.gateway]
name = "gateway"
base_url = "{gateway}/openai/v1"
env_key = "KEY"
wire_api = "responses"
"""
    )
    loop = asyncio.get_running_loop()
    started = loop.time()
    process = await asyncio.create_subprocess_exec(
        CODEX, "exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "Say done",
        cwd=folder / "codex-work",
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "CODEX_HOME": str(folder / "codex"),
            "KEY": "held-by-the-gateway",
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    events = [json.loads(line) for line in out.decode().splitlines() if line.startswith("{")]
    return process.returncode or 0, events, loop.time() - started
