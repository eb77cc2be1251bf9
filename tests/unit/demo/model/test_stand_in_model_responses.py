"""The stand-in's Responses API: what it reads, what it answers, its errors, and what both APIs share."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from demo.model import Script, StandInModel
from demo.model.codex_tools import Toolbox
from demo.model.responses_conversation import read
from demo.model.script import ToolCall

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Start = Callable[..., Awaitable[StandInModel]]
KEY = "openai-secret"
OTHER_KEY = "anthropic-secret"
LONG = "A text that is long enough to be sent in several pieces. " * 5
SHELL = {"type": "function", "name": "exec_command"}
PATCH = {"type": "custom", "name": "apply_patch"}
SURROUNDINGS = "<environment_context>\n  <cwd>/the/check out</cwd>\n</environment_context>"
FORM = {"format": {"type": "json_schema", "name": "x", "schema": {}}}
PLAN: dict[str, Any] = {
    "name": "plan",
    "when": {"step": "plan"},
    "turns": [
        {
            "text": LONG,
            "calls": [
                {"tool": "Bash", "input": {"command": "echo {cwd}"}},
                {"tool": "Write", "input": {"file_path": "{cwd}/a", "content": "one\n"}},
                {"tool": "Agent", "input": {"prompt": "not offered"}},
            ],
        },
        {"text": "Done.", "calls": [{"tool": "StructuredOutput", "input": {"title": "ü"}}]},
    ],
}


def said(role: str, *texts: str) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text} for text in texts]}


def called(call_id: str, answered: bool = True) -> list[dict[str, Any]]:
    call = {"type": "function_call", "name": "exec_command", "arguments": "{}", "call_id": call_id}
    output = {"type": "function_call_output", "call_id": call_id, "output": "# Step: from a tool"}
    return [call, output] if answered else [call]


def body(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    given = [said("user", SURROUNDINGS), said("user", "# Step: plan\n\nDo it."), *items]
    return {"model": "gpt-x", "input": given, "tools": [SHELL, PATCH], "stream": True, **more}


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def begin(*scenes: dict[str, Any], **options: Any) -> StandInModel:
            keys = {"api_key": OTHER_KEY, "openai_api_key": KEY}
            script = Script.of({"scenes": list(scenes)})
            return await stack.enter_async_context(StandInModel(script, **{**keys, **options}))

        yield begin


class Client:
    def __init__(self, session: aiohttp.ClientSession, model: StandInModel) -> None:
        self.session = session
        self.model = model

    async def post(self, data: Any, **headers: str) -> tuple[int, Any, aiohttp.ClientResponse]:
        sent = {"authorization": f"Bearer {KEY}", **headers}
        async with self.session.post(f"{self.model.url}/v1/responses", json=data, headers=sent) as answer:
            text = await answer.text()
            return (
                answer.status,
                json.loads(text) if answer.content_type == "application/json" else text,
                answer,
            )

    async def get(self, path: str, **headers: str) -> tuple[int, Any]:
        async with self.session.get(self.model.url + path, headers=headers) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


@pytest.fixture
async def client(start: Start, session: aiohttp.ClientSession) -> Client:
    return Client(session, await start(PLAN))


def events_of(stream: str) -> list[dict[str, Any]]:
    events = []
    for block in stream.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


async def test_a_streamed_answer_has_the_form_of_the_api(client: Client) -> None:
    status, text, answer = await client.post(body())
    assert (status, answer.content_type) == (200, "text/event-stream")
    assert answer.headers["x-request-id"].startswith("req_")
    events = events_of(text)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = [
        event["type"].removeprefix("response.") for event in events if not event["type"].endswith("delta")
    ]
    assert kinds == [
        "created", "in_progress",
        "output_item.added", "content_part.added", "output_text.done", "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.done", "output_item.done",
        "output_item.added", "custom_tool_call_input.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    whole = events[-1]["response"]
    assert events[0]["response"]["output"] == []
    assert [event["item"] for event in events if event["type"].endswith("item.done")] == whole["output"]
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == LONG
    assert len(deltas) > 3
    message, shell, patch = whole["output"]
    assert message["content"][0]["text"] == LONG
    assert json.loads(shell["arguments"])["cmd"] == "echo /the/check out"
    assert patch["input"] == "*** Begin Patch\n*** Add File: /the/check out/a\n+one\n*** End Patch"
    assert len({shell["call_id"], patch["call_id"]}) == 2


async def test_a_plain_answer_is_the_same(client: Client) -> None:
    _, streamed, _ = await client.post(body())
    status, plain, _ = await client.post(body(stream=False))
    assert status == 200
    kinds = [item["type"] for item in plain["output"]]
    assert kinds == [item["type"] for item in events_of(streamed)[-1]["response"]["output"]]
    usage = plain["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


async def test_structured_output_is_the_last_message_where_a_schema_is_asked_for(client: Client) -> None:
    answered = [said("assistant", LONG), *called("call_x00")]
    _, asked, _ = await client.post(body(*answered, text=FORM, stream=False))
    texts = [item["content"][0]["text"] for item in asked["output"]]
    assert texts == ["Done.", '{"title": "ü"}']
    _, not_asked, _ = await client.post(body(*answered, stream=False))
    assert [item["content"][0]["text"] for item in not_asked["output"]] == ["Done."]


async def test_the_prompt_comes_from_the_cache_as_far_as_it_was_sent_before(client: Client) -> None:
    _, first, _ = await client.post(body(stream=False))
    _, second, _ = await client.post(body(said("assistant", LONG), *called("call_x00"), stream=False))
    assert first["usage"]["input_tokens_details"]["cached_tokens"] == 0
    cached = second["usage"]["input_tokens_details"]["cached_tokens"]
    assert abs(cached - first["usage"]["input_tokens"]) <= 2
    assert second["usage"]["input_tokens"] > cached


@pytest.mark.parametrize(
    ("authorization", "said_"), [("", "didn't provide"), (f"Bearer {OTHER_KEY}", "Incorrect")]
)
async def test_each_api_has_its_own_key(client: Client, authorization: str, said_: str) -> None:
    status, error, _ = await client.post(body(), authorization=authorization)
    assert (status, error["error"]["code"]) == (401, "invalid_api_key")
    assert said_ in error["error"]["message"]
    _, bill = await client.get("/_demo/bill")
    assert bill == {"calls": 0, "models": {}}


@pytest.mark.parametrize(
    "data",
    [{}, {"model": "m"}, {"model": "m", "input": []}, {"model": "m", "input": [1]},
     {"model": "m", "input": "x", "previous_response_id": "resp_1"}],
)  # fmt: skip
async def test_a_request_that_does_not_fit_is_refused(client: Client, data: Any) -> None:
    status, error, _ = await client.post(data)
    assert (status, error["error"]["type"]) == (400, "invalid_request_error")


async def test_faults_of_the_script_have_the_form_of_the_api(
    start: Start, session: aiohttp.ClientSession
) -> None:
    error = {
        "status": 429,
        "type": "insufficient_quota",
        "message": "None left",
        "headers": {"retry-after": "1"},
        "times": 1,
    }
    client = Client(session, await start({**PLAN, "turns": [{"error": error, "text": "Better"}]}))
    status, answer, raw = await client.post(body())
    assert status == 429
    assert answer == {
        "error": {
            "message": "None left",
            "type": "insufficient_quota",
            "param": None,
            "code": "insufficient_quota",
        }
    }
    assert raw.headers["retry-after"] == "1"
    assert (await client.post(body()))[0] == 200


async def test_models_are_listed_in_the_form_that_is_asked_for(client: Client) -> None:
    status, openai = await client.get("/v1/models", authorization=f"Bearer {KEY}")
    assert (status, openai["object"]) == (200, "list")
    version = {"anthropic-version": "2023-06-01"}
    status, anthropic = await client.get("/v1/models", **version, **{"x-api-key": OTHER_KEY})
    assert status == 200
    assert {entry["type"] for entry in anthropic["data"]} == {"model"}
    assert (await client.get("/v1/models", authorization="Bearer wrong"))[0] == 401
    assert (await client.get("/v1/models", **version))[0] == 401
    _, seen = await client.get("/_demo/requests")
    assert seen["count"] == 0, "a question for models is no conversation"


async def test_the_bill_sums_up_both_apis_by_model(client: Client) -> None:
    _, first, _ = await client.post(body(stream=False))
    _, second, _ = await client.post(body(stream=False))
    other = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"x-api-key": OTHER_KEY, "anthropic-version": "2023-06-01"}
    async with client.session.post(f"{client.model.url}/v1/messages", json=other, headers=headers) as answer:
        claude = (await answer.json())["usage"]
    _, bill = await client.get("/_demo/bill")
    assert bill["calls"] == 3
    assert bill["models"]["gpt-x"] == {
        "calls": 2, "cache_read": 0, "cache_write": 0,
        "input": first["usage"]["input_tokens"] + second["usage"]["input_tokens"],
        "output": first["usage"]["output_tokens"] + second["usage"]["output_tokens"],
    }  # fmt: skip
    assert bill["models"]["claude-x"]["output"] == claude["output_tokens"]
    _, seen = await client.get("/_demo/requests")
    assert [(r["path"], r["model"], r["scene"]) for r in seen["requests"]] == [
        ("/v1/responses", "gpt-x", "plan"), ("/v1/responses", "gpt-x", "plan"), ("/v1/messages", "claude-x", None),
    ]  # fmt: skip
    assert KEY not in json.dumps(seen)


@pytest.mark.parametrize(
    ("items", "turn"),
    [
        ([], 0),
        ([said("assistant", "Yes"), *called("call_a00")], 1),
        ([*called("call_a00", answered=False), *called("call_a01")], 1),
        ([*called("call_a00"), *called("call_a01")], 1),
        ([*called("call_a00"), *called("call_b00")], 2),
        ([{"type": "reasoning"}, *called("call_a00"), said("assistant", "Yes")], 2),
        ([said("assistant", "Yes"), said("user", "<turn_aborted>"), said("assistant", "On")], 2),
        ([said("assistant", "Yes"), said("user", "# Step: plan\n\nAgain")], 0),
    ],
)
def test_turns_are_the_answers_since_the_header(items: list[dict[str, Any]], turn: int) -> None:
    talk = read(body(*items))
    assert (talk.step, talk.turn, talk.working_directory) == ("plan", turn, "/the/check out")


def test_what_the_program_puts_beside_the_users_words_is_not_theirs() -> None:
    guide = said("user", "# AGENTS.md instructions for /x\n\n# Step: of the guide")
    assert read({"model": "m", "input": [guide, said("user", "Hello")]}).step is None
    assert read({"model": "m", "input": "# Step: plain"}).step == "plain"


SCRIPT_TOOL = {"type": "namespace", "name": "functions", "tools": [{"type": "custom", "name": "exec"}]}
IN_THE_INPUT = {"type": "additional_tools", "role": "developer", "tools": [SCRIPT_TOOL]}
WRITE = ToolCall("Write", {"file_path": "/a b/c", "content": "it's\n"})
EDIT = ToolCall("Edit", {"file_path": "/a", "old_string": "x", "new_string": "y"})


@pytest.mark.parametrize(
    ("request_body", "call", "kind", "name", "given"),
    [
        ({"tools": [SHELL]}, WRITE, "function_call", "exec_command", "printf %s"),
        ({"tools": [SHELL, PATCH]}, WRITE, "custom_tool_call", "apply_patch", "+it's"),
        ({"tools": [SHELL, PATCH]}, EDIT, "function_call", "exec_command", "python3"),
        ({"tools": [{"type": "function", "name": "shell"}]}, EDIT, "function_call", "shell", '"bash"'),
        ({"input": [IN_THE_INPUT]}, WRITE, "custom_tool_call", "exec", "await tools.apply_patch"),
        ({"input": [IN_THE_INPUT]}, EDIT, "custom_tool_call", "exec", "await tools.exec_command"),
    ],
)
def test_calls_are_made_with_what_is_offered(
    request_body: dict[str, Any], call: ToolCall, kind: str, name: str, given: str
) -> None:
    toolbox = Toolbox.of(request_body)
    assert set(toolbox.names()) == {"Bash", "Read", "Write", "Edit"}
    made = toolbox.item(call, "call_1")
    assert (made["type"], made["name"]) == (kind, name)
    assert given in made["input" if kind == "custom_tool_call" else "arguments"]


def test_without_a_shell_nothing_can_be_called() -> None:
    assert Toolbox.of({}).names() == ()
    assert Toolbox.of({"text": FORM}).names() == ("StructuredOutput",)
