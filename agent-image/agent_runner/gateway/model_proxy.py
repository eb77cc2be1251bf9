"""The model API: adds the key, passes answers on as they come, meters what they used."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from agent_runner.contract import SECRET_KEY_ANTHROPIC
from agent_runner.gateway.credentials import CredentialError
from agent_runner.gateway.metering import JsonMeter, StreamMeter
from agent_runner.gateway.pricing import FALLBACK, cost_usd, price_of
from agent_runner.gateway.push_request import printable
from agent_runner.gateway.relay import AnswerBrokenError, relay
from agent_runner.gateway.upstream import words

if TYPE_CHECKING:
    from agent_runner.contract import GatewayConfig
    from agent_runner.gateway.credentials import Credentials
    from agent_runner.gateway.journal import Journal
    from agent_runner.gateway.upstream import Upstream

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 32 << 20
"""Largest request that the Messages API takes."""

_BODY_SECONDS = 120.0
_METERED = "v1/messages"
_PATHS = frozenset({_METERED, "v1/messages/count_tokens"})
_REQUEST_HEADERS = ("anthropic-version", "anthropic-beta", "Content-Type", "Content-Encoding", "User-Agent")
_ANSWER_HEADERS = frozenset({"content-type", "content-length", "retry-after", "request-id", "x-should-retry"})


class ModelProxy:
    """Answers the two endpoints of the Messages API that an agent program needs."""

    def __init__(
        self, config: GatewayConfig, credentials: Credentials, journal: Journal, upstream: Upstream
    ) -> None:
        self._url = config.anthropic_url.rstrip("/")
        self._credentials = credentials
        self._journal = journal
        self._upstream = upstream

    async def handle(self, request: web.Request, path: str) -> web.StreamResponse:
        """Answer a request.

        :param path: what comes below ``…/anthropic/``, undecoded.
        """
        if request.method != "POST" or path not in _PATHS:
            self._journal.refusal(f"model: {request.method} {printable(path, 100)}: not served")
            return error_answer(
                404, "not_found_error", f"only POST {_METERED} and its count_tokens are served"
            )
        if self._journal.fault:
            return error_answer(400, "invalid_request_error", self._journal.fault)
        try:
            key = self._credentials.read(SECRET_KEY_ANTHROPIC)
        except CredentialError as error:
            log.warning("model: %s", error)
            return error_answer(403, "permission_error", str(error))
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return error_answer(
                413, "request_too_large", f"the request is larger than {MAX_BODY_BYTES:,} bytes"
            )
        except TimeoutError:
            return error_answer(400, "invalid_request_error", "the request did not come in time")
        return await self._forward(request, path, body, key)

    async def _forward(self, request: web.Request, path: str, body: bytes, key: str) -> web.StreamResponse:
        headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        headers["x-api-key"] = key
        query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
        started = time.monotonic()
        try:
            answer = await self._upstream.request(
                "POST", f"{self._url}/{path}{query}", headers=headers, data=body
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("model: the API cannot be reached: %s", words(error))
            return error_answer(502, "api_error", f"the model API cannot be reached: {words(error)}")
        async with answer:
            if (fault := self._fault(answer)) is not None:
                self._note(path, answer.status, StreamMeter(), started, broken=False)
                return fault
            return await self._answer(request, path, answer, started)

    async def _answer(
        self, request: web.Request, path: str, answer: aiohttp.ClientResponse, started: float
    ) -> web.StreamResponse:
        headers = {
            name: value
            for name, value in answer.headers.items()
            if name.lower() in _ANSWER_HEADERS or name.lower().startswith("anthropic-")
        }
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
        meter = StreamMeter() if answer.content_type == "text/event-stream" else JsonMeter()
        broken = True
        try:
            await relay(
                request,
                response,
                answer,
                observe=meter.feed if answer.status == 200 else None,
                to_the_end=path == _METERED and answer.status == 200,
            )
            broken = False
        except AnswerBrokenError as error:
            log.warning("model: the answer broke off: %s", error)
        finally:
            # Also when cancelled at the end of the pod: what was used until then counts.
            self._note(path, answer.status, meter, started, broken=broken)
        return response

    def _fault(self, answer: aiohttp.ClientResponse) -> web.Response | None:
        """Replace answers that cannot be passed on, by ones that the agent program does not retry for long."""
        if answer.status == 401:
            place = self._credentials.place(SECRET_KEY_ANTHROPIC)
            message = f"the model API refused the credential in {place} (HTTP 401): set a valid API key"
            log.warning("model: %s", message)
            return error_answer(403, "permission_error", message)
        if 300 <= answer.status < 400:
            message = f"the model API answered with a redirect (HTTP {answer.status}), which is not followed"
            log.warning("model: %s", message)
            return error_answer(400, "invalid_request_error", f"{message}: check its address")
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            message = "the model API compressed its answer although plain was asked for; it cannot be metered"
            log.warning("model: %s", message)
            return error_answer(400, "invalid_request_error", message)
        return None

    def _note(
        self, path: str, status: int, meter: StreamMeter | JsonMeter, started: float, *, broken: bool
    ) -> None:
        seconds = time.monotonic() - started
        if path != _METERED:
            log.info("model: %s %d %.1f s", path, status, seconds)
            return
        estimated = meter.finish()
        usage = meter.usage
        model = usage.model
        prompt = usage.input + usage.cache_read + usage.cache_write
        price = price_of(model, prompt) if model is not None else FALLBACK
        usd = cost_usd(
            price or FALLBACK,
            usage.tokens,
            cache_write_1h=usage.cache_write_1h,
            web_searches=usage.web_searches,
        )
        self._journal.model_call(
            model=model,
            status=status,
            tokens=usage.tokens,
            usd=usd,
            unpriced=price is None,
            estimated=estimated,
        )
        log.info(
            "model: %s %d %.1f s, tokens %d in %d out %d cache read %d cache write, %.4f USD%s",
            printable(model or "-", 60),
            status,
            seconds,
            usage.input,
            usage.output,
            usage.cache_read,
            usage.cache_write,
            usd,
            " (estimated)" if estimated else " (broken off)" if broken else "",
        )


def error_answer(status: int, kind: str, message: str) -> web.Response:
    """Return an error in the form of the Messages API, which agent programs show to their user."""
    return web.json_response(
        {"type": "error", "error": {"type": kind, "message": f"agent gateway: {message}"}}, status=status
    )
