"""How long a program of the pod takes to get to work, phase by phase, for one line in its log."""

from __future__ import annotations

import os
import time
from pathlib import Path


def process_seconds() -> float:
    """Return the age of this process in seconds, to a hundredth: its interpreter's start is in it.

    0 where the system does not tell.
    """
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


class StartUp:
    """The phases of one start, each from the end of the one before.

    ::

        start_up = StartUp()            # "runner": from the process's start until now
        start_up.reached("gateway")
        start_up.reached("checkout")
        start_up.line()                 # start-up: runner 0.09 s, gateway 0.21 s, checkout 0.34 s

    :param first: name of what took the time until now.
    """

    def __init__(self, first: str = "runner") -> None:
        self._last = time.monotonic()
        self.phases = {first: process_seconds()}
        """Name → seconds, in order."""

    def reached(self, phase: str) -> None:
        """Note that a phase is over. One that comes again, as with a second start of a program, is not counted."""
        now = time.monotonic()
        self.phases.setdefault(phase, now - self._last)
        self._last = now

    def line(self) -> str:
        """Return what is said of it in the log."""
        return "start-up: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self.phases.items())
