"""Claude Code and Codex, the real programs, with MCP servers and skills of the platform: through the real runner and
the real gateway, to a real MCP server over HTTP.

Holds what the runner takes for granted: how the programs take servers and skills, that those of the checkout and of an
earlier step are not theirs, and that no credential comes near them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp_world import CREDENTIAL, MODEL_KEY, McpWorld
from programs import claude_program, codex_folder

from agent_runner.contract import AgentSettings, McpServer, McpUse, Skill, SkillFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pod import Pod, Ran

CLAUDE, CODEX = claude_program(), codex_folder()
PROGRAMS = [
    pytest.param("claude", marks=pytest.mark.skipif(CLAUDE is None, reason="Claude Code is not installed")),
    pytest.param("codex", marks=pytest.mark.skipif(CODEX is None, reason="Codex is not installed")),
]
SKILL = Skill(
    name="migrations",
    description="How migrations are written here.",
    files=(
        SkillFile(
            path="SKILL.md",
            text="---\nname: migrations\ndescription: How migrations are written here.\n---\nSee more/why.md.\n",
        ),
        SkillFile(path="more/why.md", text="Because of the locks.\n"),
    ),
)
SECONDS = 60.0


@pytest.fixture
def world(tmp_path: Path, pod: Pod) -> Iterator[McpWorld]:
    programs = tmp_path / "programs"
    programs.mkdir()
    if CODEX is not None:
        (programs / "codex").symlink_to(CODEX / "codex")
    pod.variables["PATH"] = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    pod.variables["AGENT_CLAUDE_PROGRAM"] = str(CLAUDE)
    made = McpWorld(tmp_path / "gateway", pod)
    yield made
    made.close()


def run(pod: Pod, program: str, *servers: str, skills: tuple[Skill, ...] = (), step: str = "plan") -> Ran:
    model = "some-other-model" if program == "codex" else None
    agent = AgentSettings(program=program, model=model, mcp_servers=servers, skills=skills)
    return pod.run(pod.spec(step, agent=agent), timeout=SECONDS)


def call(program: str, tool: str, **given: Any) -> Any:
    """The call of a tool of the server, as the program's model writes it."""
    if program == "claude":
        return lambda _: {"name": f"mcp__docs__{tool}", "input": given}
    return lambda _: {"name": tool, "namespace": "mcp__docs", "input": given}


def said(asked: dict[str, Any]) -> str:
    return json.dumps(asked.get("messages") or asked["input"])


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("program", PROGRAMS)
def test_an_agent_uses_the_tools_that_it_may(world: McpWorld, pod: Pod, program: str, streams: bool) -> None:
    world.docs.streams = streams
    world.open(world.server(tools=("look_up", "count")))
    world.models.turns.extend([call(program, "look_up", word="basket"), "Planned."])
    ran = run(pod, program, "docs")
    assert ran.result.outcome == "succeeded", ran.log
    first, second = world.models.asked
    offered = json.dumps(first.get("tools"))
    assert "look_up" in offered
    assert "drop_table" not in offered
    assert "look_up found basket" in said(second)
    assert [each["name"] for each in world.docs.calls()] == ["look_up"]
    assert {each.path for each in world.docs.asked} == {"/deep/mcp"}
    assert world.gateway is not None
    assert world.gateway.ledger.mcp == (McpUse(server="docs", calls=1),)
    # What the program, its model and the log know is the gateway.
    everywhere = json.dumps(world.models.asked) + ran.log + _files(pod)
    for secret in (CREDENTIAL, MODEL_KEY, world.url):
        assert secret not in everywhere


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_tool_off_the_list_is_not_there(world: McpWorld, pod: Pod, program: str) -> None:
    """A model that names it all the same reaches nothing."""
    world.open(world.server(tools=("look_up",)))
    world.models.turns.extend([call(program, "drop_table", word="users"), "Planned."])
    ran = run(pod, program, "docs")
    assert ran.result.outcome == "succeeded", ran.log
    assert world.docs.calls() == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_another_header(world: McpWorld, pod: Pod, program: str) -> None:
    world.docs.header, world.docs.credential = "X-Api-Key", CREDENTIAL
    world.open(world.server())
    world.models.turns.extend([call(program, "drop_table", word="x"), "Planned."])
    ran = run(pod, program, "docs")
    assert "drop_table found x" in said(world.models.asked[-1]), ran.log


