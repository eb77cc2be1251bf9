"""The runner with the real Codex program, against the stand-in's Responses API behind a stand-in gateway.

Holds what the runner takes for granted about the program: its options, its configuration, its events and its
record of a session, its words for errors, that a checkout's settings do not reach it, and how a session goes on.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pod as stand_ins
import pytest
from programs import codex_folder

from agent_runner.agents.codex import API_KEY
from agent_runner.contract import AgentSettings, Limits
from agent_runner.gateway.openai_api import OPENAI
from agent_runner.gateway.request_policy import RefusedRequestError, read_request
from demo.model import Script, StandInModel

if TYPE_CHECKING:
    from collections.abc import Iterator

WORK = "agent/t-1"
MODELS = ("gpt-5.5", "gpt-6.1-sol", "some-other-model")
"""The program offers each of these its tools in another way."""
SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string", "maxLength": 20}, "note": {"type": "string"}},
    "required": ["title"],
    "additionalProperties": False,
}


FOLDER = codex_folder()
pytestmark = pytest.mark.skipif(FOLDER is None, reason="Codex is not installed")


class Gateway(stand_ins.GitServer):
    """Also passes the Responses API on, as far as the real one would, and keeps what is asked."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.RequestHandlerClass = GatewayHandler
        self.model_url = ""
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.refusal: tuple[int, dict[str, Any]] | None = None
        """Answers every request of the model in its place."""


class GatewayHandler(stand_ins.Handler):
    server: Gateway

    def do_POST(self) -> None:  # noqa: N802
        prefix = f"/{stand_ins.NONCE}/openai/v1/responses"
        if self.path != prefix:
            super().do_POST()
            return
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(json.loads(data))
        self.server.keys.add(self.headers["Authorization"])
        try:
            OPENAI.check(read_request(data))
        except RefusedRequestError as error:
            self._send(400, "application/json", json.dumps({"error": {"message": str(error)}}).encode())
            return
        if self.server.refusal is not None:
            status, error = self.server.refusal
            self._send(status, "application/json", json.dumps({"error": error}).encode())
            return
        request = urllib.request.Request(f"{self.server.model_url}/v1/responses", data=data)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                self._send(answer.status, answer.headers["Content-Type"], answer.read())
        except urllib.error.HTTPError as error:
            with error:
                self._send(error.code, error.headers["Content-Type"], error.read())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:
            return


