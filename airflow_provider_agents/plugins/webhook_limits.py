"""How much of an API server the public endpoints may use: it serves Airflow's page and its tasks, too."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

T = TypeVar("T")

MOST_AT_ONCE = 32
"""Requests whose bodies are held at the same time."""
PER_SECOND = 50.0
BURST = 250
THREADS = 4
MOST_WAITING = 32
"""Calls that use the database, or wait for it."""


class BusyError(Exception):
    """There is too much to do; try again later."""


class RateExceededError(Exception):
    """There were too many requests in a short time."""


class Turnstile:
    """Lets in so many requests at once and in a second.

    :param at_once: most at the same time.
    :param per_second: most in the long run.
    :param burst: most in no time.
    :param clock: seconds.
    """

    def __init__(
        self,
        *,
        at_once: int = MOST_AT_ONCE,
        per_second: float = PER_SECOND,
        burst: int = BURST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._at_once = at_once
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._inside = 0
        self._left = float(burst)
        self._at = clock()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Hold a place while the block runs.

        :raises RateExceededError: there were too many of late.
        :raises BusyError: there is no place now.
        """
        now = self._clock()
        self._left = min(float(self._burst), self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            raise RateExceededError
        self._left -= 1
        if self._inside >= self._at_once:
            raise BusyError
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1


class Threads:
    """A few threads for calls that block. A call that is given up goes on, and counts until it ends.

    :param threads: how many run at a time.
    :param waiting: how many are accepted, with those that run.
    """

    def __init__(self, *, threads: int = THREADS, waiting: int = MOST_WAITING) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="agents-webhooks")
        self._waiting = waiting
        self._count = 0
        self._lock = threading.Lock()

    async def run(self, call: Callable[..., T], *arguments: Any) -> T:
        """Return what ``call`` returns.

        :raises BusyError: too many are under way.
        """
        with self._lock:
            if self._count >= self._waiting:
                raise BusyError
            self._count += 1
        try:
            future = self._pool.submit(call, *arguments)
        except BaseException:
            self._ended()
            raise
        future.add_done_callback(self._ended)
        return await asyncio.wrap_future(future)

    def _ended(self, _: Future[Any] | None = None) -> None:
        with self._lock:
            self._count -= 1
