"""What an agent may ask an MCP server, and what of its answers passes the allow-list."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.gateway.mcp_answer import EventReader
from agent_runner.gateway.mcp_policy import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    RefusedMessageError,
    check_message,
    filtered,
    read_message,
)

TOOLS = frozenset({"look_up", "count"})


def message(method: str | None = "tools/call", *, number: Any = 1, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()


def refusal(body: bytes, tools: frozenset[str] | None = TOOLS) -> RefusedMessageError:
    with pytest.raises(RefusedMessageError) as caught:
        check_message(read_message(body), tools, "docs")
    return caught.value


@pytest.mark.parametrize(
    "body",
    [
        message(name="look_up", arguments={"Name": "drop_table", "params": {"name": "drop_table"}}),
        message(name="count", task={"ttl": 1}, _meta={"progressToken": 2}, later_field=1),
        message("tools/list", cursor="c"),
        message("tools/list"),
        message("initialize", protocolVersion="x"),
        message("server/discover"),
        message("ping"),
        message("logging/setLevel", level="info"),
        message("notifications/cancelled", number=None, requestId=4),
        b'{"jsonrpc":"2.0","method":"notifications/initialized"}',
        b'{"jsonrpc":"2.0","id":7,"result":{"action":"decline"}}',
        b'{"jsonrpc":"2.0","id":"a","error":{"code":-32601,"message":"no"}}',
    ],
)
def test_what_tools_need_passes(body: bytes) -> None:
    check_message(read_message(body), TOOLS, "docs")


@pytest.mark.parametrize(
    "method",
    [
        "resources/list", "resources/read", "resources/templates/list", "resources/subscribe", "prompts/list",
        "prompts/get", "completion/complete", "tasks/list", "tasks/get", "subscriptions/listen", "Tools/Call",
        "tools/call ", "tools/callx", "tools\u2044call", "sampling/createMessage", "x" * 100,
    ],
)  # fmt: skip
def test_with_an_allow_list_nothing_but_tools(method: str) -> None:
    error = refusal(message(method, name="look_up", uri="docs://x"))
    assert error.code == METHOD_NOT_FOUND
    assert "whose tools alone may be used" in str(error)
    check_message(read_message(message(method, name="look_up")), None, "docs")


@pytest.mark.parametrize("name", ["drop_table", "Look_up", "look_up ", "", "look_up\u200b", "LOOK_UP", None])
def test_other_tools_are_refused_and_the_allowed_named(name: str | None) -> None:
    error = refusal(message(name=name) if name is not None else message())
    assert error.code == INVALID_PARAMS
    assert "is not allowed at the MCP server docs; allowed: count, look_up" in str(error)
    assert str(error).isascii()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the body is not a JSON object"),
        (b"{", "the body is not a JSON object"),
        (b'"x"', "the body is not a JSON object"),
        (b'{"jsonrpc":"2.0"} {}', "the body is not a JSON object"),
        (b'\xff{"method":"ping"}', "the body is not a JSON object"),
        (b"[" * 100_000, "several messages at once"),
        (b"[" + message(name="look_up") + b"]", "several messages at once"),
        (b'{"method":"ping","method":"tools/call"}', "names this field twice"),
        (
            b'{"method":"tools/call","params":{"name":"look_up","name":"drop_table"}}',
            "names this field twice",
        ),
        (b'{"id":1,"method":"tools/call","params":{"name":"look_up","Name":"drop_table"}}', "params Name"),
        (
            b'{"id":1,"method":"tools/call","params":{"name":"look_up","argument\xc5\xbf":{}}}',
            "params argument?",
        ),
        (b'{"id":1,"method":"ping","Method":"tools/call"}', "message Method"),
        (b'{"id":1,"method":"ping","param\xc5\xbf":{}}', "message param?"),
        (b'{"id":1,"method":"ping","more":1}', "message more"),
        (b'{"id":1,"method":7}', "method: is no name"),
        (b'{"id":1,"method":""}', "method: is no name"),
        (b'{"id":1,"method":"tools/call","params":["look_up"]}', "params: no object"),
        (b'{"id":1,"method":"tools/call","params":null}', "params: no object"),
        (b'{"id":true,"method":"ping"}', "neither a text nor a number"),
        (b'{"id":{},"method":"ping"}', "neither a text nor a number"),
        (b'{"id":"' + b"x" * 201 + b'","method":"ping"}', "too long"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(body: bytes, words: str) -> None:
    error = refusal(body, None)
    assert error.code == INVALID_REQUEST
    assert words in str(error)


def test_a_name_that_is_no_text_is_refused() -> None:
    assert refusal(message(name=["look_up"])).code == INVALID_PARAMS


def test_lists_and_abilities_are_cut() -> None:
    tools = [{"name": "look_up", "x": 1}, {"name": "drop_table"}, "look_up", {"name": ["look_up"]}, {}]
    answer = {"jsonrpc": "2.0", "id": 1, "result": {"tools": tools, "nextCursor": "c"}}
    assert filtered(answer, TOOLS)["result"] == {"tools": [{"name": "look_up", "x": 1}], "nextCursor": "c"}
    able = {"tools": {"listChanged": True}, "resources": {}, "prompts": {}, "logging": {}, "tasks": {}}
    answer = {"id": 1, "result": {"capabilities": able, "serverInfo": {"name": "d"}}}
    assert filtered(answer, TOOLS)["result"] == {
        "capabilities": {"tools": {"listChanged": True}, "logging": {}}, "serverInfo": {"name": "d"},
    }  # fmt: skip
    assert able["prompts"] == {}, "what came in is not changed"
    error = {"id": 1, "error": {"code": 1, "message": "m"}}
    assert filtered(error, TOOLS) == error


EVENTS = st.lists(st.lists(st.text('ab :{}"ä', max_size=8), min_size=1, max_size=3), max_size=5)


@given(EVENTS, st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(1, 40), max_size=30))
def test_events_are_the_same_however_the_stream_is_cut(
    events: list[list[str]], end: str, cuts: list[int]
) -> None:
    stream = (
        ": a comment"
        + end
        + "".join(
            f"event: message{end}" + "".join(f"data: {line}{end}" for line in lines) + end for lines in events
        )
    )
    data = stream.encode() + b"\n"
    reader, found, place = EventReader(), [], 0
    for cut in (*cuts, len(data)):
        found += list(reader.feed(data[place : place + cut]))
        place += cut
    assert found == ["\n".join(lines).encode() for lines in events]
