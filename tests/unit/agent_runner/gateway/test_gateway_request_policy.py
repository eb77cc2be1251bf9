"""Which requests go on to a model API: what the agent programs send does, what makes the API do more does not."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_world import Api, post

from agent_runner import contract
from agent_runner.gateway.anthropic_api import ANTHROPIC
from agent_runner.gateway.openai_api import OPENAI
from agent_runner.gateway.request_policy import RefusedRequestError, read_request

if TYPE_CHECKING:
    import aiohttp

    from agent_runner.gateway.model_api import ModelApi
    from agent_runner.gateway.server import Gateway
    from agent_runner.gateway.settings import Settings

URL = "https://elsewhere.example/x"
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
"""As Claude Code sends it."""
INLINE_IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "high"}
"""As Codex sends it."""

CLAUDE_CODE = {
    "model": "claude-opus-5-5",
    "max_tokens": 128_000,
    "stream": True,
    "metadata": {"user_id": "{}"},
    "thinking": {"type": "adaptive", "display": "updates"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "medium"},
    "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
    "tools": [
        {"name": "Bash", "description": "x", "input_schema": {"type": "object"}},
        {"name": "DeferredToolPlaceholder", "defer_loading": True},
        {"type": "custom", "name": "x"},
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
    ],
    "messages": [
        {"role": "user", "content": "see https://example.org/x"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "x", "signature": "x"},
                {"type": "redacted_thinking", "data": "x"},
                # What a tool is given is not content.
                {"type": "tool_use", "id": "t", "name": "Bash", "input": {"type": "image", "source": URL}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": "plain"},
                {
                    "type": "tool_result",
                    "tool_use_id": "t",
                    "content": [PICTURE, {"type": "text", "text": "x"}],
                },
                {
                    "type": "tool_result",
                    "tool_use_id": "t",
                    "content": [{"type": "tool_reference", "tool_name": "WebFetch"}],
                },
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "x"},
                },
                {"type": "document", "source": {"type": "content", "content": [PICTURE]}},
            ],
        },
        {
            "role": "system",
            "content": [
                {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "a"}},
                {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "b"}},
                {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"name": "c"}}},
            ],
        },
    ],
}
CODEX = {
    "model": "gpt-6.1-sol",
    "stream": True,
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "prompt_cache_key": "x",
    "client_metadata": {"turn_id": "x"},
    "reasoning": {"effort": "high", "context": "all_turns"},
    "text": {"verbosity": "low"},
    "tools": [
        {"type": "function", "name": "exec_command"},
        {"type": "custom", "name": "apply_patch"},
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "close_agent"}]},
        {"type": "tool_search", "execution": "client"},
        {"type": "local_shell"},
    ],
    "input": [
        {
            "type": "additional_tools",
            "role": "developer",
            "tools": [
                {"type": "namespace", "name": "functions", "tools": [{"type": "custom", "name": "exec"}]}
            ],
        },
        {"role": "user", "content": "see https://example.org/x"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}, INLINE_IMAGE]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
        {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "x"},
        {"type": "function_call", "call_id": "c", "name": "view_image", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [INLINE_IMAGE]},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "plain"},
        {"type": "tool_search_output", "tools": [{"type": "function", "name": "f"}]},
    ],
}


@pytest.mark.parametrize(
    ("api", "body"),
    [
        (ANTHROPIC, CLAUDE_CODE),
        (
            ANTHROPIC,
            {"model": "m", "messages": [], "mcp_servers": [], "container": None, "speed": "standard"},
        ),
        (ANTHROPIC, {"service_tier": "auto", "inference_geo": "global"}),
        (ANTHROPIC, {"service_tier": "standard_only", "inference_geo": None}),
        (OPENAI, CODEX),
        (OPENAI, {"input": "x", "background": False, "previous_response_id": None, "service_tier": "auto"}),
        (OPENAI, {"input": "x", "service_tier": "default"}),
    ],
)
def test_what_stays_with_the_two_sides_passes(api: ModelApi, body: dict[str, Any]) -> None:
    api.check(read_request(json.dumps(body).encode()))


def blocks(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}]}


def added(tool: Any) -> dict[str, Any]:
    return blocks({"type": "tool_addition", "tool": tool})


def item(**values: Any) -> dict[str, Any]:
    return {"input": [values]}


def part(**values: Any) -> dict[str, Any]:
    return item(type="message", role="user", content=[values])


FETCH = {"type": "web_fetch_20250910", "name": "web_fetch"}
URL_IMAGE = {"type": "image", "source": {"type": "url", "url": URL}}

REFUSED: list[tuple[ModelApi, dict[str, Any], str]] = [
    (ANTHROPIC, {"mcp_servers": [{"type": "url", "url": URL}]}, "mcp_servers: the API would speak to other"),
    (ANTHROPIC, {"container": "c_1"}, "container: "),
    (ANTHROPIC, {"fallbacks": [{"model": "m"}]}, "fallbacks: "),
    (ANTHROPIC, {"thread": {"type": "x"}}, "thread: "),
    (ANTHROPIC, {"Tools": [FETCH]}, "Tools: the gateway does not know"),
    (ANTHROPIC, {"speed": "fast"}, "speed fast: it costs more than the list price; allowed: standard"),
    (ANTHROPIC, {"inference_geo": "us"}, "inference_geo us: "),
    (ANTHROPIC, {"service_tier": "priority"}, "service_tier priority: "),
    (ANTHROPIC, {"service_tier": ["auto"]}, "service_tier of a list: "),
    (ANTHROPIC, {"context_management": {"edits": [{"type": "compact_20260112"}]}}, "context_management compact_"),
    (ANTHROPIC, {"context_management": {"edits": [], "more": 1}}, "context_management: "),
    (ANTHROPIC, {"context_management": [{"type": "compact_20260112"}]}, "context_management: "),
    *(
        (ANTHROPIC, {"tools": [{"name": "Bash"}, {"type": kind, "name": "x"}]}, f"tools {kind}: the API itself")
        for kind in (
            "web_fetch_20250910", "web_search_20250305", "code_execution_20250825", "memory_20250818",
            "computer_20250124", "mcp_toolset", "advisor_20260301", "bash_20250124x",
        )
    ),
    (ANTHROPIC, {"tools": [{"type": ["custom"]}]}, "tools of a list: the type is not a text"),
    (ANTHROPIC, {"tools": {"type": "custom"}}, "tools: neither a list nor a text"),
    (ANTHROPIC, {"tools": [[FETCH]]}, "tools: not everything"),
    (ANTHROPIC, blocks(URL_IMAGE), "messages image: the API would fetch"),
    (ANTHROPIC, {"system": [URL_IMAGE]}, "system image: "),
    (ANTHROPIC, blocks({"type": "document", "source": {"type": "url", "url": URL}}), "messages document: "),
    (ANTHROPIC, blocks({"type": "document", "source": {"type": "file", "file_id": "f"}}), "messages document: "),
    (ANTHROPIC, blocks({"type": "image", "source": {"type": "base64", "url": URL}}), "messages image: "),
    (ANTHROPIC, blocks({"type": "image", "source": URL}), "messages image: "),
    (ANTHROPIC, blocks({"type": "image"}), "messages image: "),
    (ANTHROPIC, blocks({"type": "image", "source": {"type": {}}}), "messages image of a dict: "),
    (ANTHROPIC, blocks({"type": "tool_result", "content": [URL_IMAGE]}), "messages image: "),
    (
        ANTHROPIC,
        blocks({"type": "document", "source": {"type": "content", "content": [URL_IMAGE]}}),
        "messages image: ",
    ),
    (ANTHROPIC, blocks({"type": "container_upload", "file_id": "f"}), "messages container_upload: "),
    (ANTHROPIC, blocks({"text": "x"}), "messages without a name: "),
    (ANTHROPIC, {"messages": [{"role": "user", "content": URL_IMAGE}]}, "messages: neither a list nor a text"),
    (ANTHROPIC, added({"type": "tool_definition", "definition": FETCH}), "tools web_fetch_20250910: "),
    (ANTHROPIC, added({"type": "tool_definition", "definition": [FETCH]}), "messages tool_addition: "),
    (ANTHROPIC, added({"type": "mcp_toolset"}), "messages tool_addition: "),
    (ANTHROPIC, added(FETCH["type"]), "messages tool_addition: "),
    (OPENAI, {"background": True}, "background: "),
    (OPENAI, {"conversation": "c"}, "conversation: "),
    (OPENAI, {"previous_response_id": "r"}, "previous_response_id: "),
    (OPENAI, {"prompt": {"id": "p"}}, "prompt: "),
    (OPENAI, {"context_management": [{"type": "compaction"}]}, "context_management: "),
    (OPENAI, {"service_tier": "priority"}, "service_tier priority: "),
    *(
        (OPENAI, {"tools": [tool]}, f"tools {tool['type']}: the API itself")
        for tool in (
            {"type": "mcp", "server_url": URL},
            {"type": "web_search"},
            {"type": "file_search", "vector_store_ids": ["v"]},
            {"type": "code_interpreter", "container": {"type": "auto"}},
            {"type": "image_generation"},
            {"type": "shell", "environment": {"type": "container_auto"}},
            {"type": "computer_use_preview"},
            {"type": "tool_search"},
            {"type": "tool_search", "execution": "server"},
        )
    ),
    (OPENAI, {"tools": [{"type": "namespace", "tools": [{"type": "mcp"}]}]}, "tools mcp: "),
    (OPENAI, {"tools": [{"name": "x"}]}, "tools without a name: "),
    (OPENAI, item(type="additional_tools", tools=[{"type": "web_search"}]), "tools web_search: "),
    (OPENAI, item(type="tool_search_output", tools=[{"type": "mcp"}]), "tools mcp: "),
    (OPENAI, part(type="input_image", image_url=URL), "input message input_image: "),
    (OPENAI, part(type="input_image", image_url={"url": URL}), "input message input_image: "),
    (OPENAI, part(type="input_image", file_id="f"), "input message input_image: "),
    (OPENAI, part(type="input_file", file_id="f"), "input message input_file: "),
    (OPENAI, part(type="input_file", file_url=URL), "input message input_file: "),
    (OPENAI, part(type="computer_screenshot", image_url=URL), "input message computer_screenshot: "),
    (OPENAI, item(role="user", content=[{"type": "input_image", "image_url": URL}]), "input message input_image: "),
    (
        OPENAI,
        item(type="function_call_output", output=[{"type": "input_image", "image_url": URL}]),
        "input function_call_output input_image: ",
    ),
    (OPENAI, item(type="item_reference", id="msg_1"), "input item_reference: "),
    (OPENAI, item(type=None, id="msg_1"), "input item_reference: "),
    (OPENAI, item(type="mcp_approval_response", approve=True), "input mcp_approval_response: "),
    (OPENAI, item(type="compaction_trigger"), "input compaction_trigger: "),
]  # fmt: skip


@pytest.mark.parametrize(("api", "body", "said"), REFUSED)
def test_what_makes_the_api_do_more_is_refused(api: ModelApi, body: dict[str, Any], said: str) -> None:
    with pytest.raises(RefusedRequestError) as refused:
        api.check(read_request(json.dumps({"model": "m", **body}).encode()))
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"tools": [{"type": "mcp"}], "tools": []}', "tools: the body names this field twice"),
        (
            b'{"input": [{"type": "message", "type": "item_reference"}]}',
            "type: the body names this field twice",
        ),
        (b"", "the body is not a JSON object"),
        (b"[]", "the body is not a JSON object"),
        (b"{", "the body is not a JSON object"),
        (b'{"a": "\xff"}', "the body is not a JSON object in UTF-8"),
        ('{"model": "m"}'.encode("utf-16"), "the body is not a JSON object in UTF-8"),
        (b"[" * 100_000, "the body is not a JSON object"),
        (b'{"a":' * 100_000, "the body is not a JSON object"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(RefusedRequestError, match=said):
        read_request(body)


def nested(depth: int) -> dict[str, Any]:
    content: list[Any] = [URL_IMAGE]
    for _ in range(depth):
        content = [{"type": "tool_result", "content": content}]
    return blocks(*content)


def test_depth_hides_nothing() -> None:
    with pytest.raises(RefusedRequestError, match="messages image"):
        ANTHROPIC.check(read_request(json.dumps(nested(400)).encode()))
    tool: dict[str, Any] = {"type": "mcp"}
    for _ in range(400):
        tool = {"type": "namespace", "tools": [tool]}
    with pytest.raises(RefusedRequestError, match="tools mcp"):
        OPENAI.check(read_request(json.dumps({"tools": [tool]}).encode()))


WORDS = st.sampled_from(
    [
        "type", "tools", "input", "messages", "content", "source", "system", "output", "tool", "definition", "role",
        "image", "tool_addition", "tool_definition", "namespace", "message", "context_management", "edits", "text",
    ]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)


@given(st.sampled_from([ANTHROPIC, OPENAI]), st.dictionaries(WORDS, VALUES, max_size=4))
def test_no_request_crashes_the_check(api: ModelApi, body: dict[str, Any]) -> None:
    with contextlib.suppress(RefusedRequestError):
        api.check(read_request(json.dumps(body).encode()))


@pytest.mark.parametrize("path", ["v1/messages", "v1/messages/count_tokens"])
async def test_a_refusal_is_said_in_the_form_of_the_api_and_costs_nothing(
    api: Api, gateway: Gateway, client: aiohttp.ClientSession, path: str
) -> None:
    answer, body = await post(client, gateway, path, data=json.dumps(blocks(URL_IMAGE)).encode())
    assert answer.status == 400
    assert json.loads(body) == {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "message": "agent gateway: not passed on: messages image: the API would fetch or open it outside of the "
            "sandbox: send the content itself",
        },
    }
    assert api.seen == []
    assert gateway.ledger.model_calls == 0


async def test_a_refusal_in_the_form_of_openai(
    api: Api, gateway: Gateway, settings: Settings, client: aiohttp.ClientSession
) -> None:
    (settings.secrets_dir / contract.SECRET_KEY_OPENAI).write_text("k")
    answer, body = await post(client, gateway, "v1/responses", api="openai", data=b'{"background": true}')
    assert answer.status == 400
    assert json.loads(body)["error"]["code"] == "model_request_refused"
    assert "background: the API would work on" in json.loads(body)["error"]["message"]
    assert api.seen == []


async def test_each_kind_is_noted_once_and_not_without_end(
    gateway: Gateway, client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        for field in ("container", "thread"):
            await post(client, gateway, data=json.dumps({field: "x"}).encode())
    assert [refusal.split(":")[1].strip() for refusal in gateway.ledger.refusals] == ["container", "thread"]
    for number in range(150):
        await post(client, gateway, data=json.dumps({f"field{number}\n": "x" * 9}).encode())
    lines = [record.getMessage() for record in caplog.records if "refused: " in record.getMessage()]
    assert len(lines) == 100
    assert not any("\n" in line for line in lines)
