"""Ends the demo's processes when the program that started them is gone, however it went.

Run as a script, with the standard library only. Standard input says what to keep watch over: ``+ID`` adds
a session, ``-ID`` lets it go. At its end, which comes even when the owner is killed, all that is left is
ended: SIGTERM first, so that the parts can clean up behind themselves, then SIGKILL.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

GRACE_SECONDS = 5.0
"""Between SIGTERM and SIGKILL."""


def session_members(sessions: Iterable[int]) -> dict[int, int]:
    """Return the live processes of ``sessions``: process id → session id.

    By session and not by process group, because Airflow gives each task a process group of its own.
    """
    wanted = set(sessions)
    members = {}
    for pid in _all_pids() if wanted else ():
        with contextlib.suppress(OSError):
            if (session := os.getsid(pid)) in wanted and not _is_zombie(pid):
                members[pid] = session
    return members


def signal_sessions(sessions: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to every process of ``sessions``."""
    for pid in session_members(sessions):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def end_sessions(sessions: Iterable[int], grace: float = GRACE_SECONDS) -> None:
    """End every process of ``sessions``: ask the leaders, wait ``grace`` seconds, then kill what is left.

    Only leaders are asked, so that a program can stop its own children in its own order.
    """
    sessions = set(sessions)
    for leader in sessions:
        if session_members([leader]).get(leader):
            with contextlib.suppress(ProcessLookupError):
                os.kill(leader, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while session_members(sessions) and time.monotonic() < deadline:
        time.sleep(0.05)
    deadline = time.monotonic() + grace
    while session_members(sessions) and time.monotonic() < deadline:
        signal_sessions(sessions, signal.SIGKILL)
        time.sleep(0.02)


def _all_pids() -> list[int]:
    if Path("/proc/self/stat").exists():
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid="], capture_output=True, text=True, timeout=10, check=True
    )
    return [int(word) for word in listing.stdout.split()]


def _is_zombie(pid: int) -> bool:
    """Say whether ``pid`` has ended and only waits for its parent to notice."""
    try:
        # The name in parentheses may hold any character, so the state is looked for behind it.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


def main() -> None:
    """Keep watch until standard input ends, then end what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions: set[int] = set()
    for line in sys.stdin:
        session = int(line[1:])
        if line.startswith("+"):
            sessions.add(session)
        else:
            sessions.discard(session)
    end_sessions(sessions)


if __name__ == "__main__":
    main()
