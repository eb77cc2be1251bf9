"""``airflow agents prompt``: what an agent would be told, without a run, and as far as may be without anything else."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from fakes import accepted

from airflow_provider_agents.cli import api_access, api_client
from airflow_provider_agents.cli.definition import get_agents_cli_commands
from airflow_provider_agents.domain.coding_task import Ticket
from airflow_provider_agents.exceptions import ForgeUnavailableError, InvalidInputError
from airflow_provider_agents.operators import ticket_reading
from tests.unit.cli.command_line import Ended
from tests.unit.cli.fake_airflow import TOKEN, FakeAirflow, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = """\
defaults: {max_attempts: 2, context_window: 1m, plan_model: "opus"}
repositories:
  acme/shop:
    test_command: make check
    prompts:
      implement: "Implement {{ task_id }} with `{{ test_command }}`, at most {{ attempts }} times."
      fix: {file: fix.md}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "repositories.yaml").write_text(FILE)
    (tmp_path / "fix.md").write_text("Mend it: {{ feedback }}\n")
    monkeypatch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", str(tmp_path))
    for name in (api_access.URL, api_access.TOKEN, api_access.USERNAME, api_access.PASSWORD):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAirflow]:
    with FakeAirflow() as fake:
        monkeypatch.setenv(api_access.URL, fake.url)
        monkeypatch.setenv(api_access.TOKEN, TOKEN)
        monkeypatch.setattr(api_client, "_PAUSES", (0.0, 0.0))
        yield fake


def call(*line: str) -> Ended:
    (group,) = get_agents_cli_commands()
    (found,) = [command for command in group.subcommands if command.name == "prompt"]
    parser = argparse.ArgumentParser("airflow agents prompt")
    for arg in found.args:
        arg.add_to_parser(parser)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            args = parser.parse_args(line)
            found.func(args)
        except SystemExit as ended:
            return Ended(int(ended.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("a command ends with an exit code")


def shown(*line: str) -> dict[str, Any]:
    ended = call(*line, "-o", "json")
    assert ended.code == 0, ended.err
    found: dict[str, Any] = json.loads(ended.out)
    return found


def test_a_sample_for_a_person() -> None:
    ended = call("plan", "--repository", "acme/shop")
    assert ended.code == 0
    assert ended.out.startswith("# Step: plan\n\n## Task\nResolve issue #7 of `acme/shop`.\n")
    assert "Template: plan.md.j2" in ended.err
    assert f"Size: {len(ended.out.encode()):,} bytes, about " in ended.err
    assert "Variables: repository, resumed\n" in ended.err
    assert "earlier_plan, feedback" in ended.err
    assert "Empty: prompt" in ended.err


@pytest.mark.parametrize("step", ["plan", "implement", "fix", "review"])
def test_every_step_can_be_shown(step: str) -> None:
    found = shown(step, "--repository", "acme/other")
    assert (found["step"], found["repository"], found["template"]) == (step, "acme/other", f"{step}.md.j2")
    assert found["bytes"] == len(found["prompt"].encode())
    assert found["tokens"] == -(-found["bytes"] // 4)
    assert found["left_out"] == found["unused"] == []
    assert set(found["variables"].values()) <= {"real", "sample", "empty"}


def test_the_template_and_the_settings_of_the_repository() -> None:
    found = shown("implement", "--repository", "acme/shop")
    assert found["prompt"].endswith("with `make check`, at most 2 times.\n")
    assert found["template"] == "prompts.implement"
    assert found["variables"] == {"task_id": "sample", "test_command": "real", "attempts": "real"}
    assert found["most_bytes"] == 1_000_000
    assert found["unused"] == ["decided", "failure", "history", "plan", "ticket"]
    assert shown("fix", "--repository", "acme/shop")["prompt"].startswith("Mend it: <untrusted")


def test_what_is_said_to_a_session_that_goes_on() -> None:
    found = shown("implement", "--repository", "acme/other", "--resumed")
    assert "## Task" not in found["prompt"]
    assert "## So far" not in found["prompt"]
    assert "## The last attempt did not pass" in found["prompt"]


def test_a_prompt_of_ones_own() -> None:
    found = shown("plan", "--repository", "acme/shop", "--prompt", "Mend the basket")
    assert "\nMend the basket\n" in found["prompt"]
    assert "issue #7" not in found["prompt"]
    assert (found["variables"]["prompt"], found["variables"]["ticket"]) == ("real", "empty")


def test_a_template_that_is_only_tried(folder: Path) -> None:
    file = folder / "new.md"
    file.write_text('{% extends "fix.md.j2" %}{% block work %}Only {{ round }}.{% endblock %}')
    (folder / "fix.md").unlink()  # the present one is not read
    found = shown("fix", "--repository", "acme/shop", "--template", str(file))
    assert "## What to do\nOnly 1.\n" in found["prompt"]
    assert found["template"] == str(file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"a\n{{ nothing }}", "new.md, line 2: `nothing` is unknown"),
        (b"{{#if PLANNING_MODE}}", "in Jinja it is `{% if plan_approval %}`"),
        (b"\xff", "is not UTF-8"),
        (b"x" * 20_001, "has more than 20,000 characters"),
        (b"\n", "gives an empty prompt"),
    ],
)
def test_a_faulty_template_is_wrong_usage(folder: Path, text: bytes, words: str) -> None:
    (folder / "new.md").write_bytes(text)
    ended = call("plan", "--repository", "acme/shop", "--template", str(folder / "new.md"))
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ((), "name either --repository or --run"),
        (("--repository", "a/b", "--run", "r"), "name either --repository or --run"),
        (("--run", "r", "--prompt", "x"), "--run has its own ticket"),
        (("--run", "r", "--issue", "7"), "--run has its own ticket"),
        (("--repository", "shop"), "repository: must be owner/name"),
        (("--repository", "a/b", "--issue", "0"), "issue_number: "),
        (("--repository", "a/b", "--template", "/nowhere"), "/nowhere cannot be read: No such file"),
    ],
)
def test_wrong_usage_is_named(line: tuple[str, ...], words: str) -> None:
    ended = call("plan", *line)
    assert ended.code == 2
    assert words in ended.err


