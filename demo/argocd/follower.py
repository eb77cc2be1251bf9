"""How an application follows a branch: by asking GitHub's REST interface, as often as its interval says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from demo.argocd.state import Application

TIMEOUT = aiohttp.ClientTimeout(total=10)


@dataclass(kw_only=True)
class Follower:
    """What an application is synchronised with, and what comes of a revision.

    A revision whose tree has ``broken_file`` in it ends ``Degraded``; ``healths`` says otherwise for single ones.
    """

    api: str
    """``http://127.0.0.1:PORT/api/v3``."""
    token: str = field(repr=False)
    repository: str
    """``owner/name``."""
    branch: str = "main"
    interval: float = 180
    """Seconds between two looks at git; a refresh looks at once."""
    rollout: float = 0
    """Seconds that a deployment takes."""
    broken_file: str = "BROKEN"
    healths: dict[str, str] = field(default_factory=dict)
    looked_at: datetime | None = field(default=None, init=False)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False)

    async def look(self, app: Application, now: datetime, *, refresh: bool) -> None:
        """Compare the application with git where it is time, and synchronise it."""
        async with self._one_at_a_time:
            await self._look(app, now, refresh=refresh)

    async def _look(self, app: Application, now: datetime, *, refresh: bool) -> None:
        due = self.looked_at is None or now >= self.looked_at + timedelta(seconds=self.interval)
        if not (due or refresh):
            return
        self.looked_at = app.reconciled_at = now
        try:
            async with aiohttp.ClientSession(
                timeout=TIMEOUT, headers={"Authorization": f"Bearer {self.token}"}
            ) as session:
                found = await self._json(session, f"branches/{self.branch}")
                if found is None:
                    raise ValueError(f"there is no branch {self.branch}")
                revision = str(found["commit"]["sha"])
                if revision == app.revision:
                    app.sync, app.condition = "Synced", ""
                    return
                if not app.automated:
                    app.sync, app.condition = "OutOfSync", ""
                    return
                broken = await self._json(session, f"contents/{self.broken_file}?ref={revision}") is not None
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            app.sync, app.condition = "Unknown", f"Failed to load target state: {error}"
            return
        health = self.healths.get(revision, "Degraded" if broken else "Healthy")
        message = (
            f'Deployment "{app.name}" exceeded its progress deadline'[:200] if health == "Degraded" else ""
        )
        app.deploy(revision, now, health=health, message=message, seconds=self.rollout)

    async def _json(self, session: aiohttp.ClientSession, path: str) -> Any:
        async with session.get(f"{self.api}/repos/{self.repository}/{path}") as response:
            if response.status == 404:
                return None
            response.raise_for_status()
            return await response.json()
