"""The steps of a workflow job, as processes of this machine.

A job gets the rights of the server and only what it is given: a fresh checkout, a home of its own and a short
environment. It is no sandbox: seed only repositories whose code may run here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

from demo.github.git_program import run_git

if TYPE_CHECKING:
    from collections.abc import Mapping

    from demo.github.check_state import CheckRun
    from demo.github.job_log import JobLog
    from demo.github.planned_checks import WaitingJob
    from demo.github.state import Repository
    from demo.github.workflows import Step

SUMMARY_BYTES = 64 * 1024
KILL_SECONDS = 2.0
"""Grace between the polite and the final signal to a job's processes."""


async def check_out(repository: Repository, commit: str, workspace: Path) -> None:
    """Fetch one commit into a fresh clone, as the checkout action does."""
    folder = str(workspace)
    await run_git("init", "--quiet", folder)
    await run_git(
        "-C", folder, "fetch", "--quiet", "--depth=1", "--no-tags", repository.git.path.as_uri(), commit
    )
    await run_git("-C", folder, "checkout", "--quiet", "--detach", "FETCH_HEAD")


def job_environment(
    scratch: Path, workspace: Path, run: CheckRun, work: WaitingJob, url: str
) -> dict[str, str]:
    """Return all that a job gets to know; nothing of the server's own environment is in it."""
    suite = run.suite
    home, tools, temporary = scratch / "home", scratch / "tools", scratch / "tmp"
    for folder in (home, tools, temporary):
        folder.mkdir()
    for name in ("python", "python3"):
        # Not a link: an interpreter of a virtual environment finds it by the path that it was called by.
        shim = tools / name
        shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        shim.chmod(0o755)
    path = [str(tools), str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]
    return {
        "PATH": os.pathsep.join(path),
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "LANG": "C.UTF-8",
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_NAME": suite.event,
        "GITHUB_JOB": run.name,
        "GITHUB_REF": work.ref,
        "GITHUB_REPOSITORY": suite.repository.full_name,
        "GITHUB_RUN_ID": str(suite.database_id),
        "GITHUB_RUN_NUMBER": str(suite.run_number),
        "GITHUB_SERVER_URL": url,
        "GITHUB_SHA": work.checkout,
        "GITHUB_STEP_SUMMARY": str(scratch / "summary.md"),
        "GITHUB_WORKSPACE": str(workspace),
        "RUNNER_TEMP": str(temporary),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }


async def run_step(
    step: Step, workspace: Path, scratch: Path, environment: Mapping[str, str], log: JobLog
) -> int:
    """Run one step with ``bash -e`` in a process group of its own; return its exit code."""
    log.line(f"##[group]{step.name}")
    for line in step.run.rstrip().splitlines():
        log.line(line)
    log.line("##[endgroup]")
    directory = _directory(workspace, step.directory)
    if directory is None:
        log.line(f"##[error]There is no working directory {step.directory!r}.")
        return 1
    script = scratch / "step.sh"
    script.write_text(step.run)
    # A pipe of our own: asyncio's would make the wait for the script one for all that it left running.
    receiving, sending = os.pipe()
    pipe = os.fdopen(receiving, "rb", buffering=0)
    reader = asyncio.create_task(_drain(pipe, log))
    try:
        process = await asyncio.create_subprocess_exec(
            "bash",
            "--noprofile",
            "--norc",
            "-e",
            str(script),
            cwd=directory,
            env={**environment, **step.environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sending,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except BaseException:
        reader.cancel()
        raise
    finally:
        os.close(sending)
    try:
        code = await process.wait()
        # What the script left running holds the pipe open; it ends with the step.
        _signal_group(process.pid, signal.SIGKILL)
        await reader
    finally:
        await _end_group(process)
        reader.cancel()
    log.flush()
    if code:
        log.line(f"##[error]Process completed with exit code {code}.")
    return code


def _directory(workspace: Path, name: str) -> Path | None:
    """Return a folder of the checkout, or ``None`` where there is none of that name inside it."""
    folder = (workspace / name).resolve()
    inside = folder.is_relative_to(workspace.resolve())
    return folder if inside and folder.is_dir() else None


async def _drain(pipe: IO[bytes], log: JobLog) -> None:
    """Feed ``log`` from a pipe until its other end is closed everywhere."""
    stream = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), pipe
    )
    try:
        while data := await stream.read(65_536):
            log.feed(data)
    finally:
        transport.close()


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """Make sure that nothing of a step's process group is left."""
    if process.returncode is None:
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_SECONDS):
                await process.wait()
    _signal_group(process.pid, signal.SIGKILL)
    if process.returncode is None:
        await process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def read_summary(scratch: Path) -> str | None:
    path = scratch / "summary.md"
    try:
        with path.open("rb") as file:
            return file.read(SUMMARY_BYTES).decode(errors="replace").strip() or None
    except OSError:
        return None