def test_faults_of_the_installation_are_named(folder: Path) -> None:
    (folder / "repositories.yaml").write_text("defaults: {plan_turn: 1}\n")
    ended = call("plan", "--repository", "acme/shop")
    assert ended.code == 2
    assert "repositories.yaml:1: defaults.plan_turn: unknown key" in ended.err
    (folder / "repositories.yaml").write_text("defaults: {prompts: {plan: {file: none.md}}}\n")
    assert "prompts.plan: none.md: cannot be read" in call("plan", "--repository", "a/b").err


def test_a_real_issue(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def read(request: Any, **given: Any) -> ticket_reading.ReadTicket:
        asked.append((request.repository, request.issue_number, given["github_conn_id"]))
        ticket = Ticket(number=9, key="acme/shop#9", title="Real", body="Truly.", author="hubot")
        return ticket_reading.ReadTicket(ticket=ticket, reading=None, standings={})  # type: ignore[arg-type]

    monkeypatch.setattr(ticket_reading, "read_ticket", read)
    found = shown("plan", "--repository", "acme/shop", "--issue", "9")
    assert 'source="issue #9, written by hubot">\nReal\n\nTruly.\n' in found["prompt"]
    assert found["variables"]["ticket"] == "real"
    assert asked == [("acme/shop", 9, "github_default")]


@pytest.mark.parametrize(
    ("error", "code"),
    [(InvalidInputError(["issue_number: #9 is closed"]), 2), (ForgeUnavailableError("GitHub: 502"), 1)],
)
def test_an_issue_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, error: Exception, code: int) -> None:
    def read(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(ticket_reading, "read_ticket", read)
    ended = call("plan", "--repository", "acme/shop", "--issue", "9")
    assert ended.code == code
    assert ("#9 is closed" if code == 2 else "GitHub: 502") in ended.err


def ran(airflow: FakeAirflow) -> FakeAirflow:
    """A run that failed its tests twice and is asked to mend its pull request."""
    task = accepted(issue_number=3, implement_model="opus")
    airflow.add_run("r", "running", {"repository": "acme/shop", "issue_number": 3})
    values: dict[tuple[str, str], Any] = {
        ("accept", "return_value"): task,
        ("plan.round_1.plan", "return_value"): {"output": {"summary": "The first plan"}},
        ("plan.round_2.plan", "return_value"): {"output": {"summary": "The second plan"}},
        ("open_pull_request", "return_value"): {"number": 12, "url": "u"},
        ("land.round_2.gate", "feedback"): {
            "reason": "Checks failed",
            "text": "Second round",
            "conflict": True,
        },
        ("land.round_10.gate", "feedback"): {
            "reason": "Checks failed",
            "text": "Tenth round",
            "conflict": True,
        },
    }
    for attempt in (1, 2):
        failed = {"test": {"command": "make", "exit_code": attempt, "tail": f"failed {attempt}"}}
        values[f"build.attempt_{attempt}.test", "return_value"] = failed
    for (task_id, key), value in values.items():
        airflow.xcoms["r", task_id, key] = value
    return airflow


def test_a_run_with_what_its_steps_left(airflow: FakeAirflow) -> None:
    ran(airflow)
    found = shown("implement", "--run", "acme/shop#3")
    assert "The second plan" in found["prompt"]
    assert "ended with exit code 2" in found["prompt"]
    assert "failed 2" in found["prompt"]
    assert "The basket is empty" in found["prompt"]
    assert "sample" not in found["variables"].values()
    found = shown("fix", "--run", "r")
    assert "Tenth round" in found["prompt"]
    assert "Rebase the branch" in found["prompt"]
    assert "Put something into the basket" not in found["prompt"]


def test_a_review_of_a_run_shows_samples_of_what_it_would_read(airflow: FakeAirflow) -> None:
    ran(airflow)
    found = shown("review", "--run", "r")
    assert "You review pull request #12 of" in found["prompt"]
    assert found["variables"]["pull_request_number"] == "real"
    assert found["variables"]["description"] == "sample"


def test_a_run_that_accepted_nothing(airflow: FakeAirflow) -> None:
    airflow.add_run("r", "failed", {})
    ended = call("plan", "--run", "r")
    assert ended.code == 1
    assert "r has no accepted task" in ended.err
    airflow.xcoms["r", "accept", "return_value"] = {"name": 1}
    assert "was accepted by another version" in call("plan", "--run", "r").err
    assert call("plan", "--run", "other").code == 1


def test_an_airflow_that_does_not_answer(airflow: FakeAirflow) -> None:
    ran(airflow).faults.append(Fault(".*", 503, times=100))
    assert call("plan", "--run", "r").code == 3


def test_the_real_command_needs_no_database(folder: Path) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__DATABASE")
    }
    environment |= {
        "AIRFLOW_HOME": str(folder / "home"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/nowhere/airflow.db",
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "airflow",
            "agents",
            "prompt",
            "fix",
            "--repository",
            "acme/shop",
            "-o",
            "yaml",
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "template: prompts.fix" in done.stdout
    assert not (folder / "nowhere").exists()
