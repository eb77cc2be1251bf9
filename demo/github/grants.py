"""What the token of an app may do, for the request that it came with."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LEVELS = ("read", "write", "admin")


@dataclass(frozen=True, kw_only=True)
class Grant:
    """Rights of one token: they replace those that its bot has as a user."""

    login: str
    repositories: frozenset[str]
    """Full names in lower case."""
    permissions: Mapping[str, str]
    expires_at: float
    """Seconds since the epoch."""

    def covers(self, full_name: str) -> bool:
        return full_name.lower() in self.repositories

    def allows(self, permission: str, level: str) -> bool:
        """Say whether ``permission`` is granted at ``level`` or above."""
        return reaches(self.permissions.get(permission), level)


def reaches(held: str | None, wanted: str) -> bool:
    """Say whether the level ``held`` includes ``wanted``."""
    return held in LEVELS and LEVELS.index(held) >= LEVELS.index(wanted)


GRANT: ContextVar[Grant | None] = ContextVar("grant of the request being answered", default=None)
