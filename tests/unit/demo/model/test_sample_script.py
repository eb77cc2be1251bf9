"""The sample's script fits the sample repository and the schemas of the steps; no agent program needed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_agents import prompts
from demo import scenario
from demo.model import Script
from demo.model.conversation import Conversation

if TYPE_CHECKING:
    from demo.model.script import Scene

SCENES = Script.load(scenario.SCRIPT).scenes
SCHEMAS = {"plan": prompts.PLAN_SCHEMA, "implement": prompts.IMPLEMENT_SCHEMA, "fix": prompts.FIX_SCHEMA}


def ran(directory: Path, target: str) -> bool:
    command = ["make", target, "PYTHON=python3 -B"]
    return (
        subprocess.run(command, cwd=directory, capture_output=True, timeout=30, check=False).returncode == 0
    )


def play(scene: Scene, directory: Path) -> None:
    """Do the scene's edits as the Edit tool does them: the file was read, and the old text is there once."""
    seen = set()
    for turn in scene.turns:
        for call in turn.calls:
            path = Path(str(call.input.get("file_path", "")).replace("{cwd}", str(directory)))
            if call.tool == "Read":
                assert path.is_file()
                seen.add(path)
            elif call.tool == "Edit":
                assert path in seen, "the Edit tool wants the file read before"
                text = path.read_text()
                assert text.count(call.input["old_string"]) == 1
                path.write_text(text.replace(call.input["old_string"], call.input["new_string"]))


def test_the_edits_lead_from_the_bug_to_its_end(tmp_path: Path) -> None:
    directory = tmp_path / "repository"
    assert len(scenario.create_repository(directory)) == 40
    states = []
    for scene in SCENES:
        play(scene, directory)
        states.append((scene.name, ran(directory, "test"), ran(directory, "docs")))
    assert states == [
        ("plan", True, True),
        ("implement, attempt 1", False, True),
        ("implement, attempt 2", True, False),
        ("fix, round 1", True, True),
    ]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_each_scene_ends_with_the_output_of_its_step(scene: Scene) -> None:
    schema = SCHEMAS[scene.name.partition(",")[0]]
    *before, last = scene.turns
    [call] = last.calls
    assert call.tool == "StructuredOutput"
    assert set(call.input) == set(schema["required"])
    kinds = {"string": str, "array": list, "boolean": bool}
    for name, value in call.input.items():
        assert isinstance(value, kinds[schema["properties"][name]["type"]])
    assert all(turn.calls and turn.text for turn in before)


@pytest.mark.parametrize(
    ("step", "found"),
    [
        ("plan", "plan"),
        ("implement", "implement, attempt 1"),
        ("implement, attempt 1 of 1", "implement, attempt 1"),
        ("implement, attempt 2 of 3", "implement, attempt 2"),
        ("implement, attempt 3 of 3", None),
        ("fix", "fix, round 1"),
        ("fix, round 1 of 7", "fix, round 1"),
        ("fix, round 2 of 7", None),
    ],
)
def test_steps_and_their_scenes(step: str, found: str | None) -> None:
    scene = Script.load(scenario.SCRIPT).find(
        Conversation(step=step, prompt="", words="", turn=0, tools=(), working_directory=None)
    )
    assert (scene.name if scene else None) == found


def test_the_ticket() -> None:
    title, body = scenario.issue()
    assert title == "Text that a guest typed is filled in a second time"
    assert "{{ 7*7 }}" in body
    assert title not in body


def test_the_repository_is_whole_and_its_commit_clean(tmp_path: Path) -> None:
    directory = tmp_path / "repository"
    scenario.create_repository(directory, branch="trunk")
    assert scenario.git(directory, "status", "--porcelain") == ""
    assert scenario.git(directory, "branch", "--show-current") == "trunk"
    files = scenario.git(directory, "ls-files").splitlines()
    assert {".github/workflows/ci.yml", "Makefile", "letters/template.py", "tests/test_template.py"} <= set(
        files
    )
    assert not any("__pycache__" in file for file in files)
    with pytest.raises(FileExistsError):
        scenario.create_repository(directory)
