"""What stands between a pull request and its merge, with the words of those who said so.

Raw: whoever puts it into a prompt cleans and fences it first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_agents.domain.pull_request import Annotation, Check, Review, ReviewThread


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingCheck:
    """A failed check with what it told about the failure."""

    check: Check
    """With its summary, where the check wrote one."""
    annotations: tuple[Annotation, ...] = ()
    log_tail: str = ""
    """The end of its log; empty where there is none to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """All that one fix round has to answer."""

    repository: str
    number: int
    head_sha: str
    """The head that it is about."""
    reason: str
    """Why a fix is asked for: the reason of the landing decision."""
    failing_checks: tuple[FailingCheck, ...] = ()
    reviews: tuple[Review, ...] = ()
    """Latest reviews of people with write access that request changes or say something."""
    threads: tuple[ReviewThread, ...] = ()
    """Unresolved threads that people with write access started, with the comments of such people."""
    conflicts_with: str | None = None
    """The base branch, where the head conflicts with it."""
    missing: tuple[str, ...] = ()
    """What could not be fetched, each with the reason."""
