"""Time as the API writes it."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> str:
    """Return the present time to the second, as in the fields of objects."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now_micro() -> str:
    """Return the present time to the microsecond, as in the ``eventTime`` of events."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def format_nanoseconds(nanoseconds: int) -> str:
    """Return a time in nanoseconds since 1970 as RFC 3339 with nine digits, as in logs."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


def parse(text: str) -> datetime:
    """Read a time of the API (RFC 3339, any number of digits).

    :raises ValueError: if it is not one, or has no time zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment


def nanoseconds(text: str) -> int:
    """Return a time of the API as whole nanoseconds since 1970.

    :raises ValueError: if it is not one, or has no time zone.
    """
    moment = parse(text).replace(microsecond=0)
    start = text.find(".", 19) + 1
    digits = ""
    while start and start < len(text) and text[start].isdigit():
        digits += text[start]
        start += 1
    return int(moment.timestamp()) * 1_000_000_000 + int(digits[:9].ljust(9, "0"))
