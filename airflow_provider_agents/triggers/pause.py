"""A wait for a moment, without a word in the log for each second of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class PauseTrigger(BaseTrigger):
    """Fires once, at a moment or as soon after as a triggerer is there.

    :param until: the moment, ISO 8601 with a time zone.
    """

    supports_triggerer_queue = True

    def __init__(self, *, until: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.until = until
        self._until = datetime.fromisoformat(until)
        if self._until.tzinfo is None:
            raise ValueError(f"a moment needs a time zone: {until!r}")

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, JSON-ready."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {"until": self.until}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the one event."""
        await asyncio.sleep(max(0.0, (self._until - datetime.now(UTC)).total_seconds()))
        yield TriggerEvent({"until": self.until})  # type: ignore[no-untyped-call]
