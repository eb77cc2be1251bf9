"""The grace period of a pod that is ending, which a later request may shorten."""

from __future__ import annotations

import asyncio
from typing import Any


class GracePeriod:
    """A moment until which something may take its time.

    :param seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._expires = self._loop.time() + seconds
        self._changed = asyncio.Event()

    @property
    def remaining(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, self._expires - self._loop.time())

    def shorten(self, seconds: float) -> None:
        """End the period so many seconds from now, unless it ends sooner anyway."""
        self._expires = min(self._expires, self._loop.time() + seconds)
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_for(self, task: asyncio.Task[Any]) -> bool:
        """Wait until ``task`` is done or the period is over; the task is left alone.

        :return: whether the task is done.
        """
        while not task.done() and self.remaining > 0:
            changed = asyncio.create_task(self._changed.wait())
            await asyncio.wait({task, changed}, timeout=self.remaining, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
        return task.done()
