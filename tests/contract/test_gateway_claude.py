"""The real Claude Code program through the gateway, against a scripted Messages API."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from agent_runner import contract
from agent_runner.contract import GatewayConfig, Tokens
from agent_runner.gateway.pricing import PRICES
from agent_runner.gateway.server import Gateway
from agent_runner.gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = "sk-ant-canary-0123456789"


def claude_program() -> str | None:
    """The program on the PATH, or the one that claude-agent-sdk brings."""
    spec = importlib.util.find_spec("claude_agent_sdk")
    bundled = Path(spec.origin).parent / "_bundled/claude" if spec and spec.origin else None
    return str(bundled) if bundled and bundled.is_file() else shutil.which("claude")


PROGRAM = claude_program()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Claude Code is not installed")


@dataclass
class Api:
    """Answers each request with the next turn: a text or a Bash command, and its usage."""

    turns: list[tuple[dict[str, Any], dict[str, int]]]
    status: int = 200
    seen: list[web.Request] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        body = await request.json()
        self.bodies.append(body)
        if self.status != 200 or request.path != "/v1/messages":
            return web.json_response(
                {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}},
                status=self.status if self.status != 200 else 404,
            )
        block, usage = self.turns.pop(0)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "request-id": "req_1"})
        await response.prepare(request)
        for event in events(body["model"], block, usage):
            await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        return response


def events(model: str, block: dict[str, Any], usage: dict[str, int]) -> list[dict[str, Any]]:
    start = {**usage, "output_tokens": 1}
    if block["type"] == "text":
        empty, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": block["text"]}
    else:
        empty = {**block, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    reason = "end_turn" if block["type"] == "text" else "tool_use"
    return [
        {
            "type": "message_start",
            "message": {
                "id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [],
                "stop_reason": None, "stop_sequence": None, "usage": start,
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": empty},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": None},
            "usage": {"output_tokens": usage["output_tokens"]},
        },
        {"type": "message_stop"},
    ]  # fmt: skip


@dataclass
class World:
    api: Api
    folder: Path
    gateway: Gateway

    async def run(self, *options: str) -> tuple[int, dict[str, Any], float, str]:
        """Run the program; return its exit code, its result, its seconds and all it printed."""
        assert PROGRAM
        for name in ("home", "work", "tmp"):
            (self.folder / name).mkdir(exist_ok=True)
        started = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            PROGRAM, "-p", "Say done", "--output-format", "stream-json", "--verbose",
            "--setting-sources", "user", "--strict-mcp-config", "--permission-mode", "bypassPermissions",
            *options,
            cwd=self.folder / "work",
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder / "home"),
                "TMPDIR": str(self.folder / "tmp"),
                "IS_SANDBOX": "1",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
                "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST": "1",
                "ANTHROPIC_BASE_URL": f"{self.gateway.url}/anthropic",
                "ANTHROPIC_API_KEY": "held-by-the-gateway",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(60):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        parsed = [json.loads(line) for line in out.decode().splitlines() if line.startswith("{")]
        results = [event for event in parsed if event["type"] == "result"]
        assert results, (out, err)
        printed = (out + err).decode()
        return process.returncode or 0, results[-1], time.monotonic() - started, printed


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
    api = Api([(tool, USAGES[0]), ({"type": "text", "text": "done"}, USAGES[1])])
    for name in ("secrets", "ledger"):
        (tmp_path / name).mkdir()
    (tmp_path / "secrets" / contract.SECRET_KEY_ANTHROPIC).write_text(KEY + "\n")
    async with AsyncExitStack() as stack:
        app = web.Application(client_max_size=32 << 20)
        app.router.add_route("*", "/{path:.*}", api.handle)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        config = GatewayConfig(
            repository="acme/widget",
            work_branch="work",
            anthropic_url=f"http://127.0.0.1:{runner.addresses[0][1]}",
        )
        settings = Settings(
            config=config,
            secrets_dir=tmp_path / "secrets",
            ledger_dir=tmp_path / "ledger",
            url_file=tmp_path / "url",
        )
        gateway = await stack.enter_async_context(Gateway(settings))
        yield World(api, tmp_path, gateway)


async def test_a_run_passes_and_its_use_is_in_the_ledger(world: World) -> None:
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

    usage, ledger = result["usage"], world.gateway.ledger
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
            "no credential: key anthropic-api-key of secret agent-secrets does not exist; add it",
        ),
        (
            lambda _, api: setattr(api, "status", 401),
            "the model API refused the credential in key anthropic-api-key of secret agent-secrets (HTTP 401)",
        ),
    ],
)
async def test_missing_or_refused_key_ends_the_run_at_once(world: World, break_it: Any, said: str) -> None:
    break_it(world.folder / "secrets" / contract.SECRET_KEY_ANTHROPIC, world.api)
    code, result, seconds, _ = await world.run()
    assert code == 1
    assert result["is_error"] is True
    assert result["api_error_status"] == 403
    assert said in result["result"]
    assert seconds < 30, "the program retries a 401 for three minutes"
    assert len(world.api.seen) <= 2
    assert world.gateway.ledger.usd == 0


@pytest.mark.parametrize(
    ("model", "prompt"), [("claude-sonnet-5-5", 40), ("claude-haiku-5-5", 40), ("claude-haiku-5-5", 99_000)]
)
async def test_prices_are_those_of_the_program(world: World, model: str, prompt: int) -> None:
    """The newest of each family; the long prompt is beyond the bound with its cached part."""
    assert model in PRICES
    world.api.turns = [({"type": "text", "text": "done"}, {**USAGES[1], "input_tokens": prompt})]
    code, result, _, _ = await world.run("--model", model)
    assert code == 0, result
    assert world.gateway.ledger.usd == pytest.approx(result["total_cost_usd"])
