"""Applications of the stand-in, and how they change with time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

HEALTHS = ("Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown")
HISTORY_LIMIT = 10
"""Entries that Argo CD keeps of an application's history by default."""


@dataclass(kw_only=True)
class Deployed:
    """An entry of the history."""

    id: int
    revision: str
    started_at: datetime
    deployed_at: datetime


@dataclass(kw_only=True)
class Rollout:
    """What a deployment comes to, and when."""

    ends_at: datetime
    health: str
    message: str


@dataclass(kw_only=True)
class Application:
    """An application with one Deployment of the same name."""

    name: str
    repo_url: str
    path: str = "deploy"
    target_revision: str = "main"
    project: str = "default"
    namespace: str = "argocd"
    destination_namespace: str = ""
    automated: bool = True
    health: str = "Healthy"
    health_message: str = ""
    health_since: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    sync: str = "Synced"
    revision: str = ""
    image: str = ""
    """Without a tag: the beginning of the revision follows."""
    replicas: int = 2
    available: int | None = None
    """By default as the health says."""
    phase: str = "Succeeded"
    condition: str = ""
    reconciled_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    history: list[Deployed] = field(default_factory=list)
    rollout: Rollout | None = None
    sources: list[dict[str, Any]] = field(default_factory=list)
    """Of an application with several; ``revisions`` goes with it."""
    revisions: list[str] = field(default_factory=list)

    def deploy(
        self, revision: str, now: datetime, *, health: str = "Healthy", message: str = "", seconds: float = 0
    ) -> None:
        """Synchronise to a revision, whose pods take a while.

        :param health: that it comes to.
        :param seconds: that it is ``Progressing`` before.
        """
        number = self.history[-1].id + 1 if self.history else 0
        self.history.append(Deployed(id=number, revision=revision, started_at=now, deployed_at=now))
        del self.history[:-HISTORY_LIMIT]
        self.revision, self.sync, self.phase, self.condition = revision, "Synced", "Succeeded", ""
        self.available = None
        self.become("Progressing", "", now)
        self.rollout = Rollout(ends_at=now + timedelta(seconds=seconds), health=health, message=message)
        self.settle(now)

    def settle(self, now: datetime) -> None:
        """Let a rollout whose time is over end."""
        if self.rollout is not None and now >= self.rollout.ends_at:
            ended, self.rollout = self.rollout, None
            self.become(ended.health, ended.message, ended.ends_at)

    def become(self, health: str, message: str, now: datetime) -> None:
        """Have a health from now on."""
        if health != self.health:
            self.health_since = now
        self.health, self.health_message = health, message

    @property
    def available_now(self) -> int:
        """Return how many copies are available."""
        if self.available is not None:
            return self.available
        return self.replicas if self.health in ("Healthy", "Suspended") else max(self.replicas - 1, 0)
