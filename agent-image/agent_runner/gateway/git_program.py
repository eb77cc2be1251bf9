"""git as the gateway runs it: on what an agent has sent, with no configuration, credential or hook."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
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
    :param variables: added to the environment.
    """

    def __init__(self, repository: Path, home: Path, variables: Mapping[str, str] | None = None) -> None:
        self._repository = repository
        self._home = home
        self._variables = dict(variables or {})

    def with_objects(self, folder: Path) -> GitProgram:
        """Return one that keeps all new objects in ``folder``, and reads the repository's own besides."""
        return GitProgram(
            self._repository,
            self._home,
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
        room: Room | None = None,
        seconds: float | None = None,
    ) -> GitRan:
        """Run a command to its end.

        :param stdin: open file, read from where it is.
        :param on_output: takes the output in chunks, which is not kept then. What it raises ends the command.
        :param room: checked twice a second.
        :param seconds: limit, by default :data:`SECONDS`.
        :raises GitProgramError: if there is no git, time runs out, or the output is too long to keep.
        :raises NoRoomError: of ``room``.
        """
        limit = SECONDS if seconds is None else seconds
        process = await self._start(arguments, stdin)
        reading = asyncio.create_task(_read(process, on_output))
        try:
            async with asyncio.timeout(limit):
                while not reading.done():
                    await asyncio.wait({reading}, timeout=_CHECK_SECONDS)
                    # Once more at the end, which may come soon.
                    if room is not None:
                        await asyncio.to_thread(room.check)
                output, error = reading.result()
                return GitRan(await process.wait(), output, error)
        except TimeoutError:
            raise GitProgramError(f"git {arguments[0]} took longer than {limit:.0f} s") from None
        finally:
            reading.cancel()
            # What git started, such as its HTTP client, is in its group.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.gather(process.wait(), reading, return_exceptions=True)

    async def _start(self, arguments: tuple[str, ...], stdin: BinaryIO | None) -> asyncio.subprocess.Process:
        program = shutil.which("git")
        if program is None:
            raise GitProgramError("there is no git in the gateway's image")
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            cwd=self._home,
            env=self._environment(),
            stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        limit = memory_limit()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (limit, limit))
        return process

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


async def _read(
    process: asyncio.subprocess.Process, on_output: Callable[[bytes], None] | None
) -> tuple[bytes, str]:
    kept, said = bytearray(), bytearray()

    def keep(chunk: bytes) -> None:
        kept.extend(chunk)
        if len(kept) > _MAX_OUTPUT_BYTES:
            raise GitProgramError(f"git gave more than {_MAX_OUTPUT_BYTES:,} bytes")

    def listen(chunk: bytes) -> None:
        said.extend(chunk)
        del said[:-_MAX_ERROR_BYTES]

    await asyncio.gather(_pump(process.stdout, on_output or keep), _pump(process.stderr, listen))
    return bytes(kept), said.decode(errors="replace")


async def _pump(stream: asyncio.StreamReader | None, take: Callable[[bytes], None]) -> None:
    while stream is not None and (chunk := await stream.read(_CHUNK_BYTES)):
        take(chunk)
