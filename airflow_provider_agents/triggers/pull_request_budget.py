"""How fast a poll may go on what is left of GitHub's rate limit: with hysteresis, and down to a stop."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_agents.hooks.github_models import RateLimit

LOW = 0.2
"""Share of the limit under which the poll slows down."""
RECOVERED = 0.5
"""Share of the limit over which it goes at full speed again."""
RESERVE = 0.05
"""Share of the limit that is left to whoever acts on what was read: merges, comments, feedback."""
PULSES_PER_POINT = 100
SNAPSHOT_POINTS = 0.2
"""Cost of a full reading, by GitHub's formula; ``tests/bench`` computes it from the documents."""


class RateBudget:
    """What the newest answers said about one credential's limit."""

    def __init__(self) -> None:
        self._limit: RateLimit | None = None
        self._low = False

    def note(self, limit: RateLimit | None, now: datetime) -> None:
        """Take the state of the limit after a call; ``None`` where GitHub names none."""
        self._limit = limit
        if limit is None or limit.limit <= 0 or limit.reset_at <= now:
            self._low = False
            return
        share = limit.remaining / limit.limit
        self._low = share < (RECOVERED if self._low else LOW)

    def low(self, now: datetime) -> bool:
        """Return whether what is left has to be made to last."""
        return self._low and self._limit is not None and self._limit.reset_at > now

    def pause(self, pulses: int, snapshots: int, now: datetime) -> float:
        """Return the seconds that have to pass after these readings, so that the rest lasts to the reset."""
        if not self.low(now) or self._limit is None:
            return 0.0
        left = (self._limit.reset_at - now).total_seconds()
        spare = self._limit.remaining - RESERVE * self._limit.limit
        points = math.ceil(pulses / PULSES_PER_POINT) + snapshots * SNAPSHOT_POINTS
        return left if spare <= points else min(left, points * left / spare)

    def notice(self, now: datetime) -> str:
        """Return one sentence for those who wait; empty at full speed. It stays the same while it is low."""
        if not self.low(now) or self._limit is None:
            return ""
        return (
            f"GitHub's rate limit is low: under {LOW:.0%} of {self._limit.limit:,} points an hour are left. "
            f"Readings are slowed down until {self._limit.reset_at:%H:%M} UTC"
        )
