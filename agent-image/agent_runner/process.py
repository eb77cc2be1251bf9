"""One child process in its own process group: streamed, limited in time, and stopped as a group."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from agent_runner.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent_runner.reaper import Reaper
    from agent_runner.stop import StopRequest

TERM_GRACE_SECONDS = 5.0
"""From SIGTERM to SIGKILL."""
STOP_GRACE_SECONDS = 2.0
"""The same when the runner itself was told to stop: what was done has to be saved in what is left of the
pod's grace."""
INTERRUPT_GRACE_SECONDS = 3.0
"""From SIGINT to SIGTERM, for programs that sum up their work when they are interrupted."""
STOP_INTERRUPT_GRACE_SECONDS = 1.5
"""The same when the runner itself was told to stop."""
_DRAIN_SECONDS = 1.0
_TICK_SECONDS = 0.25
_CHUNK_BYTES = 65_536

Cause = Literal["exit", "deadline", "idle", "halted", "stopped"]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended."""

    returncode: int
    """As in :mod:`subprocess`: negative is the number of the signal that killed it."""
    cause: Cause
    """``exit`` by itself; the others: stopped by the runner, for its deadline, its silence, what the caller
    saw in its output, or a signal."""

    @property
    def signal_name(self) -> str | None:
        """Name of the signal that killed the process, e.g. ``SIGKILL``."""
        if self.returncode >= 0:
            return None
        try:
            return signal.Signals(-self.returncode).name
        except ValueError:
            return f"signal {-self.returncode}"


@dataclass(frozen=True, slots=True)
class Supervision:
    """What watches over every process of a step."""

    stop: StopRequest
    reaper: Reaper
    deadline: Deadline


@dataclass
class LineSplitter:
    """Cuts a stream into lines in bounded memory: of a line beyond ``limit`` bytes only the start is kept."""

    limit: int
    _buffer: bytearray = field(default_factory=bytearray)
    _skipping: bool = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that ``chunk`` completes, without their ends."""
        lines = []
        *complete, rest = chunk.split(b"\n")
        for part in complete:
            self._add(part)
            lines.append(bytes(self._buffer))
            self._buffer.clear()
            self._skipping = False
        self._add(rest)
        return lines

    def flush(self) -> list[bytes]:
        """Return the last line, if it had no end."""
        line = bytes(self._buffer)
        self._buffer.clear()
        return [line] if line else []

    def _add(self, part: bytes) -> None:
        if not self._skipping:
            self._buffer += part[: self.limit - len(self._buffer)]
            self._skipping = len(self._buffer) >= self.limit


@dataclass
class Tail:
    """The last ``limit`` bytes of a stream."""

    limit: int
    _data: bytearray = field(default_factory=bytearray)

    def feed(self, chunk: bytes) -> None:
        self._data += chunk
        if len(self._data) > 2 * self.limit + _CHUNK_BYTES:
            del self._data[: -self.limit]

    def text(self) -> str:
        """Return it as text; a character cut at its start is replaced."""
        return bytes(self._data[-self.limit :]).decode(errors="replace")


def run_process(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    supervision: Supervision,
    on_output: Callable[[bytes], None],
    on_error: Callable[[bytes], None] | None = None,
    stdin: bytes = b"",
    deadline: Deadline | None = None,
    idle_seconds: Callable[[], float] | None = None,
    halt: Callable[[], bool] | None = None,
    interrupt: Callable[[], bool] | None = None,
) -> Ended:
    """Run a program to its end and hand on what it writes.

    Nothing that it started survives: its process group, and every orphan the reaper knows of, is killed.

    :param env: the whole environment of the program.
    :param on_output: called with each chunk of standard output.
    :param on_error: called with each chunk of standard error; ``None``: both are one stream.
    :param stdin: given to the program as a file, so that neither side can block the other.
    :param deadline: when to stop it; never later than the supervision's.
    :param idle_seconds: asked again and again: how long it may write nothing to standard output.
    :param halt: asked again and again, and after each chunk: whether to stop it.
    :param interrupt: asked when it has to be stopped: whether with SIGINT first, and SIGTERM only then.
        SIGKILL is the last in any case.
    :raises StepCancelled: a stop was asked for before the program was started.
    :raises OSError: the program could not be started.
    """
    supervision.stop.check()
    limit = supervision.deadline if deadline is None else Deadline(min(deadline.at, supervision.deadline.at))
    with _readable(stdin) as stdin_file:
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(env),
            stdin=stdin_file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if on_error else subprocess.STDOUT,
            start_new_session=True,
            bufsize=0,
        )
    pump = _Pump(process, on_output, on_error)
    try:
        cause = _watch(process, pump, supervision, limit, idle_seconds, halt)
        if cause != "exit":
            told = cause == "stopped"
            if interrupt is not None and interrupt():
                grace = STOP_INTERRUPT_GRACE_SECONDS if told else INTERRUPT_GRACE_SECONDS
                _end_group(process, pump, signal.SIGINT, grace)
            _end_group(process, pump, signal.SIGTERM, STOP_GRACE_SECONDS if told else TERM_GRACE_SECONDS)
    finally:
        _kill_group(process.pid)
        process.wait()
        supervision.reaper.reap()
        supervision.reaper.kill_orphans()
        pump.drain(_DRAIN_SECONDS)
    return Ended(returncode=process.returncode, cause=cause)


