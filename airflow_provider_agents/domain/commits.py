"""A commit, as far as landing looks at commits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRef:
    """A commit of a repository."""

    sha: str
    author: str
    """Login of the account behind it; where GitHub knows none, the name that the commit gives."""
    title: str
    """First line of its message."""
    message: str = ""
    """All of its message."""
    author_name: str = ""
    author_email: str = ""
    login: str = ""
    """Login of the account that GitHub takes for the author; who pushes may claim any."""
    verified: bool = False
    """Whether GitHub vouches for the signature, and so for the author."""
