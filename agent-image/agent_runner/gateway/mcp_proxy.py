"""The MCP servers that the platform declares, each at ``/mcp/<name>``: adds the credential, holds the allow-list.

Streamable HTTP only. A server is spoken to at its one address, nowhere else: redirects are not followed, and none of
the agent's own headers but the protocol's go out. The stream that a client may open for messages the server begins
(``GET``) is not served, as the protocol allows: nothing runs without a request of the agent.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from typing import TYPE_CHECKING, Any, Literal

import aiohttp
from aiohttp import web

from agent_runner.contract import mcp_secret_key
from agent_runner.gateway.credentials import CredentialError
from agent_runner.gateway.mcp_answer import JSON_TYPE, STREAM_TYPE, NoAnswerError, answer_to
from agent_runner.gateway.mcp_policy import (
    INVALID_REQUEST,
    SERVER_ERROR,
    Message,
    RefusedMessageError,
    check_message,
    filtered,
    is_filtered,
    read_message,
)
from agent_runner.gateway.push_request import printable
from agent_runner.gateway.relay import (
    AnswerBrokenError,
    ClientGoneError,
    abort,
    relay,
    while_connected,
)
from agent_runner.gateway.upstream import words

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from agent_runner.contract import McpServer
    from agent_runner.gateway.credentials import Credentials
    from agent_runner.gateway.journal import Journal
    from agent_runner.gateway.upstream import Upstream

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 2 << 20
"""Largest message of an agent: a call may bring the text of a file."""
MAX_ANSWER_BYTES = 32 << 20
"""Most that a server may send to one message."""
BODY_SECONDS = 30.0
EXCHANGE_SECONDS = 930.0
"""How long one message and its answer may take, the wait for its turn included."""
AT_ONCE = 8
"""Messages that one server works on at a time; others wait."""

_MAX_REASONS = 100
"""How many reasons of refusals are noted: they quote the client."""
_USER_AGENT = "airflow-agents-gateway"
_REQUEST_HEADERS = ("Accept", "Mcp-Session-Id", "Mcp-Protocol-Version", "Last-Event-ID")
_PARAMETER_PREFIX = "mcp-param-"
"""Headers that repeat an argument of a call: as much the agent's own as the argument."""
_ANSWER_HEADERS = frozenset(
    {"content-type", "cache-control", "mcp-session-id", "mcp-protocol-version", "retry-after"}
)
Outcome = Literal["answered", "failed", "refused"]


class _FailedError(Exception):
    """A message has no answer, or only the beginning of one; the text says why."""


class _TooLargeError(Exception):
    """An answer grew beyond :data:`MAX_ANSWER_BYTES`."""


class McpProxy:
    """Answers what the agent asks of MCP servers.

    :param servers: those that are declared for the step.
    :param journal: takes down calls and refusals.
    """

    def __init__(
        self, servers: Iterable[McpServer], credentials: Credentials, upstream: Upstream, journal: Journal
    ) -> None:
        self._doors = {server.name: _Door(server, credentials, upstream, journal) for server in servers}

    async def handle(self, request: web.Request, path: str) -> web.StreamResponse:
        """Answer a request.

        :param path: what comes below ``/mcp/``, undecoded: the name of a server.
        """
        door = self._doors.get(path)
        if door is None or request.rel_url.raw_query_string:
            known = ", ".join(self._doors) or "none"
            return _plain(404, f"no MCP server {printable(path, 60)}; declared for this step: {known}")
        if request.method not in ("POST", "DELETE"):
            return web.Response(status=405, headers={"Allow": "POST, DELETE"})
        return await door.handle(request)