class ModelThread:
    """The stand-in model in a thread of its own, so that tests can stay plain functions."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.models: list[StandInModel] = []

    def play(self, *scenes: dict[str, Any]) -> StandInModel:
        """Start a stand-in with these scenes; scenes without a name and a step get the one of the tests."""
        whole = [
            {"name": f"scene {n}", "when": {"contains": [""]}, **scene} for n, scene in enumerate(scenes)
        ]
        for scene in whole:
            if scene["when"] == {"contains": [""]}:
                scene["when"] = {"step": ".*"}
        model = StandInModel(Script.of({"scenes": whole}))
        self.await_(model.start())
        self.models.append(model)
        return model

    def await_(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout=30)

    def close(self) -> None:
        for model in self.models:
            self.await_(model.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout=10)
        self.loop.close()


@pytest.fixture
def threads() -> Iterator[ModelThread]:
    made = ModelThread()
    yield made
    made.close()


@pytest.fixture
def pod(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[stand_ins.Pod]:
    forge = stand_ins.make_forge(tmp_path_factory.mktemp("forge") / "forge")
    made = stand_ins.make_pod(tmp_path / "pod", forge, Gateway)
    # By a link, as in the image, so that the program's own folder with its further programs is not on the PATH.
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "codex").symlink_to(Path(str(FOLDER)) / "codex")
    made.variables["PATH"] = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    yield made
    made.git_server.shutdown()
    made.git_server.server_close()


@pytest.fixture
def gateway(pod: stand_ins.Pod) -> Gateway:
    assert isinstance(pod.git_server, Gateway)
    return pod.git_server


def call(tool: str, **given: Any) -> dict[str, Any]:
    return {"tool": tool, "input": given}


def bash(command: str) -> dict[str, Any]:
    return call("Bash", command=command)


def spec(pod: stand_ins.Pod, step: str = "implement", **changes: Any) -> Any:
    defaults: dict[str, Any] = {
        "prompt": "# Step: implement\n\nDo the task.",
        "agent": AgentSettings(program="codex", model="gpt-5.5"),
    }
    return pod.spec(step, **{**defaults, **changes})


@pytest.mark.parametrize("model", MODELS)
def test_implement_with_each_way_of_offering_tools(
    pod: stand_ins.Pod, gateway: Gateway, threads: ModelThread, model: str
) -> None:
    """Files are read, written and edited, a commit is made, another file is left to the runner."""
    gateway.model_url = threads.play(
        {
            "turns": [
                {
                    "text": "I look.",
                    "calls": [
                        call("Read", file_path="{cwd}/README.md"),
                        call("Read", file_path="{cwd}/src/app.py"),
                    ],
                },
                {
                    "calls": [
                        call("Write", file_path="{cwd}/new/made.py", content="one = 1\ntwo = 2\n"),
                        call("Write", file_path="{cwd}/cut", content="it's no line"),
                    ]
                },
                {
                    "calls": [
                        call(
                            "Edit",
                            file_path="{cwd}/new/made.py",
                            old_string="two = 2\n",
                            new_string="two = 2\nthree = 3\n",
                        ),
                        call("Edit", file_path="{cwd}/src/app.py", old_string="1", new_string="'$2'"),
                    ]
                },
                {"calls": [bash("git add new && git commit -qm 'Add made' && git log --format=%an -1")]},
                {"text": "All there."},
            ]
        }
    ).url
    ran = pod.run(
        spec(pod, commit_message="Add the rest", agent=AgentSettings(program="codex", model=model)),
        timeout=60,
    )
    assert ran.result.outcome == "succeeded", ran.log
    assert ran.result.files_changed == ("cut", "new/made.py", "src/app.py")
    assert pod.forge("show", f"{WORK}:new/made.py") == "one = 1\ntwo = 2\nthree = 3"
    assert pod.forge("show", f"{WORK}:src/app.py") == "price = '$2'"
    assert pod.forge("show", f"{WORK}:cut") == "it's no line"
    assert pod.forge("log", "--format=%an|%s", "-2", WORK).splitlines() == [
        "airflow-agents[bot]|Add the rest",
        "airflow-agents[bot]|Add made",
    ]
    assert ran.result.summary == "All there."
    assert ran.result.model == model
    assert ran.result.agent_version
    assert (ran.result.session_id or "").count("-") == 4
    assert len(gateway.asked) == 5
    assert ran.result.turns == 5
    assert ran.result.cost_usd == 0, "the program states no price"
    assert gateway.keys == {f"Bearer {API_KEY}"}
    assert "agent> All there." in ran.log
    assert "airflow-agents[bot]" in ran.log
    [bill] = threads.models[0].bill()["models"].values()
    tokens = ran.result.tokens
    assert (tokens.input, tokens.output, tokens.cache_read, tokens.cache_write) == (
        bill["input"], bill["output"], bill["cache_read"], 0,
    )  # fmt: skip


def test_plan_with_structured_output_in_a_hostile_checkout(
    pod: stand_ins.Pod, gateway: Gateway, threads: ModelThread
) -> None:
    """Neither the checkout's settings nor what an earlier step left at home has any effect."""
    sprung = [str(pod.root / f"sprung-{name}") for name in ("server", "hook", "notify", "home")]
    hook = {"hooks": {"SessionStart": [{"hooks": [{"type": "command", "command": f"touch {sprung[1]}"}]}]}}
    pod.commit(
        "main",
        {
            "README.md": "Shop\n",
            "AGENTS.md": "Always use tabs, says the guide.\n",
            ".codex/config.toml": (
                f'model = "evil"\nnotify = ["touch", "{sprung[2]}"]\n'
                f'[mcp_servers.x]\ncommand = "touch"\nargs = ["{sprung[0]}"]\n'
            ),
            ".codex/hooks.json": json.dumps(hook),
            ".codex/skills/evil/SKILL.md": "---\nname: evil\ndescription: A SKILL OF THE CHECKOUT\n---\n",
        },
        pod.head("main"),
    )
    left = pod.home / ".codex"
    left.mkdir(parents=True)
    (left / "AGENTS.md").write_text("A NOTE OF AN EARLIER STEP\n")
    (left / "config.toml").write_text(f'[mcp_servers.x]\ncommand = "touch"\nargs = ["{sprung[3]}"]\n')
    answer = {"title": "The plan", "note": None}
    gateway.model_url = threads.play(
        {"turns": [{"text": "I plan.", "calls": [call("StructuredOutput", **answer)]}]}
    ).url
    ran = pod.run(
        spec(
            pod,
            "plan",
            output_schema=SCHEMA,
            instructions="Only plan.",
            agent=AgentSettings(program="codex", effort="high"),
        ),
        timeout=60,
    )
    assert ran.result.outcome == "succeeded", ran.log
    assert ran.result.output == {"title": "The plan"}, "a null in place of what is optional is dropped"
    assert ran.result.summary == "I plan."
    [asked] = gateway.asked
    assert asked["model"] != "evil"
    assert asked["reasoning"]["effort"] == "high"
    text = json.dumps(asked["input"])
    assert "Only plan." in text
    assert text.count("Always use tabs, says the guide.") == 1, "by the runner, not by the program again"
    assert "SKILL OF THE CHECKOUT" not in text
    assert "NOTE OF AN EARLIER STEP" not in text
    assert "web_search" not in json.dumps(asked.get("tools", asked["input"][0].get("tools")))
    form = asked["text"]["format"]
    assert form["strict"] is True
    assert form["schema"]["required"] == ["title", "note"]
    assert [path for path in sprung if Path(path).exists()] == []


