"""The gateway's way to MCP servers: what goes out, what comes back, its bounds, and what it takes down."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from model_world import Api, until
from yarl import URL

from agent_runner.contract import McpServer, McpUse, mcp_secret_key
from agent_runner.gateway import mcp_answer, mcp_proxy
from agent_runner.gateway.server import Gateway
from agent_runner.gateway.settings import config_faults

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    import aiohttp

    from agent_runner.gateway.settings import Settings

CREDENTIAL = "mcp_canary_77"
PLACE = "the password of connection docs_mcp"


@pytest.fixture
def servers(api: Api) -> list[McpServer]:
    """Docs with an allow-list and a credential, wiki with neither."""
    api.answer = answer
    return [
        McpServer(
            name="docs",
            url=f"{api.url}/deep/mcp",
            tools=("look_up",),
            header="Authorization",
            credential=PLACE,
        ),
        McpServer(name="wiki", url=f"{api.url}/wiki"),
    ]


@pytest.fixture
async def gateway(settings: Settings, stack: AsyncExitStack, servers: list[McpServer]) -> Gateway:
    (settings.secrets_dir / mcp_secret_key("docs")).write_text(CREDENTIAL)
    assert settings.config is not None
    config = dataclasses.replace(settings.config, mcp_servers=tuple(servers))
    return await stack.enter_async_context(Gateway(dataclasses.replace(settings, config=config)))


@pytest.fixture
def ask(client: aiohttp.ClientSession, gateway: Gateway) -> Any:
    async def send(
        method: str | None = "tools/call",
        *,
        server: str = "docs",
        http: str = "POST",
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
        **params: Any,
    ) -> tuple[aiohttp.ClientResponse, Any]:
        body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        data = json.dumps(body).encode() if data is None else data
        url = URL(f"{gateway.url}/mcp/{server}", encoded=True)
        async with asyncio.timeout(20), client.request(http, url, data=data, headers=headers) as got:
            text = await got.read()
            return got, json.loads(text) if got.content_type == "application/json" else text

    return send


async def answer(request: web.Request) -> web.StreamResponse:
    message = await request.json()
    result: dict[str, Any] = {"content": [{"type": "text", "text": "found"}]}
    if message["method"] == "tools/list":
        result = {"tools": [{"name": "look_up"}, {"name": "drop_table"}]}
    return web.json_response(
        {"jsonrpc": "2.0", "id": message["id"], "result": result},
        headers={"Mcp-Session-Id": "s-1", "Set-Cookie": "a=b", "WWW-Authenticate": "x", "X-Other": "y"},
    )


def error_of(answer: Any) -> str:
    assert answer["id"] == 7
    text: str = answer["error"]["message"]
    assert text.startswith("agent gateway: ")
    return text


def use(gateway: Gateway, server: str = "docs") -> McpUse | None:
    return next((each for each in gateway.ledger.mcp if each.server == server), None)


async def test_a_call_goes_out_with_the_credential_and_nothing_of_the_agents_own(
    ask: Any, api: Api, gateway: Gateway
) -> None:
    own = {
        "Authorization": "Bearer mine", "Cookie": "c=1", "X-Api-Key": "k", "User-Agent": "evil", "Origin": "http://e",
        "Forwarded": "for=1.2.3.4", "X-Forwarded-Host": "e", "Referer": "http://e", "Via": "e",
        "Mcp-Session-Id": "s-1", "Mcp-Protocol-Version": "2025-11-25", "Accept": "application/json",
        "Mcp-Method": "ping", "Mcp-Name": "drop_table", "Mcp-Param-Region": "eu", "Content-Type": "text/plain",
    }  # fmt: skip
    got, value = await ask(name="look_up", arguments={"word": "x"}, headers=own)
    assert (got.status, value["result"]["content"][0]["text"]) == (200, "found")
    [seen] = api.seen
    headers = {name.lower(): text for name, text in seen.headers.items()}
    for name in ("host", "content-length"):
        headers.pop(name)
    assert headers == {
        "accept": "application/json", "accept-encoding": "identity", "authorization": f"Bearer {CREDENTIAL}",
        "content-type": "application/json", "mcp-session-id": "s-1", "mcp-protocol-version": "2025-11-25",
        "mcp-method": "tools/call", "mcp-name": "look_up", "mcp-param-region": "eu",
        "user-agent": "airflow-agents-gateway",
    }  # fmt: skip
    assert seen.raw_path == "/deep/mcp"
    assert json.loads(api.bodies[0])["params"] == {"name": "look_up", "arguments": {"word": "x"}}
    assert got.headers["Mcp-Session-Id"] == "s-1"
    assert {"Set-Cookie", "WWW-Authenticate", "X-Other"}.isdisjoint(got.headers)
    assert use(gateway) == McpUse(server="docs", calls=1)


@pytest.mark.parametrize("header", ["X-Api-Key", "authorization"])
async def test_the_header_of_the_declaration(
    header: str, settings: Settings, stack: AsyncExitStack, servers: list[McpServer], api: Api,
    client: aiohttp.ClientSession,
) -> None:  # fmt: skip
    (settings.secrets_dir / mcp_secret_key("docs")).write_text(CREDENTIAL)
    assert settings.config is not None
    server = dataclasses.replace(servers[0], header=header)
    config = dataclasses.replace(settings.config, mcp_servers=(server,))
    gateway = await stack.enter_async_context(Gateway(dataclasses.replace(settings, config=config)))
    body = {"jsonrpc": "2.0", "id": 7, "method": "ping"}
    async with client.post(f"{gateway.url}/mcp/docs", json=body, headers={header: "mine"}) as got:
        assert got.status == 200
    assert api.seen[0].headers.getall(header) == [
        CREDENTIAL if header == "X-Api-Key" else f"Bearer {CREDENTIAL}"
    ]


async def test_without_a_credential_none_is_added(ask: Any, api: Api, gateway: Gateway) -> None:
    got, _ = await ask(server="wiki", name="anything", headers={"Authorization": "Bearer mine"})
    assert got.status == 200
    assert "Authorization" not in api.seen[0].headers
    assert use(gateway, "wiki") == McpUse(server="wiki", calls=1)


async def test_names_that_no_header_takes_are_encoded(ask: Any, api: Api) -> None:
    await ask("resources/read", server="wiki", uri="docs://ü\nX: y", headers={"Mcp-Name": "z"})
    assert api.seen[0].headers["Mcp-Name"] == "=?base64?ZG9jczovL8O8Clg6IHk=?="


async def test_the_list_is_cut_and_other_tools_are_refused(ask: Any, api: Api, gateway: Gateway) -> None:
    _, listed = await ask("tools/list")
    assert listed == {"jsonrpc": "2.0", "id": 7, "result": {"tools": [{"name": "look_up"}]}}
    _, whole = await ask("tools/list", server="wiki")
    assert len(whole["result"]["tools"]) == 2
    before = len(api.seen)
    for _ in range(3):
        got, refused = await ask(name="drop_table")
        assert got.status == 200
        assert error_of(refused) == (
            "agent gateway: the tool 'drop_table' is not allowed at the MCP server docs; allowed: look_up"
        )
    _, refused = await ask("resources/read", uri="docs://secret")
    assert "whose tools alone may be used" in error_of(refused)
    assert len(api.seen) == before, "nothing of it left the pod"
    assert use(gateway) == McpUse(server="docs", calls=0, refused=4)
    assert [text for text in gateway.ledger.refusals if "drop_table" in text] == [
        "mcp docs: refused: the tool 'drop_table' is not allowed at the MCP server docs; allowed: look_up"
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
async def test_a_streamed_list_is_cut_too(ask: Any, api: Api, end: str) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Mcp-Session-Id": "s-9"})
        await response.prepare(request)
        tools = {"tools": [{"name": "drop_table"}, {"name": "look_up"}]}
        for value in (
            {"jsonrpc": "2.0", "method": "notifications/message", "params": {}},
            {"jsonrpc": "2.0", "id": 7, "method": "ping"},
            {"jsonrpc": "2.0", "id": 8, "result": tools},
            {"jsonrpc": "2.0", "id": 7, "result": tools},
        ):
            await response.write(f"event: message{end}data: {json.dumps(value)}{end}{end}".encode())
        await api.go_on.wait()  # servers may leave the stream open
        return response

    api.answer = stream
    got, listed = await ask("tools/list")
    assert listed["result"]["tools"] == [{"name": "look_up"}]
    assert got.headers["Mcp-Session-Id"] == "s-9"
    api.go_on.set()


async def test_a_call_is_streamed_as_it_comes(
    gateway: Gateway, api: Api, client: aiohttp.ClientSession
) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await api.go_on.wait()
        await response.write(b"data: 2\n\n")
        return response

    api.answer = stream
    body = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "look_up"}}
    async with asyncio.timeout(10), client.post(f"{gateway.url}/mcp/docs", json=body) as got:
        assert await got.content.readany() == b"data: 1\n\n"
        api.go_on.set()
        assert await got.content.read() == b"data: 2\n\n"
    await until(lambda: use(gateway) == McpUse(server="docs", calls=1))


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (401, {}, f"the MCP server docs refused {PLACE} (HTTP 401): set a valid one"),
        (407, {}, f"refused {PLACE} (HTTP 407)"),
        (403, {}, "refused the request (HTTP 403): look at the rights of its credential"),
        (
            302,
            {"Location": "http://127.0.0.1:9/"},
            "answered with a redirect (HTTP 302), which is not followed",
        ),
        (308, {"Location": "/elsewhere"}, "answered with a redirect (HTTP 308), which is not followed"),
        (
            200,
            {"Content-Type": "text/html"},
            "answered with text/html, not as streamable HTTP: check its `url`",
        ),
        (200, {"Content-Type": "application/json", "Content-Encoding": "gzip"}, "compressed its answer"),
    ],
)
async def test_answers_that_are_not_passed_on(
    ask: Any, api: Api, gateway: Gateway, status: int, headers: dict[str, str], words: str
) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(
            status=status, headers={"WWW-Authenticate": "Bearer x", **headers}, body=b"upstream"
        )

    api.answer = refuse
    got, value = await ask(name="look_up")
    assert got.status == 200, "an answer of the protocol, so that the agent is told"
    assert words in error_of(value)
    assert "WWW-Authenticate" not in got.headers
    assert len(api.seen) == 1
    assert use(gateway) == McpUse(server="docs", calls=0, failed=1)
    assert any(words in text for text in gateway.ledger.refusals)


async def test_a_server_that_wants_a_credential_says_so(ask: Any, api: Api) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=401)

    api.answer = refuse
    _, value = await ask(server="wiki", name="x")
    assert "asks for a credential (HTTP 401): declare its `connection`" in error_of(value)


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
async def test_what_the_protocol_knows_is_passed_on(
    ask: Any, api: Api, gateway: Gateway, status: int
) -> None:
    """A session that the server forgot is one: the program then begins a new one."""

    async def say(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Retry-After": "3"}, text="no such session")

    api.answer = say
    got, text = await ask(name="look_up")
    assert (got.status, text, got.headers["Retry-After"]) == (status, b"no such session", "3")
    assert use(gateway) == McpUse(server="docs", calls=0, failed=1)


async def test_notifications_answers_and_the_end_of_a_session_pass(
    ask: Any, api: Api, gateway: Gateway
) -> None:
    async def take(request: web.Request) -> web.Response:
        return web.Response(status=202)

    api.answer = take
    for data in (
        b'{"jsonrpc":"2.0","method":"notifications/initialized"}',
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
    ):
        got, _ = await ask(data=data)
        assert got.status == 202
    got, _ = await ask(http="DELETE", data=b"", headers={"Mcp-Session-Id": "s-1"})
    assert got.status == 202
    assert [(each.method, each.headers.get("Mcp-Session-Id")) for each in api.seen] == [
        ("POST", None), ("POST", None), ("DELETE", "s-1"),
    ]  # fmt: skip
    assert gateway.ledger.mcp == ()


async def test_the_credential_is_read_anew_and_its_absence_said(
    ask: Any, api: Api, settings: Settings
) -> None:
    file = settings.secrets_dir / mcp_secret_key("docs")
    file.write_text("renewed\n")
    await ask(name="look_up")
    assert api.seen[0].headers["Authorization"] == "Bearer renewed"
    file.unlink()
    _, value = await ask(name="look_up")
    assert "no credential: key mcp-docs of secret agent-secrets does not exist" in error_of(value)
    file.write_text("two words")
    _, value = await ask(name="look_up")
    assert "is not one line of ASCII" in error_of(value)
    assert len(api.seen) == 1


async def test_a_server_that_is_not_there(
    ask: Any, gateway: Gateway, servers: list[McpServer], api: Api
) -> None:
    async def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    api.answer = cut
    _, value = await ask(name="look_up")
    assert "the MCP server docs cannot be reached: the connection broke off" in error_of(value)
    assert use(gateway) == McpUse(server="docs", calls=0, failed=1)


# Bounds


async def test_too_large_a_message(ask: Any, api: Api) -> None:
    got, value = await ask(name="look_up", arguments={"x": "y" * mcp_proxy.MAX_BODY_BYTES})
    assert got.status == 400
    assert "the message has more than 2,097,152 bytes" in value["error"]["message"]
    assert api.seen == []


async def test_a_compressed_message(ask: Any, api: Api) -> None:
    got, value = await ask(data=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    assert (got.status, api.seen) == (400, [])
    assert "is compressed" in value["error"]["message"]


async def test_too_large_an_answer_is_cut_and_does_not_look_whole(
    ask: Any, api: Api, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_proxy, "MAX_ANSWER_BYTES", 100_000)
    sent = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while sent < 50_000_000:
            await response.write(b"x" * 50_000)
            sent += 50_000
        return response

    api.answer = flood
    with pytest.raises(Exception, match=r"payload|closed|disconnected|reset"):
        await ask(name="look_up")
    await until(lambda: use(gateway) == McpUse(server="docs", calls=0, failed=1))
    assert sent < 50_000_000
    assert any("was cut off" in text for text in gateway.ledger.refusals)


async def test_too_large_a_list(ask: Any, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_answer, "MAX_BYTES", 1_000)

    async def flood(request: web.Request) -> web.StreamResponse:
        return web.Response(text="x" * 2_000, content_type="application/json")

    api.answer = flood
    _, value = await ask("tools/list")
    assert "its answer has more than 1,000 bytes" in error_of(value)


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"id": 8, "result": {}}', "[" * 9_000])
async def test_a_list_that_is_none(ask: Any, api: Api, text: str) -> None:
    async def say(request: web.Request) -> web.Response:
        return web.Response(text=text, content_type="application/json")

    api.answer = say
    _, value = await ask("tools/list")
    assert "it sent no answer to the request" in error_of(value)


@pytest.mark.parametrize("begun", [False, True])
async def test_an_answer_that_takes_too_long(
    ask: Any, api: Api, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    monkeypatch.setattr(mcp_proxy, "EXCHANGE_SECONDS", 0.3)

    async def wait(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        if begun:
            await response.prepare(request)
            await response.write(b"data: 1\n\n")
        await api.go_on.wait()
        return response

    api.answer = wait
    if begun:
        with pytest.raises(Exception, match=r"payload|closed|disconnected|reset"):
            await ask(name="look_up")
    else:
        _, value = await ask(name="look_up")
        assert "cannot be reached: no answer in time" in error_of(value)
    api.go_on.set()
    await until(lambda: use(gateway) == McpUse(server="docs", calls=0, failed=1))


async def test_only_so_many_at_once_and_one_server_does_not_block_another(
    ask: Any, api: Api, gateway: Gateway
) -> None:
    async def wait(request: web.Request) -> web.StreamResponse:
        if request.path == "/deep/mcp":
            await api.go_on.wait()
        return await answer(request)

    api.answer = wait
    waiting = [asyncio.create_task(ask(name="look_up")) for _ in range(mcp_proxy.AT_ONCE + 4)]
    await until(lambda: len(api.seen) == mcp_proxy.AT_ONCE)
    got, _ = await ask(server="wiki", name="x")
    assert got.status == 200
    assert len(api.seen) == mcp_proxy.AT_ONCE + 1
    api.go_on.set()
    assert all(got.status == 200 for got, _ in await asyncio.gather(*waiting))
    assert use(gateway) == McpUse(server="docs", calls=mcp_proxy.AT_ONCE + 4)


async def test_a_client_that_goes_away_frees_its_turn(
    ask: Any, api: Api, gateway: Gateway, client: aiohttp.ClientSession
) -> None:
    async def wait(request: web.Request) -> web.StreamResponse:
        await api.go_on.wait()
        return await answer(request)

    api.answer = wait
    gone = [asyncio.create_task(ask(name="look_up")) for _ in range(mcp_proxy.AT_ONCE)]
    await until(lambda: len(api.seen) == mcp_proxy.AT_ONCE)
    for task in gone:
        task.cancel()
    api.answer = answer
    got, _ = await ask(name="look_up")
    assert got.status == 200
    assert use(gateway) == McpUse(server="docs", calls=1, failed=mcp_proxy.AT_ONCE)
    api.go_on.set()


# Doors and declarations


@pytest.mark.parametrize(
    "path", ["", "other", "docs/", "docs/x", "docs?a=b", "docs%2F..", "Docs", "../git", "%64ocs"]
)
async def test_no_other_path(ask: Any, api: Api, path: str) -> None:
    got, _ = await ask(server=path, name="look_up")
    assert got.status in (403, 404)
    assert api.seen == []


@pytest.mark.parametrize("http", ["GET", "PUT", "PATCH", "OPTIONS", "HEAD"])
async def test_no_other_method(ask: Any, api: Api, http: str) -> None:
    got, _ = await ask(http=http, name="look_up")
    assert (got.status, got.headers["Allow"], api.seen) == (405, "POST, DELETE", [])


async def test_the_declared_ones_are_named(ask: Any) -> None:
    _, text = await ask(server="other")
    assert text == b"agent gateway: no MCP server other; declared for this step: docs, wiki\n"


async def test_a_ledger_that_cannot_be_written_stops_calls(
    ask: Any, api: Api, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gateway._journal is not None
    monkeypatch.setattr(gateway._journal, "fault", "the gateway's ledger cannot be written")
    got, _ = await ask(name="look_up")
    assert (got.status, api.seen) == (503, [])


async def test_a_restart_keeps_the_counts(ask: Any, gateway: Gateway, settings: Settings) -> None:
    await ask(name="look_up")
    await ask(name="drop_table")
    await gateway.stop()
    async with Gateway(settings) as again:
        assert use(again) == McpUse(server="docs", calls=1, refused=1)
    lines = [json.loads(line) for line in (settings.ledger_dir / "pod.jsonl").read_text().splitlines()]
    assert [
        (each["server"], each["tool"], each["outcome"]) for each in lines if each["event"] == "mcp_call"
    ] == [("docs", "look_up", "answered"), ("docs", "drop_table", "refused")]


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (McpServer(name="../x", url="https://d"), "'../x' is no name of an MCP server"),
        (McpServer(name="d", url="ftp://d"), "mcp_servers.d.url: 'ftp://d' is not an http or https URL"),
        (McpServer(name="d", url="https://u:p@d"), "credentials do not belong in a URL"),
        (McpServer(name="d", url="https://d/?x=1"), "without a query"),
        (McpServer(name="d", url="https://d", header="X: y"), "mcp_servers.d.header: 'X: y' is no name"),
    ],
)
def test_faulty_declarations(settings: Settings, server: McpServer, words: str) -> None:
    assert settings.config is not None
    [fault] = config_faults(dataclasses.replace(settings.config, mcp_servers=(server,)))
    assert words in fault
