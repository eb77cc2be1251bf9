"""Which requests of OpenAI's Responses API stay between the agent program and the model.

Codex 0.163 to 0.169 offers functions, custom tools, namespaces of both and its own search for tools, in ``tools`` or,
to newer models, within the input; it sends pictures as data URLs and repeats the whole conversation in each request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_runner.gateway.request_policy import check_fields, check_value, kind_of, objects, refuse, word

if TYPE_CHECKING:
    from collections.abc import Mapping

_KNOWN = frozenset(
    {
        "model", "input", "instructions", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls",
        "reasoning", "store", "include", "prompt_cache_key", "prompt_cache_retention", "text", "client_metadata",
        "metadata", "max_output_tokens", "max_tool_calls", "temperature", "top_p", "top_logprobs", "truncation", "user",
        "safety_identifier", "service_tier",
    }
)  # fmt: skip

_STORED = "the API would go on with what it has stored, of others too: send the conversation itself"
_WHY = {
    "background": "the API would work on after its answer, and nobody would see the cost",
    "conversation": _STORED,
    "previous_response_id": _STORED,
    "prompt": _STORED,
}

_CLIENT_TOOLS = frozenset({"function", "custom", "local_shell", "apply_patch"})
"""Types of tools that the agent program runs itself."""

_CONTENT_ITEMS = frozenset({"message", "agent_message"})
_OUTPUT_ITEMS = frozenset(
    {
        "function_call_output", "custom_tool_call_output", "local_shell_call_output", "apply_patch_call_output",
    }
)  # fmt: skip
_TOOL_ITEMS = frozenset({"additional_tools", "tool_search_output"})
_PLAIN_ITEMS = frozenset(
    {
        "reasoning", "function_call", "custom_tool_call", "local_shell_call", "apply_patch_call", "tool_search_call",
        "compaction", "compaction_summary", "context_compaction",
    }
)  # fmt: skip
_PLAIN_PARTS = frozenset(
    {"input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text", "encrypted_content"}
)

_SERVICE_TIERS = ("auto", "default", "flex")
"""``auto`` is what counts without the field, too: what the account's project is set to. ``flex`` costs less."""


def check_responses_request(body: Mapping[str, Any]) -> None:
    """Check a request for a response.

    :raises RefusedRequestError: if the API would do more than to answer, or at more than the list price.
    """
    check_fields(body, _KNOWN, _WHY)
    check_value(body, "service_tier", _SERVICE_TIERS, "it costs more than the list price")
    _check_tools(body.get("tools"))
    for item in objects(body.get("input"), "input"):
        # Without a type, what has a role is a message, and what has none stands for something stored.
        kind = kind_of(item, "input") or ("message" if "role" in item else "item_reference")
        where = f"input {word(kind)}"
        if kind in _CONTENT_ITEMS:
            _check_parts(item.get("content"), where)
        elif kind in _OUTPUT_ITEMS:
            _check_parts(item.get("output"), where)
        elif kind in _TOOL_ITEMS:
            _check_tools(item.get("tools"))
        elif kind not in _PLAIN_ITEMS:
            refuse(where, "the gateway does not know what this makes the API do")


def _check_tools(tools: object) -> None:
    # Not recursive: how deep namespaces are nested is the client's choice.
    todo = list(objects(tools, "tools"))
    while todo:
        tool = todo.pop()
        kind = kind_of(tool, "tools")
        if kind == "namespace":
            todo += objects(tool.get("tools"), "tools namespace")
        elif not (kind in _CLIENT_TOOLS or (kind == "tool_search" and tool.get("execution") == "client")):
            refuse(f"tools {word(kind)}", "the API itself would run this tool, outside of the sandbox")


def _check_parts(content: object, where: str) -> None:
    for part in objects(content, where):
        kind = kind_of(part, where)
        if kind in ("input_image", "input_file"):
            url = part.get("image_url")
            if (
                part.get("file_id") is not None
                or part.get("file_url") is not None
                or not (url is None or (isinstance(url, str) and url[:5].lower() == "data:"))
            ):
                refuse(
                    f"{where} {word(kind)}",
                    "the API would fetch or open it outside of the sandbox: send the content itself",
                )
        elif kind not in _PLAIN_PARTS:
            refuse(f"{where} {word(kind)}", "the gateway does not know what this makes the API do")