def test_output_that_does_not_fit_is_none(pod: stand_ins.Pod, gateway: Gateway, threads: ModelThread) -> None:
    gateway.model_url = threads.play({"turns": [{"calls": [call("StructuredOutput", name="No title")]}]}).url
    ran = pod.run(spec(pod, "plan", output_schema=SCHEMA), timeout=60)
    assert ran.failure == ("agent", "no_structured_output"), ran.log
    assert "does not fit the schema: the answer: title is missing" in ran.log


def test_the_next_step_goes_on_with_the_session(
    pod: stand_ins.Pod, gateway: Gateway, threads: ModelThread
) -> None:
    """It hears its new rules although the session keeps its old ones, and is charged for itself alone."""
    model = threads.play(
        {"when": {"step": "implement"}, "turns": [{"calls": [bash("echo 1 > made.py")]}, {"text": "Made."}]},
        {
            "when": {"step": "fix"},
            "turns": [{"calls": [bash("git rm -qf made.py && echo 2 > b")]}, {"text": "Gone."}],
        },
    )
    gateway.model_url = model.url
    first = pod.run(spec(pod, session_key="run-1", instructions="Rules of the first."), timeout=60)
    assert first.result.outcome == "succeeded", first.log
    assert not first.result.resumed
    before = model.bill()["models"]["gpt-5.5"].copy()
    asked_before = len(gateway.asked)
    fixed = pod.run(
        spec(
            pod,
            "fix",
            expected_head=first.result.head_sha,
            session_key="run-1",
            instructions="Rules of the second.",
            prompt="# Step: fix\n\nThe whole task.",
            resume_prompt="# Step: fix\n\nRemove made.py.",
        ),
        timeout=60,
    )
    assert fixed.result.outcome == "succeeded", fixed.log
    assert fixed.result.resumed
    assert fixed.result.session_id == first.result.session_id
    assert fixed.result.session_key == "run-1"
    said = json.dumps(gateway.asked[asked_before]["input"])
    for text in ("Rules of the first.", "Made.", "Rules of the second.", "Remove made.py."):
        assert text in said
    assert "The whole task." not in said
    after = model.bill()["models"]["gpt-5.5"]
    tokens = fixed.result.tokens
    assert tokens.output == after["output"] - before["output"]
    assert tokens.input == after["input"] - before["input"]
    assert tokens.cache_read == after["cache_read"] - before["cache_read"]
    assert fixed.result.turns == 2


def test_a_session_that_is_lost_starts_anew(
    pod: stand_ins.Pod, gateway: Gateway, threads: ModelThread
) -> None:
    gateway.model_url = threads.play({"turns": [{"calls": [bash("echo 1 > a")]}, {"text": "Done."}]}).url
    session = "01a1fd03-49f1-72a1-9c9c-678af80fd085"
    folder = pod.home / ".codex/sessions/2026/01/01"
    folder.mkdir(parents=True)
    (folder / f"rollout-2026-01-01T00-00-00-{session}.jsonl").write_text("no record\n")
    (pod.home / "sessions.json").write_text(json.dumps({"run-1": {"program": "codex", "id": session}}))
    ran = pod.run(spec(pod, session_key="run-1"), timeout=60)
    assert ran.result.outcome == "succeeded", ran.log
    assert "starting a new one" in ran.log
    assert ran.result.session_id != session


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (
            400,
            {"code": "budget_exhausted", "message": "agent gateway: the budget is spent"},
            ("budget", "budget_exhausted"),
        ),
        (400, {"code": "model_credential", "message": "agent gateway: no key"}, ("auth", "model_credential")),
        (400, {"code": "context_length_exceeded", "message": "Too long."}, ("context", "prompt_too_long")),
        (400, {"code": "invalid_prompt", "message": "It was flagged."}, ("agent", "model_refused")),
        (401, {"code": "invalid_api_key", "message": "Incorrect."}, ("auth", "model_credential")),
        (404, {"code": "model_not_found", "message": "No such model."}, ("config", "model_not_found")),
        (429, {"code": "insufficient_quota", "message": "Quota."}, ("quota", "model_quota")),
        (429, {"code": "rate_limit_exceeded", "message": "Slow down."}, ("rate_limit", "model_rate_limited")),
    ],
)
def test_refusals(
    pod: stand_ins.Pod, gateway: Gateway, status: int, error: dict[str, Any], expected: tuple[str, str]
) -> None:
    gateway.refusal = (status, {"type": error["code"], "param": None, **error})
    ran = pod.run(spec(pod), timeout=60)
    assert ran.failure == expected, ran.log
    if status == 400:
        assert ran.result.failure
        assert error["message"] in ran.result.failure.message


