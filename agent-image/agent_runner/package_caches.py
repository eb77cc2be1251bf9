"""The package caches of a step: on the cache claim where that can be used, else what each tool does by itself.

Tools keep their caches below the home then, which lives as long as the run.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from agent_runner.cache_locks import CacheLock, take
from agent_runner.console import say
from agent_runner.files import read_small, remove
from agent_runner.package_tools import TOOLS, PackageTool, says_itself

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_runner.contract import StepSpec
    from agent_runner.environment import Environment
    from agent_runner.stop import StopRequest

LOCK = "lock"
"""File of a repository's folder: held, shared, by every step that uses it. Its time is that of the last use."""
LOCKS_FOLDER = "locks"
TOOLS_FOLDER = "tools"
SETUP_FOLDER = "setup"

LEAST_FREE_BYTES = 64 * 1024 * 1024
"""A file system with less room than this counts as full."""
_SWEEP_SECONDS = 20.0
"""How long a step waits for a sweep that is clearing this repository's folder."""
_PROBE_BYTES = 4096
_NETWORK = re.compile(r"nfs\d?|cifs|smb\d?|smbfs|9p|fuse\..+|virtiofs|lustre|beegfs|gpfs")


@dataclass(slots=True)
class PackageCaches:
    """The caches of one step, and the locks that keep others from removing them. A context manager."""

    folder: Path | None = None
    """The repository's folder on the cache claim; ``None``: it is not used."""
    variables: dict[str, str] = field(default_factory=dict)
    """What programs of the step get in their environment."""
    locks: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def hold(self, lock: CacheLock) -> None:
        """Keep a lock until the step ends."""
        self.locks.enter_context(lock)

    def __enter__(self) -> PackageCaches:
        return self

    def __exit__(self, *_: object) -> None:
        self.locks.close()


def open_caches(spec: StepSpec, environment: Environment, checkout: Path, stop: StopRequest) -> PackageCaches:
    """Find out whether the cache claim can be used, and how each tool is led there.

    A claim that cannot be written, or is full, costs one line in the log and nothing else. A step that works on
    the head of somebody's pull request does without: what it leaves would be what other runs install.

    :param checkout: the repository's files, whose own settings are left alone.
    :raises StepCancelled: a stop was asked for while it waited for a sweep.
    """
    folder = environment.cache
    if folder is None:
        return PackageCaches()
    if spec.pull_request is not None:
        say("caches: not used for the head of a pull request")
        return PackageCaches()
    caches = PackageCaches()
    try:
        lock = take(folder / LOCK, exclusive=False, seconds=_SWEEP_SECONDS, pause=stop.wait)
        if lock is None:
            say("caches: not used, they are being cleared")
            return caches
        caches.hold(lock)
        lock.touch()
        probe(folder)
        for name in (LOCKS_FOLDER, TOOLS_FOLDER, SETUP_FOLDER):
            _make_folder(folder / name)
        variables = _variables(folder, environment, checkout, caches)
    except OSError as error:
        say(f"caches: not used, each tool has its own for this run: {error}")
        caches.locks.close()
        return PackageCaches()
    caches.folder, caches.variables = folder, variables
    return caches


def probe(folder: Path) -> None:
    """Write into a folder.

    :raises OSError: it cannot be written, or has less room than :data:`LEAST_FREE_BYTES`.
    """
    free = free_bytes(folder)
    if free < LEAST_FREE_BYTES:
        raise OSError(f"{folder} is full: {free // 1024**2} MiB are free")
    # In every pod the runner has the same process id.
    file = folder / f".probe-{os.urandom(8).hex()}"
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, b"\0" * _PROBE_BYTES)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    finally:
        file.unlink(missing_ok=True)


def _make_folder(path: Path) -> None:
    """Make a folder where there is none. Other steps may be doing so too, and what they made is never removed."""
    try:
        path.mkdir()
    except FileExistsError:
        if path.is_dir() and not path.is_symlink():
            return
        path.unlink(missing_ok=True)
        path.mkdir(exist_ok=True)


def free_bytes(folder: Path) -> int:
    """Return the room that is left for this user on a folder's file system."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _variables(
    folder: Path, environment: Environment, checkout: Path, caches: PackageCaches
) -> dict[str, str]:
    network = on_network(folder)
    variables: dict[str, str] = {}
    busy = []
    for tool in TOOLS:
        if tool.only_with and not any((checkout / name).is_file() for name in tool.only_with):
            continue
        if _is_set(tool, environment.toolchain) or _says_itself(tool, checkout):
            continue
        place = folder / TOOLS_FOLDER / tool.name
        if tool.sharing == "one" or (tool.sharing == "local" and network):
            lock = take(folder / LOCKS_FOLDER / tool.name, exclusive=True)
            if lock is None:
                busy.append(tool.name)
                continue
            caches.hold(lock)
        _make_folder(place)
        for name in tool.forget:
            with contextlib.suppress(FileNotFoundError):  # another step may be at it too
                remove(place / name)
        variables |= _of_tool(tool, place, environment)
    if busy:
        say(f"caches: another step has those of {', '.join(busy)}, this one does without")
    return variables


def _of_tool(tool: PackageTool, place: Path, environment: Environment) -> dict[str, str]:
    def value(template: str) -> str:
        return template.format(folder=place, home=environment.home)

    found = {name: value(template) for name, template in tool.variables.items()}
    if tool.name == "maven" and environment.toolchain.get("MAVEN_OPTS"):
        found["MAVEN_OPTS"] = f"{found['MAVEN_OPTS']} {environment.toolchain['MAVEN_OPTS']}"
    also = {n: value(template) for n, template in tool.also.items() if not environment.toolchain.get(n)}
    return found | also


def _is_set(tool: PackageTool, toolchain: Mapping[str, str]) -> bool:
    """Say whether the image names the place of the tool's cache, and the step can write there."""
    if tool.name == "maven":  # its variable has room for other options too
        return "-Dmaven.repo.local" in toolchain.get("MAVEN_OPTS", "")
    named = [toolchain[name] for name in (*tool.variables, *tool.aliases) if toolchain.get(name)]
    if not named:
        return False
    return not tool.overrides_unwritable or os.access(named[0], os.W_OK)


def _says_itself(tool: PackageTool, checkout: Path) -> bool:
    return any(
        says_itself(tool, file, read_small(checkout / file, 1024 * 1024).decode(errors="replace"))
        for file in tool.settings
    )


def on_network(folder: Path, table: Path = Path("/proc/self/mountinfo")) -> bool:
    """Say whether a folder is on a file system of the network, as far as the kernel tells.

    :param table: the kernel's list of mounts.
    """
    try:
        lines = table.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return False
    wanted = os.path.realpath(folder)
    kind, depth = "", -1
    for line in lines:
        before, _, after = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), before.split(" ")[4])
        inside = point == "/" or wanted == point or wanted.startswith(point + "/")
        if inside and len(point) >= depth:  # of two on one another the later one is seen
            kind, depth = after.split(" ")[0], len(point)
    return _NETWORK.fullmatch(kind) is not None
