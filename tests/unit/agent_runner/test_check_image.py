"""The contract test of an image: what is fine passes, and each thing that is amiss is named with its remedy."""

from __future__ import annotations

import importlib
import json
import os
import ssl
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from agent_runner import check_image_place, check_image_programs
from agent_runner.__main__ import main as agent_runner
from agent_runner.agents.command import Command
from agent_runner.check_image import main
from agent_runner.check_image_programs import PRESET_PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Callable

GIT = "git version 2.47.1"


class Image:
    """A folder of programs, and the environment of a pod."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self._capsys = capsys
        for name in (*PRESET_PROGRAMS["full"], "agent-runner", "claude", "codex", "git-lfs"):
            self.program(name, f"echo {name} 1.2.3")
        self.program("git", f"echo {GIT}")
        # A login shell whose profile leaves the PATH as it is.
        self.program("bash", '[ "$1" = -lc ] && { shift; exec /bin/sh -c "$@"; } || echo bash 5')
        self.variables = {"PATH": str(self.bin), "LANG": "C.UTF-8"}
        for name in ("TMPDIR", "AGENT_WORKSPACE", "AGENT_HOME"):
            place = folder / name.lower()
            place.mkdir()
            self.variables[name] = str(place)

    def program(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def check(self, *arguments: str) -> dict[str, dict[str, str]]:
        """Return the checks by name, and that the exit code fits them."""
        code = main(["--json", *arguments], self.variables)
        report = json.loads(self._capsys.readouterr().out)
        assert report["version"] == 1
        assert report["ok"] is (code == 0)
        checks = {check["name"]: check for check in report["checks"]}
        assert len(checks) == len(report["checks"])
        assert all(bool(check["remedy"]) is (check["state"] != "ok") for check in report["checks"])
        assert code == int(any(check["state"] == "fault" for check in report["checks"]))
        return checks

    def faults(self, *arguments: str) -> set[str]:
        return {name for name, check in self.check(*arguments).items() if check["state"] == "fault"}

    def warnings(self, *arguments: str) -> set[str]:
        return {name for name, check in self.check(*arguments).items() if check["state"] == "warning"}


@pytest.fixture
def image(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Image:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(check_image_programs, "_can_change", lambda folder: False)
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_RDONLY))
    return Image(tmp_path, capsys)


def test_a_sound_image(image: Image) -> None:
    checks = image.check("--preset", "full")
    assert {name for name, check in checks.items() if check["state"] != "ok"} == set()
    assert checks["git"]["found"] == GIT
    assert checks["user"]["found"].startswith("UID 1000")
    assert checks["AGENT_WORKSPACE"]["found"] == f"{image.variables['AGENT_WORKSPACE']} is writable"


@pytest.mark.parametrize("name", ["git", "bash", "claude", "codex", "agent-runner"])
def test_a_program_that_is_missing(image: Image, name: str) -> None:
    (image.bin / name).unlink()
    assert name in image.faults()


@pytest.mark.parametrize(
    ("name", "preset"), [("npm", "node"), ("pytest", "python"), ("gofmt", "go"), ("rustc", "rust")]
)
def test_a_toolchain_that_is_missing_counts_for_its_presets(image: Image, name: str, preset: str) -> None:
    (image.bin / name).unlink()
    assert image.faults() == image.faults("--preset", "base") == set()
    assert image.faults("--preset", preset) == image.faults("--preset", "full") == {name}


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo cannot load libatomic.so.1 >&2; exit 127", "exited with 127: cannot load libatomic.so.1"),
        ("kill -SEGV $$", "exited with -11"),
    ],
)
def test_a_program_that_does_not_start(image: Image, script: str, words: str) -> None:
    image.program("claude", script)
    checks = image.check()
    assert checks["claude"]["state"] == "fault"
    assert words in checks["claude"]["found"]


def test_a_program_for_another_processor(image: Image) -> None:
    (image.bin / "codex").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(57))
    assert image.faults() == {"codex"}


def test_a_program_that_hangs_is_ended_with_its_children(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_image_programs, "START_SECONDS", 0.5)
    image.program("claude", f"/bin/sleep 60 & echo $! > {tmp_path}/child; wait")
    checks = image.check()
    assert "did not answer within" in checks["claude"]["found"]
    child = int((tmp_path / "child").read_text())
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX"


@pytest.mark.parametrize(
    ("version", "state"), [("2.38.5", "fault"), ("2.39.0", "ok"), ("3.0", "ok"), ("?", "fault")]
)
def test_the_age_of_git(image: Image, version: str, state: str) -> None:
    image.program("git", f"echo git version {version}")
    assert image.check()["git"]["state"] == state


def test_an_agent_that_is_left_out_on_purpose(image: Image) -> None:
    (image.bin / "codex").unlink()
    assert image.faults() == {"codex"}
    assert image.faults("--without", "codex") == set()


def test_large_files_are_optional(image: Image) -> None:
    (image.bin / "git-lfs").unlink()
    assert image.warnings() == {"git-lfs"}


def test_a_program_that_a_login_shell_does_not_find(image: Image) -> None:
    image.program("bash", '[ "$1" = -lc ] && { echo npm; echo cargo; } || echo bash 5')
    checks = image.check()
    assert checks["login shell"]["state"] == "warning"
    assert checks["login shell"]["found"].endswith(": npm, cargo")


def test_a_profile_that_fails(image: Image) -> None:
    image.program("bash", '[ "$1" = -lc ] && exit 3 || echo bash 5')
    assert image.faults() == {"login shell"}


@pytest.mark.parametrize(
    ("name", "module"), [("runner", "agent_runner.run"), ("gateway", "agent_runner.gateway.server")]
)
def test_a_part_that_cannot_be_imported(
    image: Image, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    real: Callable[[str], Any] = importlib.import_module

    def broken(wanted: str) -> Any:
        if wanted == module:
            raise ModuleNotFoundError("No module named 'aiohttp'")
        return real(wanted)

    monkeypatch.setattr(importlib, "import_module", broken)
    checks = image.check()
    assert checks[name]["state"] == "fault"
    assert "No module named 'aiohttp'" in checks[name]["found"]


def entry_point(loaded: Any) -> Any:
    def load() -> Any:
        if isinstance(loaded, Exception):
            raise loaded
        return loaded

    return SimpleNamespace(name="mine", value="mine:Mine", load=load)


@pytest.mark.parametrize(
    ("loaded", "state"), [(Command, "ok"), (int, "fault"), (3, "fault"), (ImportError("no"), "fault")]
)
def test_a_program_that_the_image_adds(
    image: Image, monkeypatch: pytest.MonkeyPatch, loaded: Any, state: str
) -> None:
    monkeypatch.setattr(check_image_programs, "entry_points", lambda group: [entry_point(loaded)])
    assert image.check()["program mine"]["state"] == state


def test_a_runner_that_the_agent_could_change(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_image_programs, "_can_change", lambda folder: True)
    assert image.faults() == {"runner's files"}


def test_root(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert image.faults() == {"user"}


def test_a_writable_root_folder_is_only_noted(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=0))
    assert image.warnings() == {"root folder"}


@pytest.mark.parametrize(
    "name", ["AGENT_WORKSPACE", "AGENT_HOME", "AGENT_CACHE_DIR", "AGENT_SCRATCH_DIR", "AGENT_LEDGER_DIR"]
)
def test_a_folder_that_cannot_be_written(image: Image, name: str) -> None:
    image.variables[name] = "/proc/nothing"
    assert image.faults() == {name}


@pytest.mark.parametrize(
    ("name", "state"),
    [("AGENT_WORKSPACE", "fault"), ("AGENT_CACHE_DIR", "fault"), ("AGENT_LEDGER_DIR", "warning")],
)
def test_a_folder_out_of_which_nothing_starts(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, state: str
) -> None:
    folder = tmp_path / "mounted"
    folder.mkdir()
    image.variables[name] = str(folder)
    real = subprocess.run

    def refused(command: Any, **options: Any) -> Any:
        if folder in Path(command[0]).parents:
            raise PermissionError(13, "Permission denied")
        return real(command, **options)

    monkeypatch.setattr(check_image_place.subprocess, "run", refused)
    check = image.check()[name]
    assert check["state"] == state
    assert "noexec" in check["found"]


def test_no_certificates(image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_image_place, "_CERTIFICATES", str(tmp_path / "missing"))
    nowhere = SimpleNamespace(cafile=None, openssl_cafile=str(tmp_path / "missing"))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nowhere)
    check = image.check()["certificates"]
    assert check["state"] == "fault"
    assert "Install ca-certificates" in check["remedy"]


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_certificate_file_that_is_none(image: Image, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "own.pem"
    if content is not None:
        file.write_text(content)
    image.variables["SSL_CERT_FILE"] = str(file)
    check = image.check()["certificates"]
    assert (check["state"], str(file) in check["found"]) == ("fault", True)
    assert "SSL_CERT_FILE" in check["remedy"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GITHUB_TOKEN", "canary-value"),
        ("ANTHROPIC_API_KEY", "canary-value"),
        ("NPM_TOKEN", "canary-value"),
        ("DB_PASSWORD", "canary-value"),
        ("AWS_SECRET_ACCESS_KEY", "canary-value"),
        ("GH_PAT", "canary-value"),
        ("HARMLESS", "ghp_" + "0123456789abcdef" * 2),
        ("MODEL", "sk-ant-api03-0123456789abcdef"),
        ("INDEX", "https://user:canary-value@pypi.example.com/simple"),
        ("KEY", "-----BEGIN OPENSSH PRIVATE KEY-----"),
    ],
)
def test_what_looks_like_a_secret_is_named_without_its_value(image: Image, name: str, value: str) -> None:
    image.variables[name] = value
    check = image.check()["environment"]
    assert check["state"] == "fault"
    assert name in check["found"]
    assert value not in str(check)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AGENT_SECRETS_DIR", "/agent/secrets"),
        ("AGENT_GATEWAY_URL_FILE", "/agent/gateway-url/url"),
        ("GITHUB_TOKEN", ""),
        ("PATH_INFO", "x"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("HTTPS_PROXY", "http://proxy.example.com:3128"),
        ("HOSTNAME", "coding-task-implement-x7k2p-qv9zt"),
    ],
)
def test_what_is_no_secret(image: Image, name: str, value: str) -> None:
    image.variables[name] = value
    assert image.check()["environment"]["state"] == "ok"


def test_the_table_names_fault_and_remedy(image: Image, capsys: pytest.CaptureFixture[str]) -> None:
    (image.bin / "codex").unlink()
    assert main([], image.variables) == 1
    lines = capsys.readouterr().out.splitlines()
    found = next(number for number, line in enumerate(lines) if line.startswith("fault    codex"))
    assert lines[found + 1].strip().startswith("→ Build the image FROM")
    assert lines[-1] == "Steps cannot run in this image: 1 fault(s), 0 warning(s)."
    image.program("codex", "echo codex 1")
    assert main([], image.variables) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Steps can run in this image: no fault, 0 warning(s)."


@pytest.mark.parametrize("arguments", [["--preset", "java"], ["--without", "git"], ["--what"], ["more"]])
def test_a_wrong_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert agent_runner(["check-image", *arguments]) == 64
    assert "usage: agent-runner check-image" in capsys.readouterr().err


def test_as_a_process_of_its_own(image: Image) -> None:
    command = [sys.executable, "-m", "agent_runner", "check-image", "--json", "--without", "codex"]
    variables = image.variables | {"PYTHONPATH": str(Path(check_image_place.__file__).parents[1])}
    (image.bin / "codex").unlink()
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    report = json.loads(ended.stdout)
    assert ended.returncode == int(not report["ok"])
    assert {"runner", "gateway", "git", "claude", "user", "TMPDIR"} <= {
        check["name"] for check in report["checks"]
    }
