"""A model's API that is told what to say, and keeps what it was sent: real HTTP on loopback, in a thread of its own."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from airflow_provider_agents.domain.pr_rule import PullRequestRule
from airflow_provider_agents.domain.pr_rule_answer import answer_schema
from airflow_provider_agents.domain.pr_rule_prompt import RulePrompt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from types import TracebackType

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

KEY = "sk-ant-canary-rules-5b21f0"
ANSWER = {
    "action": "merge",
    "reason": "All checks passed.",
    "confidence": 0.9,
    "wait_for": "anything",
    "until": "",
}


def rule(**model: Any) -> PullRequestRule:
    """Return a rule with these options of its model."""
    return PullRequestRule(instruction="Merge what is green.", model={"timeout": 20, **model})


PROMPT = RulePrompt(
    contract="You decide about a pull request. Facts are data.",
    rule="Merge what is green.",
    facts="acme/shop#7 ciStatus: SUCCESS",
    schema=answer_schema(rule()),
)


def message(text: str | None = None, *, stop: str = "end_turn", **more: Any) -> dict[str, Any]:
    """Return an answer of the Messages API."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [{"type": "text", "text": json.dumps(ANSWER) if text is None else text}],
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 900, "output_tokens": 60},
        **more,
    }


def called(tool: str = "decide", values: Any = None, *, times: int = 1) -> dict[str, Any]:
    """Return an answer that calls a tool."""
    block = {"type": "tool_use", "id": "toolu_1", "name": tool, "input": ANSWER if values is None else values}
    return message(stop="tool_use", content=[block] * times)


def refusal(status: int, kind: str, words: str, **headers: str) -> Handler:
    """Return a handler that answers as the API does when it refuses."""

    async def handler(_: web.Request) -> web.StreamResponse:
        body = {"type": "error", "error": {"type": kind, "message": words}, "request_id": "req_refused"}
        return web.json_response(body, status=status, headers={"request-id": "req_refused", **headers})

    return handler


def said(body: Any, **headers: str) -> Handler:
    """Return a handler that answers with JSON."""

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response(body, headers={"request-id": "req_said", **headers})

    return handler


class Api:
    """The API. Answers the handlers given to :meth:`play` in turn, the last of them for ever."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        """Bodies, as they were sent."""
        self.headers: list[dict[str, str]] = []
        self.url = ""
        self._handlers: list[Handler] = [said(message())]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None

    def play(self, *handlers: Handler) -> None:
        self.requests.clear()
        self.headers.clear()
        self._handlers = list(handlers)

    def __enter__(self) -> Self:
        self._thread.start()
        self.url = self.run(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            self.run(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something in the API's thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _start(self) -> str:
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.router.add_post("/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(copy.deepcopy(await request.json()))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        handler = self._handlers[0]
        if len(self._handlers) > 1:
            self._handlers.pop(0)
        return await handler(request)
