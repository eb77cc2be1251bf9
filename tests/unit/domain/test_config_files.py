"""Files below ``[agents] config_path``, as they are found and read."""

from __future__ import annotations

from pathlib import Path

import pytest

import airflow_provider_agents
from airflow_provider_agents.domain.config_files import read_prompt, repositories_file, source_definitions
from airflow_provider_agents.domain.repository_settings import MAX_PROMPT_CHARACTERS, PromptFile

SOURCE = "source: github\nrepositories: [acme/shop]\n"


@pytest.fixture
def tickets(tmp_path: Path) -> Path:
    folder = tmp_path / "tickets"
    folder.mkdir()
    return folder


def test_definitions_by_name(tmp_path: Path, tickets: Path) -> None:
    (tickets / "shop.yaml").write_text(SOURCE)
    (tickets / "bad.yaml").write_text(SOURCE + "evry: 60\n")
    (tickets / ".shop.yaml.swp").write_text("x")
    (tickets / ".hidden.yaml").write_text("x")
    (tickets / "notes.txt").write_text("x")
    bad, shop = source_definitions(tmp_path)
    assert (shop.name, shop.path, shop.faults) == ("shop", tickets / "shop.yaml", ())
    assert shop.definition is not None
    assert shop.definition.repositories == ("acme/shop",)
    assert (bad.definition, bad.faults) == (
        None,
        ("tickets/bad.yaml:3: evry: unknown key; did you mean `every`?",),
    )


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("Shop.yaml", SOURCE, "tickets/Shop.yaml: its name may have small letters"),
        ("a b.yaml", SOURCE, "its name may have"),
        ("shop.yml", SOURCE, "tickets/shop.yml: name it shop.yaml"),
        ("shop.yaml", b"\xff\xfe", "tickets/shop.yaml:1: is not UTF-8"),
        ("shop.yaml", "a" * 300_000, "tickets/shop.yaml:1: is larger than 256 KB"),
        ("shop.yaml", "ä" * 131_073, "tickets/shop.yaml:1: is larger than 256 KB"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, tickets: Path, name: str, content: str | bytes, words: str
) -> None:
    (tickets / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (file,) = source_definitions(tmp_path)
    assert file.definition is None
    assert file.faults[0].startswith(words) or words in file.faults[0]


def test_what_no_run_would_take_is_found_in_the_definition(tmp_path: Path, tickets: Path) -> None:
    (tickets / "shop.yaml").write_text(
        SOURCE + "task:\n  max_round: 3\n  repository: acme/other\n  plan_turns: 0\n"
    )
    (file,) = source_definitions(tmp_path)
    assert file.definition is None
    assert [fault.split(" (given")[0] for fault in file.faults][0::2] == [
        "tickets/shop.yaml:4: task.max_round: unknown key; did you mean `max_rounds`?",
        "tickets/shop.yaml:6: task.plan_turns: should be greater than or equal to 1",
    ]


def test_the_examples_are_valid() -> None:
    files = source_definitions(Path(airflow_provider_agents.__file__).resolve().parents[1] / "dags")
    assert files
    assert [fault for file in files for fault in file.faults] == []


def test_a_folder_in_the_place_of_a_file(tmp_path: Path, tickets: Path) -> None:
    (tickets / "shop.yaml").mkdir()
    (file,) = source_definitions(tmp_path)
    assert "cannot be read: Is a directory" in file.faults[0]


def test_without_a_folder_there_are_no_definitions(tmp_path: Path) -> None:
    assert source_definitions(tmp_path) == []
    (tmp_path / "tickets").write_text("x")
    assert source_definitions(tmp_path) == []


def test_repositories(tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        found, faults = repositories_file(folder)
        assert found is not None
        assert (found.repositories.repositories, faults) == ({}, [])
    (tmp_path / "repositories.yaml").write_text("defaults:\n  max_rounds: 1\n")
    found, faults = repositories_file(tmp_path)
    assert found is not None
    assert found.repositories.defaults.max_rounds == 1
    (tmp_path / "repositories.yaml").write_text("defaults:\n  max_round: 1\n")
    assert repositories_file(tmp_path) == (
        None,
        ["repositories.yaml:2: defaults.max_round: unknown key; did you mean `max_rounds`?"],
    )


def test_a_folder_that_is_not_here_takes_no_limit_away(tmp_path: Path) -> None:
    # As on a worker on which it is not mounted: every limit and protected path would be gone.
    found, (fault,) = repositories_file(tmp_path / "absent")
    assert found is None
    assert fault.startswith(f"[agents] config_path: the folder {tmp_path / 'absent'} is not here")


def test_the_former_file_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "repositories.yaml").write_text("")
    (tmp_path / "coding_task.yaml").write_text("max_rounds: 1\n")
    found, (fault,) = repositories_file(tmp_path)
    assert found is None
    assert fault.startswith(
        "coding_task.yaml: is not read any more; put its lines, indented by two spaces, below"
    )


def test_a_prompt_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "plan.md").write_text("\nPlan {{ title }}.\n")
    assert read_prompt(tmp_path, PromptFile(file="plan.md")) == ("Plan {{ title }}.", None)


def test_a_prompt_that_cannot_be_used(tmp_path: Path) -> None:
    outside = tmp_path / "outside.md"
    outside.write_text("secret")
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "link.md").symlink_to(outside)
    (folder / "empty.md").write_text(" \n")
    (folder / "long.md").write_text("x" * (MAX_PROMPT_CHARACTERS + 1))
    (folder / "huge.md").write_text("x" * (5 * MAX_PROMPT_CHARACTERS))
    (folder / "bytes.md").write_bytes(b"\xff")
    for file, words in {
        "link.md": "does not lie below",
        "empty.md": "is empty",
        "long.md": "has more than 20,000 characters",
        "huge.md": "has more than 20,000 characters",
        "bytes.md": "is not UTF-8",
        "none.md": "cannot be read: No such file or directory",
    }.items():
        text, fault = read_prompt(folder, PromptFile(file=file))
        assert text == ""
        assert words in (fault or "")
    assert "is not set" in (read_prompt(None, PromptFile(file="a.md"))[1] or "")


@pytest.mark.parametrize("file", ["/etc/passwd", "../x", "a/../../x", "a\\b"])
def test_a_prompt_lies_below_the_folder(file: str) -> None:
    with pytest.raises(ValueError, match="must lie below"):
        PromptFile(file=file)
