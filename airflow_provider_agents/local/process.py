"""One container as a process of this machine: start, signal, wait, and its output into the log."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_agents.local import processes
from airflow_provider_agents.local.logs import LinePump, LogFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

log = logging.getLogger(__name__)

_BLOCK = 64 * 1024
_OUTPUT_TIMEOUT = 5.0
_INFO_TIMEOUT = 10.0
_KEPT_OUTPUT = 1_024


class StartError(Exception):
    """The program of a container cannot be started."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a process is started.

    :param arguments: the whole command line.
    :param environment: the whole environment.
    :param directory: working directory.
    :param report_pid: the program is bubblewrap: have it report which process is the container's own.
    """

    arguments: tuple[str, ...]
    environment: dict[str, str]
    directory: Path
    report_pid: bool = False


class ContainerProcess:
    """A running container. Made by :meth:`start`."""

    def __init__(self, process: asyncio.subprocess.Process, main: int, identity: processes.Identity) -> None:
        self._process = process
        self._pumps: list[asyncio.Task[None]] = []
        self.main = main
        """Pid of the container's own first process; signals go there."""
        self.identity = identity

    @classmethod
    async def start(cls, launch: Launch, log_file: LogFile, marker: str) -> ContainerProcess:
        """Start the process in a session of its own, with exactly the environment of ``launch``.

        :param log_file: open; takes standard output and standard error, line by line.
        :param marker: value of :data:`~airflow_provider_agents.local.processes.MARKER`.
        :raises StartError: if the program cannot be executed.
        """
        output, error_output, info = os.pipe(), os.pipe(), os.pipe()
        readers = [output[0], error_output[0], info[0]]
        try:
            program, *arguments = launch.arguments
            if launch.report_pid:
                arguments = ["--info-fd", str(info[1]), *arguments]
            process = await asyncio.create_subprocess_exec(
                program,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output[1],
                stderr=error_output[1],
                env=launch.environment | {processes.MARKER: marker},
                cwd=launch.directory,
                pass_fds=(info[1],) if launch.report_pid else (),
                start_new_session=True,
                umask=0o022,
            )
        except (OSError, ValueError) as error:
            for reader in readers:
                os.close(reader)
            raise StartError(f'exec: "{launch.arguments[0]}": {error}') from error
        finally:
            for writer in (output[1], error_output[1], info[1]):
                os.close(writer)
        identity = processes.Identity(marker, process.pid, processes.creation_time(process.pid))
        started = cls(process, process.pid, identity)
        for name, reader in (("stdout", output[0]), ("stderr", error_output[0])):
            started._pumps.append(
                asyncio.create_task(_pump(reader, functools.partial(_write, log_file, name)))
            )
        if launch.report_pid:
            started.main = await _reported_pid(info[0]) or process.pid
        else:
            os.close(info[0])
        return started

    @property
    def pid(self) -> int:
        """Pid of the process that was started; with a sandbox that is the sandbox's."""
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the container's first process, as Kubernetes does; nothing if it has ended."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.main, number)

    async def kill(self) -> None:
        """Kill the container's first process and all that descend from it."""
        self.signal(signal.SIGKILL)
        await asyncio.to_thread(processes.kill_all, self.identity)

    async def wait(self) -> int:
        """Wait for the first process to end, end what is left of the container, and finish the log.

        :return: the exit code; 128 + N for a process that signal N ended.
        """
        code = await self._process.wait()
        await asyncio.to_thread(processes.kill_all, self.identity)
        _, unfinished = await asyncio.wait(self._pumps, timeout=_OUTPUT_TIMEOUT)
        for pump in unfinished:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        return code if code >= 0 else 128 - code


def _write(log_file: LogFile, stream: str, text: bytes, whole: bool) -> None:
    log_file.write(stream, text, whole=whole)


async def _pump(descriptor: int, write: Callable[[bytes, bool], None]) -> None:
    """Read a pipe to its end, line by line."""
    lines = LinePump(write)
    async with _reader(descriptor) as reader:
        try:
            while block := await reader.read(_BLOCK):
                lines.feed(block)
        finally:
            lines.end()


@contextlib.asynccontextmanager
async def _reader(descriptor: int) -> AsyncIterator[asyncio.StreamReader]:
    reader = asyncio.StreamReader(limit=_BLOCK)
    protocol = asyncio.StreamReaderProtocol(reader)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: protocol, os.fdopen(descriptor, "rb", buffering=0))
    try:
        yield reader
    finally:
        transport.close()


async def _reported_pid(descriptor: int) -> int | None:
    """Read which process is the container's first from what bubblewrap writes; ``None`` if it failed."""
    async with _reader(descriptor) as reader:
        try:
            async with asyncio.timeout(_INFO_TIMEOUT):
                text = await reader.read(_BLOCK)
                while text and not text.rstrip().endswith(b"}"):
                    if not (more := await reader.read(_BLOCK)):
                        break
                    text += more
            return int(json.loads(text)["child-pid"])
        except (TimeoutError, ValueError, KeyError):
            return None


async def run(launch: Launch, marker: str, seconds: float) -> tuple[int, str]:
    """Run a short command, such as a probe, and return its exit code and the end of its output.

    :param seconds: a command that takes longer is killed.
    :raises TimeoutError: if it took longer.
    :raises StartError: if it cannot be executed.
    """
    output = b""

    def keep(text: bytes, whole: bool) -> None:
        nonlocal output
        output = (output + text + (b"\n" if whole else b""))[-_KEPT_OUTPUT:]

    pipe = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *launch.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=pipe[1],
            stderr=pipe[1],
            env=launch.environment | {processes.MARKER: marker},
            cwd=launch.directory,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        os.close(pipe[0])
        raise StartError(f'exec: "{launch.arguments[0]}": {error}') from error
    finally:
        os.close(pipe[1])
    pump = asyncio.create_task(_pump(pipe[0], keep))
    try:
        async with asyncio.timeout(seconds):
            code = await process.wait()
            await pump
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        pump.cancel()
        await asyncio.gather(process.wait(), pump, return_exceptions=True)
    return code, output.decode("utf-8", "replace").strip()
