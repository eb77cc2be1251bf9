"""The forge as the gateway sees it: its repositories over HTTP, with the step's credential."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from agent_runner.contract import SECRET_KEY_FORGE
from agent_runner.gateway.advertisement import RefFinder
from agent_runner.gateway.credentials import CredentialError
from agent_runner.gateway.pkt_line import PktLineError
from agent_runner.gateway.push_request import printable
from agent_runner.gateway.upstream import words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_runner.contract import GatewayConfig
    from agent_runner.gateway.credentials import Credentials
    from agent_runner.gateway.upstream import Upstream

_REQUEST_HEADERS = ("Accept", "Accept-Language", "User-Agent")
_BODY_HEADERS = ("Content-Type", "Content-Length", "Content-Encoding")
_ANSWER_HEADERS = (
    "Content-Type", "Content-Length", "Content-Encoding", "Cache-Control", "Expires", "Pragma",
)  # fmt: skip

ASK_SECONDS = 30.0
"""Limit for asking where a branch is; further pushes wait for it."""

_MAX_ADVERTISEMENT_BYTES = 64 << 20


class ForgeError(Exception):
    """The forge does not serve a request; the text names the fault and the remedy, and no secret.

    :param status: HTTP status for the client.
    :param uncertain: whether the forge may have acted on the request all the same.
    :param answered: HTTP status that the forge gave; ``None`` where it gave none.
    """

    def __init__(
        self, text: str, *, status: int = 403, uncertain: bool = False, answered: int | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.uncertain = uncertain
        self.answered = answered


class Forge:
    """Sends requests for the repositories of ``config``."""

    def __init__(self, config: GatewayConfig, credentials: Credentials, upstream: Upstream) -> None:
        self._config = config
        self._credentials = credentials
        self._upstream = upstream

    async def send(
        self,
        method: str,
        endpoint: str,
        *,
        client_headers: Mapping[str, str],
        protocol: str | None,
        data: Any = None,
        repository: str | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a request and return the answer, whose status is 200; the caller closes it.

        :param endpoint: path and query below ``owner/name.git/``, one of the few that exist.
        :param client_headers: of the client's request; the harmless ones are forwarded.
        :param protocol: value for ``Git-Protocol``.
        :param repository: ``owner/name``, by default the one that the step works on.
        :raises ForgeError: for a missing credential, no connection, and any other status.
        """
        forwarded = _REQUEST_HEADERS if data is None else (*_REQUEST_HEADERS, *_BODY_HEADERS)
        headers = {name: client_headers[name] for name in forwarded if name in client_headers}
        if protocol is not None:
            headers["Git-Protocol"] = protocol
        headers["Authorization"] = self.authorization()
        repository = repository or self._config.repository
        url = f"{self._config.forge_url.rstrip('/')}/{repository}.git/{endpoint}"
        answer = await self._request(method, url, f"the forge {self._host}", headers, data)
        if answer.status != 200:
            answer.close()
            raise self._fault(answer, repository)
        return answer

    async def get(self, url: URL, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """Ask another place that the forge has named; return the answer, of any status.

        :param headers: all of them; nothing is added.
        :raises ForgeError: for no connection.
        """
        return await self._request("GET", str(url), f"the storage {url.host}", headers, None)

    async def _request(
        self, method: str, url: str, what: str, headers: Mapping[str, str], data: Any
    ) -> aiohttp.ClientResponse:
        try:
            return await self._upstream.request(method, url, headers=headers, data=data)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ForgeError(
                f"{what} cannot be reached: {words(error)}; "
                "check its address and the network policy of the pod",
                status=502,
                uncertain=True,
            ) from error

    async def commit_of(self, ref: str) -> str | None:
        """Ask which commit ``ref`` is at; ``None`` where there is no such ref.

        :raises ForgeError: if the forge does not say, in time.
        """
        finder = RefFinder(ref)
        try:
            async with asyncio.timeout(ASK_SECONDS):
                answer = await self.send(
                    "GET", "info/refs?service=git-upload-pack", client_headers={}, protocol=None
                )
                async with answer:
                    left = _MAX_ADVERTISEMENT_BYTES
                    while left > 0 and not finder.complete and (chunk := await answer.content.readany()):
                        finder.feed(chunk)
                        left -= len(chunk)
        except (aiohttp.ClientError, PktLineError, TimeoutError, OSError) as error:
            raise ForgeError(f"the forge does not tell its refs: {words(error)}", status=502) from error
        if not finder.complete:
            raise ForgeError("the forge's list of refs is not complete", status=502)
        return finder.oid

    def authorization(self) -> str:
        """Return the value of the header that holds the credential; raise :class:`ForgeError` without one."""
        try:
            token = self._credentials.read(SECRET_KEY_FORGE)
        except CredentialError as error:
            raise ForgeError(str(error)) from None
        return "Basic " + base64.b64encode(f"x-access-token:{token}".encode()).decode()

    @property
    def _host(self) -> str:
        return URL(self._config.forge_url).host or "?"

    def _fault(self, answer: aiohttp.ClientResponse, repository: str) -> ForgeError:
        status, place = answer.status, self._credentials.place(SECRET_KEY_FORGE)
        pushes = self._config.push and repository == self._config.repository
        if status in (401, 403):
            return ForgeError(
                f"the forge refused the credential in {place} (HTTP {status}): it may have expired, or lacks "
                f"the right to {'read and write' if pushes else 'read'} contents of {repository}",
                answered=status,
            )
        if status in (404, 410):
            return ForgeError(
                f"the forge has no repository {repository} for the credential in {place} (HTTP {status}): "
                "check the name, and that the credential has access to it",
                answered=status,
            )
        if 300 <= status < 400:
            return ForgeError(
                f"the forge moved {repository} to {_place_of(answer)} (HTTP {status}), which is not followed "
                "with a credential: set the repository's present name",
                answered=status,
            )
        if status == 429:
            return ForgeError(
                "the forge limits the rate of requests (HTTP 429): try again later",
                status=429,
                answered=status,
            )
        return ForgeError(
            f"the forge {self._host} answered HTTP {status}: try again later",
            status=502,
            uncertain=status >= 500,
            answered=status,
        )


def answer_headers(answer: aiohttp.ClientResponse) -> dict[str, str]:
    """Return the headers of a forge's answer that the client gets to see."""
    return {name: answer.headers[name] for name in _ANSWER_HEADERS if name in answer.headers}


def _place_of(answer: aiohttp.ClientResponse) -> str:
    try:
        target = URL(answer.headers.get("Location", ""))
    except ValueError:
        return "another place"
    return printable(f"{target.host or ''}{target.path}") or "another place"
