"""A point in time after which something must have stopped."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on the monotonic clock, in seconds."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline that lies ``seconds`` ahead."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self.at - time.monotonic())

    def passed(self) -> bool:
        return self.remaining() == 0.0

    def earlier(self, seconds: float) -> Deadline:
        """Return the deadline ``seconds`` before this one."""
        return Deadline(self.at - seconds)

    def within(self, seconds: float) -> Deadline:
        """Return this deadline, or the one ``seconds`` ahead if that comes first."""
        return Deadline(min(self.at, time.monotonic() + seconds))
