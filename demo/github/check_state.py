"""What the stand-in knows of checks: statuses, workflows, suites and runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from demo.github import clock
from demo.github.state import App, Entity, Repository, User, now

if TYPE_CHECKING:
    from datetime import datetime

    from demo.github.planned_checks import PlannedState, WaitingJob

PASSING = frozenset({"SUCCESS", "NEUTRAL", "SKIPPED"})
"""Conclusions of a check run that satisfy a required check."""


@dataclass(kw_only=True, eq=False)
class Status(Entity):
    """A commit status, the older kind of check."""

    prefix: ClassVar[str] = "SC"
    repository: Repository
    sha: str
    context: str
    state: str
    description: str | None = None
    target_url: str | None = None
    creator: User
    created_at: datetime = field(default_factory=now)


@dataclass(kw_only=True, eq=False)
class Workflow(Entity):
    """A file below ``.github/workflows``."""

    prefix: ClassVar[str] = "W"
    name: str
    path: str
    created_at: datetime = field(default_factory=now)


@dataclass(kw_only=True, eq=False)
class CheckSuite(Entity):
    """The checks that one app, or one run of one workflow, reports on one commit."""

    prefix: ClassVar[str] = "CS"
    repository: Repository
    head_sha: str
    branch: str
    app: App
    workflow: Workflow | None = None
    event: str = "push"
    run_number: int = 1
    runs: list[CheckRun] = field(default_factory=list)
    attempt: int = 1
    waiting: list[WaitingJob] = field(default_factory=list)
    """Jobs that start once those that they need have ended; they have no check run yet."""
    more_to_come: bool = False
    """Whether further runs are announced, although all that are there have ended."""
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)

    def latest_runs(self) -> list[CheckRun]:
        """Return the latest run of each name, of those that have appeared."""
        present = clock.active().time()
        return list({run.name: run for run in self.runs if run.appears_at <= present}.values())

    @property
    def status(self) -> str:
        words = [run.status for run in self.latest_runs()]
        if words and all(word == "COMPLETED" for word in words):
            return "IN_PROGRESS" if self.waiting or self.more_to_come else "COMPLETED"
        return "QUEUED" if all(word == "QUEUED" for word in words) else "IN_PROGRESS"

    @property
    def conclusion(self) -> str | None:
        if self.status != "COMPLETED":
            return None
        failed = [run.conclusion for run in self.latest_runs() if run.conclusion not in PASSING]
        return failed[0] if failed else "SUCCESS"


@dataclass(kw_only=True)
class CheckAnnotation:
    path: str
    line: int
    level: str
    message: str
    title: str | None = None
    end_line: int | None = None


@dataclass(kw_only=True, eq=False)
class CheckRun(Entity):
    prefix: ClassVar[str] = "CR"
    suite: CheckSuite
    name: str
    status: str = "QUEUED"
    conclusion: str | None = None
    title: str | None = None
    summary: str | None = None
    details_url: str | None = None
    annotations: list[CheckAnnotation] = field(default_factory=list)
    started_at: datetime | None = None
    completed_at: datetime | None = None
    log: str | None = None
    """Plain text of the job's log, once it has ended."""
    attempt: int = 1
    work: WaitingJob | None = None
    """The job that it reports, where the stand-in runs it."""
    appears_at: float = 0.0
    """Time before which nobody sees it, in seconds since the epoch by the stand-in's clock."""
    plan: list[PlannedState] = field(default_factory=list)
    """What it is to become, earliest first."""

    @property
    def passed(self) -> bool:
        return self.status == "COMPLETED" and self.conclusion in PASSING
