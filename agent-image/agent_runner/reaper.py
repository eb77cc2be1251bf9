"""Processes that outlive their parents: as PID 1, or as a subreaper, the runner inherits them.

Without this, zombies pile up in the pod, and a server that the agent left in the background could still
write to the checkout while its work is being committed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

_PR_SET_CHILD_SUBREAPER = 36
_PASSES = 50
_PAUSE_SECONDS = 0.02


class Reaper:
    """Collects orphans. Does nothing until :meth:`adopt`, as a library must not reap its host's children."""

    def __init__(self) -> None:
        self._active = False

    def adopt(self) -> None:
        """Let the orphans of this process's descendants become its children (Linux)."""
        with contextlib.suppress(OSError, AttributeError):
            self._active = ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
        self._active = self._active or os.getpid() == 1

    def reap(self, keep: Container[int] = ()) -> None:
        """Collect ended children whose ids are not in ``keep``; never waits."""
        while self._active:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None or ended.si_pid in keep:
                return
            with contextlib.suppress(ChildProcessError):
                os.waitpid(ended.si_pid, os.WNOHANG)

    def kill_orphans(self) -> None:
        """Kill and collect all children and theirs, for at most a second."""
        for _ in range(_PASSES if self._active else 0):
            orphans = _children(os.getpid())
            if not orphans:
                return
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.reap()
            time.sleep(_PAUSE_SECONDS)


def _children(parent: int) -> list[int]:
    with contextlib.suppress(OSError):
        # One read, where the kernel offers it. The runner has one thread.
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # "pid (name, which may hold anything) state ppid …"
            state, ppid = stat.read_bytes().rpartition(b")")[2].split()[:2]
            if int(ppid) == parent and state != b"Z":
                found.append(int(stat.parent.name))
    return found
