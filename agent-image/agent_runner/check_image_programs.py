"""The programs that a step starts: whether the image has them, whether they start, and where a shell finds them."""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import agent_runner
from agent_runner.agents import ENTRY_POINT_GROUP
from agent_runner.agents.base import AgentProgram
from agent_runner.check_image_report import Check, faulted, passed, warned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MIN_GIT = (2, 39)
"""The oldest git that the runner and the gateway are tested with."""

START_SECONDS = 60.0
"""What one program may take to tell its version."""

_NODE = ("node", "npm", "npx", "pnpm", "yarn")
_PYTHON = ("python", "pip", "uv", "poetry", "pytest", "gcc")
_GO = ("go", "gofmt", "gcc")
_RUST = ("cargo", "rustc", "rustfmt", "cargo-clippy", "gcc")

PRESET_PROGRAMS: dict[str, tuple[str, ...]] = {
    "base": (),
    "node": _NODE,
    "python": _PYTHON,
    "go": _GO,
    "rust": _RUST,
    "full": tuple(dict.fromkeys((*_NODE, *_PYTHON, *_GO, *_RUST))),
}
"""What each preset of ``agent-image/Dockerfile`` adds to ``base``."""

_AGENTS = ("claude", "codex")
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
_FROM_BASE = "Build the image FROM agent-image/Dockerfile, and keep /usr/local/bin on the PATH."
_MORE_TOOLS = ("make", "java", "mvn", "gradle", "dotnet", "ruby", "php")
"""Beside the presets' programs: looked for in a login shell, never required."""


def runner_checks(variables: Mapping[str, str]) -> Iterator[Check]:
    """Check runner and gateway: both can be imported, and a pod can name their program."""
    for name, module in (("runner", "agent_runner.run"), ("gateway", "agent_runner.gateway.server")):
        try:
            importlib.import_module(module)
        except Exception as error:
            yield faulted(
                name,
                f"{module} cannot be imported: {type(error).__name__}: {error}",
                "Install what it needs into the runner's environment (agent-image/requirements/runner.txt).",
            )
        else:
            yield passed(name, f"agent_runner {agent_runner.__version__}, Python {platform.python_version()}")
    if (program := _find("agent-runner", variables)) is None:
        yield faulted("agent-runner", "not on the PATH; pods start it by this name", _FROM_BASE)
    else:
        yield passed("agent-runner", program)
    folder = Path(agent_runner.__file__).parent
    if _can_change(folder):
        yield faulted(
            "runner's files",
            f"{folder} can be changed by the user that agents run as",
            "Let root own it, without write permission for others.",
        )
    for point in entry_points(group=ENTRY_POINT_GROUP):
        yield _added_program(point)


def _can_change(folder: Path) -> bool:
    # Root can change everything, which is a fault of its own.
    return os.getuid() != 0 and os.access(folder, os.W_OK)


def program_checks(
    variables: Mapping[str, str], *, preset: str | None, without: Sequence[str]
) -> Iterator[Check]:
    """Check the programs that steps start.

    :param preset: whose toolchains have to be there; ``None``: none have to.
    :param without: agent programs that need not be there.
    """
    yield _git(variables)
    required = (
        "bash",
        *(name for name in _AGENTS if name not in without),
        *PRESET_PROGRAMS[preset or "base"],
    )
    for name in dict.fromkeys(required):
        yield _required(name, variables)
    if _find("git-lfs", variables) is None:
        yield warned("git-lfs", "not there", "Install git-lfs if repositories keep large files in Git LFS.")
    else:
        yield _required("git-lfs", variables)
    tools = (*PRESET_PROGRAMS["full"], *_MORE_TOOLS)
    yield _login_shell([name for name in (*_AGENTS, *tools) if _find(name, variables)], variables)


