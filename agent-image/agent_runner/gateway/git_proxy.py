"""Smart HTTP for the repositories of a step: reading passes, pushing to the one of them is judged."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from agent_runner.gateway.advertisement import AdvertisementFilter
from agent_runner.gateway.forge import ForgeError, answer_headers
from agent_runner.gateway.git_push import PushProxy
from agent_runner.gateway.lfs import LfsProxy
from agent_runner.gateway.pkt_line import PktLineError, encode
from agent_runner.gateway.push_request import printable
from agent_runner.gateway.relay import AnswerBrokenError, RequestBody, relay

if TYPE_CHECKING:
    from pathlib import Path

    from agent_runner.contract import GatewayConfig
    from agent_runner.gateway.forge import Forge
    from agent_runner.gateway.journal import Journal

log = logging.getLogger(__name__)

_PROTOCOL = re.compile(r"[a-z0-9=:.-]{1,200}")
_FETCH_TYPE = "application/x-git-upload-pack-request"


class GitProxy:
    """Answers git's requests for the repositories of ``config``, and says which these are.

    ``config.repository`` may be fetched and pushed to, ``config.read_repositories`` may be fetched. Each is
    at ``…/git/owner/name.git``. To read, upper and lower case do not matter, as for the forge; to push, the
    name has to be as it is in ``config``. What goes to the forge is always the name of ``config``.

    :param scratch: folder of the gateway's own, for what waits on disk.
    """

    def __init__(self, config: GatewayConfig, forge: Forge, journal: Journal, *, scratch: Path) -> None:
        self._config = config
        self._forge = forge
        self._journal = journal
        self._lfs = LfsProxy(config, forge, journal)
        self._readable = {name.casefold(): name for name in (*config.read_repositories, config.repository)}
        self.pushes = PushProxy(config, forge, journal, scratch=scratch)

    async def handle(self, request: web.Request, path: str) -> web.StreamResponse:
        """Answer a request.

        :param path: what comes below ``…/git/``, undecoded.
        """
        if (request.method, path, request.query_string) == ("GET", "served", ""):
            return self._served()
        asked, found, endpoint = path.partition(".git/")
        repository = self._readable.get(asked.casefold()) if found else None
        if repository is None:
            self._journal.refusal(f"git: {request.method} {printable(path, 100)}: another repository")
            return text(403, f"only {self._names()} can be reached here")
        if endpoint.startswith("info/lfs/"):
            return await self._lfs.handle(request, repository, endpoint.removeprefix("info/lfs/"))
        match request.method, endpoint, request.query_string:
            case "GET", "info/refs", "service=git-upload-pack":
                return await self._advertise_fetch(request, repository)
            case "POST", "git-upload-pack", "":
                return await self._fetch(request, repository)
            case ("GET", "info/refs", "service=git-receive-pack") | ("POST", "git-receive-pack", ""):
                if asked != self._config.repository:
                    return await self._unpushable(request, repository)
                if request.method == "GET":
                    return await self._advertise_push(request)
                return await self.pushes.handle(request)
        return text(403, "only git's smart HTTP protocol is served here")

    def _served(self) -> web.Response:
        forge = self._config.forge_url.rstrip("/")
        return web.json_response({"forge": forge, "repositories": sorted(self._readable.values())})

    def _names(self) -> str:
        names = sorted(self._readable.values())
        one = len(names) == 1
        return f"the {'repository' if one else 'repositories'} {printable(', '.join(names), 500)}"

    async def _unpushable(self, request: web.Request, repository: str) -> web.Response:
        self._journal.refusal(f"push: {repository} may only be read")
        whole = await RequestBody(request).drain()
        answer = text(
            403,
            f"{repository} may only be read here; this step may push to {self._config.repository} alone",
        )
        if not whole:
            answer.force_close()
        return answer

    async def _advertise_fetch(self, request: web.Request, repository: str) -> web.StreamResponse:
        try:
            answer = await self._forge.send(
                "GET",
                "info/refs?service=git-upload-pack",
                client_headers=request.headers,
                protocol=_protocol(request),
                repository=repository,
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

    async def _fetch(self, request: web.Request, repository: str) -> web.StreamResponse:
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
                repository=repository,
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
