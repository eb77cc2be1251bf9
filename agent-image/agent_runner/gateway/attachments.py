"""Serves the images of the ticket, and nothing else, to the runner of the pod.

Their addresses were written by outsiders. They are asked for at listed hosts only, also over redirects; the forge's
credential goes to the forge itself and nowhere else; what is no image, or too large, is not passed on.
"""

from __future__ import annotations

import asyncio
import html
import logging
import re
import socket
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from agent_runner.contract import (
    IMAGE_KINDS,
    MAX_IMAGE_BYTES,
    MOST_IMAGES,
    SECRET_KEY_FORGE,
    FileRefusedError,
    image_kind,
    place_of,
)
from agent_runner.contract.attachments import MOST_REDIRECTS, is_loopback
from agent_runner.gateway.credentials import CredentialError
from agent_runner.gateway.upstream import CONNECT_SECONDS, proxy_for, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent_runner.contract import FilePlaces, GatewayConfig, TicketImage
    from agent_runner.gateway.credentials import Credentials

log = logging.getLogger(__name__)

IMAGE_SECONDS = 60.0
"""Limit for one image, redirects included."""
MOST_TRIES = 6
"""How often one image is fetched for its pod; the agent can ask, too."""
_AT_ONCE = 2
_MAX_ANSWER_BYTES = 256 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REFUSED = frozenset({401, 403, 404})
_KEPT = re.compile(r"/(?:user-attachments|[\w.-]+/[\w.-]+)/assets/[\w./-]+")
"""Paths of images that GitHub keeps: a fine-grained token does not open them, but gets them signed."""
_SIGNED = re.compile(r'\bsrc="(https?://[^"\s]+\?[^"\s]*jwt=[^"\s]+)"')


class _NotServedError(Exception):
    """An image is not served; the text says why, without any address."""

    def __init__(self, message: str, *, status: int = 502, answered: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.answered = answered


class _GuardedResolver(AbstractResolver):
    """Leaves out addresses of private networks, for names other than the tracker's own and the proxy's."""

    def __init__(self, places: FilePlaces) -> None:
        self._places = places
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        proxies = {urlsplit(proxy).hostname for proxy in urllib.request.getproxies().values()}
        kept = [each for each in found if host in proxies or self._places.may_lead(host, each["host"])]
        if not kept:
            raise OSError(None, f"{host} is in a private network")
        return kept

    async def close(self) -> None:
        await self._inner.close()


class ImageService:
    """Answers ``…/attachments/1`` and so on with the images of ``config``.

    What it does not serve it answers with JSON, ``{"reason": "…"}``.
    """

    def __init__(self, config: GatewayConfig, credentials: Credentials) -> None:
        self._config = config
        self._access = config.images
        self._credentials = credentials
        self._session: aiohttp.ClientSession | None = None
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._tries = [0] * len(self._access.images)

    async def handle(self, request: web.Request, path: str) -> web.Response:
        """Answer a request.

        :param path: what comes below ``attachments/``.
        """
        try:
            if request.method != "GET" or request.query_string:
                raise _NotServedError("images are only given, by GET", status=405)
            number = int(path) if re.fullmatch(r"[1-9][0-9]?", path) else 0
            if not 0 < number <= len(self._access.images):
                raise _NotServedError("the ticket has no such image", status=404)
            self._tries[number - 1] += 1
            if self._tries[number - 1] > MOST_TRIES:
                raise _NotServedError("it was asked for too often", status=429)
            async with self._room, asyncio.timeout(IMAGE_SECONDS):
                data = await self._image(self._access.images[number - 1])
        except TimeoutError:
            return _refused(502, "it did not come in time", path)
        except FileRefusedError as error:
            return _refused(403, str(error), path)
        except _NotServedError as error:
            return _refused(error.status, str(error), path)
        kind = image_kind(data)
        if kind is None:
            return _refused(415, "it is no image of the kinds png, jpeg, gif and webp", path)
        return web.Response(
            body=data, content_type=IMAGE_KINDS[kind], headers={"X-Content-Type-Options": "nosniff"}
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _image(self, image: TicketImage) -> bytes:
        try:
            return await self._fetch(image.url, authorized=image.auth == "github")
        except _NotServedError as error:
            kept = image.auth == "github" and _KEPT.fullmatch(urlsplit(image.url).path)
            if error.answered not in _REFUSED or not kept or not self._access.api_url:
                raise
            return await self._fetch(await self._signed(image.url, error), authorized=False)

    async def _fetch(self, url: str, *, authorized: bool) -> bytes:
        places, url = self._access.places, url.partition("#")[0]
        place = places.check(url)
        for hop in range(MOST_REDIRECTS + 1):
            headers = {}
            if authorized and not hop and place == place_of(self._config.forge_url):
                headers["Authorization"] = f"Bearer {self._token()}"
            async with await self._request("GET", url, headers) as answer:
                if answer.status in _REDIRECTS:
                    url = places.follow(url, answer.headers.get("Location", ""))
                    continue
                if answer.status != 200:
                    raise _NotServedError(
                        f"its host answered HTTP {answer.status}",
                        status=404 if answer.status in (404, 410) else 502,
                        answered=answer.status,
                    )
                if answer.headers.get("Content-Encoding", "identity") != "identity":
                    raise _NotServedError("it comes compressed, though it was asked for as it is")
                return await _read(answer, MAX_IMAGE_BYTES, head=True)
        raise _NotServedError(f"it redirects more than {MOST_REDIRECTS} times")

    async def _signed(self, url: str, why: _NotServedError) -> str:
        """Have the forge render a link to an image, which it does with an address that holds for minutes.

        :raises _NotServedError: it gives none; ``why`` where it knows no image.
        """
        headers = {
            "Authorization": f"Bearer {self._token()}",
            "Accept": "text/html",
            "Content-Type": "application/json",
        }
        asked = {"text": f"![image]({url})", "mode": "gfm", "context": self._config.repository}
        target = f"{self._access.api_url}/markdown"
        async with await self._request("POST", target, headers, asked) as answer:
            if answer.status != 200:
                raise _NotServedError(
                    f"its host answered HTTP {why.answered}, and the forge's API HTTP {answer.status}"
                )
            text = (await _read(answer, _MAX_ANSWER_BYTES)).decode(errors="replace")
        found = _SIGNED.search(text)
        if found is None:
            raise why
        return html.unescape(found[1])

    async def _request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Mapping[str, str] | None = None,
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                connector=aiohttp.TCPConnector(resolver=_GuardedResolver(self._access.places)),
                timeout=aiohttp.ClientTimeout(
                    total=IMAGE_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=CONNECT_SECONDS
                ),
            )
        target = URL(url, encoded=True)
        try:
            return await self._session.request(
                method,
                target,
                headers={"User-Agent": "agent-gateway", **headers, "Accept-Encoding": "identity"},
                json=body,
                allow_redirects=False,
                proxy=proxy_for(target),
            )
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError) as error:
            raise _NotServedError(f"its host cannot be reached: {words(error)}") from None

    def _token(self) -> str:
        try:
            return self._credentials.read(SECRET_KEY_FORGE)
        except CredentialError as error:
            raise _NotServedError(str(error)) from None


