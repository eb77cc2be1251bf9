"""The stand-in as an HTTP server on the loopback interface."""

from __future__ import annotations

import asyncio
import collections
import hmac
import json
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from demo.model import apis, conversation, structured
from demo.model.apis import ANTHROPIC, OPENAI, Api
from demo.model.bill import Bill
from demo.model.errors import ApiError, invalid_request
from demo.model.prompt_cache import PromptCache
from demo.model.streaming import encode
from demo.model.usage import measure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from demo.model.play import Answer, Said
    from demo.model.script import Script

MAX_REQUEST_BYTES = 32 * 1024 * 1024
"""Largest request body; the Messages API's own limit."""
HOST = "127.0.0.1"
MAX_RECORDS = 1_000
"""How many of the latest requests are remembered."""
REQUEST_IDS = {ANTHROPIC.name: "request-id", OPENAI.name: "x-request-id"}
"""Header that names a request, by API."""


class StandInModel:
    """Anthropic's Messages API and OpenAI's Responses API, played from a script.

    It serves ``POST /v1/messages`` and ``POST /v1/responses`` (streamed and plain), ``POST
    /v1/messages/count_tokens``, ``GET /v1/models`` in both forms, and for whoever watches ``GET
    /_demo/requests`` and ``GET /_demo/bill``. Usable as ``async with StandInModel(script) as model: model.url``.

    :param script: what it says.
    :param api_key: key that Anthropic requests must bear, as ``x-api-key`` or as bearer token; ``None``: any or
        none.
    :param openai_api_key: the same for OpenAI requests, as bearer token.
    :param host: address to listen on.
    :param port: TCP port; 0: a free one.
    """

    def __init__(
        self,
        script: Script,
        *,
        api_key: str | None = None,
        openai_api_key: str | None = None,
        host: str = HOST,
        port: int = 0,
    ) -> None:
        self._script = script
        self._keys = {ANTHROPIC.name: api_key, OPENAI.name: openai_api_key}
        self._bill = Bill()
        self._cache = PromptCache()
        self._address = (host, port)
        self._runner: web.AppRunner | None = None
        self._url: str | None = None
        self._count = 0
        self._records: collections.deque[dict[str, Any]] = collections.deque(maxlen=MAX_RECORDS)
        self._faults: collections.Counter[tuple[str | None, int]] = collections.Counter()

    @property
    def url(self) -> str:
        """Base URL, by default ``http://127.0.0.1:PORT``.

        :raises RuntimeError: the server is not started.
        """
        if self._url is None:
            raise RuntimeError("the stand-in model is not running; await start() first")
        return self._url

    async def start(self) -> str:
        """Listen, and return :attr:`url`.

        :raises OSError: the port is taken.
        """
        app = web.Application(client_max_size=MAX_REQUEST_BYTES, middlewares=[self._errors])
        app.router.add_post("/v1/messages", self._answer)
        app.router.add_post("/v1/responses", self._answer)
        app.router.add_post("/v1/messages/count_tokens", self._count_tokens)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/_demo/requests", self._requests)
        app.router.add_get("/_demo/bill", self._show_bill)
        app.on_response_prepare.append(_identify)
        # A dropped client ends its handler; an open stream does not hold up the end of the server.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, *self._address).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self._url = f"http://{self._address[0]}:{runner.addresses[0][1]}"
        return self._url

    async def stop(self) -> None:
        """Stop listening and drop open connections; harmless if not started."""
        runner, self._runner, self._url = self._runner, None, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def requests(self) -> dict[str, Any]:
        """Return what ``GET /_demo/requests`` shows: a count, and the latest requests without secrets."""
        return {"count": self._count, "requests": list(self._records)}

    def bill(self) -> dict[str, Any]:
        """Return what ``GET /_demo/bill`` shows: calls and tokens charged so far, by model."""
        return self._bill.as_json()

    async def _requests(self, _: web.Request) -> web.Response:
        return web.json_response(self.requests())

    async def _show_bill(self, _: web.Request) -> web.Response:
        return web.json_response(self.bill())

    @web.middleware
    async def _errors(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Answer every refusal in the form of the API that was asked."""
        try:
            response: web.StreamResponse = await handler(request)
        except ApiError as error:
            failure = error
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
            failure = ApiError(error.status, "not_found_error", f"Not found: {request.method} {request.path}")
        else:
            return response
        api = apis.of(request)
        request_id = _request_id()
        headers = {**failure.headers, REQUEST_IDS[api.name]: request_id}
        return web.json_response(api.error(failure, request_id), status=failure.status, headers=headers)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        api = apis.of(request)
        record = self._record(request)
        try:
            body = await self._read(request, api, record)
            reply = api.answer(self._script, body)
            record.update(scene=reply.said.scene, turn=reply.said.turn)
            await asyncio.sleep(reply.said.delay_seconds)
            self._fail_as_scripted(reply.said)
            reply = self._cached(api, body, reply)
        except ApiError as error:
            record["status"] = error.status
            raise
        record.update(status=200, usage=api.usage(reply))
        self._bill.charge(body["model"], reply.usage)
        if body.get("stream") is True:
            return await self._stream(request, api, reply)
        if reply.said.drip_seconds:
            return await self._drip(request, reply)
        return web.json_response(reply.message)

    def _cached(self, api: Api, body: Mapping[str, Any], reply: Answer) -> Answer:
        """Let a question that asks for an answer of a form share its beginning with the ones before it."""
        if api is not ANTHROPIC or structured.messages_form(body) is None:
            return reply
        usage = self._cache.used(body, reply.usage)
        return replace(reply, usage=usage, message={**reply.message, "usage": usage.as_json()})

    async def _count_tokens(self, request: web.Request) -> web.Response:
        record = self._record(request)
        try:
            body = await self._read(request, ANTHROPIC, record)
            conversation.read(body)
        except ApiError as error:
            record["status"] = error.status
            raise
        tokens = measure(body, []).prompt
        record.update(status=200, usage={"input_tokens": tokens})
        return web.json_response({"input_tokens": tokens})

    async def _models(self, request: web.Request) -> web.Response:
        """List models, for whoever asks whether a credential is good. Costs nothing, and is no conversation."""
        api = apis.of(request)
        self._authenticate(request, api)
        return web.json_response(api.model_list(api.models))

    async def _stream(self, request: web.Request, api: Api, reply: Answer) -> web.StreamResponse:
        headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for name, data in api.events(reply):
            await response.write(encode(name, data))
            await asyncio.sleep(0)
        await response.write_eof()
        return response

    async def _drip(self, request: web.Request, reply: Answer) -> web.StreamResponse:
        """Answer a byte at a time, as a server does that never gets done."""
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        for byte in json.dumps(reply.message).encode():
            await response.write(bytes([byte]))
            await asyncio.sleep(reply.said.drip_seconds)
        await response.write_eof()
        return response

    async def _read(self, request: web.Request, api: Api, record: dict[str, Any]) -> Mapping[str, Any]:
        """Check the request's key and version and return its body; note in ``record`` what it asks."""
        self._authenticate(request, api)
        if api is ANTHROPIC and "anthropic-version" not in request.headers:
            raise invalid_request("anthropic-version: header is required")
        try:
            body = json.loads(await request.read())
        except web.HTTPRequestEntityTooLarge:
            raise ApiError(413, "request_too_large", "Request exceeds the maximum size") from None
        except (ValueError, RecursionError):
            raise invalid_request("The request body is not valid JSON") from None
        if not isinstance(body, dict):
            raise invalid_request("The request body is not a JSON object")
        if not isinstance(body.get("model"), str) or not body["model"]:
            raise invalid_request("model: Field required")
        talk = body.get(api.conversation)
        record.update(model=body["model"], messages=len(talk) if isinstance(talk, list) else 0)
        api.check(request, body)
        return body

    def _authenticate(self, request: web.Request, api: Api) -> None:
        wanted = self._keys[api.name]
        if wanted is None:
            return
        kind, missing, wrong = api.key_fault
        given = api.key(request)
        if not given:
            raise ApiError(401, kind, missing)
        if not hmac.compare_digest(given.encode(errors="replace"), wanted.encode()):
            raise ApiError(401, kind, wrong)

    def _fail_as_scripted(self, said: Said) -> None:
        fault = said.error
        if fault is None:
            return
        key = (said.scene, said.turn)
        if fault.times is not None and self._faults[key] >= fault.times:
            return
        self._faults[key] += 1
        raise ApiError(fault.status, fault.kind, fault.message, fault.headers)

    def _record(self, request: web.Request) -> dict[str, Any]:
        """Remember a request: what it asked is added as it is known, and never a header's value."""
        self._count += 1
        record: dict[str, Any] = {
            "at": time.time(),
            "path": request.path,
            "model": None,
            "messages": 0,
            "scene": None,
            "turn": None,
            "status": None,
            "usage": None,
            "headers": sorted({name.lower() for name in request.headers}),
        }
        self._records.append(record)
        return record


def _request_id() -> str:
    return f"req_{uuid.uuid4().hex[:24]}"


async def _identify(request: web.Request, response: web.StreamResponse) -> None:
    """Give an answer the id that each answer of the API bears; an error has it in its body as well."""
    response.headers.setdefault(REQUEST_IDS[apis.of(request).name], _request_id())
