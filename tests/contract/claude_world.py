"""The real Claude Code program, a gateway before it, and a scripted Messages API behind that."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from agent_runner import contract
from agent_runner.contract import GatewayConfig, Ledger
from agent_runner.gateway.server import Gateway
from agent_runner.gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

KEY = "sk-ant-canary-0123456789"


def claude_program() -> str | None:
    """The program on the PATH, or the one that claude-agent-sdk brings."""
    spec = importlib.util.find_spec("claude_agent_sdk")
    bundled = Path(spec.origin).parent / "_bundled/claude" if spec and spec.origin else None
    return str(bundled) if bundled and bundled.is_file() else shutil.which("claude")


PROGRAM = claude_program()


@dataclass
class Api:
    """Answers each request with the next turn: a text or a Bash command, and its usage."""

    turns: list[tuple[dict[str, Any], dict[str, int]]]
    status: int = 200
    before: Callable[[], Awaitable[object]] | None = None
    """Runs when a request has arrived, before it is answered."""
    seen: list[web.Request] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        body = await request.json()
        self.bodies.append(body)
        if self.before is not None:
            await self.before()
        if self.status != 200 or request.path != "/v1/messages":
            return web.json_response(
                {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}},
                status=self.status if self.status != 200 else 404,
            )
        block, usage = self.turns.pop(0)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "request-id": "req_1"})
        # Its client may be gone by now.
        with contextlib.suppress(ConnectionError):
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
    """The API, and gateways to it on the same volumes."""

    api: Api
    api_url: str
    folder: Path
    stack: AsyncExitStack

    def settings(self, **config: object) -> Settings:
        values = {
            "repository": "acme/widget",
            "work_branch": "work",
            "anthropic_url": self.api_url,
            "openai_url": self.api_url,
            **config,
        }
        return Settings(
            config=GatewayConfig(**values),  # type: ignore[arg-type]
            secrets_dir=self.folder / "secrets",
            scratch_dir=self.folder / "scratch",
            ledger_dir=self.folder / "ledger",
            pod_name="pod",
            url_file=self.folder / "url",
            termination_log=self.folder / "termination",
        )

    async def gateway(self, **config: object) -> Gateway:
        return await self.stack.enter_async_context(Gateway(self.settings(**config)))

    def ledger(self) -> Ledger:
        """What the gateway would leave behind if it ended now."""
        return Ledger.from_json((self.folder / "termination").read_text())

    def events(self) -> list[dict[str, Any]]:
        """The lines of the ledger."""
        text = (self.folder / "ledger" / "pod.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

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
                "ANTHROPIC_BASE_URL": f"{(self.folder / 'url').read_text()}/anthropic",
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


@asynccontextmanager
async def open_world(tmp_path: Path) -> AsyncIterator[World]:
    """An API that answers nothing yet, and the volumes of a gateway."""
    for name in ("secrets", "scratch", "ledger"):
        (tmp_path / name).mkdir()
    (tmp_path / "secrets" / contract.SECRET_KEY_ANTHROPIC).write_text(KEY + "\n")
    api = Api([])
    async with AsyncExitStack() as stack:
        app = web.Application(client_max_size=32 << 20)
        app.router.add_route("*", "/{path:.*}", api.handle)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield World(api, f"http://127.0.0.1:{runner.addresses[0][1]}", tmp_path, stack)
