"""Ctrl-C and other signals that end a program, as an exception; and an end that no signal interrupts."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class InterruptedBySignal(BaseException):
    """The program was told to end."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


@contextlib.contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Turn the signals that end a program into :class:`InterruptedBySignal`. Main thread only."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise InterruptedBySignal(number)

    before = {number: signal.signal(number, interrupt) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def stopped_at_the_end(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at the end, and let no second Ctrl-C interrupt it: it is bounded, and the keeper behind it."""
    try:
        yield
    finally:
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)
        stop()
