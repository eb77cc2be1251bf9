"""SIGTERM and SIGINT, as something that can be asked for and waited on."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import TYPE_CHECKING

from agent_runner.failure import StepCancelled

if TYPE_CHECKING:
    from types import FrameType


class StopRequest:
    """Remembers the first stop signal. A descriptor becomes readable with it and stays so."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def install(self) -> None:
        """Take SIGTERM and SIGINT of this process. Main thread only."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def request(self, number: signal.Signals) -> None:
        """Note that the step is to stop."""
        if self.received is None:
            self.received = number
            with contextlib.suppress(BlockingIOError):
                os.write(self._writer, b"x")

    def fileno(self) -> int:
        return self._reader

    def wait(self, seconds: float) -> None:
        """Sleep; raise :class:`StepCancelled` as soon as a stop is asked for."""
        select.select([self], [], [], seconds)
        self.check()

    def check(self) -> None:
        """Raise :class:`StepCancelled` if a stop was asked for."""
        if self.received is not None:
            raise StepCancelled(self.received)

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.request(signal.Signals(number))