def _added_program(point: object) -> Check:
    name, value = getattr(point, "name", ""), getattr(point, "value", "")
    remedy = "Correct the package that the image installs for it (docs/agent-programs.md)."
    try:
        program = point.load()  # type: ignore[attr-defined]
    except Exception as error:
        return faulted(
            f"program {name}", f"{value} cannot be loaded: {type(error).__name__}: {error}", remedy
        )
    if not (isinstance(program, type) and issubclass(program, AgentProgram)):
        return faulted(f"program {name}", f"{value} is no subclass of AgentProgram", remedy)
    return passed(f"program {name}", value)


def _git(variables: Mapping[str, str]) -> Check:
    check = _required("git", variables)
    if check.state != "ok":
        return check
    found = re.search(r"(\d+)\.(\d+)", check.found)
    if found is None or (int(found[1]), int(found[2])) < MIN_GIT:
        wanted = ".".join(map(str, MIN_GIT))
        return faulted("git", check.found, f"Install git {wanted} or later, as Debian 12 has it.")
    return check


def _required(name: str, variables: Mapping[str, str]) -> Check:
    path = _find(name, variables)
    if path is None:
        remedy = _FROM_BASE if name in _AGENTS else f"Install {name} in the image, or choose another preset."
        return faulted(name, "not on the PATH", remedy)
    arguments = ["version"] if name == "go" else ["--version"]
    if name == "gofmt":  # which has no such option, and formats its empty input
        arguments = []
    code, output = _run([path, *arguments], variables)
    if code != 0:
        why = f"did not answer within {START_SECONDS:.0f} s" if code is None else f"exited with {code}"
        said = f": {output}" if output else ""
        return faulted(
            name,
            f"{path} {why}{said}",
            "Install it for the processor of the nodes, with the libraries that it needs.",
        )
    return passed(name, output or path)


def _login_shell(names: Sequence[str], variables: Mapping[str, str]) -> Check:
    """Agents start login shells, in which /etc/profile replaces the PATH that the image sets."""
    bash = _find("bash", variables)
    if bash is None:
        return faulted("login shell", "there is no bash", "Install bash in the image.")
    script = 'for name in "$@"; do command -v "$name" > /dev/null || echo "$name"; done'
    code, output = _run([bash, "-lc", script, "bash", *names], variables, whole=True)
    if code != 0:
        return faulted("login shell", f"bash -lc failed: {output}", "Correct /etc/profile of the image.")
    if output:
        return warned(
            "login shell",
            f"on the PATH, but not in a login shell as agents start it: {', '.join(output.split())}",
            "Link the programs into /usr/local/bin, or set PATH in /etc/profile.d.",
        )
    return passed("login shell", "finds the same programs")


def _find(name: str, variables: Mapping[str, str]) -> str | None:
    return shutil.which(name, path=variables.get("PATH") or _DEFAULT_PATH)


def _run(
    command: Sequence[str], variables: Mapping[str, str], *, whole: bool = False
) -> tuple[int | None, str]:
    """Run a program in an empty home folder, as a step would; return exit code and first line of its output.

    :param whole: return all of the output.
    :return: ``None`` as the exit code of a program that did not end in :data:`START_SECONDS`; of one that
        could not be started, 126 and why.
    """
    with tempfile.TemporaryDirectory(dir=variables.get("TMPDIR") or None) as home:
        environment = {
            "PATH": variables.get("PATH") or _DEFAULT_PATH,
            "LANG": "C.UTF-8",
            "HOME": home,
            "TMPDIR": home,
        }
        try:
            process = subprocess.Popen(
                command, cwd=home, env=environment, text=True, errors="replace", start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except OSError as error:
            return 126, str(error.strerror or error)
        try:
            output, _ = process.communicate(timeout=START_SECONDS)
            code: int | None = process.returncode
        except subprocess.TimeoutExpired:
            output, code = "", None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)
        if process.stdout is not None:
            process.stdout.close()
    text = output.strip()
    return code, text if whole else text.partition("\n")[0][:200]
