"""How an application fared with each of its revisions: what tells a revision that is worth going back to."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_agents.domain.pr_rule import Health

MOST_REVISIONS = 50
"""That are kept, the newest."""
MOST_GAP_SECONDS = 150.0
"""Longest time between two readings that is taken to be as the first of them said. What is longer was not seen."""
MOST_SILENCE_SECONDS = 300.0
"""Longest time between two readings that are in a row."""
RETELL_SECONDS = 600.0
"""Time after which a degradation that no run took up is told of again, at the least."""
NEEDED_SECONDS = 24 * 3600.0
NEEDED_SHARE = 0.99
MOST_HANDLED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionHealth:
    """Of one revision: for how long it was seen, and for how long of that it was healthy."""

    revision: str
    first_seen: datetime
    last_seen: datetime
    observed: float = 0.0
    """Seconds."""
    healthy: float = 0.0
    """Seconds of :attr:`observed`."""

    @property
    def proven(self) -> bool:
        """Return whether it was healthy for 99 % of a day or more."""
        return self.observed >= NEEDED_SECONDS and self.healthy >= NEEDED_SHARE * self.observed

    @property
    def ill(self) -> bool:
        """Return whether it was seen, and never healthy."""
        return self.observed > 0 and self.healthy == 0

    @property
    def words(self) -> str:
        """Return the record as words for people."""
        share = 100 * self.healthy / self.observed if self.observed else 0.0
        return f"healthy for {share:.1f} % of {self.observed / 3600:.1f} h"


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak:
    """Readings in a row that say ``Degraded``, of one revision."""

    revision: str
    readings: int
    since: datetime
    last: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {**dataclasses.asdict(self), "since": self.since.isoformat(), "last": self.last.isoformat()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Streak:
        """Read what :meth:`to_dict` wrote."""
        return cls(
            revision=str(values["revision"]),
            readings=int(values["readings"]),
            since=datetime.fromisoformat(values["since"]),
            last=datetime.fromisoformat(values["last"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthRecord:
    """What is known of an application's revisions. Immutable; :meth:`heard` returns the next one."""

    revisions: tuple[RevisionHealth, ...] = ()
    """In the order in which they were first seen, at most :data:`MOST_REVISIONS`."""
    health: Health = "Unknown"
    """Of the last reading."""
    streak: Streak | None = None
    handled: tuple[str, ...] = ()
    """Revisions whose degradation was told of; each is told of once, unless it was healthy in between."""
    told_at: datetime | None = None
    """When one was told of last."""

    def of(self, revision: str) -> RevisionHealth | None:
        """Return the record of a revision."""
        return next((one for one in self.revisions if one.revision == revision), None)

    def heard(self, health: Health, revision: str, now: datetime) -> HealthRecord:
        """Return the record after a reading. One that failed is none: do not tell of it.

        :param revision: that is deployed; empty: not known, and nothing is learned.
        :param now: when it was read, timezone-aware. What is older than the last reading is left out.
        """
        if not revision:
            return self
        last = max((one.last_seen for one in self.revisions), default=None)
        if last is not None and now <= last:
            return self
        known = self.of(revision) or RevisionHealth(revision=revision, first_seen=now, last_seen=now)
        newest = max(self.revisions, key=lambda one: one.last_seen, default=None)
        gap = (now - known.last_seen).total_seconds()
        if newest is not None and newest.revision == revision and 0 < gap <= MOST_GAP_SECONDS:
            known = dataclasses.replace(
                known,
                observed=known.observed + gap,
                healthy=known.healthy + (gap if self.health == health == "Healthy" else 0.0),
            )
        known = dataclasses.replace(known, last_seen=now)
        others = [one for one in self.revisions if one.revision != revision]
        kept = sorted((*others, known), key=lambda one: one.last_seen)[-MOST_REVISIONS:]
        handled = self.handled
        if health == "Healthy":
            handled = tuple(one for one in handled if one != revision)
        return HealthRecord(
            revisions=tuple(sorted(kept, key=lambda one: one.first_seen)),
            health=health,
            streak=self._streak(health, revision, now),
            handled=handled,
            told_at=self.told_at,
        )

    def _streak(self, health: Health, revision: str, now: datetime) -> Streak | None:
        if health != "Degraded":
            return None
        if self.streak is None or self.streak.revision != revision:
            return Streak(revision=revision, readings=1, since=now, last=now)
        if now - self.streak.last > timedelta(seconds=MOST_SILENCE_SECONDS):
            return Streak(revision=revision, readings=1, since=now, last=now)
        return dataclasses.replace(self.streak, readings=self.streak.readings + 1, last=now)

    def due(self, readings: int) -> Streak | None:
        """Return the degradation that is to be told of now, if there is one.

        :param readings: in a row that have to say so.
        """
        streak = self.streak
        if streak is None or streak.readings < readings or streak.revision in self.handled:
            return None
        return streak

    def unanswered(self, readings: int) -> Streak | None:
        """Return a degradation that was told of, and lasts so long that somebody should have taken it up.

        The times between tellings double, so that a week of them is a dozen.

        :param readings: in a row that have to say so.
        """
        streak = self.streak
        if streak is None or self.told_at is None or streak.readings < readings:
            return None
        pause = max(timedelta(seconds=RETELL_SECONDS), self.told_at - streak.since)
        return streak if streak.revision in self.handled and streak.last >= self.told_at + pause else None

    def told(self, streak: Streak) -> HealthRecord:
        """Return the record after a degradation was told of."""
        handled = (*(one for one in self.handled if one != streak.revision), streak.revision)
        return dataclasses.replace(self, handled=handled[-MOST_HANDLED:], told_at=streak.last)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            "revisions": [
                {
                    **dataclasses.asdict(one),
                    "first_seen": one.first_seen.isoformat(),
                    "last_seen": one.last_seen.isoformat(),
                }
                for one in self.revisions
            ],
            "health": self.health,
            "streak": self.streak.to_dict() if self.streak else None,
            "handled": list(self.handled),
            "told_at": self.told_at.isoformat() if self.told_at else None,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> HealthRecord:
        """Read what :meth:`to_dict` wrote.

        :raises ValueError: it is something else.
        """
        try:
            return cls(
                revisions=tuple(
                    RevisionHealth(
                        revision=str(one["revision"]),
                        first_seen=datetime.fromisoformat(one["first_seen"]),
                        last_seen=datetime.fromisoformat(one["last_seen"]),
                        observed=float(one["observed"]),
                        healthy=float(one["healthy"]),
                    )
                    for one in values["revisions"]
                ),
                health=values["health"],
                streak=Streak.from_dict(values["streak"]) if values["streak"] else None,
                handled=tuple(str(one) for one in values["handled"]),
                told_at=datetime.fromisoformat(values["told_at"]) if values["told_at"] else None,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"no record of an application's health: {type(error).__name__}: {error}"
            ) from None