def _readable(data: bytes) -> IO[bytes]:
    """Return an open file that holds ``data``."""
    if not data:
        return Path(os.devnull).open("rb")
    if sys.platform == "linux":
        # In memory: a full disk must not keep a program from its prompt.
        file: IO[bytes] = os.fdopen(os.memfd_create("stdin"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(data)
    file.seek(0)
    return file


class _Pump:
    """Moves what a process writes to its callbacks."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        on_output: Callable[[bytes], None],
        on_error: Callable[[bytes], None] | None,
    ) -> None:
        self.last_output = time.monotonic()
        self._selector = selectors.DefaultSelector()
        self._streams: list[IO[bytes]] = []
        for stream, callback in ((process.stdout, on_output), (process.stderr, on_error)):
            if stream is not None:
                self._selector.register(stream, selectors.EVENT_READ, callback)
                self._streams.append(stream)
        self._stdout = process.stdout

    @property
    def open(self) -> bool:
        return bool(self._streams)

    def watch(self, stop: StopRequest) -> None:
        """Also wake up for a stop request."""
        self._selector.register(stop, selectors.EVENT_READ, None)

    def unwatch(self, stop: StopRequest) -> None:
        self._selector.unregister(stop)

    def step(self, seconds: float) -> None:
        """Wait at most ``seconds`` for something to be written and hand it on."""
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                continue
            chunk = os.read(key.fd, _CHUNK_BYTES)
            if chunk:
                if key.fileobj is self._stdout:
                    self.last_output = time.monotonic()
                key.data(chunk)
            else:
                self._selector.unregister(key.fileobj)
                self._streams.remove(key.fileobj)  # type: ignore[arg-type]

    def drain(self, seconds: float) -> None:
        """Read what is left, for at most ``seconds``, and close."""
        end = Deadline.after(seconds)
        while self.open and not end.passed():
            self.step(end.remaining())
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()


def _watch(
    process: subprocess.Popen[bytes],
    pump: _Pump,
    supervision: Supervision,
    limit: Deadline,
    idle_seconds: Callable[[], float] | None,
    halt: Callable[[], bool] | None,
) -> Cause:
    """Pump until the process has ended or must be stopped; say which."""
    pump.watch(supervision.stop)
    try:
        while process.poll() is None:
            if supervision.stop.received is not None:
                return "stopped"
            if limit.passed():
                return "deadline"
            if halt is not None and halt():
                return "halted"
            pause = min(_TICK_SECONDS, limit.remaining())
            if idle_seconds is not None:
                quiet_until = pump.last_output + idle_seconds()
                if time.monotonic() >= quiet_until:
                    return "idle"
                pause = min(pause, max(0.0, quiet_until - time.monotonic()))
            if pump.open:
                pump.step(pause)
            else:
                # Both streams are closed: as a rule the end is a moment away.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(min(pause, 0.05))
            supervision.reaper.reap(keep=(process.pid,))
        return "exit"
    finally:
        pump.unwatch(supervision.stop)


def _end_group(process: subprocess.Popen[bytes], pump: _Pump, number: signal.Signals, grace: float) -> None:
    """Send a signal to the group, then wait at most ``grace`` seconds for its leader."""
    if process.poll() is not None:
        return
    _signal_group(process.pid, number)
    end = Deadline.after(grace)
    while process.poll() is None and not end.passed():
        if pump.open:
            pump.step(min(0.05, end.remaining()))
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(min(0.05, end.remaining()))


def _kill_group(group: int) -> None:
    _signal_group(group, signal.SIGKILL)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
