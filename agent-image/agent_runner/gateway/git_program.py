"""git as the gateway runs it: on what an agent has sent, with no configuration, credential or hook."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import BinaryIO

    from agent_runner.gateway.room import Room

SECONDS = 600.0
"""Limit for one command."""

MAX_MEMORY_BYTES = 1 << 30
"""Most memory of one process, where the container has no smaller limit: what a pack claims to unpack to is
its sender's word."""

_GATEWAY_BYTES = 96 << 20
_LEAST_BYTES = 96 << 20
_CHECK_SECONDS = 0.5
_END_SECONDS = 10.0
_MAX_OUTPUT_BYTES = 16 << 20
_MAX_ERROR_BYTES = 16_384
_CHUNK_BYTES = 65_536

_SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.bigFileThreshold": "1m",
    "core.deltaBaseCacheLimit": "16m",
    "core.packedGitWindowSize": "1m",
    "core.packedGitLimit": "32m",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    "gc.auto": "0",
    "http.followRedirects": "false",
    # A connection that gives nothing for two minutes is dead.
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "120",
    "index.threads": "1",
    "maintenance.auto": "false",
    "pack.threads": "1",
    "protocol.allow": "never",
    "protocol.http.allow": "always",
}


class GitProgramError(Exception):
    """git did not do what it was to do; the text is one line for a person."""


@dataclass(frozen=True, slots=True)
class GitRan:
    """What a command gave."""

    code: int
    output: bytes
    error: str
    """The end of its standard error."""

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def words(self) -> str:
        """What the other side said, else the last lines that git said, else how it ended."""
        lines = [line.strip() for line in self.error.splitlines() if line.strip()]
        said = [line.removeprefix("remote: ") for line in lines if line.startswith("remote: ")]
        if self.code < 0:
            return f"git was ended by signal {-self.code}"
        return "; ".join(said[-1:] or lines[-2:]) or f"git ended with code {self.code}"


class GitProgram:
    """Runs git in one bare repository.

    :param repository: may not exist yet.
    :param home: folder that stands for the home and the temporary folder.
    :param room: checked twice a second while a command runs, and at its end.
    :param variables: added to the environment.
    :param niceness: how far its processes stand back behind others, 0 to 19.
    """

    def __init__(
        self,
        repository: Path,
        home: Path,
        room: Room | None = None,
        variables: Mapping[str, str] | None = None,
        niceness: int = 0,
    ) -> None:
        self._repository = repository
        self._home = home
        self._room = room
        self._variables = dict(variables or {})
        self._niceness = niceness

    def with_objects(self, folder: Path, room: Room) -> GitProgram:
        """Return one that keeps all new objects in ``folder``, and reads the repository's own besides."""
        return GitProgram(
            self._repository,
            self._home,
            room,
            {
                "GIT_OBJECT_DIRECTORY": str(folder),
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(self._repository / "objects"),
            },
        )

    async def run(
        self,
        *arguments: str,
        stdin: BinaryIO | None = None,
        on_output: Callable[[bytes], None] | None = None,
        seconds: float | None = None,
    ) -> GitRan:
        """Run a command to its end.

        :param stdin: open file, read from where it is.
        :param on_output: takes the output in chunks, which is not kept then. What it raises ends the command.
        :param seconds: limit, by default :data:`SECONDS`.
        :raises GitProgramError: if there is no git, time runs out, or the output is too long to keep.
        :raises NoRoomError: if what it writes has no room.
        """
        limit = SECONDS if seconds is None else seconds
        process = await self._start(arguments, stdin)
        output, error = _Kept(), _Tail()
        pumps = (
            asyncio.create_task(_pump(process.stdout, on_output or output.take)),
            asyncio.create_task(_pump(process.stderr, error.take)),
        )
        try:
            async with asyncio.timeout(limit):
                waiting: Collection[asyncio.Task[None]] = pumps
                while waiting:
                    _, waiting = await asyncio.wait(
                        pumps, timeout=_CHECK_SECONDS, return_when=asyncio.FIRST_EXCEPTION
                    )
                    for pump in pumps:
                        if pump.done():
                            pump.result()
                    # Once more at the end, which may come soon.
                    if self._room is not None:
                        await asyncio.to_thread(self._room.check)
                return GitRan(await process.wait(), bytes(output.data), error.text())
        except TimeoutError:
            raise GitProgramError(f"git {arguments[0]} took longer than {limit:.0f} s") from None
        finally:
            await _end(process, pumps)

    async def _start(self, arguments: tuple[str, ...], stdin: BinaryIO | None) -> asyncio.subprocess.Process:
        program = shutil.which("git")
        if program is None:
            raise GitProgramError("there is no git in the gateway's image")
        return await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            'ulimit -d "$0" && exec "$@"',
            str(memory_limit() >> 10),
            *(("nice", "-n", str(self._niceness)) if self._niceness else ()),
            program,
            *arguments,
            cwd=self._home,
            env=self._environment(),
            stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )

    def _environment(self) -> dict[str, str]:
        settings = {}
        for number, (key, value) in enumerate(_SETTINGS.items()):
            settings[f"GIT_CONFIG_KEY_{number}"] = key
            settings[f"GIT_CONFIG_VALUE_{number}"] = value
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._home),
            "TMPDIR": str(self._home),
            "LC_ALL": "C",
            "GIT_DIR": str(self._repository),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_DEFAULT_HASH": "sha1",
            "GIT_CONFIG_COUNT": str(len(_SETTINGS)),
            **settings,
            **self._variables,
        }


def memory_limit(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many bytes one process of git may have: what the container's limit leaves for it."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limit = int((cgroup / name).read_text())
        except (OSError, ValueError):
            continue
        return max(_LEAST_BYTES, min(MAX_MEMORY_BYTES, limit - _GATEWAY_BYTES))
    return MAX_MEMORY_BYTES


class _Kept:
    """All of a short output."""

    def __init__(self) -> None:
        self.data = bytearray()

    def take(self, chunk: bytes) -> None:
        self.data += chunk
        if len(self.data) > _MAX_OUTPUT_BYTES:
            raise GitProgramError(f"git gave more than {_MAX_OUTPUT_BYTES:,} bytes")


class _Tail:
    """The end of what git says."""

    def __init__(self) -> None:
        self._data = bytearray()

    def take(self, chunk: bytes) -> None:
        self._data += chunk
        del self._data[:-_MAX_ERROR_BYTES]

    def text(self) -> str:
        return self._data.decode(errors="replace")


async def _pump(stream: asyncio.StreamReader | None, take: Callable[[bytes], None]) -> None:
    while stream is not None and (chunk := await stream.read(_CHUNK_BYTES)):
        take(chunk)


async def _end(process: asyncio.subprocess.Process, pumps: Collection[asyncio.Task[None]]) -> None:
    # What git started, such as its HTTP client, is in its group.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for pump in pumps:
        pump.cancel()
    await asyncio.gather(*pumps, return_exceptions=True)
    # asyncio takes a process for ended when its pipes are read to the end.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_END_SECONDS):
            for stream in (process.stdout, process.stderr):
                await _pump(stream, lambda _: None)
            await process.wait()
