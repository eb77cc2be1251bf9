"""Durations as Go writes them: ``30m``, ``1h30m``, ``90s``."""

from __future__ import annotations

import re

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)


def seconds_of(text: str) -> float:
    """Return a duration in seconds.

    :raises ValueError: it is none; the message says what one looks like.
    """
    whole = re.fullmatch(rf"\+?(?:{_PART.pattern})+", text, re.ASCII)
    if whole is None or len(text) > 40:
        raise ValueError("should be a duration such as 30m, 90s or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
