"""What git tells of a repository: commits, changed files, outcomes of merges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

ZERO = "0" * 40
"""Object id that stands for "no object" in ref updates."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    name: str
    email: str


@dataclass(frozen=True, kw_only=True)
class Commit:
    oid: str
    tree: str
    parents: tuple[str, ...]
    author: Signature
    authored_date: datetime
    committer: Signature
    committed_date: datetime
    message: str


@dataclass(frozen=True, kw_only=True)
class ChangedFile:
    path: str
    previous_path: str | None
    status: str
    """REST's word: ``added``, ``removed``, ``modified`` or ``renamed``."""
    additions: int
    deletions: int


@dataclass(frozen=True, kw_only=True)
class MergeResult:
    """Outcome of a three-way merge: ``tree`` is only good when ``conflicts`` is empty."""

    tree: str
    conflicts: tuple[str, ...]
