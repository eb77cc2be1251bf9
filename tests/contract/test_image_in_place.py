"""``check-image`` in the built images: as user 1000 and as another one, read-only, without network.

Needs the images' root folders, one for each preset, as ``docs/image.md`` says how to get them, in
``AGENT_IMAGE_ROOTS``; and root, to change into them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_agents.domain.image_preset import PRESETS

ROOTS = os.environ.get("AGENT_IMAGE_ROOTS", "")

pytestmark = [
    pytest.mark.skipif(not ROOTS, reason="AGENT_IMAGE_ROOTS names no folder of images built by buildah"),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root, to change into the image"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare (util-linux)"),
    pytest.mark.timeout(300),
]

_SETUP = """
set -e
mount --rbind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t proc proc "$1/proc"
mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
mount -t tmpfs -o mode=755 tmpfs "$1/dev"
for name in null zero random urandom; do
    touch "$1/dev/$name"
    mount --bind "/dev/$name" "$1/dev/$name"
done
mkdir -m 1777 "$1/tmp/workspace" "$1/tmp/home"
root=$1
shift
exec chroot --userspec="$AGENT_USER" "$root" /usr/bin/env -i \
    PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    AGENT_WORKSPACE=/tmp/workspace AGENT_HOME=/tmp/home HOME=/tmp/home "$@"
"""


def in_image(preset: str, command: list[str], user: int = 1000) -> subprocess.CompletedProcess[str]:
    """Run a command in the image of a preset: read-only root, no network, no capability, process 1."""
    folder = Path(ROOTS) / preset
    if not folder.is_dir():
        pytest.skip(f"AGENT_IMAGE_ROOTS has no folder {preset}")
    unshare = ["unshare", "--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child"]
    return subprocess.run(
        [*unshare, "bash", "-c", _SETUP, "bash", str(folder.resolve()), *command],
        env={"PATH": os.environ["PATH"], "AGENT_USER": f"{user}:{user}"},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def report(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert ended.stdout, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    assert ended.returncode == int(not found["ok"])
    return found


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("user", [1000, 54321])
def test_the_image_of_each_preset_runs_steps(preset: str, user: int) -> None:
    found = report(in_image(preset, ["agent-runner", "check-image", "--json", "--preset", preset], user))
    assert [check for check in found["checks"] if check["state"] != "ok"] == []
    assert {"claude", "codex", "git-lfs", "AGENT_WORKSPACE", "root folder"} <= {
        check["name"] for check in found["checks"]
    }


@pytest.mark.parametrize("preset", ["base", "go"])
def test_a_preset_has_no_toolchain_of_another(preset: str) -> None:
    ended = in_image(preset, ["agent-runner", "check-image", "--json", "--preset", "node"])
    faults = {check["name"] for check in report(ended)["checks"] if check["state"] == "fault"}
    assert faults == {"node", "npm", "npx", "pnpm", "yarn"}


def test_root_is_refused() -> None:
    found = report(in_image("base", ["agent-runner", "check-image", "--json"], user=0))
    assert [check["name"] for check in found["checks"] if check["state"] == "fault"] == ["user"]


_PROJECTS = {
    "node": "echo 'console.log([1, 2].map((n) => n + 1).join())' > a.js && node a.js && npm --version",
    "python": "printf 'def test():\\n    assert True\\n' > test_a.py && python -m pytest -q && python -m venv v",
    "go": "printf 'package main\\nfunc main() { println(2) }\\n' > a.go && go run a.go && go vet a.go",
    "rust": "cargo init --quiet --vcs none --name a . && cargo build --quiet --offline && target/debug/a",
}


@pytest.mark.parametrize(
    ("image", "preset"), [*((name, name) for name in _PROJECTS), *(("full", name) for name in _PROJECTS)]
)
def test_a_toolchain_builds_and_runs_something(image: str, preset: str) -> None:
    ended = in_image(image, ["bash", "-lc", f"cd /tmp/workspace && {_PROJECTS[preset]}"])
    assert ended.returncode == 0, ended.stdout + ended.stderr
