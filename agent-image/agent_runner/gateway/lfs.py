"""Git LFS, download only: the forge's links are kept here, with the credentials in them.

The answer to a batch request names, for each object, a link to some storage and the headers it takes. Both
stay in memory; the client gets a link to this gateway, which holds for as long as the storage's does.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web
from yarl import URL

from agent_runner.gateway.forge import ForgeError
from agent_runner.gateway.own_url import git_root
from agent_runner.gateway.push_request import printable
from agent_runner.gateway.relay import AnswerBrokenError, RequestBody, relay
from agent_runner.gateway.upstream import words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_runner.contract import GatewayConfig
    from agent_runner.gateway.forge import Forge
    from agent_runner.gateway.journal import Journal

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/vnd.git-lfs+json"

LINK_SECONDS = 3_600.0
"""How long a link holds at most."""
MAX_LINKS = 20_000
"""Links that are kept; the oldest go first."""
MAX_OBJECTS = 1_000
"""Objects of one batch; clients ask for a hundred."""

_MAX_REQUEST_BYTES = 1 << 20
_MAX_ANSWER_BYTES = 16 << 20
_MAX_REDIRECTS = 3
_OID = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[A-Za-z0-9_-]{32}")
_RANGE = re.compile(r"bytes=[0-9]{1,20}-[0-9]{0,20}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,8192}")
_OWN_HEADERS = frozenset({"accept-encoding", "connection", "content-length", "host", "transfer-encoding"})
_ANSWER_HEADERS = ("Content-Type", "Content-Length", "Content-Range", "Accept-Ranges")


class _LfsError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class _Link:
    """Where an object is, as the forge said."""

    url: URL
    headers: Mapping[str, str]
    holds_until: float
    repository: str


class LfsProxy:
    """Answers what comes below ``…/owner/name.git/info/lfs/``."""

    def __init__(self, config: GatewayConfig, forge: Forge, journal: Journal) -> None:
        self._forge_url = URL(config.forge_url)
        self._forge = forge
        self._journal = journal
        self._links: dict[str, _Link] = {}

    async def handle(self, request: web.Request, repository: str, endpoint: str) -> web.StreamResponse:
        """Answer a request.

        :param repository: one that may be read.
        :param endpoint: what comes below ``info/lfs/``, undecoded, without the query.
        """
        place, _, name = endpoint.rpartition("/")
        try:
            if (request.method, endpoint, request.query_string) == ("POST", "objects/batch", ""):
                return _json(200, await self._batch(request, repository))
            if request.method == "GET" and place == "objects" and _ID.fullmatch(name):
                return await self._download(request, repository, name)
            if endpoint == "locks" or endpoint.startswith("locks/"):
                # The one status that makes the client go on without locks.
                raise _LfsError(404, "locks are not served here")
            raise _LfsError(403, "only downloads of Git LFS are served here")
        except _LfsError as error:
            whole = await RequestBody(request).drain()
            answer = _json(error.status, {"message": f"agent gateway: {error}"})
            if not whole:
                answer.force_close()
            return answer

    async def _batch(self, request: web.Request, repository: str) -> dict[str, Any]:
        asked = await self._asked(request, repository)
        headers = {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE}
        if "User-Agent" in request.headers:
            headers["User-Agent"] = request.headers["User-Agent"]
        try:
            answer = await self._forge.send(
                "POST",
                "info/lfs/objects/batch",
                client_headers=headers,
                protocol=None,
                data=json.dumps(asked).encode(),
                repository=repository,
            )
            async with answer:
                text = await _read(answer.content, _MAX_ANSWER_BYTES)
        except ForgeError as error:
            log.warning("lfs: %s", error)
            if error.answered in (404, 410, 501):
                raise _LfsError(404, f"the forge has no Git LFS for {repository}") from None
            raise _LfsError(error.status, str(error)) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _LfsError(502, f"the forge's answer about Git LFS broke off: {words(error)}") from None
        told = _object(text, 502, "the forge's answer about Git LFS")
        if told.get("transfer", "basic") != "basic":
            raise _LfsError(502, "the forge offers no plain download of Git LFS objects")
        wanted = {each["oid"] for each in asked["objects"]}
        objects = told.get("objects")
        root = f"{git_root(request)}/{repository}.git/info/lfs/objects"
        return {
            "transfer": "basic",
            "hash_algo": "sha256",
            "objects": [
                self._rewritten(each, root, repository)
                for each in (objects if isinstance(objects, list) else [])
                if isinstance(each, dict) and str(each.get("oid")) in wanted
            ],
        }

    async def _asked(self, request: web.Request, repository: str) -> dict[str, Any]:
        """Read the client's request and say it anew, so that nothing else of it reaches the forge."""
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise _LfsError(415, "a compressed request is not read here")
        body = _object(await _read(request.content, _MAX_REQUEST_BYTES), 422, "the request")
        if body.get("operation") != "download":
            self._journal.refusal(f"lfs: upload to {repository}")
            raise _LfsError(
                403, "objects of Git LFS may only be downloaded here: commit small files without Git LFS"
            )
        objects = body.get("objects")
        if not isinstance(objects, list) or not 0 < len(objects) <= MAX_OBJECTS:
            raise _LfsError(422, f"between 1 and {MAX_OBJECTS:,} objects are needed")
        for each in objects:
            oid, size = (each.get("oid"), each.get("size")) if isinstance(each, dict) else (None, None)
            if not isinstance(oid, str) or not _OID.fullmatch(oid) or type(size) is not int or size < 0:
                raise _LfsError(422, "an object needs a SHA-256 and a size")
        asked: dict[str, Any] = {
            "operation": "download",
            "transfers": ["basic"],
            "hash_algo": "sha256",
            "objects": [{"oid": each["oid"], "size": each["size"]} for each in objects],
        }
        ref = body.get("ref")
        if isinstance(ref, dict) and isinstance(ref.get("name"), str):
            asked["ref"] = {"name": ref["name"]}
        return asked

    def _rewritten(self, told: Mapping[str, Any], root: str, repository: str) -> dict[str, Any]:
        size = told.get("size")
        kept: dict[str, Any] = {
            "oid": str(told["oid"]),
            "size": size if type(size) is int and size >= 0 else 0,
        }
        error = told.get("error")
        if isinstance(error, dict):
            code = error.get("code")
            message = printable(str(error.get("message", "no reason given")), 500)
            return {**kept, "error": {"code": code if type(code) is int else 500, "message": message}}
        actions = told.get("actions")
        action = actions.get("download") if isinstance(actions, dict) else None
        link = self._link(action, repository) if isinstance(action, dict) else None
        if link is None:
            message = "the forge gives no usable link for it"
            return {**kept, "error": {"code": 502, "message": message}}
        download = {
            "href": f"{root}/{self._keep(link)}",
            "expires_in": max(1, int(link.holds_until - time.monotonic())),
        }
        # Authenticated: the client need not look for a password.
        return {**kept, "authenticated": True, "actions": {"download": download}}

    def _link(self, action: Mapping[str, Any], repository: str) -> _Link | None:
        href, header, seconds = action.get("href"), action.get("header") or {}, action.get("expires_in")
        url = _web_url(href, secure=self._forge_url.scheme == "https")
        if url is None or not isinstance(header, dict):
            return None
        headers = {}
        for name, value in header.items():
            if not _HEADER_NAME.fullmatch(name) or not isinstance(value, str):
                return None
            if not _HEADER_VALUE.fullmatch(value):
                return None
            if name.lower() not in _OWN_HEADERS:
                headers[name] = value
        told = isinstance(seconds, int | float) and seconds > 0
        holds = min(LINK_SECONDS, seconds) if told and seconds is not None else LINK_SECONDS
        return _Link(url, headers, time.monotonic() + holds, repository)

    def _keep(self, link: _Link) -> str:
        while len(self._links) >= MAX_LINKS:
            del self._links[next(iter(self._links))]
        name = secrets.token_urlsafe(24)
        self._links[name] = link
        return name

    async def _download(self, request: web.Request, repository: str, name: str) -> web.StreamResponse:
        link = self._links.get(name)
        if link is None or link.repository != repository:
            raise _LfsError(404, "no such link: ask for the object again")
        if link.holds_until < time.monotonic():
            del self._links[name]
            raise _LfsError(410, "the link has expired: ask for the object again")
        headers = dict(link.headers)
        wanted = request.headers.get("Range", "")
        if _RANGE.fullmatch(wanted):
            headers["Range"] = wanted
        answer = await self._open(link.url, headers)
        async with answer:
            if answer.status not in (200, 206, 416):
                log.warning("lfs: the storage answered HTTP %d", answer.status)
                status = answer.status if answer.status in (404, 410, 429) else 502
                raise _LfsError(status, f"the storage of Git LFS answered HTTP {answer.status}")
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise _LfsError(502, "the storage of Git LFS compresses what it was asked for as it is")
            kept = {key: answer.headers[key] for key in _ANSWER_HEADERS if key in answer.headers}
            response = web.StreamResponse(status=answer.status, headers=kept)
            try:
                await relay(request, response, answer)
            except AnswerBrokenError as error:
                log.warning("lfs: a download broke off: %s", error)
            return response

    async def _open(self, url: URL, headers: dict[str, str]) -> aiohttp.ClientResponse:
        for _ in range(_MAX_REDIRECTS + 1):
            try:
                answer = await self._forge.get(url, self._with_credential(url, headers))
            except ForgeError as error:
                raise _LfsError(error.status, str(error)) from None
            if answer.status not in (301, 302, 303, 307, 308):
                return answer
            location = answer.headers.get("Location", "")
            answer.close()
            target = _web_url(location, secure=url.scheme == "https", base=url)
            if target is None:
                break
            if target.origin() != url.origin():
                # Made for the first place alone.
                headers = {key: value for key, value in headers.items() if key == "Range"}
            url = target
        raise _LfsError(502, "the storage of Git LFS redirects without an end")

    def _with_credential(self, url: URL, headers: Mapping[str, str]) -> dict[str, str]:
        """Add the forge's credential for a link to the forge itself that brings none."""
        own = any(name.lower() == "authorization" for name in headers)
        if own or url.origin() != self._forge_url.origin():
            return dict(headers)
        return {**headers, "Authorization": self._forge.authorization()}


def _web_url(text: object, *, secure: bool, base: URL | None = None) -> URL | None:
    """Return the URL, or ``None`` if it is none that may be asked.

    :param secure: whether it must be https.
    """
    if (
        not isinstance(text, str)
        or not text
        or len(text) > 16_384
        or not text.isascii()
        or not text.isprintable()
    ):
        return None
    try:
        url = URL(text, encoded=True)
        if base is not None:
            url = base.join(url)
        if url.scheme not in (("https",) if secure else ("http", "https")) or not url.host:
            return None
        url.origin()
    except ValueError:
        return None
    return url if url.user is None and url.password is None else None


def _object(text: bytes, status: int, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _LfsError(status, f"{what} is not a JSON object")
    return value


async def _read(content: aiohttp.StreamReader, limit: int) -> bytes:
    text = bytearray()
    while chunk := await content.readany():
        text += chunk
        if len(text) > limit:
            raise _LfsError(413, f"more than {limit:,} bytes")
    return bytes(text)


def _json(status: int, value: Mapping[str, Any]) -> web.Response:
    return web.Response(
        status=status,
        text=json.dumps(value),
        headers={"Content-Type": MEDIA_TYPE, "Cache-Control": "no-cache"},
    )
