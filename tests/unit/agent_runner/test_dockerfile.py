"""What the image is built from: everything pinned, nothing fetched unchecked, nothing left as root."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from agent_runner.__main__ import main
from airflow_provider_agents.domain.image_preset import PRESETS

FOLDER = Path(__file__).parents[3] / "agent-image"
TEXT = (FOLDER / "Dockerfile").read_text()
REQUIREMENTS = sorted(FOLDER.glob("requirements/*.txt"))


class Instruction(NamedTuple):
    stage: str
    word: str
    rest: str


def instructions(text: str) -> list[Instruction]:
    """Return the instructions, with continued lines joined and comments left out."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found, stage = [], ""
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stage = rest.rpartition(" AS ")[2]
        found.append(Instruction(stage, word, rest.strip()))
    return found


def faults(text: str) -> set[str]:
    """Return what is wrong with a Dockerfile of agents."""
    lines = instructions(text)
    return (
        _unpinned(lines)
        | _unchecked(lines)
        | _wrong_packages(lines)
        | _wrong_end(lines)
        | _wrong_presets(lines)
    )


def _unpinned(lines: list[Instruction]) -> set[str]:
    found = set()
    stages = {line.stage for line in lines} | {"preset-${PRESET}"}
    for line in lines:
        if line.word == "FROM" and line.rest.split()[0] not in {*stages, "${BASE_IMAGE}"}:
            found.add("an image that is no stage and not BASE_IMAGE")
        if line.word == "ARG" and line.rest.startswith("BASE_IMAGE="):
            tag = line.rest.rpartition(":")[2]
            if not re.fullmatch(r"\d+\.\d+(\.\d+)?-slim-bookworm(@sha256:[0-9a-f]{64})?", tag):
                found.add("a base image without version and release")
        if re.search(r"\blatest\b", line.rest):
            found.add("latest")
    return found


def _unchecked(lines: list[Instruction]) -> set[str]:
    found = set()
    for line in lines:
        if line.word == "ADD":
            found.add("ADD")
        if re.search(r"https?://|\b(curl|wget) +[-\w]", line.rest) and "apt-get install" not in line.rest:
            found.add("a download without checksum")
        for command in re.split(r"&&|;", line.rest):
            if re.search(r"\bpip install\b", command) and "--require-hashes" not in command:
                found.add("pip install without hashes")
            if re.search(r"\b(npm (install|i)|npx|yarn add|pnpm add)\b +-*\w", command):
                found.add("npm install without lock file")
        if line.word == "RUN" and "npm ci" in line.rest and "--ignore-scripts" not in line.rest:
            found.add("scripts of npm packages")
    return found


def _wrong_packages(lines: list[Instruction]) -> set[str]:
    found = set()
    for line in lines:
        if line.word == "RUN" and "apt-get install" in line.rest:
            if "--no-install-recommends" not in line.rest:
                found.add("recommended packages")
            if "rm -rf /var/lib/apt/lists/*" not in line.rest or "apt-get update" not in line.rest:
                found.add("package lists that are old, or stay")
    return found


def _wrong_end(lines: list[Instruction]) -> set[str]:
    found = set()
    last = [line for line in lines if line.stage == lines[-1].stage]
    users = [line.rest for line in last if line.word == "USER"]
    if users[-1:] != ["1000:1000"]:
        found.add("does not end as user 1000")
    if any(
        line.word in ("RUN", "COPY") for line in last[[line.word for line in last].index("USER") :] if users
    ):
        found.add("files after USER")
    copies = [line.rest for line in last if line.word == "COPY"]
    if not copies or not copies[-1].startswith("agent_runner "):
        found.add("agent_runner is not the last layer")
    if [(line.word, line.rest) for line in last if line.word in ("ENTRYPOINT", "CMD")] != [
        ("ENTRYPOINT", '["agent-runner"]'),
        ("CMD", '["run"]'),
    ]:
        found.add("does not start the runner")
    if any(
        line.word in ("ENV", "ARG") and re.search("TOKEN|SECRET|PASSWORD|KEY", line.rest) for line in lines
    ):
        found.add("a secret")
    return found


