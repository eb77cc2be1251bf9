"""Running the set-up script, once for each thing that its result depends on.

The result is what the script leaves in ``AGENTS_SETUP_PREFIX``: its ``bin``, and the ``bin`` of a Python
environment ``venv``, come first on the ``PATH`` of the agent and of the tests. With a cache claim it is made once
and then used, read-only, by all steps of the repository; without one, or where the script keeps paths of the
checkout, it lives as long as the run.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import time
from typing import TYPE_CHECKING

from agent_runner.cache_locks import CacheLock, take
from agent_runner.console import plain, say, say_output
from agent_runner.deadline import Deadline
from agent_runner.failure import StepCancelled, StepFailed, failed
from agent_runner.files import make_folder, read_small, remove, replace, write_fresh
from agent_runner.package_caches import LEAST_FREE_BYTES, LOCKS_FOLDER, SETUP_FOLDER, free_bytes
from agent_runner.process import LineSplitter, Tail, run_process
from agent_runner.setup_script import SCRIPT, SetupScript, find_script, key_of

if TYPE_CHECKING:
    from pathlib import Path

    from agent_runner.checkout import Checkout
    from agent_runner.contract import StepSpec
    from agent_runner.environment import Environment
    from agent_runner.git import Git
    from agent_runner.package_caches import PackageCaches
    from agent_runner.process import Supervision

PREFIX_VARIABLE = "AGENTS_SETUP_PREFIX"
COMPLETE = "complete"
"""File beside a prefix, written last. Its time is that of the last use."""

SETUP_SECONDS = 900.0
"""Most that a script may take, and that a step waits for another one which runs it. Never more than half of what is
left of the step."""
_TAIL_BYTES = 16 * 1024
_SHOWN_CHARACTERS = 1_000
_MAX_LINE_BYTES = 64 * 1024
_PAUSE_SECONDS = 0.2


class _Full(Exception):  # noqa: N818 - no fault of the script
    """The cache claim has no room for the result."""


def set_up(
    spec: StepSpec,
    environment: Environment,
    supervision: Supervision,
    git: Git,
    checkout: Checkout,
    caches: PackageCaches,
) -> Environment:
    """Run the repository's set-up script, or take its result from the cache; nothing where there is none.

    :param environment: with the variables of the package caches in it.
    :param caches: keeps the lock on a result that is used, until the step ends.
    :return: the environment with the result in it.
    :raises StepFailed: the script failed or took too long, or declares what is not allowed.
    """
    script = find_script(git, spec, checkout.base_sha)
    if script is None:
        return environment
    seconds = min(SETUP_SECONDS, 0.5 * supervision.deadline.remaining())
    run = _Run(script, environment, supervision, checkout.path, seconds)
    prefix = None
    if caches.folder is not None and not script.kept:
        try:
            prefix = _from_cache(run, caches.folder, caches)
        except (_Full, OSError) as error:
            say(f"set-up: the cache cannot be used, the result is for this run only: {error}")
            run.environment = dataclasses.replace(environment, added={})
    if prefix is None:
        run.seconds = min(run.seconds, 0.5 * supervision.deadline.remaining())
        prefix = _of_run(run, environment.workspace / "setup")
    return with_prefix(run.environment, prefix)


def with_prefix(environment: Environment, prefix: Path) -> Environment:
    """Return the environment of programs that use a result."""
    added = {**environment.added, PREFIX_VARIABLE: str(prefix)}
    if (prefix / "venv/bin").is_dir():
        added["VIRTUAL_ENV"] = str(prefix / "venv")
    # On the path before it is there: the script can use what it has just made.
    path = (prefix / "venv/bin", prefix / "bin")
    return dataclasses.replace(environment, added=added, first_on_path=path)


def _from_cache(run: _Run, folder: Path, caches: PackageCaches) -> Path | None:
    """Return the prefix in the cache, made if it is not there; ``None`` where it was waited for in vain."""
    root = folder / SETUP_FOLDER
    key = run.key(root)
    lock_file = folder / LOCKS_FOLDER / f"setup-{key}"
    end = Deadline.after(run.seconds)
    waiting = False
    while True:
        lock = take(lock_file, exclusive=False)
        if lock is not None and _is_complete(root / key):
            _touch(root / key / COMPLETE)
            caches.hold(lock)
            say(f"set-up: {key[:12]}, from the cache")
            return root / key / "prefix"
        if lock is not None:
            lock.close()
        lock = take(lock_file, exclusive=True)
        if lock is not None:
            return _make_shared(run, root / key, lock, caches)
        if not waiting:
            say(f"set-up: {key[:12]} is being made by another step, waiting for it")
            waiting = True
        if end.passed():
            say("set-up: the other step takes too long, this one makes a result of its own")
            return None
        run.supervision.stop.wait(_PAUSE_SECONDS)


def _make_shared(run: _Run, folder: Path, lock: CacheLock, caches: PackageCaches) -> Path | None:
    """Make a result for all under its exclusive lock, which becomes a shared one that the step keeps."""
    caches.hold(lock)
    try:
        if not _is_complete(folder):
            _make(run, folder)
            _protect(folder / "prefix")
            _note_complete(folder, ())
        lock.share()
    except (_Full, OSError):
        remove(folder)
        lock.close()
        raise
    # Between the two locks it can have been swept.
    return folder / "prefix" if _is_complete(folder) else None


def _of_run(run: _Run, root: Path) -> Path:
    """Return the prefix in the workspace, made if an earlier step of the run has not left it."""
    key = run.key(root)
    folder = root / key
    if _is_complete(folder) and all(os.path.lexists(run.checkout / path) for path in _kept_by(folder)):
        say(f"set-up: {key[:12]}, from an earlier step")
        return folder / "prefix"
    make_folder(root)
    for old in root.iterdir():
        remove(old)
    _make(run, folder)
    _note_complete(folder, tuple(p for p in run.script.kept if os.path.lexists(run.checkout / p)))
    return folder / "prefix"


def _make(run: _Run, folder: Path) -> None:
    remove(folder)
    prefix = folder / "prefix"
    (prefix / "bin").mkdir(parents=True)
    run(prefix)


def _is_complete(folder: Path) -> bool:
    return bool(read_small(folder / COMPLETE, 64 * 1024)) and (folder / "prefix").is_dir()


def _kept_by(folder: Path) -> list[str]:
    try:
        kept = json.loads(read_small(folder / COMPLETE, 64 * 1024))["kept"]
    except (ValueError, KeyError, TypeError):
        return []
    return [path for path in kept if isinstance(path, str)] if isinstance(kept, list) else []


def _note_complete(folder: Path, kept: tuple[str, ...]) -> None:
    replace(folder / COMPLETE, json.dumps({"version": 1, "kept": kept}) + "\n")


def _touch(file: Path) -> None:
    os.utime(file, follow_symlinks=False)


def _protect(prefix: Path) -> None:
    """Take away the right to change folders: an agent that installs something must not do it for all runs."""
    for folder, _, _ in os.walk(prefix, topdown=False):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            os.fchmod(descriptor, 0o555)
        finally:
            os.close(descriptor)


@dataclasses.dataclass(slots=True)
class _Run:
    """One script, and what it runs in."""

    script: SetupScript
    environment: Environment
    supervision: Supervision
    checkout: Path
    seconds: float

    def key(self, root: Path) -> str:
        return key_of(self.script, self.checkout, root, self.environment.search_path)

    def __call__(self, prefix: Path) -> None:
        """Run the script for a prefix; raise :class:`StepFailed`, or :class:`_Full`."""
        file = self.script.file
        if file is None:
            file = self.environment.temporary / "agents-setup.sh"
            write_fresh(file, self.script.text.decode(errors="surrogateescape"))
        started = time.monotonic()
        say(f"set-up: running {SCRIPT}, for at most {self.seconds:.0f} s")
        lines = LineSplitter(_MAX_LINE_BYTES)
        tail = Tail(_TAIL_BYTES)

        def on_output(chunk: bytes) -> None:
            tail.feed(chunk)
            for line in lines.feed(chunk):
                say_output(line.decode(errors="replace"))

        variables = {**with_prefix(self.environment, prefix).program(), "CI": "1"}
        shell = "bash" if shutil.which("bash", path=self.environment.search_path) else "sh"
        ended = run_process(
            [shell, str(file)],
            cwd=self.checkout,
            env=variables,
            supervision=self.supervision,
            on_output=on_output,
            deadline=Deadline.after(self.seconds),
        )
        for line in lines.flush():
            say_output(line.decode(errors="replace"))
        if ended.cause == "stopped" and self.supervision.stop.received is not None:
            raise StepCancelled(self.supervision.stop.received)
        if ended.cause == "exit" and ended.returncode == 0:
            say(f"set-up: done in {time.monotonic() - started:.1f} s")
            return
        if free_bytes(prefix) < LEAST_FREE_BYTES and not prefix.is_relative_to(self.environment.workspace):
            raise _Full(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise self._failure(ended.cause, ended.returncode, plain(tail.text()).strip()[-_SHOWN_CHARACTERS:])

    def _failure(self, cause: str, returncode: int, shown: str) -> StepFailed:
        end = f" The end of its output: {shown}" if shown else ""
        if cause == "deadline":
            return failed("setup_timeout", f"{SCRIPT} was stopped after {self.seconds:.0f} s.{end}")
        return failed("setup_failed", f"{SCRIPT} ended with exit code {returncode}.{end}")
