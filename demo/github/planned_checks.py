"""Checks that are yet to come: jobs that wait, and what runs shall come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demo.github.workflows import Job


@dataclass(frozen=True, kw_only=True)
class WaitingJob:
    """A job of a workflow, with the commit that it is to check out."""

    job: Job
    checkout: str
    """The head, or its merge into the base for a pull request."""
    ref: str


@dataclass(frozen=True, kw_only=True)
class ScriptedOutcome:
    """What a run of a check comes to, whatever its job does."""

    conclusion: str
    title: str | None = None
    summary: str | None = None
    log: str | None = None
    seconds: float = 0.0
    """How long the run takes."""
    event: str | None = None
    """For runs of this event alone, e.g. ``merge_group``."""


@dataclass(frozen=True, kw_only=True)
class PlannedState:
    """What a run will be at a time to come."""

    at: float
    """Seconds since the epoch, by the stand-in's clock."""
    status: str
    conclusion: str | None = None
