"""Which requests of Anthropic's Messages API stay between the agent program and the model.

Claude Code 2.1.329 offers tools without a type, sends pictures and documents as base64, and adds tools in the
middle of a conversation.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from agent_runner.gateway.request_policy import check_fields, check_value, kind_of, objects, refuse, word

if TYPE_CHECKING:
    from collections.abc import Mapping

_KNOWN = frozenset(
    {
        "model", "messages", "system", "tools", "tool_choice", "max_tokens", "metadata", "stop_sequences", "stream",
        "temperature", "top_k", "top_p", "thinking", "context_management", "output_config", "output_format",
        "cache_control", "diagnostics", "service_tier", "speed", "inference_geo",
    }
)  # fmt: skip

_WHY = {
    "mcp_servers": "the API would speak to other servers, past the network policy of the sandbox",
    "container": "the API would run programs outside of the sandbox, with files of earlier calls",
    "thread": "the API would go on with a conversation that it has stored",
    "fallbacks": "another model than the request's would work, at another price",
}

_CLIENT_TOOL = re.compile(r"custom|(?:bash|text_editor)_\d{8}")
"""Types of tools that the agent program runs itself; most have none."""

_CONTEXT_EDIT = re.compile(r"clear_(?:thinking|tool_uses)_\d{8}")
"""What leaves parts of the conversation out. Others call a model, and the answer's counts are without that."""

_PLAIN_BLOCKS = frozenset(
    {"text", "thinking", "redacted_thinking", "tool_use", "tool_reference", "tool_removal"}
)
_NESTING_BLOCKS = frozenset({"tool_result", "search_result"})
_SOURCED_BLOCKS = frozenset({"image", "document"})
_INLINE_SOURCES = frozenset({"base64", "text", "content"})

_SERVICE_TIERS = ("auto", "standard_only")
"""``auto`` is what counts without the field, too: an account that has bought capacity uses that up first, at its
own price, whatever the request says."""


def check_messages_request(body: Mapping[str, Any]) -> None:
    """Check a request for a message, or for a count of its tokens.

    :raises RefusedRequestError: if the API would do more than to answer, or at more than the list price.
    """
    check_fields(body, _KNOWN, _WHY)
    check_value(body, "service_tier", _SERVICE_TIERS, "it costs more than the list price")
    check_value(body, "speed", ("standard",), "it costs more than the list price")
    check_value(body, "inference_geo", ("global",), "it costs more than the list price")
    for tool in objects(body.get("tools"), "tools"):
        _check_tool(tool)
    management = body.get("context_management")
    if management is not None:
        if not isinstance(management, dict) or management.keys() - {"edits"}:
            refuse("context_management", "not a list of edits")
        for edit in objects(management.get("edits"), "context_management"):
            kind = kind_of(edit, "context_management")
            if not _CONTEXT_EDIT.fullmatch(kind or ""):
                refuse(f"context_management {word(kind)}", "the answer would not tell what it costs")
    _check_blocks(body.get("system"), "system")
    for message in objects(body.get("messages"), "messages"):
        _check_blocks(message.get("content"), "messages")


def _check_tool(tool: Mapping[str, Any]) -> None:
    kind = kind_of(tool, "tools")
    if kind is not None and not _CLIENT_TOOL.fullmatch(kind):
        refuse(f"tools {word(kind)}", "the API itself would run this tool, outside of the sandbox")


def _check_blocks(content: object, field: str) -> None:
    # Not recursive: how deep blocks are nested is the client's choice.
    todo = list(objects(content, field))
    while todo:
        block = todo.pop()
        kind = kind_of(block, field)
        where = f"{field} {word(kind)}"
        if kind in _SOURCED_BLOCKS:
            source = block.get("source")
            if not isinstance(source, dict) or not _inline(source, where):
                refuse(
                    where, "the API would fetch or open it outside of the sandbox: send the content itself"
                )
            todo += objects(source.get("content"), where)
        elif kind in _NESTING_BLOCKS:
            todo += objects(block.get("content"), where)
        elif kind == "tool_addition":
            _check_addition(block.get("tool"), where)
        elif kind not in _PLAIN_BLOCKS:
            refuse(where, "the gateway does not know what this makes the API do")


def _inline(source: Mapping[str, Any], where: str) -> bool:
    return kind_of(source, where) in _INLINE_SOURCES and not {"url", "file_id"} & source.keys()


def _check_addition(tool: object, where: str) -> None:
    tool = tool if isinstance(tool, dict) else {}
    kind, definition = kind_of(tool, where), tool.get("definition")
    if kind == "tool_definition" and isinstance(definition, dict):
        _check_tool(definition)
    elif kind != "tool_reference":
        refuse(where, "neither a definition of a tool nor a reference to one")
