"""The demo's parts as processes: each a session of its own, with its own log file, ended for certain."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING, Any, TypeVar

from demo import keeper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")


class PartFailedError(RuntimeError):
    """A part of the demo ended, or did not get ready in time. The message has the end of its log."""


def free_port() -> int:
    """Return a loopback port that nobody listens on now; it is not reserved."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(question: Callable[[], T | None], *, what: str, seconds: float, interval: float = 0.1) -> T:
    """Ask ``question`` until it has an answer.

    :param question: returns the answer, or ``None`` while there is none.
    :param what: what is waited for, for the message.
    :param seconds: longest wait.
    :param interval: seconds between two questions.
    :raise TimeoutError: no answer in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = question()
        if answer is not None:
            return answer
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{what}: not there after {seconds:.0f} s")
        time.sleep(interval)


class Part:
    """One program of the demo.

    :param name: what it is called in messages; its log is ``<logs>/<name>.log``.
    :param argv: the command.
    :param env: its whole environment.
    :param cwd: its working directory.
    :param logs: folder of the log files.
    :param ready_file: written by the program once it serves, as JSON; removed before each start.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        logs: Path,
        ready_file: Path | None = None,
        watch: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.env = dict(env)
        self.cwd = cwd
        self.log = logs / f"{name}.log"
        self.ready_file = ready_file
        self._watch = watch
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; return at once. Its log goes on where an earlier start left it."""
        if self.running:
            raise RuntimeError(f"{self.name} is running already")
        if self.ready_file:
            self.ready_file.unlink(missing_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.argv,
                env=self.env,
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watch(f"+{self._process.pid}")

    @property
    def pid(self) -> int:
        """Process id, which also is the id of its session."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How it ended; ``None`` while it runs; negative: the signal that ended it."""
        return self._process.poll() if self._process else None

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the program, and do not wait."""
        if self.running:
            os.kill(self.pid, signal.SIGTERM)

    def stop(self, grace: float = 10.0) -> None:
        """End it and all that it started: SIGTERM, ``grace`` seconds, SIGKILL."""
        if self._process is None:
            return
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace)
        self.kill()

    def kill(self) -> None:
        """End it and all that it started at once, as a lost machine would."""
        if self._process is None:
            return
        deadline = time.monotonic() + 10
        while keeper.session_members([self.pid]) and time.monotonic() < deadline:
            keeper.signal_sessions([self.pid], signal.SIGKILL)
            time.sleep(0.02)
        self._process.wait(10)
        self._watch(f"-{self.pid}")

    def restart(self) -> None:
        """Start it again with the same command, after :meth:`kill` or :meth:`stop` where it still runs."""
        if self.running:
            self.stop()
        self.start()

    def wait_ready(self, seconds: float) -> dict[str, Any]:
        """Wait for the ready file and return what it holds.

        :raise PartFailedError: the program ended, or ``seconds`` passed.
        """
        if self.ready_file is None:
            raise RuntimeError(f"{self.name} has no ready file")
        return self.wait(self._read_ready_file, what="its ready file", seconds=seconds)

    def wait_exit(self, seconds: float) -> None:
        """Wait for a program that ends by itself.

        :raise PartFailedError: it failed, or ``seconds`` passed.
        """
        assert self._process is not None
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise self.failure(f"did not end within {seconds:.0f} s") from None
        self._watch(f"-{self.pid}")
        if code:
            raise self.failure(f"ended with exit code {code}")

    def wait(self, question: Callable[[], T | None], *, what: str, seconds: float) -> T:
        """Ask ``question`` until it has an answer, as long as the program runs.

        :raise PartFailedError: the program ended, or ``seconds`` passed.
        """

        def ask() -> T | None:
            if not self.running:
                raise self.failure(f"ended with exit code {self.exit_code} while waiting for {what}")
            return question()

        try:
            return wait_for(ask, what=what, seconds=seconds)
        except TimeoutError:
            raise self.failure(f"no sign of {what} within {seconds:.0f} s") from None

    def tail(self, lines: int = 20) -> str:
        """Return the last ``lines`` lines of its log, of at most 20,000 bytes."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - 20_000))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def failure(self, message: str) -> PartFailedError:
        """Return an error that names the part and shows the end of its log."""
        end = self.tail() or "(empty)"
        return PartFailedError(f"{self.name}: {message}.\nThe end of {self.log}:\n{end}")

    def _read_ready_file(self) -> dict[str, Any] | None:
        assert self.ready_file is not None
        try:
            value = json.loads(self.ready_file.read_text())
        except (FileNotFoundError, ValueError):  # not written yet, or half
            return None
        return value if isinstance(value, dict) else None


class Parts:
    """All programs of one demo, by name. Ended when this process ends, even if it is killed.

    :param folder: working directory of the programs; ``folder/logs`` has their logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self._parts: dict[str, Part] = {}
        self._keeper: subprocess.Popen[bytes] | None = None

    def __getitem__(self, name: str) -> Part:
        return self._parts[name]

    def add(
        self, name: str, argv: Sequence[str], env: Mapping[str, str], *, ready_file: Path | None = None
    ) -> Part:
        """Add a program, without starting it."""
        self._parts[name] = part = Part(
            name,
            argv,
            env=env,
            cwd=self.folder,
            logs=self.logs,
            ready_file=ready_file,
            watch=self._tell_keeper,
        )
        return part

    def as_dict(self) -> dict[str, Part]:
        """Return the programs by name."""
        return dict(self._parts)

    def check(self) -> None:
        """Raise :class:`PartFailedError` if a program that was started has failed."""
        for part in self._parts.values():
            if part.exit_code:
                raise part.failure(f"ended with exit code {part.exit_code}")

    def stop(self, grace: float = 5.0) -> None:
        """End all programs and all that they started, the last one added first."""
        started = [
            part for part in reversed(self._parts.values()) if part.exit_code is not None or part.running
        ]
        for part in started:
            part.ask_to_stop()
        deadline = time.monotonic() + grace
        for part in started:
            part.stop(max(0.0, deadline - time.monotonic()))
        if self._keeper:
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()
            self._keeper.wait(3 * keeper.GRACE_SECONDS)
            self._keeper = None

    def _tell_keeper(self, line: str) -> None:
        if self._keeper is None:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", keeper.__file__],
                stdin=subprocess.PIPE,
                start_new_session=True,
                close_fds=True,
            )
        pipe: IO[bytes] | None = self._keeper.stdin
        assert pipe is not None
        pipe.write(f"{line}\n".encode())
        pipe.flush()