class _Door:
    """The way to one server."""

    def __init__(
        self, server: McpServer, credentials: Credentials, upstream: Upstream, journal: Journal
    ) -> None:
        self._server = server
        self._tools: Collection[str] | None = None if server.tools is None else frozenset(server.tools)
        self._credentials = credentials
        self._upstream = upstream
        self._journal = journal
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._reasons: set[str] = set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self._journal.fault:
            return _plain(503, self._journal.fault)
        message, body = Message(), b""
        if request.method == "POST":
            try:
                body = await _body(request)
                message = read_message(body)
                check_message(message, self._tools, self._server.name)
            except RefusedMessageError as error:
                return self._refuse(error)
        began = time.monotonic()
        outcome: Outcome = "failed"
        try:
            response = await while_connected(request, self._in_turn(request, message, body))
        except _FailedError as error:
            self._remember(str(error))
            return _error(message, SERVER_ERROR, str(error))
        except ClientGoneError:
            log.info("mcp %s: the client went away", self._server.name)
            return web.Response(status=400)
        else:
            outcome = "answered" if response.status < 300 else "failed"
            return response
        finally:
            if message.calls_tool:
                self._note(message, outcome, time.monotonic() - began)

    async def _in_turn(self, request: web.Request, message: Message, body: bytes) -> web.StreamResponse:
        name = self._server.name
        try:
            async with asyncio.timeout(EXCHANGE_SECONDS), self._turns:
                return await self._exchange(request, message, body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _FailedError(f"the MCP server {name} cannot be reached: {words(error)}") from None

    async def _exchange(self, request: web.Request, message: Message, body: bytes) -> web.StreamResponse:
        server = self._server
        answer = await self._upstream.request(
            request.method, server.url, headers=self._headers(request, message), data=body or None
        )
        async with answer:
            if (fault := self._fault(answer, message)) is not None:
                raise _FailedError(fault)
            headers = {
                name: value for name, value in answer.headers.items() if name.lower() in _ANSWER_HEADERS
            }
            if answer.status == 200 and self._tools is not None and is_filtered(message, self._tools):
                try:
                    found = await answer_to(message, answer)
                except NoAnswerError as error:
                    raise _FailedError(f"the MCP server {server.name}: {error}") from None
                headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
                return web.json_response(filtered(found, self._tools), headers=headers)
            return await self._pass_on(request, answer, headers)

    async def _pass_on(
        self, request: web.Request, answer: aiohttp.ClientResponse, headers: dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=headers)
        size = 0

        def count(chunk: bytes) -> None:
            nonlocal size
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise _TooLargeError

        try:
            await relay(request, response, answer, observe=count)
        except _TooLargeError:
            abort(request)
            raise _FailedError(f"an answer of more than {MAX_ANSWER_BYTES:,} bytes was cut off") from None
        except AnswerBrokenError as error:
            raise _FailedError(f"the answer broke off: {error}") from None
        except asyncio.CancelledError:
            # Time is up: what was begun must not look like a whole answer.
            abort(request)
            raise
        return response

    def _headers(self, request: web.Request, message: Message) -> dict[str, str]:
        server = self._server
        headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        headers["User-Agent"] = _USER_AGENT
        if request.method == "POST":
            headers["Content-Type"] = JSON_TYPE
            headers.setdefault("Accept", f"{JSON_TYPE}, {STREAM_TYPE}")
            headers |= {
                name: value
                for name, value in request.headers.items()
                if name.lower().startswith(_PARAMETER_PREFIX)
            }
            # From the message itself: a server could act by the one, and decide by the other.
            for name, said in (("Mcp-Method", message.method), ("Mcp-Name", message.target)):
                if name in request.headers and said is not None:
                    headers[name] = _header_value(said)
        if server.header is not None:
            try:
                value = self._credentials.read(mcp_secret_key(server.name))
            except CredentialError as error:
                raise _FailedError(f"the MCP server {server.name} has {error}") from None
            headers[server.header] = f"Bearer {value}" if server.header.lower() == "authorization" else value
        return headers

    def _fault(self, answer: aiohttp.ClientResponse, message: Message) -> str | None:
        """Say why an answer is not passed on."""
        name, status = self._server.name, answer.status
        if status in (401, 407):
            # Passed on, it would send the agent's program looking for a way to log in.
            if self._server.header is None:
                return (
                    f"the MCP server {name} asks for a credential (HTTP {status}): declare its `connection`"
                )
            place = self._server.credential or self._credentials.place(mcp_secret_key(name))
            return f"the MCP server {name} refused {place} (HTTP {status}): set a valid one"
        if status == 403:
            return (
                f"the MCP server {name} refused the request (HTTP 403): look at the rights of its credential"
            )
        if 300 <= status < 400:
            return (
                f"the MCP server {name} answered with a redirect (HTTP {status}), which is not followed: "
                "correct its `url`"
            )
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            return f"the MCP server {name} compressed its answer although plain was asked for"
        if status == 200 and message.is_request and answer.content_type not in (JSON_TYPE, STREAM_TYPE):
            return (
                f"the MCP server {name} answered with {printable(answer.content_type, 60)}, not as streamable HTTP: "
                "check its `url`"
            )
        return None

    def _refuse(self, error: RefusedMessageError) -> web.Response:
        name = self._server.name
        self._remember(f"refused: {error}")
        self._journal.mcp_call(
            name, tool=(error.message and error.message.target) or "", outcome="refused", seconds=0
        )
        return _error(error.message or Message(), error.code, str(error))

    def _remember(self, reason: str) -> None:
        """Take down why a message has no answer, once: an agent program repeats its messages."""
        if reason not in self._reasons and len(self._reasons) < _MAX_REASONS:
            self._reasons.add(reason)
            log.warning("mcp %s: %s", self._server.name, reason)
            self._journal.refusal(f"mcp {self._server.name}: {reason}")

    def _note(self, message: Message, outcome: Outcome, seconds: float) -> None:
        tool = message.target or ""
        log.info("mcp %s: %s %s %.1f s", self._server.name, printable(tool, 60), outcome, seconds)
        self._journal.mcp_call(self._server.name, tool=tool, outcome=outcome, seconds=seconds)


async def _body(request: web.Request) -> bytes:
    """Read the body of a request.

    :raises RefusedMessageError: it is compressed, too large or too slow.
    """
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise RefusedMessageError("the message is compressed: send it plain", code=INVALID_REQUEST)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise RefusedMessageError(
                        f"the message has more than {MAX_BODY_BYTES:,} bytes", code=INVALID_REQUEST
                    )
    except TimeoutError:
        raise RefusedMessageError("the message did not come in time", code=INVALID_REQUEST) from None
    return bytes(body)


def _header_value(text: str) -> str:
    """Return a text as the protocol puts it into a header."""
    if text and text.isascii() and text.isprintable() and text == text.strip() and not text.startswith("=?"):
        return text
    return f"=?base64?{base64.b64encode(text.encode(errors='replace')).decode()}?="


def _error(message: Message, code: int, reason: str) -> web.Response:
    """Return an error as an answer to a message: what the agent is told in place of a result."""
    value: dict[str, Any] = {
        "jsonrpc": "2.0",
        "id": message.id,
        "error": {"code": code, "message": f"agent gateway: {reason}"},
    }
    # Only a request has an answer that its client reads.
    return web.json_response(value, status=200 if message.is_request else 400)


def _plain(status: int, reason: str) -> web.Response:
    return web.Response(status=status, text=f"agent gateway: {reason}\n")
