"""The stand-in over HTTP: its events, its errors, its key, its faults, and Anthropic's own client with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from demo.model import Script, StandInModel, server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Start = Callable[..., Awaitable[StandInModel]]
KEY = "secret-of-the-test"
CWD = "/the/check out"
SYSTEM = f" - Primary working directory: {CWD}"
TOOLS: list[Any] = [{"name": name, "input_schema": {"type": "object"}} for name in ("Read", "Bash")]
LONG = "A text that is long enough to be sent in several pieces. " * 5
PLAN: dict[str, Any] = {
    "name": "plan",
    "when": {"step": "plan"},
    "turns": [
        {
            "text": LONG,
            "calls": [
                {
                    "tool": "Read",
                    "input": {"file_path": "{cwd}/a.py", "more": ["{cwd}", {"x": 1}, "{{ 7*7 }} ü"]},
                },
                {"tool": "Bash", "input": {"command": "true " * 200}},
            ],
        },
        {"text": "Done in {cwd}."},
    ],
}


def body(step: str = "# Step: plan", *, answers: int = 0, **more: Any) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "user", "content": step}]
    for _ in range(answers):
        messages += [{"role": "assistant", "content": "Yes"}, {"role": "user", "content": "On"}]
    return {
        "model": "claude-x", "max_tokens": 1_000, "system": SYSTEM, "tools": TOOLS, "messages": messages, **more,
    }  # fmt: skip


class Client:
    """Sends requests as the agent program does."""

    def __init__(self, session: aiohttp.ClientSession, model: StandInModel) -> None:
        self.session = session
        self.model = model

    async def post(
        self, data: Any, path: str = "/v1/messages?beta=true", **headers: str
    ) -> tuple[int, Any, aiohttp.ClientResponse]:
        """Return status, body (parsed if JSON) and the answer."""
        sent = {"anthropic-version": "2023-06-01", "x-api-key": KEY, **headers}
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        async with self.session.post(self.model.url + path, data=raw, headers=sent) as answer:
            text = await answer.text()
            return (
                answer.status,
                json.loads(text) if answer.content_type == "application/json" else text,
                answer,
            )

    async def requests(self) -> Any:
        async with self.session.get(self.model.url + "/_demo/requests") as answer:
            return await answer.json()


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts a stand-in that plays the given scenes, and stops it after the test."""
    async with AsyncExitStack() as stack:

        async def begin(*scenes: dict[str, Any], **options: Any) -> StandInModel:
            return await stack.enter_async_context(
                StandInModel(Script.of({"scenes": list(scenes)}), **options)
            )

        yield begin


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


@pytest.fixture
async def client(start: Start, session: aiohttp.ClientSession) -> Client:
    return Client(session, await start(PLAN, api_key=KEY))


