"""Keeps secrets out of a log at level DEBUG, where the Kubernetes clients write every answer's body."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOGGERS = ("kubernetes.client.rest", "kubernetes_asyncio.client.rest")


@contextmanager
def unlogged_bodies() -> Iterator[None]:
    """Drop what the clients log for debugging while secrets come and go.

    In an event loop this holds for all who use a client meanwhile; they lose a line for debugging.
    """

    def own(record: logging.LogRecord) -> bool:  # a filter of this call's own, as calls may overlap
        return record.levelno > logging.DEBUG

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(own)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(own)
