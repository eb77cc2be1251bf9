"""What an agent may ask an MCP server: one message at a time, that can be read in one way only, and with an
allow-list nothing but the tools on it.

The list is held here, and not by the agent's program: what counts is the request that leaves the pod.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent_runner.gateway.push_request import printable
from agent_runner.gateway.request_policy import RefusedRequestError, read_request, refuse

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
SERVER_ERROR = -32000
"""Codes of JSON-RPC."""

_MEMBERS = ("jsonrpc", "id", "method", "params", "result", "error")
_CALL_MEMBERS = ("name", "arguments", "task", "_meta")
_LISTED_METHODS = frozenset(
    {"initialize", "server/discover", "ping", "logging/setLevel", "tools/list", "tools/call"}
)
"""What an agent may ask of a server with an allow-list: tools, and what is needed to speak at all."""
_LISTED_CAPABILITIES = ("tools", "logging")
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""Methods → the parameter that says of what."""
_MAX_ID = 200
_MAX_METHOD = 100


class RefusedMessageError(Exception):
    """A message is not passed on; the text says why."""

    def __init__(self, text: str, *, code: int, message: Message | None = None) -> None:
        super().__init__(text)
        self.code = code
        """Of JSON-RPC."""
        self.message = message
        """The message, where it could be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of the agent, as far as the gateway has to know it."""

    id: str | int | float | None = None
    """``None``: a notification, or an answer to the server."""
    method: str | None = None
    """``None``: an answer to the server."""
    target: str | None = None
    """What the method is asked of: a tool's name, for ``tools/call``."""

    @property
    def is_request(self) -> bool:
        """Whether an answer is waited for."""
        return self.method is not None and self.id is not None

    @property
    def calls_tool(self) -> bool:
        return self.method == "tools/call"


def read_message(body: bytes) -> Message:
    """Read a message of the agent.

    :raises RefusedMessageError: it is no single message of JSON-RPC, or could be read in two ways.
    """
    try:
        value = read_request(body)
        _check_members(value, _MEMBERS, "message", others=False)
        method, params = value.get("method"), value.get("params", {})
        if method is not None and not (isinstance(method, str) and 0 < len(method) <= _MAX_METHOD):
            refuse("method", "is no name")
        if not isinstance(params, dict):
            refuse("params", "no object")
        if method == "tools/call":
            _check_members(params, _CALL_MEMBERS, "params", others=True)
    except RefusedRequestError as error:
        raise RefusedMessageError(
            f"not one message of JSON-RPC: {error}" if body[:1] != b"[" else "several messages at once",
            code=INVALID_REQUEST,
        ) from None
    number = value.get("id")
    if isinstance(number, bool) or not isinstance(number, str | int | float | None):
        raise RefusedMessageError("the id is neither a text nor a number", code=INVALID_REQUEST)
    if len(str(number)) > _MAX_ID:
        raise RefusedMessageError("the id is too long", code=INVALID_REQUEST)
    target = params.get(_NAMED.get(method or "", ""))
    if target is not None and not isinstance(target, str):
        raise RefusedMessageError("the name is not a text", code=INVALID_PARAMS)
    return Message(id=number if method is not None else None, method=method, target=target)


def _check_members(value: Mapping[str, Any], known: Collection[str], what: str, *, others: bool) -> None:
    """Refuse members that some servers take for a known one: there are those to whom ``Name`` is ``name``.

    :param others: whether members that resemble no known one may be there.
    :raises RefusedRequestError: there are such.
    """
    for name in value:
        if name not in known and (not others or name.casefold() in known):
            refuse(f"{what} {printable(name, 60)}", "the gateway does not know this member")


def check_message(message: Message, tools: Collection[str] | None, server: str) -> None:
    """Check that a message asks for nothing that the platform does not allow.

    :param tools: allow-list of the server; ``None``: all is allowed.
    :param server: its name, for the reason.
    :raises RefusedMessageError: it does.
    """
    if tools is None or message.method is None or message.method.startswith("notifications/"):
        return
    if message.method not in _LISTED_METHODS:
        raise RefusedMessageError(
            f"{printable(message.method, 60)} is not allowed at the MCP server {server}, whose tools alone may be used",
            code=METHOD_NOT_FOUND,
            message=message,
        )
    if message.calls_tool and message.target not in tools:
        known = ", ".join(sorted(tools)) or "none"
        raise RefusedMessageError(
            f"the tool {printable(message.target or '', 60)!r} is not allowed at the MCP server {server}; allowed: {known}",
            code=INVALID_PARAMS,
            message=message,
        )


def is_filtered(message: Message, tools: Collection[str] | None) -> bool:
    """Whether the answer to a message goes through :func:`filtered`."""
    return tools is not None and message.method in ("initialize", "server/discover", "tools/list")


def filtered(answer: dict[str, Any], tools: Collection[str]) -> dict[str, Any]:
    """Return an answer of the server without the tools and abilities that the agent may not use anyway."""
    result = answer.get("result")
    if not isinstance(result, dict):
        return answer
    result = dict(result)
    if isinstance(listed := result.get("tools"), list):
        result["tools"] = [tool for tool in listed if _name_of(tool) in tools]
    if isinstance(able := result.get("capabilities"), dict):
        result["capabilities"] = {name: able[name] for name in _LISTED_CAPABILITIES if name in able}
    return {**answer, "result": result}


def _name_of(tool: object) -> str | None:
    name = tool.get("name") if isinstance(tool, dict) else None
    return name if isinstance(name, str) else None
