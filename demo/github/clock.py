"""The stand-in's time: the machine's, until a test moves or stops it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """Seconds since the epoch, from a source that runs, plus what the clock was moved by.

    :param source: what runs, in seconds; by default the machine's clock. A test whose event loop has a time
        of its own gives that.
    """

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self._offset = 0.0
        self._stopped_at: float | None = None
        self._sleepers: set[asyncio.Future[None]] = set()

    @property
    def stopped(self) -> bool:
        return self._stopped_at is not None

    def time(self) -> float:
        """Return the present time in seconds since the epoch."""
        return self._source() + self._offset if self._stopped_at is None else self._stopped_at

    def now(self) -> datetime:
        """Return the present time, in UTC."""
        return datetime.fromtimestamp(self.time(), UTC)

    def set(self, seconds: float) -> None:
        """Let it be ``seconds`` since the epoch; whoever sleeps until then wakes."""
        if self._stopped_at is None:
            self._offset = seconds - self._source()
        else:
            self._stopped_at = seconds
        self._wake()

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at once; whoever sleeps until then wakes."""
        self.set(self.time() + seconds)

    def stop(self) -> None:
        """Stand still: from now on only :meth:`set` and :meth:`advance` move it."""
        if self._stopped_at is None:
            self._stopped_at = self.time()
            self._wake()

    def run(self) -> None:
        """Go on from where it stands."""
        if self._stopped_at is not None:
            at, self._stopped_at = self._stopped_at, None
            self.set(at)

    async def sleep(self, seconds: float) -> None:
        """Wait until ``seconds`` of this clock have passed: for ever where it is stopped and nobody moves it."""
        due = self.time() + seconds
        while (left := due - self.time()) > 0:
            moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._sleepers.add(moved)
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if self.stopped else left):
                        await moved
            finally:
                self._sleepers.discard(moved)

    def describe(self) -> dict[str, Any]:
        """Return the clock's state, JSON-ready; :meth:`restore` takes it."""
        return {
            "now": self.now().isoformat(),
            "seconds": self.time(),
            "offset": self._offset,
            "stopped": self.stopped,
        }

    def restore(self, described: dict[str, Any]) -> None:
        """Go on as an earlier clock that was described: as far from the source, or standing still."""
        self._offset = float(described["offset"])
        self._stopped_at = float(described["seconds"]) if described["stopped"] else None

    def _wake(self) -> None:
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_result(None)


_active = Clock()


def active() -> Clock:
    """Return the clock of the stand-in that was made last in this process."""
    return _active


def activate(clock: Clock) -> None:
    """Make ``clock`` the one that all of this process's timestamps come from."""
    global _active
    _active = clock
