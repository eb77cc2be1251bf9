"""The sample ticket's script, played by the real agent programs on a clone of the sample repository.

Holds that the script does what the demonstration tells: a real bug, a first attempt that its own tests
refuse, a second that only continuous integration refuses, a round that mends that; and that the stand-in
finds in the programs' requests what it looks for.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from agent_runner.agents.base import AgentTask
from agent_runner.agents.codex import Codex
from agent_runner.agents.codex_config import KEY_VARIABLE
from agent_runner.contract import AgentSettings
from agent_runner.environment import Environment
from agent_runner.process import Ended
from airflow_provider_agents import prompts
from demo import scenario

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
KEY = "a-key-of-the-demo"
AUTHOR = {"NAME": "Coding Agent", "EMAIL": "agent@example.invalid"}


def claude_program() -> str | None:
    """The program that claude-agent-sdk brings, or the one on the PATH."""
    spec = importlib.util.find_spec("claude_agent_sdk")
    bundled = Path(spec.origin).parent / "_bundled/claude" if spec and spec.origin else None
    return str(bundled) if bundled and bundled.is_file() else shutil.which("claude")


def codex_program() -> str | None:
    """The program that openai-codex-cli-bin brings, or the one on the PATH."""
    spec = importlib.util.find_spec("codex_cli_bin")
    bundled = Path(spec.origin).parent / "bin/codex" if spec and spec.origin else None
    return str(bundled) if bundled and bundled.is_file() else shutil.which("codex")


CLAUDE = claude_program()
CODEX = codex_program()
with_claude = pytest.mark.skipif(CLAUDE is None, reason="Claude Code is not installed")
with_codex = pytest.mark.skipif(CODEX is None, reason="Codex is not installed")


@pytest.fixture
def model_url(tmp_path: Path) -> Iterator[str]:
    """URL of the stand-in, started as the program that it is."""
    ready = tmp_path / "model.json"
    arguments = ["--ready-file", str(ready), "--api-key", KEY, "--openai-api-key", KEY]
    arguments += ["--script", str(script_with_parts(tmp_path))]
    with subprocess.Popen([sys.executable, "-m", "demo.model", *arguments], cwd=ROOT) as process:
        try:
            deadline = time.monotonic() + 30
            while not ready.exists():
                assert process.poll() is None, "the stand-in ended before it was ready"
                assert time.monotonic() < deadline, "the stand-in is not ready after 30 s"
                time.sleep(0.05)
            yield json.loads(ready.read_text())["url"]
            process.terminate()
            assert process.wait(timeout=10) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def script_with_parts(folder: Path) -> Path:
    """The sample's script, and a step whose agent hands two parts to subagents at once."""
    data = yaml.safe_load(scenario.SCRIPT.read_text())
    parts = [
        {
            "tool": "Agent",
            "input": {
                "description": f"Part {n}",
                "subagent_type": "general-purpose",
                "prompt": f"Do PART {n}.",
            },
        }
        for n in (1, 2)
    ]
    data["scenes"] += [
        {
            "name": f"part {n}",
            "when": {"contains": [f"Do PART {n}."]},
            "turns": [
                {
                    "calls": [
                        {
                            "tool": "Bash",
                            "input": {
                                "command": f"echo {n} > {{cwd}}/part-{n}; sleep 0.5",
                                "description": "Do it",
                            },
                        }
                    ]
                },
                {"text": f"Part {n} is done."},
            ],
        }
        for n in (1, 2)
    ]
    data["scenes"].append(
        {
            "name": "parts",
            "when": {"step": "parts"},
            "turns": [{"text": "I share it out.", "calls": parts}, {"text": "Both."}],
        }
    )
    file = folder / "script.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


