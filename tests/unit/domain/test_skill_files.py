"""Skills below ``[agents] config_path``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_agents.domain.skill_files import LoadedSkill, read_skills
from airflow_provider_agents.domain.tool_servers import Skill

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "---\nname: sql\ndescription: How SQL is\n  written.\n---\n"


def write(folder: Path, files: dict[str, str | bytes], name: str = "sql") -> Path:
    top = folder / "skills" / name
    for path, content in files.items():
        file = top / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return top


def read(folder: Path | None, *names: str) -> tuple[dict[str, LoadedSkill], list[str]]:
    names = names or ("sql",)
    return read_skills(folder, {name: Skill(steps=("plan",)) for name in names}, names)


def fault_of(folder: Path | None, *names: str) -> str:
    found, faults = read(folder, *names)
    assert len(faults) == 1, (found, faults)
    return faults[0]


def test_a_skill_with_its_files(tmp_path: Path) -> None:
    write(
        tmp_path, {"SKILL.md": HEAD + "Do.\n", "more/why.md": "Wörter\n", ".hidden": "x", ".git/config": "x"}
    )
    found, faults = read(tmp_path)
    assert faults == []
    skill = found["sql"]
    assert skill.description == "How SQL is written."
    assert skill.files == {"SKILL.md": HEAD + "Do.\n", "more/why.md": "Wörter\n"}
    assert skill.steps == ("plan",)
    sent = skill.to_contract("sql")
    assert [file.path for file in sent.files] == ["SKILL.md", "more/why.md"]
    assert LoadedSkill.model_validate(skill.model_dump(mode="json")) == skill


def test_none_is_wanted(tmp_path: Path) -> None:
    assert read_skills(None, {}, ()) == ({}, [])
    assert read_skills(tmp_path, {"sql": Skill()}, ()) == ({}, [])


def test_one_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    assert fault_of(tmp_path) == "skills/sql/SKILL.md: there is no such file; skills in the folder: none"
    write(tmp_path, {"SKILL.md": HEAD}, "css")
    write(tmp_path, {"other.md": HEAD}, "not-one")
    assert fault_of(tmp_path).endswith("skills in the folder: css")
    assert fault_of(None) == "skills/sql: `[agents] config_path` is not set"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"SKILL.md": "Do.\n"}, "skills/sql/SKILL.md:1: begins with no head"),
        ({"SKILL.md": "---\nname: sql\n---\n"}, "SKILL.md:1: its head has no `description`"),
        ({"SKILL.md": "---\ndescription: [a]\n---\n"}, "has no `description`"),
        ({"SKILL.md": "---\ndescription: ' '\n---\n"}, "has no `description`"),
        ({"SKILL.md": "---\ndescription: a\ndescription: b\n---\n"}, "skills/sql/SKILL.md:2: "),
        ({"SKILL.md": "---\ndescription: " + "x" * 1_025 + "\n---\n"}, "more than 1,024 characters"),
        ({"SKILL.md": b"---\ndescription: \xff\n---\n"}, "SKILL.md: is no text in UTF-8"),
        ({"SKILL.md": HEAD, "logo.png": b"\x89PNG\0"}, "skills/sql/logo.png: is no text in UTF-8"),
        ({"SKILL.md": HEAD, "a b.md": "x"}, "skills/sql/a b.md: cannot be a file of a skill"),
        ({"SKILL.md": HEAD, "1/2/3/4/x.md": "x"}, "at most three folders deep"),
        ({"SKILL.md": HEAD + "x" * 50_000}, "skills/sql: has more than 50,000 bytes"),
        ({"SKILL.md": HEAD, **{f"f{n}": "x" for n in range(50)}}, "skills/sql: has more than 50 files"),
        ({"SKILL.md": HEAD, "A": "x", "a": "y"}, "sql has a file twice"),
    ],
)
def test_what_cannot_travel(tmp_path: Path, files: dict[str, str | bytes], words: str) -> None:
    write(tmp_path, files)
    assert words in fault_of(tmp_path)


@pytest.mark.parametrize("target", ["outside", "/etc/hostname", "../css/SKILL.md"])
def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").write_text("secret")
    write(tmp_path, {"SKILL.md": HEAD}, "css")
    top = write(tmp_path, {"SKILL.md": HEAD})
    (top / "x.md").symlink_to(tmp_path / "outside" if target == "outside" else target)
    assert "skills/sql/x.md: is a link out of the skill's folder, or no file" in fault_of(tmp_path)


def test_a_folder_behind_a_link_and_a_pipe_are_no_files(tmp_path: Path) -> None:
    import os

    top = write(tmp_path, {"SKILL.md": HEAD, "real/a.md": "A"})
    (top / "link").symlink_to(top / "real")
    assert "skills/sql/link: is a link out" in fault_of(tmp_path)
    (top / "link").unlink()
    os.mkfifo(top / "pipe")
    assert "skills/sql/pipe: is a link out" in fault_of(tmp_path)


def test_links_within_and_a_linked_configuration_are_followed(tmp_path: Path) -> None:
    """As git-sync and config maps lay files out."""
    real = tmp_path / "real"
    top = write(real, {"..data/SKILL.md": HEAD})
    (top / "SKILL.md").symlink_to("..data/SKILL.md")
    linked = tmp_path / "current"
    linked.symlink_to(real)
    found, faults = read(linked)
    assert faults == []
    assert list(found["sql"].files) == ["SKILL.md"]


def test_all_together_are_bounded(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path, {"SKILL.md": HEAD + "ü" * 13_000}, name)
    assert read(tmp_path, "a")[1] == []
    assert "skills: a, b have 52," in fault_of(tmp_path, "a", "b")
    assert "at most 50,000 can travel to the pods" in fault_of(tmp_path, "a", "b")
