"""The time that a rollback's tasks go by."""

from __future__ import annotations

from datetime import UTC, datetime


def present() -> datetime:
    """Return the present moment, timezone-aware."""
    return datetime.now(tz=UTC)
