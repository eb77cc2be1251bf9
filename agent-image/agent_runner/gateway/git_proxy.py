"""Smart HTTP for one repository: reading passes, pushing is judged."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from agent_runner.gateway.advertisement import AdvertisementFilter
from agent_runner.gateway.forge import ForgeError, answer_headers
from agent_runner.gateway.git_push import PushProxy
from agent_runner.gateway.pkt_line import PktLineError, encode
from agent_runner.gateway.push_request import printable
from agent_runner.gateway.relay import AnswerBrokenError, RequestBody, relay

if TYPE_CHECKING:
    from agent_runner.contract import GatewayConfig
    from agent_runner.gateway.forge import Forge
    from agent_runner.gateway.journal import Journal

log = logging.getLogger(__name__)

_PROTOCOL = re.compile(r"[a-z0-9=:.-]{1,200}")
_FETCH_TYPE = "application/x-git-upload-pack-request"


class GitProxy:
    """Answers git's requests for ``config.repository``; nothing else exists here."""

    def __init__(self, config: GatewayConfig, forge: Forge, journal: Journal) -> None:
        self._config = config
        self._forge = forge
        self._journal = journal
        self.pushes = PushProxy(config, forge, journal)

    async def handle(self, request: web.Request, path: str) -> web.StreamResponse:
        """Answer a request.

        :param path: what comes below ``…/git/``, undecoded.
        """
        repository = f"{self._config.repository}.git/"
        if not path.startswith(repository):
            self._journal.refusal(f"git: {request.method} {printable(path, 100)}: another repository")
            return text(403, f"only the repository {self._config.repository} can be reached here")
        match request.method, path.removeprefix(repository), request.query_string:
            case "GET", "info/refs", "service=git-upload-pack":
                return await self._advertise_fetch(request)
            case "GET", "info/refs", "service=git-receive-pack":
                return await self._advertise_push(request)
            case "POST", "git-upload-pack", "":
                return await self._fetch(request)
            case "POST", "git-receive-pack", "":
                return await self.pushes.handle(request)
        return text(403, "only git's smart HTTP protocol is served here")

    async def _advertise_fetch(self, request: web.Request) -> web.StreamResponse:
        try:
            answer = await self._forge.send(
                "GET",
                "info/refs?service=git-upload-pack",
                client_headers=request.headers,
                protocol=_protocol(request),
            )
        except ForgeError as error:
            return self._unserved("fetch", error)
        return await _pass_on(request, answer)

    async def _advertise_push(self, request: web.Request) -> web.StreamResponse:
        if not self._config.push:
            self._journal.refusal("push: this step may not push")
            return text(403, "this step only reads the repository; it may not push")
        try:
            # Without Git-Protocol: v0 is the one that PushRequestReader reads.
            answer = await self._forge.send(
                "GET", "info/refs?service=git-receive-pack", client_headers=request.headers, protocol=None
            )
        except ForgeError as error:
            return self._unserved("push", error)
        async with answer:
            headers = answer_headers(answer)
            headers.pop("Content-Length", None)
            cut = AdvertisementFilter()
            try:
                if headers.pop("Content-Encoding", "identity") != "identity":
                    raise PktLineError("compressed although plain was asked for")
                # The first part decides the status, so it is read before the answer begins.
                head = b""
                while not head:
                    head = cut.feed(await answer.content.readany(), at_end=answer.content.at_eof())
            except (PktLineError, aiohttp.ClientError, OSError) as error:
                log.warning("push: unreadable list of refs: %s", printable(str(error)))
                return text(502, "the forge's list of refs is not readable: is its address a git server's?")
            response = web.StreamResponse(status=200, headers=headers)
            try:
                await relay(request, response, answer, head=head)
            except AnswerBrokenError as error:
                log.warning("push: the list of refs broke off: %s", error)
            return response

    async def _fetch(self, request: web.Request) -> web.StreamResponse:
        if request.content_type != _FETCH_TYPE:
            return text(415, f"Content-Type {_FETCH_TYPE} is needed")
        body = RequestBody(request)
        try:
            answer = await self._forge.send(
                "POST",
                "git-upload-pack",
                client_headers=request.headers,
                protocol=_protocol(request),
                data=body,
            )
        except ForgeError as error:
            log.warning("fetch: %s", error)
            await body.drain()
            # A status other than 200 would lose the text; git prints an ERR packet.
            return web.Response(
                body=encode(b"ERR " + str(error).encode()),
                content_type="application/x-git-upload-pack-result",
                headers={"Cache-Control": "no-cache"},
            )
        return await _pass_on(request, answer)

    def _unserved(self, what: str, error: ForgeError) -> web.Response:
        log.warning("%s: %s", what, error)
        return text(error.status, str(error))


async def _pass_on(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(status=200, headers=answer_headers(answer))
    async with answer:
        try:
            await relay(request, response, answer)
        except AnswerBrokenError as error:
            log.warning("fetch: the forge's answer broke off: %s", error)
    return response


def _protocol(request: web.Request) -> str | None:
    value = request.headers.get("Git-Protocol")
    return value if value is not None and _PROTOCOL.fullmatch(value) else None


def text(status: int, message: str) -> web.Response:
    """Return an answer whose text git shows to its user behind ``remote:``.

    :param status: never 401: git would ask for a name and a password.
    """
    return web.Response(status=status, text=f"agent gateway: {message}\n")