class Bench:
    """The repository on its forge, and what an agent's step and a check do with it."""

    def __init__(self, directory: Path, model_url: str) -> None:
        self.directory = directory
        self.model_url = model_url
        self.forge = directory / "forge"
        scenario.create_repository(self.forge, branch="agent/ticket-1")
        scenario.git(self.forge, "config", "receive.denyCurrentBranch", "updateInstead")
        self.steps = 0

    def checkout(self) -> Path:
        """A fresh clone of the work branch at its head."""
        self.steps += 1
        path = self.directory / f"checkout-{self.steps}"
        scenario.git(self.directory, "clone", "--quiet", str(self.forge), str(path))
        return path

    def step(
        self, prompt: str, schema: dict[str, Any], *, resume: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Run one step and push; return its result and all requests so far.

        It runs in a fresh checkout and session, or goes on with the last one where its result is given.
        """
        path = self.directory / f"checkout-{self.steps}" if resume else self.checkout()
        events = self.claude(
            path,
            prompt,
            "--json-schema",
            json.dumps(schema),
            *(["--resume", resume["session_id"]] if resume else []),
        )
        assert scenario.git(path, "status", "--porcelain") == ""
        scenario.git(path, "push", "--quiet", "origin", "HEAD")
        return events[-1], self.requests()

    def claude(self, path: Path, prompt: str, *arguments: str) -> list[dict[str, Any]]:
        """Run Claude Code in a checkout and return its events; no tool may have failed."""
        home = path.with_name(f"{path.name}-home")
        temporary = home / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "CLAUDE_CODE_TMPDIR": str(temporary),
            "CLAUDE_CONFIG_DIR": str(home / "claude"),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
            "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST": "1",
            "CLAUDE_CODE_MAX_RETRIES": "1",
            "IS_SANDBOX": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "ANTHROPIC_BASE_URL": self.model_url,
            "ANTHROPIC_API_KEY": KEY,
            **{f"GIT_{who}_{key}": value for who in ("AUTHOR", "COMMITTER") for key, value in AUTHOR.items()},
        }
        command = [
            str(CLAUDE),
            "-p",
            "--output-format",
            "stream-json",
            "--verbose",
            "--setting-sources",
            "user",
        ]
        command += ["--strict-mcp-config", "--permission-mode", "bypassPermissions", "--max-turns", "12"]
        command += ["--max-budget-usd", "5", *arguments]
        done = subprocess.run(
            command,
            cwd=path,
            env=environment,
            input=prompt,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr or done.stdout[-2_000:]
        events = [json.loads(line) for line in done.stdout.splitlines()]
        failed = [
            block["content"]
            for event in events
            if event["type"] == "user"
            for block in event["message"]["content"]
            if block.get("is_error")
        ]
        assert failed == []
        return events

    def codex_step(
        self, prompt: str, schema: dict[str, Any], model: str | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Run one step with Codex and push; return its structured output and all requests so far."""
        path = self.checkout()
        home = path.with_name(f"{path.name}-home")
        environment = Environment.read(
            {
                "PATH": f"{Path(str(CODEX)).parent}:{os.environ['PATH']}",
                "AGENT_SPEC_FILE": str(home / "spec"),
                "AGENT_GATEWAY_URL_FILE": str(home / "url"),
                "AGENT_WORKSPACE": str(path.parent),
                "AGENT_HOME": str(home),
                "TMPDIR": str(self.directory),
            }
        )
        home.mkdir()
        task = AgentTask(
            prompt=prompt,
            instructions="Rules.",
            checkout=path,
            read_only=False,
            settings=AgentSettings(program="codex", model=model),
            output_schema=schema,
        )
        codex = Codex(environment)
        invocation = codex.prepare(task, self.model_url)
        # There is no gateway between them: the stand-in is at the root, and asks for its own key.
        config = codex.config_dir / "config.toml"
        config.write_text(config.read_text().replace("/openai/v1", "/v1"))
        author = {
            f"GIT_{who}_{key}": value for who in ("AUTHOR", "COMMITTER") for key, value in AUTHOR.items()
        }
        done = subprocess.run(
            invocation.argv,
            cwd=path,
            env={**invocation.env, **author, KEY_VARIABLE: KEY, "PYTHONDONTWRITEBYTECODE": "1"},
            input=invocation.stdin,
            capture_output=True,
            timeout=60,
        )
        transcript = codex.transcript(invocation)
        shown = [text for line in done.stdout.splitlines() for text in transcript.read(line)]
        report = transcript.report(Ended(done.returncode, "exit"), done.stderr.decode())
        assert report.failure is None, shown
        assert [text for text in shown if text.startswith("tool failed")] == []
        assert report.output is not None
        assert scenario.git(path, "status", "--porcelain") == ""
        scenario.git(path, "push", "--quiet", "origin", "HEAD")
        return report.output, self.requests()

    def bill(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.model_url}/_demo/bill", timeout=10) as answer:
            return dict(json.load(answer))

    def requests(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.model_url}/_demo/requests", timeout=10) as answer:
            return dict(json.load(answer))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the branch's head, as its continuous integration does."""
        environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
        path = self.checkout()
        return subprocess.run(
            command, cwd=path, env=environment, capture_output=True, text=True, timeout=30, check=False
        )

    def fill(self, template: str, **values: str) -> str:
        """What the library on the branch's head makes of a template."""
        program = "import json, sys; from letters import fill; print(fill(*json.loads(sys.argv[1])))"
        done = self.run("python3", "-c", program, json.dumps([template, values]))
        assert done.returncode == 0, done.stderr
        return done.stdout.rstrip("\n")


def prompt(step: str, **values: Any) -> str:
    """The pipeline's own prompt for the sample ticket."""
    title, body = scenario.issue()
    ticket = f"{title}\n\n{body}"
    common = {
        "resumed": False,
        "history": "",
        "ticket": ticket,
        "issue_number": 1,
        "repository": "demo/letters",
        "prompt": "",
        "plan": "",
        "earlier_plan": "",
        "decided": "",
        "feedback": "",
    }
    return prompts.render(step, **{**common, "base_branch": "main", "conflict": False, **values})


@with_claude
def test_the_four_scenes_lead_to_a_mended_repository(tmp_path: Path, model_url: str) -> None:
    bench = Bench(tmp_path, model_url)
    later, earlier = "{{ name }} {{ table }}", "{{ table }} {{ name }}"
    values = {"name": "{{ table }}", "table": "12"}

    assert bench.run("make", "test").returncode == 0
    assert bench.run("make", "docs").returncode == 0
    assert bench.fill(later, **values) == "12 12"
    assert bench.fill("{{ name }}", name="{{ 7*7 }}") == "{{ 7*7 }}"

    head = scenario.git(bench.forge, "rev-parse", "HEAD")
    plan, seen = bench.step(prompt("plan"), prompts.PLAN_SCHEMA)
    assert scenario.git(bench.forge, "rev-parse", "HEAD") == head
    assert plan["structured_output"].keys() == set(prompts.PLAN_SCHEMA["required"])
    assert plan["structured_output"]["files"] == ["letters/template.py", "tests/test_template.py"]
    assert [request["scene"] for request in seen["requests"]] == ["plan"] * seen["count"]
    assert [request["turn"] for request in seen["requests"]] == list(range(seen["count"]))
    assert (
        sum(request["usage"]["output_tokens"] for request in seen["requests"])
        == (plan["usage"]["output_tokens"])
    )
    assert plan["usage"]["cache_read_input_tokens"] > plan["usage"]["cache_creation_input_tokens"] > 0

    first, _ = bench.step(prompt("implement", attempt=1, attempts=3, failure=None), prompts.IMPLEMENT_SCHEMA)
    assert "{{ 7*7 }}" in first["structured_output"]["description"]
    assert len(first["structured_output"]["title"]) <= 72
    tests = bench.run("make", "test")
    assert tests.returncode != 0
    assert "FAILED (failures=1)" in tests.stderr
    assert bench.fill(later, **values) == "{{ table }} 12"
    assert bench.fill(earlier, **values) == "12 12", "only the ticket's own example is right"

    failure = {"command": "make test", "exit_code": tests.returncode, "output": tests.stderr}
    second, _ = bench.step(
        prompt("implement", attempt=2, attempts=3, failure=failure), prompts.IMPLEMENT_SCHEMA
    )
    assert second["structured_output"] == first["structured_output"]
    assert bench.run("make", "test").returncode == 0
    docs = bench.run("make", "docs")
    assert docs.returncode != 0
    assert "::error file=letters/template.py,line=" in docs.stdout

    feedback = {"reason": "The check docs failed.", "feedback": docs.stdout, "round": 1, "rounds": 5}
    fixed, seen = bench.step(prompt("fix", **feedback), prompts.FIX_SCHEMA)
    assert "substitute()" in fixed["structured_output"]["summary"]
    assert bench.run("make", "test").returncode == 0
    assert bench.run("make", "docs").returncode == 0
    assert bench.fill(later, **values) == "{{ table }} 12"
    assert bench.fill(earlier, **values) == "12 {{ table }}"

    assert {request["status"] for request in seen["requests"]} == {200}
    assert KEY not in json.dumps(seen)
    assert scenario.git(bench.forge, "rev-list", "--count", f"{head}..HEAD") == "3"


@with_claude
def test_an_attempt_that_resumes_the_session_plays_its_own_scene(tmp_path: Path, model_url: str) -> None:
    bench = Bench(tmp_path, model_url)
    first, _ = bench.step(prompt("implement", attempt=1, attempts=3, failure=None), prompts.IMPLEMENT_SCHEMA)
    failure = {"command": "make test", "exit_code": 2, "output": "FAILED (failures=1)"}
    again = prompt("implement", attempt=2, attempts=3, failure=failure)
    second, seen = bench.step(again, prompts.IMPLEMENT_SCHEMA, resume=first)
    assert second["session_id"] == first["session_id"]
    assert [(request["scene"], request["turn"]) for request in seen["requests"]] == [
        (f"implement, attempt {attempt}", turn) for attempt in (1, 2) for turn in range(5)
    ]
    log = scenario.git(bench.forge, "log", "--format=%s", "-2").splitlines()
    assert log == ["Fill in a letter in one pass", "Print guests' text as they typed it"]


@with_codex
@pytest.mark.parametrize("model", [None, "gpt-5.5"])
def test_the_same_scenes_lead_there_with_codex(tmp_path: Path, model_url: str, model: str | None) -> None:
    """The calls are written with Claude Code's tools, and are made with those that Codex offers."""
    bench = Bench(tmp_path, model_url)
    plan, _ = bench.codex_step(prompt("plan"), prompts.PLAN_SCHEMA, model)
    assert plan["files"] == ["letters/template.py", "tests/test_template.py"]
    first, _ = bench.codex_step(
        prompt("implement", attempt=1, attempts=3, failure=None), prompts.IMPLEMENT_SCHEMA, model
    )
    tests = bench.run("make", "test")
    assert "FAILED (failures=1)" in tests.stderr
    failure = {"command": "make test", "exit_code": tests.returncode, "output": tests.stderr}
    second, _ = bench.codex_step(
        prompt("implement", attempt=2, attempts=3, failure=failure), prompts.IMPLEMENT_SCHEMA, model
    )
    assert second == first
    assert bench.run("make", "test").returncode == 0
    docs = bench.run("make", "docs")
    assert docs.returncode != 0
    feedback = {"reason": "The check docs failed.", "feedback": docs.stdout, "round": 1, "rounds": 5}
    fixed, seen = bench.codex_step(prompt("fix", **feedback), prompts.FIX_SCHEMA, model)
    assert "substitute()" in fixed["summary"]
    assert bench.run("make", "docs", "test").returncode == 0
    assert {request["status"] for request in seen["requests"]} == {200}
    assert {request["path"] for request in seen["requests"]} == {"/v1/responses"}
    assert [request["turn"] for request in seen["requests"]] == [*range(3), *range(5), *range(5), *range(5)]


@with_claude
def test_two_subagents_work_at_the_same_time(tmp_path: Path, model_url: str) -> None:
    bench = Bench(tmp_path, model_url)
    path = bench.checkout()
    events = bench.claude(path, "# Step: parts\n\nDo both parts.")
    assert events[-1]["result"] == "Both."
    assert [(path / f"part-{n}").read_text() for n in (1, 2)] == ["1\n", "2\n"]
    scenes = [request["scene"] for request in bench.requests()["requests"]]
    assert sorted(set(scenes)) == ["part 1", "part 2", "parts"]
    assert set(scenes[1:3]) == {"part 1", "part 2"}, "the second did not wait for the first"
    used = events[-1]["modelUsage"]
    [line] = bench.bill()["models"].values()
    assert line["calls"] == 6
    assert sum(model["outputTokens"] for model in used.values()) == line["output"]
