"""The real gateway of a pod between the runner and: a small MCP server over HTTP, scripted models, and git."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from agent_runner import contract
from agent_runner.contract import GatewayConfig, McpServer, mcp_secret_key
from agent_runner.gateway.server import Gateway
from agent_runner.gateway.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from pod import Pod

CREDENTIAL = "mcp_canary_5b1d"
MODEL_KEY = "sk-canary-of-the-model"
SECONDS = 20.0

Json = dict[str, Any]
Turn = str | Callable[[Json], Json]
"""What a model says: words, or from its request the call of a tool, ``{"name": …, "input": …}``."""


@dataclass
class Asked:
    """One request as the MCP server got it."""

    http: str
    path: str
    headers: dict[str, str]
    message: Json


@dataclass
class Docs:
    """An MCP server with three tools, as a vendor would run it: sessions, a credential, JSON or event streams."""

    streams: bool = False
    header: str = "Authorization"
    credential: str = f"Bearer {CREDENTIAL}"
    asked: list[Asked] = field(default_factory=list)
    sessions: int = 0

    def calls(self) -> list[Json]:
        return [each.message["params"] for each in self.asked if each.message.get("method") == "tools/call"]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        message = json.loads(body) if body else {}
        self.asked.append(Asked(request.method, request.raw_path, dict(request.headers), message))
        if request.headers.get(self.header) != self.credential:
            challenge = (
                f'Bearer resource_metadata="http://{request.host}/.well-known/oauth-protected-resource"'
            )
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        if request.method == "DELETE":
            return web.Response(status=204)
        if request.method != "POST":
            return web.Response(status=405)
        method = message.get("method")
        if method == "initialize":
            self.sessions += 1
        elif request.headers.get("Mcp-Session-Id") != f"s-{self.sessions}":
            return web.Response(status=404)
        if "id" not in message or method is None:
            return web.Response(status=202)
        answer = {
            "jsonrpc": "2.0",
            "id": message["id"],
            "result": self._result(method, message.get("params", {})),
        }
        headers = {"Mcp-Session-Id": f"s-{self.sessions}"}
        if not self.streams:
            return web.json_response(answer, headers=headers)
        response = web.StreamResponse(headers={**headers, "Content-Type": "text/event-stream"})
        await response.prepare(request)
        note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "…"}}
        for number, each in enumerate((note, answer)):
            await response.write(
                f"id: {number}\r\nevent: message\r\ndata: {json.dumps(each)}\r\n\r\n".encode()
            )
        return response

    def _result(self, method: str, params: Json) -> Json:
        schema = {"type": "object", "properties": {"word": {"type": "string"}}}
        match method:
            case "initialize":
                return {
                    "protocolVersion": params["protocolVersion"],
                    "capabilities": {"tools": {}, "resources": {}, "prompts": {}},
                    "serverInfo": {"name": "docs", "version": "1"},
                }
            case "tools/list":
                names = ("look_up", "drop_table", "count")
                return {
                    "tools": [
                        {"name": name, "description": f"{name}.", "inputSchema": schema} for name in names
                    ]
                }
            case "tools/call":
                said = f"{params['name']} found {params.get('arguments', {}).get('word')}"
                return {"content": [{"type": "text", "text": said}]}
            case "resources/list":
                return {"resources": [{"uri": "docs://secret", "name": "a resource"}]}
            case "prompts/list":
                return {"prompts": [{"name": "a_prompt"}]}
            case _:
                return {}


@dataclass
class Models:
    """Both model APIs; each turn is scripted."""

    turns: deque[Turn] = field(default_factory=deque)
    asked: list[Json] = field(default_factory=list)

    async def messages(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        turn = self._turn(body)
        number = len(self.asked)
        if isinstance(turn, str):
            start: Json = {"type": "text", "text": ""}
            delta: Json = {"type": "text_delta", "text": turn}
        else:
            start = {"type": "tool_use", "id": f"toolu_{number}", "name": turn["name"], "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(turn["input"])}
        usage = {"input_tokens": 100, "output_tokens": 1}
        head = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": "claude-opus-5-5"}
        reason = "end_turn" if isinstance(turn, str) else "tool_use"
        return _stream(
            {
                "type": "message_start",
                "message": {**head, "content": [], "stop_reason": None, "usage": usage},
            },
            {"type": "content_block_start", "index": 0, "content_block": start},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": reason, "stop_sequence": None},
                "usage": {"output_tokens": 20},
            },
            {"type": "message_stop"},
        )

    async def responses(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        turn = self._turn(body)
        number = len(self.asked)
        if isinstance(turn, str):
            content = [{"type": "output_text", "text": turn, "annotations": []}]
            item: Json = {"type": "message", "id": f"msg_{number}", "role": "assistant", "content": content}
        else:
            item = {
                "type": "function_call",
                "id": f"fc_{number}",
                "call_id": f"call_{number}",
                "arguments": json.dumps(turn["input"]),
                **{key: turn[key] for key in ("name", "namespace") if key in turn},
            }
        usage = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}
        response = {"id": f"resp_{number}", "object": "response", "model": body["model"]}
        return _stream(
            {"type": "response.created", "response": {**response, "status": "in_progress"}},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {
                "type": "response.completed",
                "response": {**response, "status": "completed", "output": [item], "usage": usage},
            },
        )

    def _turn(self, body: Json) -> Any:
        turn = self.turns.popleft() if self.turns else "Nothing left to do."
        return turn if isinstance(turn, str) else turn(body)


def _stream(*events: Json) -> web.Response:
    text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return web.Response(text=text, content_type="text/event-stream")


class McpWorld:
    """All of it, in a thread of its own, so that tests can be plain functions.

    :param pod: whose git server is the forge, and whose runner gets the gateway's address.
    """

    def __init__(self, folder: Path, pod: Pod) -> None:
        self.folder = folder
        self.pod = pod
        self.docs = Docs()
        self.models = Models()
        self.gateway: Gateway | None = None
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._stack = AsyncExitStack()
        self._thread.start()
        self._await(self._listen())

    def open(self, *servers: McpServer) -> None:
        """Start the gateway with these servers."""
        self._await(self._open(servers))

    def server(self, **changes: Any) -> McpServer:
        values: Json = {"name": "docs", "url": f"{self.url}/deep/mcp", "header": self.docs.header}
        return McpServer(**{**values, **changes})

    def close(self) -> None:
        self._await(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=SECONDS)
        self._loop.close()

    def _await(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=SECONDS)

    async def _listen(self) -> None:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/anthropic/v1/messages", self.models.messages)
        app.router.add_post("/openai/v1/responses", self.models.responses)
        app.router.add_route("*", "/{path:.*}", self._serve)
        runner = web.AppRunner(app, shutdown_timeout=0.2)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        return await self.docs.handle(request)

    async def _open(self, servers: tuple[McpServer, ...]) -> None:
        for name in ("secrets", "scratch", "ledger"):
            (self.folder / name).mkdir(parents=True)
        for key in (contract.SECRET_KEY_ANTHROPIC, contract.SECRET_KEY_OPENAI):
            (self.folder / "secrets" / key).write_text(MODEL_KEY)
        (self.folder / "secrets" / contract.SECRET_KEY_FORGE).write_text("ghp_canary")
        (self.folder / "secrets" / mcp_secret_key("docs")).write_text(CREDENTIAL + "\n")
        config = GatewayConfig(
            repository="acme/shop",
            work_branch="agent/t-1",
            forge_url=f"{self.pod.git_server.url}/git",
            anthropic_url=f"{self.url}/anthropic",
            openai_url=f"{self.url}/openai",
            mcp_servers=servers,
        )
        settings = Settings(
            config=config,
            secrets_dir=self.folder / "secrets",
            scratch_dir=self.folder / "scratch",
            ledger_dir=self.folder / "ledger",
            pod_name="pod",
            url_file=self.pod.root / "gateway-url",
        )
        self.gateway = await self._stack.enter_async_context(Gateway(settings))