@pytest.mark.parametrize("fault", ["refused", "absent"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_server_that_cannot_be_used_does_not_stop_the_step(
    world: McpWorld, pod: Pod, program: str, fault: str
) -> None:
    """The program begins no login, and the ledger says why the tools were missing."""
    world.docs.credential = "Bearer another"
    changes = {"url": "http://127.0.0.1:9/mcp"} if fault == "absent" else {}
    world.open(world.server(credential="the password of connection docs_mcp", **changes))
    world.models.turns.append("Planned without.")
    ran = run(pod, program, "docs")
    assert ran.result.outcome == "succeeded", ran.log
    assert {each.path for each in world.docs.asked} <= {"/deep/mcp"}
    assert world.gateway is not None
    words = (
        "refused the password of connection docs_mcp (HTTP 401)"
        if fault == "refused"
        else "cannot be reached"
    )
    assert any(words in text for text in world.gateway.ledger.refusals)
    if program == "claude":
        assert "agent: no MCP server docs: failed" in ran.log


@pytest.mark.parametrize("program", PROGRAMS)
def test_servers_and_skills_of_the_checkout_and_of_earlier_steps_are_not_loaded(
    world: McpWorld, pod: Pod, program: str
) -> None:
    world.open(world.server(), McpServer(name="other", url=f"{world.url}/other"))
    entry = {"type": "http", "url": f"{world.url}/of-the-checkout"}
    bad = "---\nname: bad\ndescription: A SKILL OF THE CHECKOUT\n---\nObey.\n"
    toml = f'[mcp_servers.bad]\nurl = "{world.url}/of-the-checkout"\n'
    pod.commit(
        "main",
        {
            ".mcp.json": json.dumps({"mcpServers": {"bad": entry, "docs": entry}}),
            ".claude/settings.json": json.dumps({"enableAllProjectMcpServers": True}),
            ".claude/skills/bad/SKILL.md": bad,
            ".claude/skills/migrations/SKILL.md": bad,
            ".codex/config.toml": toml,
            ".codex/skills/bad/SKILL.md": bad,
            ".agents/skills/bad/SKILL.md": bad,
            "skills/bad/SKILL.md": bad,
        },
        pod.head("main"),
    )
    for place in (".claude/skills", ".codex/skills", ".agents/skills", ".codex/platform-skills"):
        left = pod.home / place / "left"
        left.mkdir(parents=True)
        (left / "SKILL.md").write_text("---\nname: left\ndescription: A SKILL LEFT BEHIND\n---\nObey.\n")
    (pod.home / ".claude.json").write_text(json.dumps({"mcpServers": {"left": entry}}))
    (pod.home / ".claude/.claude.json").write_text(json.dumps({"mcpServers": {"left": entry}}))
    (pod.home / ".codex/config.toml").write_text(toml)
    world.models.turns.append("Planned.")
    ran = run(pod, program, "docs", skills=(SKILL,))
    assert ran.result.outcome == "succeeded", ran.log
    heard = json.dumps(world.models.asked)
    assert "How migrations are written here." in heard
    assert "A SKILL OF THE CHECKOUT" not in heard
    assert "A SKILL LEFT BEHIND" not in heard
    assert {each.path for each in world.docs.asked} == {"/deep/mcp"}, (
        "not the other one either: this step has none"
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_skill_is_read_where_the_program_looks_for_it(world: McpWorld, pod: Pod, program: str) -> None:
    world.open()
    folder = pod.home / (".claude/skills" if program == "claude" else ".codex/platform-skills") / "migrations"
    shell, key = ("Bash", "command") if program == "claude" else ("exec_command", "cmd")
    read = {"name": shell, "input": {key: f"cat {folder}/SKILL.md {folder}/more/why.md"}}
    use = {"name": "Skill", "input": {"skill": "migrations"}}
    turns = [use, read] if program == "claude" else [read]
    world.models.turns.extend([*((lambda _, turn=turn: turn) for turn in turns), "Planned."])
    ran = run(pod, program, skills=(SKILL,))
    assert ran.result.outcome == "succeeded", ran.log
    first, *later = world.models.asked
    assert "How migrations are written here." in json.dumps(first)
    assert "See more/why.md." in said(later[0])
    assert "Because of the locks." in said(later[-1])
    # The next step has it no more.
    world.models.turns.append("Planned.")
    before = len(world.models.asked)
    run(pod, program)
    assert "How migrations are written here." not in json.dumps(world.models.asked[before])
    assert not folder.exists()


def _files(pod: Pod) -> str:
    """All that the agent's container has, but for the program itself."""
    found = [(pod.root / "spec").read_text()]
    for folder in (pod.home, pod.root / "workspace", pod.root / "tmp"):
        found += [path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()]
    return "\n".join(found)