def test_where_nobody_listens_it_ends(pod: stand_ins.Pod) -> None:
    """The program by itself would ask for ever. Its address is that of a gateway that is gone for the model alone."""
    closed = GatewayHandler.do_POST

    def cut(self: GatewayHandler) -> None:
        if "/openai/" in self.path:
            self.close_connection = True
            self.connection.close()
        else:
            closed(self)

    GatewayHandler.do_POST = cut  # type: ignore[method-assign]
    try:
        ran = pod.run(spec(pod), timeout=100)
    finally:
        GatewayHandler.do_POST = closed  # type: ignore[method-assign]
    assert ran.failure == ("network", "model_unavailable"), ran.log


def test_turns_run_out(pod: stand_ins.Pod, gateway: Gateway, threads: ModelThread) -> None:
    """The program has no limit of its own; the runner ends it, and keeps what was done."""
    turns = [{"calls": [bash(f"echo {n} > file-{n}")]} for n in range(20)]
    gateway.model_url = threads.play({"turns": [*turns, {"text": "Done."}]}).url
    ran = pod.run(spec(pod, agent=AgentSettings(program="codex", model="gpt-5.5", max_turns=3)), timeout=60)
    assert ran.failure == ("agent", "max_turns"), ran.log
    assert 3 <= len(gateway.asked) <= 6


def test_a_last_answer_within_the_turns_counts(
    pod: stand_ins.Pod, gateway: Gateway, threads: ModelThread
) -> None:
    gateway.model_url = threads.play({"turns": [{"calls": [bash("echo 1 > a")]}, {"text": "Done."}]}).url
    ran = pod.run(spec(pod, agent=AgentSettings(program="codex", model="gpt-5.5", max_turns=2)), timeout=60)
    assert ran.result.outcome == "succeeded", ran.log


def test_sigterm_ends_the_program_and_what_it_started(
    pod: stand_ins.Pod, gateway: Gateway, threads: ModelThread
) -> None:
    """A shell command of the program is in a session of its own, and the program does not end it."""
    command = f"echo $$ > {pod.root}/pid; exec sleep 300"
    gateway.model_url = threads.play({"turns": [{"calls": [bash(command)]}, {"text": "Done."}]}).url
    process = pod.start(spec(pod, session_key="run-1"))
    pod.signal_when(process, pod.root / "pid", signal.SIGTERM)
    began = time.monotonic()
    ran = pod.finish(process, timeout=30)
    assert time.monotonic() - began < 10
    assert ran.result.outcome == "cancelled", ran.log
    assert ran.result.session_id, "known although the program said nothing at its end"
    assert ran.result.session_key == "run-1"
    assert ran.result.tokens.output > 0
    pid = int((pod.root / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_command_keeps_the_toolchain_and_sees_no_key(
    pod: stand_ins.Pod, gateway: Gateway, threads: ModelThread
) -> None:
    """The image's variables reach commands, a login shell does not replace PATH, the program's key stays out."""
    pod.variables["JAVA_HOME"] = "/opt/java"
    gateway.model_url = threads.play({"turns": [{"calls": [bash("env > seen")]}, {"text": "Done."}]}).url
    ran = pod.run(spec(pod), timeout=60)
    assert ran.result.outcome == "succeeded", ran.log
    seen = dict(line.split("=", 1) for line in pod.forge("show", f"{WORK}:seen").splitlines() if "=" in line)
    assert seen["JAVA_HOME"] == "/opt/java"
    assert pod.variables["PATH"] in seen["PATH"]
    assert not [name for name, value in seen.items() if value == API_KEY]


def test_a_stalled_command_is_ended_and_the_session_goes_on(
    pod: stand_ins.Pod, gateway: Gateway, threads: ModelThread
) -> None:
    turns = [{"calls": [bash("sleep 300")]}, {"calls": [bash("echo 1 > a")]}, {"text": "Done."}]
    gateway.model_url = threads.play({"turns": turns}).url
    ran = pod.run(spec(pod, limits=Limits(seconds=60, stall_seconds=2)), timeout=90)
    assert ran.result.outcome == "succeeded", ran.log
    assert "Starting it again, once" in ran.log
