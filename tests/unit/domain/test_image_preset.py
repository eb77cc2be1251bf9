"""Which toolchains a repository needs, found from its files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.check_image_programs import PRESET_PROGRAMS
from airflow_provider_agents.domain.coding_task import CodingTask
from airflow_provider_agents.domain.coding_task_request import Bounds, parse_request
from airflow_provider_agents.domain.image_preset import PRESETS, detect_preset, image_of_preset

INSTALLED = "registry.example.com/agent:1-{preset}"


@pytest.mark.parametrize(
    ("names", "preset"),
    [
        (set(), "base"),
        ({"README.md", "Makefile", "LICENSE"}, "base"),
        ({"pom.xml", "mvnw"}, "base"),
        ({"package.json"}, "node"),
        ({"pnpm-workspace.yaml", "turbo.json"}, "node"),
        ({"pyproject.toml"}, "python"),
        ({"setup.py", "setup.cfg", "tox.ini"}, "python"),
        ({"requirements-dev.txt"}, "python"),
        ({"Pipfile"}, "python"),
        ({"go.mod", "go.sum", "main.go"}, "go"),
        ({"go.work"}, "go"),
        ({"Cargo.toml", "Cargo.lock"}, "rust"),
        ({"rust-toolchain.toml"}, "rust"),
        ({"pyproject.toml", "Cargo.toml"}, "full"),
        ({"package.json", "go.mod"}, "full"),
        ({"package.json", "pyproject.toml", "go.mod", "Cargo.toml"}, "full"),
        # Names of files are told apart by case, as in git.
        ({"Package.json", "GO.MOD"}, "base"),
        ({"my-requirements.txt", "package.json.bak"}, "base"),
    ],
)
def test_table(names: set[str], preset: str) -> None:
    assert detect_preset(names) == preset


NAMES = st.sampled_from(
    [
        "package.json",
        "yarn.lock",
        "pyproject.toml",
        "setup.py",
        "go.mod",
        "go.work",
        "Cargo.toml",
        "README.md",
    ]
) | st.text(max_size=20)
FILES = st.frozensets(NAMES, max_size=12)


@given(FILES)
def test_every_repository_has_a_preset(names: frozenset[str]) -> None:
    assert detect_preset(names) in PRESETS


@given(FILES, FILES)
def test_further_files_never_take_a_toolchain_away(names: frozenset[str], more: frozenset[str]) -> None:
    less, all_of_them = detect_preset(names), detect_preset(names | more)
    assert set(PRESET_PROGRAMS[less]) <= set(PRESET_PROGRAMS[all_of_them])


@given(FILES)
def test_the_order_of_the_files_says_nothing(names: frozenset[str]) -> None:
    assert detect_preset(sorted(names)) == detect_preset(sorted(names, reverse=True))


@pytest.mark.parametrize(
    ("image", "preset", "expected"),
    [
        ("agent:1-{preset}", "go", "agent:1-go"),
        ("agent-{preset}:1", None, "agent-full:1"),
        ("agent:1", "go", "agent:1"),
        ("agent@sha256:00", None, "agent@sha256:00"),
    ],
)
def test_image_of_a_preset(image: str, preset: str | None, expected: str) -> None:
    assert image_of_preset(image, preset) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "found", "image"),
    [
        ({}, None, "registry.example.com/agent:1-full"),
        ({}, "rust", "registry.example.com/agent:1-rust"),
        ({"image_preset": "node"}, "rust", "registry.example.com/agent:1-node"),
        ({"image": "own:2"}, "rust", "own:2"),
        ({"image": "own:2", "image_preset": "node"}, None, "own:2"),
    ],
)
def test_image_of_a_task(values: dict[str, str], found: str | None, image: str) -> None:
    request, faults = parse_request({"repository": "acme/shop", "prompt": "p", **values}, Bounds())
    assert request is not None, faults
    task = CodingTask.accept(request, run_key="r", base_sha="", ticket=None, image_preset=found)  # type: ignore[arg-type]
    assert task.image(INSTALLED) == image
    assert CodingTask.model_validate(task.model_dump(mode="json")) == task


def test_a_task_of_before_there_were_presets_is_read() -> None:
    request, _ = parse_request({"repository": "acme/shop", "prompt": "p"}, Bounds())
    assert request is not None
    values = CodingTask.accept(request, run_key="r", base_sha="", ticket=None).model_dump(mode="json")
    del values["image_preset"], values["request"]["image_preset"]
    assert CodingTask.model_validate(values).image("agent:1") == "agent:1"


def test_an_unknown_preset_is_named_with_those_there_are() -> None:
    request, faults = parse_request(
        {"repository": "acme/shop", "prompt": "p", "image_preset": "java"}, Bounds()
    )
    assert request is None
    (fault,) = faults
    assert all(name in fault for name in ("image_preset", "java", *PRESETS))


def test_the_contract_test_knows_the_programs_of_each_preset() -> None:
    assert tuple(PRESET_PROGRAMS) == PRESETS