def image_faults(config: GatewayConfig) -> Iterator[str]:
    """Yield what is wrong with the images of a configuration."""
    access = config.images
    if len(access.images) > MOST_IMAGES:
        yield f"images: {len(access.images)}, at most {MOST_IMAGES}"
    for number, image in enumerate(access.images, 1):
        try:
            place = access.places.check(image.url)
            if image.auth == "github" and place != place_of(config.forge_url):
                raise FileRefusedError("the forge's credential is for the forge alone")
        except FileRefusedError as error:
            yield f"images: image {number}: {error}"
    if access.api_url:
        parts = urlsplit(access.api_url)
        forge = urlsplit(config.forge_url)
        own = {forge.netloc, f"api.{forge.netloc}"}
        secure = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
        if not secure or parts.netloc not in own:
            yield "images.api_url: it is no API of the forge"


async def _read(answer: aiohttp.ClientResponse, limit: int, *, head: bool = False) -> bytes:
    """Return a body of at most ``limit`` bytes.

    :param head: whether it must begin like an image; what does not is not read on.
    """
    large = _NotServedError(f"it is larger than {limit:,} bytes", status=413)
    if (answer.content_length or 0) > limit:
        raise large
    data = bytearray()
    try:
        while chunk := await answer.content.readany():
            data += chunk
            if len(data) > limit:
                raise large
            if head and len(data) >= 12 and image_kind(bytes(data[:12])) is None:
                break
    except TimeoutError:
        raise
    except (aiohttp.ClientError, OSError) as error:
        raise _NotServedError(f"it broke off: {words(error)}") from None
    return bytes(data)


def _refused(status: int, reason: str, path: str) -> web.Response:
    number = path if path.isascii() and path.isdecimal() else "?"
    log.info("attachments: image %s: %s", number[:3], reason)
    return web.json_response({"reason": reason}, status=status)
