"""Fetches files of a ticket in the worker: texts whole, of anything else only as much as shows what it is.

Their addresses and contents are outsiders'. Nothing is asked of a host that is not listed, nor, but for the
tracker's own, of an address in a private network, redirects included; the tracker's credential goes to the tracker
alone and never over a redirect; a body is read up to a bound, and never unpacked.
"""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agent_runner.contract import FileRefusedError
from agent_runner.contract.attachments import MOST_REDIRECTS
from airflow_provider_agents import __version__
from airflow_provider_agents.domain.attachment_files import (
    MAX_TEXT_BYTES,
    MOST_FILES,
    FetchedFile,
    check_type,
    fetched_how,
    file_of,
)
from airflow_provider_agents.hooks.own_authorization import AUTHORIZATION, own_authorization

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import ClientResponse, ClientSession
    from aiohttp.abc import AbstractResolver, ResolveResult

    from agent_runner.contract import FilePlaces
    from airflow_provider_agents.domain.attachment_files import FileAccess
    from airflow_provider_agents.domain.tickets import Attachment

FILE_SECONDS = 20.0
"""Limit for one file, redirects included."""
ALL_SECONDS = 60.0
"""Limit for all files of a ticket."""
_AT_ONCE = 4
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LATE = "it did not come in time"


async def fetch_files(
    attachments: Sequence[Attachment],
    access: FileAccess,
    *,
    file_seconds: float = FILE_SECONDS,
    all_seconds: float = ALL_SECONDS,
) -> dict[str, FetchedFile]:
    """Return what became of the first :data:`~..domain.attachment_files.MOST_FILES` files, by their addresses.

    Never raises for a file: one that cannot be had says why. Images are not fetched, their turn is in the pod.

    :param file_seconds: limit for one file.
    :param all_seconds: limit for all of them.
    """
    import aiohttp

    fetched: dict[str, FetchedFile] = {}
    texts: list[Attachment] = []
    for each in attachments[:MOST_FILES]:
        try:
            if fetched_how(each, access) == "text":
                fetched[each.url] = FetchedFile(fault=_LATE)
                texts.append(each)
            else:
                fetched[each.url] = _image(access)
        except FileRefusedError as error:
            fetched[each.url] = FetchedFile(fault=str(error))
    if not texts:
        return fetched
    room = asyncio.Semaphore(_AT_ONCE)
    async with aiohttp.ClientSession(
        headers={"User-Agent": f"airflow-provider-agents/{__version__}", "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=file_seconds, sock_connect=min(10.0, file_seconds)),
        connector=aiohttp.TCPConnector(resolver=_guarded(access.places)),
        middlewares=(own_authorization,),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=True,
    ) as session:

        async def one(attachment: Attachment) -> None:
            async with room:
                fetched[attachment.url] = await _fetch(session, attachment.url, access, file_seconds)

        tasks = [asyncio.ensure_future(one(each)) for each in texts]
        _, late = await asyncio.wait(tasks, timeout=all_seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return fetched


def _image(access: FileAccess) -> FetchedFile:
    if access.images:
        return FetchedFile(image=True)
    return FetchedFile(fault="images of this tracker are not fetched")


async def _fetch(session: ClientSession, url: str, access: FileAccess, seconds: float) -> FetchedFile:
    import aiohttp

    try:
        async with asyncio.timeout(seconds):
            found = await _read(session, url, access)
        return _image(access) if found.image else found
    except FileRefusedError as error:
        return FetchedFile(fault=str(error))
    except TimeoutError:
        return FetchedFile(fault=_LATE)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # The kind alone: texts of aiohttp's errors quote addresses and headers.
        return FetchedFile(fault=f"its host could not be asked: {type(error).__name__}")


async def _read(session: ClientSession, url: str, access: FileAccess) -> FetchedFile:
    from yarl import URL

    first = url = url.partition("#")[0]
    for hop in range(MOST_REDIRECTS + 1):
        headers = {}
        if access.places.check(url) == access.credential_place and not hop and access.authorization:
            headers[AUTHORIZATION] = access.authorization
        target = URL(url, encoded=True)
        async with session.get(target, headers=headers, allow_redirects=False) as answer:
            if answer.status in _REDIRECTS:
                url = access.places.follow(url, answer.headers.get("Location", ""))
                continue
            if answer.status != 200:
                raise FileRefusedError(f"its host answered HTTP {answer.status}")
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise FileRefusedError("it comes compressed, though it was asked for as it is")
            kind = answer.headers.get("Content-Type", "")
            check_type(kind, first)
            return file_of(await _beginning(answer), kind)
    raise FileRefusedError(f"it redirects more than {MOST_REDIRECTS} times")


async def _beginning(answer: ClientResponse) -> bytes:
    """Return as much of a body as tells what it is: at most one byte more than a text may have."""
    data = bytearray()
    while len(data) <= MAX_TEXT_BYTES and (chunk := await answer.content.readany()):
        data += chunk
        # A zero byte is in no text, but in the first bytes of nearly everything else.
        if len(data) >= 12 and b"\0" in chunk:
            break
    return bytes(data[: MAX_TEXT_BYTES + 1])


def _guarded(places: FilePlaces) -> AbstractResolver:
    """Return a resolver that leaves out private addresses, but for the tracker's own names and the proxy's."""
    import aiohttp
    from aiohttp.abc import AbstractResolver

    proxies = {urlsplit(proxy).hostname for proxy in urllib.request.getproxies().values()}
    inner = aiohttp.ThreadedResolver()

    class Guarded(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            found = await inner.resolve(host, port, family)
            kept = [each for each in found if host in proxies or places.may_lead(host, each["host"])]
            if not kept:
                raise OSError(None, "its address is in a private network")
            return kept

        async def close(self) -> None:
            await inner.close()

    return Guarded()
