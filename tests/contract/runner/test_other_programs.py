"""Which programs there are: built-in ones, those of the image, and any command."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from agent_runner.contract import AgentSettings

if TYPE_CHECKING:
    from pathlib import Path

    from pod import Pod

SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}}}

ADDED = """
from agent_runner.agents.command import Command

class Added(Command):
    title = "The added program"

not_a_program = "text"
"""


def install(pod: Pod, **entry_points: str) -> None:
    """Put a package with entry points where the runner's Python finds it."""
    folder = pod.root / "site"
    (folder / "added_agent-1.0.dist-info").mkdir(parents=True)
    (folder / "added_agent.py").write_text(ADDED)
    (folder / "added_agent-1.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: added-agent\nVersion: 1.0\n"
    )
    lines = [f"{name} = {value}" for name, value in entry_points.items()]
    (folder / "added_agent-1.0.dist-info/entry_points.txt").write_text(
        "\n".join(["[agent_runner.programs]", *lines, ""])
    )
    from pod import AGENT_IMAGE

    pod.variables["PYTHONPATH"] = f"{AGENT_IMAGE}:{folder}"


def command(pod: Pod, script: str) -> None:
    file = pod.root / "agent.py"
    file.write_text(textwrap.dedent(script))
    pod.variables["AGENT_COMMAND"] = f"{sys.executable} {file}"


def settings(program: str) -> AgentSettings:
    return AgentSettings(program=program, model="m-1")


def test_a_command_does_the_task(pod: Pod) -> None:
    command(
        pod,
        """
        import os, sys
        prompt = sys.stdin.read()
        assert "Rules." in prompt and "Do the task." in prompt
        open("made.txt", "w").write(os.environ["OPENAI_BASE_URL"] + os.environ["AGENT_MODEL"])
        print("I looked.")
        print("It is made.")
        """,
    )
    ran = pod.run(pod.spec(agent=settings("command"), instructions="Rules.", commit_message="Make it"))
    assert ran.result.outcome == "succeeded", ran.log
    assert ran.result.files_changed == ("made.txt",)
    assert ran.result.summary == "I looked.\nIt is made."
    assert pod.forge("show", "agent/t-1:made.txt") == f"{pod.git_server.url}/openai/v1m-1"
    assert "It is made." in ran.log


def test_the_exit_code_of_a_command_is_its_verdict(pod: Pod) -> None:
    command(pod, "import sys; print('Half of it.'); sys.exit('no model answers')")
    ran = pod.run(pod.spec(agent=settings("command")))
    assert ran.failure == ("agent", "agent_error"), ran.log
    assert ran.result.failure
    assert "code 1. no model answers" in ran.result.failure.message
    assert ran.result.summary == "Half of it."


def test_a_command_plans(pod: Pod) -> None:
    """What an earlier step left is not taken for the plan of this one."""
    command(
        pod,
        """
        import json, os
        assert not os.path.exists(os.environ["AGENT_OUTPUT_FILE"])
        [name] = json.loads(os.environ["AGENT_OUTPUT_SCHEMA"])["properties"]
        open(os.environ["AGENT_OUTPUT_FILE"], "w").write(json.dumps({name: "The plan"}))
        """,
    )
    for _ in range(2):
        ran = pod.run(pod.spec("plan", agent=settings("command"), output_schema=SCHEMA))
        assert ran.result.outcome == "succeeded", ran.log
        assert ran.result.output == {"title": "The plan"}


@pytest.mark.parametrize("text", ["", "[1]", "no JSON", '{"title": 1}'])
def test_a_command_without_a_plan_has_none(pod: Pod, text: str) -> None:
    command(pod, f"import os; open(os.environ['AGENT_OUTPUT_FILE'], 'w').write({text!r})")
    ran = pod.run(pod.spec("plan", agent=settings("command"), output_schema=SCHEMA))
    assert ran.failure == ("agent", "no_structured_output"), ran.log


def test_without_the_variable_there_is_no_command(pod: Pod) -> None:
    ran = pod.run(pod.spec(agent=settings("command")))
    assert ran.failure == ("image", "agent_missing"), ran.log
    assert ran.result.failure
    assert "AGENT_COMMAND" in ran.result.failure.message


def test_a_package_of_the_image_adds_a_program(pod: Pod) -> None:
    install(pod, added="added_agent:Added")
    command(pod, "open('made.txt', 'w').write('x')")
    ran = pod.run(pod.spec(agent=settings("added")))
    assert ran.result.outcome == "succeeded", ran.log


def test_an_unknown_program_is_refused_with_those_there_are(pod: Pod) -> None:
    install(pod, added="added_agent:Added")
    ran = pod.run(pod.spec(agent=settings("gemini")))
    assert ran.failure == ("config", "agent_unknown"), ran.log
    assert ran.result.failure
    assert "added, claude, codex, command" in ran.result.failure.message


def test_a_package_that_cannot_be_used_is_named(pod: Pod) -> None:
    install(pod, broken="added_agent:Missing", text="added_agent:not_a_program")
    for name, said in (("broken", "AttributeError"), ("text", "no subclass of AgentProgram")):
        ran = pod.run(pod.spec(agent=settings(name)))
        assert ran.failure == ("image", "agent_incompatible"), ran.log
        assert ran.result.failure
        assert said in ran.result.failure.message


def test_a_built_in_program_cannot_be_replaced(pod: Pod) -> None:
    install(pod, command="added_agent:not_a_program")
    command(pod, "open('made.txt', 'w').write('x')")
    assert pod.run(pod.spec(agent=settings("command"))).result.outcome == "succeeded"


def test_without_codex_in_the_image_it_says_so(pod: Pod, tmp_path: Path) -> None:
    pod.variables["PATH"] = "/usr/bin:/bin"
    ran = pod.run(pod.spec(agent=settings("codex")))
    assert ran.failure == ("image", "agent_missing"), ran.log
