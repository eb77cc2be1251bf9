import sys, os, json
from pathlib import Path
import pytest, pod as stand_ins
from mcp_world import *
from agent_runner.contract import AgentSettings, Skill, SkillFile
from programs import claude_program, codex_folder
PROGRAM=claude_program(); FOLDER=codex_folder()

@pytest.fixture
def world(tmp_path, pod):
    programs = tmp_path / "programs"; programs.mkdir()
    (programs / "codex").symlink_to(FOLDER / "codex")
    pod.variables["PATH"] = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    pod.variables["AGENT_CLAUDE_PROGRAM"] = str(PROGRAM)
    w = McpWorld(tmp_path / "gw", pod)
    yield w
    w.close()

SKILL = Skill(name="migrations", description="How migrations are written here.", files=(SkillFile(path="SKILL.md", text="---\nname: migrations\ndescription: How migrations are written here.\n---\nDo.\n"),))

@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("program", ["claude", "codex"])
def test_x(world, pod, program, streams):
    world.docs.streams = streams
    world.open(world.server(tools=("look_up",)))
    def pick(body):
        names = json.dumps(body.get("tools") or body["input"])
        i = names.find("look_up")
        print("TOOLS", [(x.get("type"), x.get("name"), [y.get("name") for y in x.get("tools",[])]) for x in body.get("tools", [])])
        print("MORE", [ (x.get("type"), json.dumps(x)[:300]) for x in body["input"] if x.get("type")!="message"])
        return {"name": "mcp__docs__look_up" if program=="claude" else "look_up", "namespace": "mcp__docs", "input": {"word": "basket"}}
    world.models.turns.extend([pick, "Planned."])
    ran = pod.run(pod.spec("plan", agent=AgentSettings(program=program, model=None if program=="claude" else os.environ.get("M","gpt-5.5"), mcp_servers=("docs",), skills=(SKILL,))), timeout=60)
    print(ran.log)
    for a in world.docs.asked: print(a.http, a.path, a.message.get("method"), {k:v for k,v in a.headers.items()})
    print(json.dumps(world.models.asked[-1].get("messages") or world.models.asked[-1]["input"])[-1500:])
    print(world.gateway.ledger)
    print("SKILL" , [json.dumps(world.models.asked[0])[i-300:i+300] for i in [json.dumps(world.models.asked[0]).find("How migrations are")]])
    assert 0

@pytest.mark.parametrize("program", ["claude", "codex"])
@pytest.mark.parametrize("how", ["ok", "nocred", "down"])
def test_y(world, pod, program, how, monkeypatch):
    if how == "nocred": world.docs.credential = "Bearer other"
    world.open(world.server(tools=("look_up",), **({"url": "http://127.0.0.1:9/x"} if how == "down" else {})))
    import subprocess, shlex
    if program == "claude":
        sh = pod.root / "claude-tee"; sh.write_text(f"#!/bin/sh\n{PROGRAM} \"$@\" | tee {pod.root}/out.jsonl\n"); sh.chmod(0o755)
        pod.variables["AGENT_CLAUDE_PROGRAM"] = str(sh)
    world.models.turns.extend([lambda b: {"name": "mcp__docs__look_up" if program=="claude" else "look_up", "namespace": "mcp__docs", "input": {"word": "basket"}}, "Planned."])
    ran = pod.run(pod.spec("plan", agent=AgentSettings(program=program, model=None if program=="claude" else os.environ.get("M","gpt-5.5"), mcp_servers=("docs",), skills=())), timeout=100)
    print("RAN", ran.log)
    if program == "claude":
        for line in (pod.root/"out.jsonl").read_text().splitlines():
            if '"init"' in line: print("INIT", json.loads(line).get("mcp_servers"))
    for a in world.docs.asked:
        print("META", a.message.get("method"), json.dumps(a.message)[:1200])
    print("LEDGER", world.gateway.ledger.mcp)
    assert 0
