"""``deploy/compose/Dockerfile``: whether what it copies is enough for what it builds and runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "compose" / "Dockerfile"
BUILD_SECONDS = 60


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of the image that its ``COPY`` lines fill."""
    root = tmp_path_factory.mktemp("image")
    lines = re.findall(r"(?m)^COPY --chown=airflow:root (.+)$", DOCKERFILE.read_text())
    assert lines
    unwanted = shutil.ignore_patterns("__pycache__")
    for line in lines:
        *sources, target = line.split()
        for source in sources:
            place = root / target.lstrip("/")
            if (ROOT / source).is_dir():
                assert len(sources) == 1
                shutil.copytree(ROOT / source, place, ignore=unwanted)
            else:
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, place)
    return root


def run(*words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )


def test_the_provider_can_be_built_from_what_is_copied(image: Path, tmp_path: Path):
    done = run("-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path), cwd=image / "opt" / "agents")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "airflow_provider_agents/_dags/coding_task.py",
        "airflow_provider_agents/get_provider_info.py",
        "agent_runner/__main__.py",
    } <= names


@pytest.mark.parametrize("module", ["demo.github", "demo.model", "demo.compose"])
def test_the_stand_ins_start_from_what_is_copied(image: Path, module: str):
    folder = image / "opt" / "agents"
    # -P: nothing of this checkout may help.
    done = run("-P", "-m", module, "--help", cwd=folder, PYTHONPATH=str(folder))
    assert done.returncode == 0, done.stderr
    assert module in done.stdout
    origin = run("-P", "-c", "import demo; print(demo.__file__)", cwd=folder, PYTHONPATH=str(folder))
    assert origin.stdout.strip() == str(folder / "demo" / "__init__.py")


def test_the_scripts_are_where_the_services_look_for_them(image: Path):
    compose = (ROOT / "docker-compose.yaml").read_text()
    named = set(re.findall(r"/opt/agents/[\w./-]+", compose))
    assert named
    assert not [path for path in named if not (image / path.lstrip("/")).is_file()]


def test_every_version_is_pinned():
    text = DOCKERFILE.read_text()
    assert not re.findall(r":latest|FROM \S+(?<!\})\s*$", text)
    for line in re.findall(r"pip install.*(?:\\\n.*)*", text):
        assert "--constraint /opt/agents/constraints.txt" in line