def parsed(stream: str) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream, strictly: one event line, one data line, one empty line."""
    assert stream.endswith("\n\n")
    events = []
    for block in stream.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        assert name.startswith("event: ")
        assert data.startswith("data: ")
        events.append((name[7:], json.loads(data[6:])))
    return events


async def test_a_streamed_answer_has_the_form_of_the_api(client: Client) -> None:
    status, text, answer = await client.post(body(stream=True))
    assert (status, answer.content_type) == (200, "text/event-stream")
    assert answer.headers["request-id"].startswith("req_")
    events = parsed(text)
    assert all(name == data["type"] for name, data in events)
    names = [name for name, _ in events if name != "content_block_delta"]
    assert names == [
        "message_start",
        "content_block_start", "ping", "content_block_stop",
        "content_block_start", "content_block_stop",
        "content_block_start", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    message = events[0][1]["message"]
    assert (message["content"], message["stop_reason"], message["model"]) == ([], None, "claude-x")
    deltas = [(data["index"], data["delta"]) for name, data in events if name == "content_block_delta"]
    assert "".join(delta["text"] for index, delta in deltas if index == 0) == LONG
    inputs = {
        n: json.loads("".join(delta["partial_json"] for index, delta in deltas if index == n)) for n in (1, 2)
    }
    assert inputs[1] == {"file_path": f"{CWD}/a.py", "more": [CWD, {"x": 1}, "{{ 7*7 }} ü"]}
    assert min([index for index, _ in deltas].count(n) for n in (0, 2)) > 3
    assert [data["content_block"].get("name") for name, data in events if name == "content_block_start"] == [
        None, "Read", "Bash",
    ]  # fmt: skip
    final = events[-2][1]
    assert final["delta"]["stop_reason"] == "tool_use"
    assert message["usage"]["output_tokens"] == 1 < final["usage"]["output_tokens"]
    for key in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"):
        assert message["usage"][key] == final["usage"][key]


async def test_a_plain_answer_is_the_same_message(client: Client) -> None:
    status, message, _ = await client.post(body())
    assert status == 200
    assert [block["type"] for block in message["content"]] == ["text", "tool_use", "tool_use"]
    assert len({block["id"] for block in message["content"][1:]}) == 2
    assert message["usage"]["output_tokens"] > 100
    _, again, _ = await client.post(body())
    assert again == message


async def test_turns_follow_from_the_conversation_alone(client: Client) -> None:
    _, second, _ = await client.post(body(answers=1))
    _, first, _ = await client.post(body())
    _, third, _ = await client.post(body(answers=2))
    assert first["stop_reason"] == "tool_use"
    assert (second["stop_reason"], second["content"][0]["text"]) == ("end_turn", f"Done in {CWD}.")
    assert third["stop_reason"] == "end_turn"
    assert "'plan' has no turn 3" in third["content"][0]["text"]
    assert first["id"] != second["id"] != third["id"]


@pytest.mark.parametrize(
    ("step", "said"),
    [("# Step: dance", "no scene for the step 'dance'"), ("Hello", "no user message has a line")],
)
async def test_without_a_scene_the_answer_says_so(client: Client, step: str, said: str) -> None:
    _, message, _ = await client.post(body(step))
    assert message["stop_reason"] == "end_turn"
    assert said in message["content"][0]["text"]


async def test_anthropics_own_client_reads_it(client: Client) -> None:
    import anthropic

    async with anthropic.AsyncAnthropic(api_key=KEY, base_url=client.model.url, max_retries=0) as sdk:
        async with sdk.messages.stream(**body()) as stream:
            streamed = await stream.get_final_message()
        assert streamed.stop_reason == "tool_use"
        assert [block.type for block in streamed.content] == ["text", "tool_use", "tool_use"]
        assert streamed.usage.output_tokens > 100
        plain = await sdk.messages.create(**body())
        assert plain.usage.output_tokens == streamed.usage.output_tokens
        counted = await sdk.messages.count_tokens(
            model="claude-x", messages=body()["messages"], system=SYSTEM, tools=TOOLS
        )
        assert counted.input_tokens == plain.usage.input_tokens
    async with anthropic.AsyncAnthropic(api_key="other", base_url=client.model.url, max_retries=0) as sdk:
        with pytest.raises(anthropic.AuthenticationError, match="invalid x-api-key"):
            await sdk.messages.create(**body())


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize("key", ["", "other", "ünknown"])
async def test_a_wrong_key_is_refused(client: Client, path: str, key: str) -> None:
    status, error, answer = await client.post(body(), path, **{"x-api-key": key})
    assert status == 401
    assert error["type"] == "error"
    assert error["error"]["type"] == "authentication_error"
    assert error["request_id"] == answer.headers["request-id"]


@pytest.mark.parametrize(
    ("authorization", "status"), [(f"Bearer {KEY}", 200), ("Bearer other", 401), (f"Basic {KEY}", 401)]
)
async def test_the_key_may_be_a_bearer_token(client: Client, authorization: str, status: int) -> None:
    got, _, _ = await client.post(body(), **{"x-api-key": "", "authorization": authorization})
    assert got == status


async def test_without_a_key_of_its_own_it_asks_for_none(
    start: Start, session: aiohttp.ClientSession
) -> None:
    status, _, _ = await Client(session, await start(PLAN)).post(body(), **{"x-api-key": ""})
    assert status == 200


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        ([], "not a JSON object"),
        ({}, "model"),
        (body(messages=[]), "messages"),
        (body(max_tokens=0), "max_tokens"),
        (body(system="none"), "states no working directory"),
    ],
)
async def test_a_request_that_does_not_fit_is_refused(client: Client, data: Any, said: str) -> None:
    status, error, _ = await client.post(data)
    assert (status, error["error"]["type"]) == (400, "invalid_request_error")
    assert said in error["error"]["message"]
    assert [request["status"] for request in (await client.requests())["requests"]] == [400]


async def test_the_version_header_is_demanded(client: Client) -> None:
    async with client.session.post(
        client.model.url + "/v1/messages", json=body(), headers={"x-api-key": KEY}
    ) as r:
        assert r.status == 400
        assert "anthropic-version" in (await r.json())["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/v1/complete", 404), ("GET", "/", 404), ("GET", "/v1/messages", 405)],
)
async def test_other_paths_are_not_found(client: Client, method: str, path: str, status: int) -> None:
    async with client.session.request(method, client.model.url + path) as answer:
        assert answer.status == status
        assert (await answer.json())["error"]["type"] == "not_found_error"


async def test_a_body_over_the_limit_is_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_REQUEST_BYTES", 10_000)
    async with StandInModel(Script.of({"scenes": [PLAN]})) as small:
        status, error, _ = await Client(client.session, small).post(body(padding="x" * 20_000))
    assert (status, error["error"]["type"]) == (413, "request_too_large")


async def test_a_fault_of_the_script_has_its_status_and_headers(
    start: Start, session: aiohttp.ClientSession
) -> None:
    error = {"status": 529, "type": "overloaded_error", "message": "Busy", "headers": {"retry-after": "1"}}
    client = Client(session, await start({**PLAN, "turns": [{"error": error}, {"text": "Late"}]}))
    for _ in range(3):
        status, answer, raw = await client.post(body(stream=True))
        assert (status, answer["error"]) == (529, {"type": "overloaded_error", "message": "Busy"})
        assert raw.headers["retry-after"] == "1"
    assert (await client.post(body(answers=1)))[0] == 200


async def test_a_passing_fault_gives_way_to_the_turn(start: Start, session: aiohttp.ClientSession) -> None:
    error = {"status": 500, "type": "api_error", "message": "Broken", "times": 2}
    client = Client(session, await start({**PLAN, "turns": [{"error": error, "text": "Better"}]}))
    answers = [await client.post(body()) for _ in range(3)]
    assert [status for status, _, _ in answers] == [500, 500, 200]
    assert answers[2][1]["content"][0]["text"] == "Better"
    seen = (await client.requests())["requests"]
    assert [(r["status"], r["scene"], r["turn"]) for r in seen] == [
        (500, "plan", 0), (500, "plan", 0), (200, "plan", 0),
    ]  # fmt: skip


async def test_a_delayed_turn_waits_first(
    start: Start, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", noted)
    client = Client(session, await start({**PLAN, "turns": [{"delay_seconds": 42.5, "text": "Late"}]}))
    assert (await client.post(body()))[0] == 200
    assert waits[0] == 42.5


async def test_a_client_that_goes_away_does_no_harm(start: Start, session: aiohttp.ClientSession) -> None:
    slow = {**PLAN, "turns": [{"delay_seconds": 600, "text": "Late"}, {"text": "Next"}]}
    model = await start(slow)
    impatient = aiohttp.ClientTimeout(total=0.2)
    headers = {"anthropic-version": "2023-06-01"}
    with pytest.raises(TimeoutError):
        await session.post(f"{model.url}/v1/messages", json=body(), headers=headers, timeout=impatient)
    assert (await Client(session, model).post(body(answers=1)))[0] == 200


async def test_requests_are_shown_without_secrets(client: Client) -> None:
    await client.post(body(stream=True))
    await client.post(body(answers=1), authorization="Bearer hidden")
    await client.post(body("Hello"))
    shown = await client.requests()
    assert shown["count"] == 3
    first, second, third = shown["requests"]
    assert (first["model"], first["messages"], first["scene"], first["turn"]) == ("claude-x", 1, "plan", 0)
    assert (second["messages"], second["turn"], second["status"]) == (3, 1, 200)
    assert third["scene"] is None
    assert first["usage"]["output_tokens"] > 1
    assert {"x-api-key", "authorization", "anthropic-version"} <= set(second["headers"])
    assert KEY not in json.dumps(shown)
    assert "hidden" not in json.dumps(shown)


async def test_only_the_latest_requests_are_kept(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_RECORDS", 2)
    async with StandInModel(Script.of({"scenes": [PLAN]})) as model:
        small = Client(client.session, model)
        for answers in range(3):
            await small.post(body(answers=answers))
        shown = await small.requests()
    assert shown["count"] == 3
    assert [request["turn"] for request in shown["requests"]] == [1, 2]


async def test_stopping_is_harmless_twice_and_the_url_is_gone() -> None:
    model = StandInModel(Script.of({"scenes": [PLAN]}))
    with pytest.raises(RuntimeError, match="await start"):
        _ = model.url
    assert (await model.start()).startswith("http://127.0.0.1:")
    await model.stop()
    await model.stop()
    with pytest.raises(RuntimeError, match="await start"):
        _ = model.url


async def test_a_taken_port_is_an_error(client: Client) -> None:
    port = int(client.model.url.rpartition(":")[2])
    with pytest.raises(OSError, match="address already in use"):
        await StandInModel(Script.of({"scenes": [PLAN]}), port=port).start()