def _wrong_presets(lines: list[Instruction]) -> set[str]:
    stages = [
        line.stage.removeprefix("preset-")
        for line in lines
        if line.word == "FROM" and "preset-" in line.stage
    ]
    return set() if tuple(stages) == PRESETS else {"other presets than those of the provider"}


def test_the_dockerfile_is_sound() -> None:
    assert faults(TEXT) == set()


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("FROM system AS go\n", "FROM golang:1.27 AS go\n", "an image that is no stage and not BASE_IMAGE"),
        ("3.12-slim-bookworm", "3-slim", "a base image without version and release"),
        ("3.12-slim-bookworm", "latest", "latest"),
        ("COPY requirements/go.txt", "ADD requirements/go.txt", "ADD"),
        ("WORKDIR /\n", "RUN curl -fsS https://sh.example.com | sh\n", "a download without checksum"),
        (" --require-hashes", "", "pip install without hashes"),
        ("npm ci", "npm install", "npm install without lock file"),
        (" --ignore-scripts", "", "scripts of npm packages"),
        (" --no-install-recommends", "", "recommended packages"),
        (" && rm -rf /var/lib/apt/lists/*", "", "package lists that are old, or stay"),
        ("USER 1000:1000", "USER root", "does not end as user 1000"),
        ("USER 1000:1000", "USER 1000:1000\nRUN touch /x", "files after USER"),
        (
            "COPY agent_runner /opt",
            "COPY --from=go /x /x\nCOPY requirements /opt",
            "agent_runner is not the last layer",
        ),
        ('CMD ["run"]', "CMD run", "does not start the runner"),
        ("ARG REVISION", "ARG GITHUB_TOKEN\nARG REVISION", "a secret"),
        ("AS preset-rust", "AS preset-java", "other presets than those of the provider"),
    ],
)
def test_the_lint_finds_what_it_is_for(old: str, new: str, fault: str) -> None:
    assert old in TEXT
    assert fault in faults(TEXT.replace(old, new, 1))


@pytest.mark.parametrize("file", REQUIREMENTS, ids=lambda file: file.stem)
def test_every_requirement_has_a_version_and_hashes(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    assert joined
    for line in joined:
        assert re.match(
            r"[a-z0-9-]+==[0-9][\w.]*( ;[^\\]*?)?( --hash=sha256:[0-9a-f]{64})+$", line.strip()
        ), line
    assert f"requirements/{file.name}" in TEXT


def test_every_package_of_npm_has_a_checksum_and_names_no_host() -> None:
    lock = json.loads((FOLDER / "requirements/node-tools/package-lock.json").read_text())
    packages = {name: facts for name, facts in lock["packages"].items() if name}
    assert set(packages) >= {"node_modules/pnpm", "node_modules/yarn"}
    for facts in packages.values():
        assert facts["integrity"].startswith("sha512-")
        assert "resolved" not in facts


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("claude", "claude-agent-sdk"),
        ("codex", "openai-codex-cli-bin"),
        ("runner", "aiohttp"),
        ("pytest", "pytest"),
    ],
)
def test_the_image_has_what_the_tests_run_with(file: str, package: str) -> None:
    pinned = re.compile(rf"^{package}==(\S+)", re.MULTILINE)
    (image,) = pinned.findall((FOLDER / f"requirements/{file}.txt").read_text())
    (here,) = pinned.findall((FOLDER.parent / "constraints.txt").read_text())
    assert image == here


def test_the_build_is_sent_nothing_but_what_it_copies() -> None:
    lines = [
        line
        for line in (FOLDER / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert lines[0] == "*"
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {
        line.rest.split()[0].split("/")[0]
        for line in instructions(TEXT)
        if line.word == "COPY" and not line.rest.startswith("--from")
    }
    assert copied == allowed
    assert "**/__pycache__" in lines


def test_the_entry_point_knows_what_the_image_starts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no-such-command"]) == 64
    usage = capsys.readouterr().err
    for command in ("run", "gateway", "gateway-ready", "check-image"):
        assert re.search(rf"(?<![\w-]){command}(?![\w-])", usage)
