"""The model APIs: adds the credential, passes answers on as they come, meters what they used."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import closing
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from agent_runner.gateway.budget import BudgetSpentError
from agent_runner.gateway.call_book import LedgerError
from agent_runner.gateway.credentials import CredentialError
from agent_runner.gateway.push_request import printable
from agent_runner.gateway.relay import AnswerBrokenError, ClientGoneError, relay
from agent_runner.gateway.request_policy import RefusedRequestError, read_request
from agent_runner.gateway.upstream import never_sent, words

if TYPE_CHECKING:
    from agent_runner.gateway.call_book import Account, CallBook
    from agent_runner.gateway.credentials import Credentials
    from agent_runner.gateway.model_api import ModelApi
    from agent_runner.gateway.upstream import Upstream

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 32 << 20
"""Largest request that Anthropic's API takes; OpenAI's are smaller."""

_BODY_SECONDS = 120.0

_MAX_REASONS = 100
"""How many reasons of refusals are remembered, and noted: they quote the client."""


class ModelProxy:
    """Answers the requests that agent programs make of one API.

    Nothing is repeated here: that an API is busy, and when to ask again, is the agent program's to hear.

    :param url: root that the API's paths are below; may have a path of its own.
    :param book: the accounts of its calls.
    """

    def __init__(
        self, api: ModelApi, url: str, credentials: Credentials, upstream: Upstream, book: CallBook
    ) -> None:
        self._api = api
        self._url = url.rstrip("/")
        self._credentials = credentials
        self._upstream = upstream
        self._book = book
        self._refused: set[str] = set()

    async def handle(self, request: web.Request, path: str) -> web.StreamResponse:
        """Answer a request.

        :param path: what comes below the API's name, undecoded.
        """
        api = self._api
        metered = path == api.metered_path
        if request.method != "POST" or not (metered or path in api.free_paths):
            self._book.refuse(f"{request.method} {printable(path, 100)}: not served")
            return api.error("not_served", f"only POST {api.served} is served")
        if self._book.fault:
            return api.error("unusable", self._book.fault)
        try:
            key, credential = self._credentials.first(api.secret_keys)
        except CredentialError as error:
            log.warning("model: %s", error)
            return api.error("credential", str(error))
        body = await self._body(request)
        if isinstance(body, web.Response):
            return body
        try:
            read = read_request(body)
            api.check(read)
        except RefusedRequestError as error:
            self._note(str(error))
            return api.error("request", f"not passed on: {error}")
        asked = api.asked(read)
        del read
        headers = {
            name: ", ".join(request.headers.getall(name))
            for name in api.request_headers
            if name in request.headers
        }
        api.authorize(headers, key, credential)
        try:
            if not metered:
                self._book.require_rest()
                return await self._forward(request, path, headers, body, key)
            account = await self._book.open(request, asked, len(body))
        except BudgetSpentError as error:
            return api.error("budget", str(error))
        except LedgerError as error:
            return api.error("unusable", str(error))
        except ClientGoneError:
            log.info("model: the client went away before its turn came")
            return web.Response(status=400)
        # Also when cancelled at the end of the pod: what was used until then counts.
        with closing(account):
            return await self._forward(request, path, headers, body, key, account)

    def _note(self, reason: str) -> None:
        """Note a refusal, once for each reason: an agent program repeats its requests."""
        if reason not in self._refused and len(self._refused) < _MAX_REASONS:
            self._refused.add(reason)
            log.warning("model: refused: %s", reason)
            self._book.refuse(reason)

    async def _body(self, request: web.Request) -> bytes | web.Response:
        if request.headers.get("Content-Encoding", "identity") != "identity":
            return self._api.error(
                "request", "the request is compressed, so that its cost cannot be foreseen: send it plain"
            )
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                return await request.read()
        except web.HTTPRequestEntityTooLarge:
            return self._api.error("too_large", f"the request is larger than {MAX_BODY_BYTES:,} bytes")
        except TimeoutError:
            return self._api.error("request", "the request did not come in time")

    async def _forward(
        self,
        request: web.Request,
        path: str,
        headers: dict[str, str],
        body: bytes,
        key: str,
        account: Account | None = None,
    ) -> web.StreamResponse:
        query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
        started = time.monotonic()
        if account is not None:
            account.sent = True
        try:
            answer = await self._upstream.request(
                "POST", f"{self._url}/{path}{query}", headers=headers, data=body
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if account is not None and never_sent(error):
                account.sent = False
            log.warning("model: the API cannot be reached: %s", words(error))
            return self._api.error("unreachable", f"the model API cannot be reached: {words(error)}")
        async with answer:
            if account is not None:
                account.status = answer.status
            if (fault := self._fault(answer, key)) is not None:
                log.warning("model: %s", fault)
                return self._api.error("credential" if answer.status == 401 else "answer", fault)
            if account is None:
                log.info("model: %s %d %.1f s", path, answer.status, time.monotonic() - started)
            return await self._pass_on(request, answer, account)

    async def _pass_on(
        self, request: web.Request, answer: aiohttp.ClientResponse, account: Account | None
    ) -> web.StreamResponse:
        headers = {
            name: value
            for name, value in answer.headers.items()
            if name.lower() in self._api.answer_headers or name.lower().startswith(self._api.answer_prefixes)
        }
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
        meter = None
        if account is not None and answer.status == 200:
            meter = account.meter = self._api.meter(answer.content_type == "text/event-stream")
        try:
            await relay(
                request,
                response,
                answer,
                observe=meter.feed if meter is not None else None,
                to_the_end=meter is not None,
            )
        except AnswerBrokenError as error:
            log.warning("model: the answer broke off: %s", error)
        return response

    def _fault(self, answer: aiohttp.ClientResponse, key: str) -> str | None:
        """Say why an answer is not passed on: agent programs would repeat the request in vain for long."""
        if answer.status == 401:
            place = self._credentials.place(key)
            return f"the model API refused the credential in {place} (HTTP 401): set a valid one"
        if 300 <= answer.status < 400:
            return (
                f"the model API answered with a redirect (HTTP {answer.status}), which is not followed: "
                "check its address"
            )
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            return "the model API compressed its answer although plain was asked for; it cannot be metered"
        return None
