"""What is true about a rollback at one moment: the input of :func:`.rollback.step`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_agents.domain.landing_decision import Decision, Verdict
    from airflow_provider_agents.domain.pr_rule import Health
    from airflow_provider_agents.domain.pull_request import Mergeable, PullRequestSnapshot, PullRequestState

Checks = Literal["pending", "passed", "failed"]

_UNSETTLED = frozenset(
    {
        "checks_running",
        "no_checks_yet",
        "no_checks",
        "settling",
        "required_missing",
        "mergeability_unknown",
        "incomplete",
        "rerun_not_shown",
        "base_broken",
    }
)
"""Reasons of a landing's wait that say that the checks are not done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A revision to go back to."""

    revision: str
    proven: bool
    """Whether it is known to be good (I5)."""
    evidence: str
    """Why, for people."""
    commits: int
    """That the branch has beyond it."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Candidate:
        """Read what :meth:`to_dict` wrote."""
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class PullFacts:
    """The rollback's pull request, and what the landing decision says of it."""

    url: str
    state: PullRequestState
    ours: bool
    """Whether its head is the commit that was made for it."""
    fresh: bool
    """Whether that commit was made on what the base branch is now."""
    checks: Checks
    mergeable: Mergeable
    verdict: Verdict
    message: str
    queued: bool = False
    """Whether it is in the merge queue of its base branch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is true now. What could not be read is not fine: it is ``Unknown`` or ``None``."""

    environment_allowed: bool
    health: Health
    readings: int
    """In a row that said ``Degraded``."""
    same_deployment: bool
    """Whether what is deployed has the files of the revision that was found degraded."""
    short: bool | None
    """Whether fewer replicas are available than are wanted; ``None``: not known."""
    candidate: Candidate | None = None
    fault: str = ""
    """Why the work of this state cannot be done, where waiting does not mend it."""
    unread: str = ""
    """Why it could not be done just now."""
    other: str | None = None
    """Address of another open rollback of the application; empty: there is none; ``None``: not known."""
    pull: PullFacts | None = None
    approval_needed: bool = False
    approved: bool = False
    """Whether a person said yes to the head that is shown now."""

    @property
    def resolved(self) -> bool:
        """Return whether there is nothing to take back any more."""
        return self.health == "Healthy" or not self.same_deployment

    def resolution(self, application: str) -> str:
        """Return what :attr:`resolved` rests on, for people."""
        if self.same_deployment:
            return f"{application} is Healthy again by itself."
        return f"Something else was deployed to {application} meanwhile."


def pull_facts(snapshot: PullRequestSnapshot, decision: Decision, *, head_sha: str, fresh: bool) -> PullFacts:
    """Return what counts of a reading and of the landing decision about it.

    :param head_sha: that was made for it.
    :param fresh: whether that was made on what the base branch is now.
    """
    return PullFacts(
        url=snapshot.url,
        state=snapshot.state,
        ours=snapshot.head_sha == head_sha,
        fresh=fresh,
        checks=_checks(snapshot, decision),
        mergeable=snapshot.mergeable,
        verdict=decision.verdict,
        message=decision.message,
        queued=snapshot.queue_entry is not None,
    )


def _checks(snapshot: PullRequestSnapshot, decision: Decision) -> Checks:
    """A landing that wants something mended, or says what only people can settle, failed: nobody mends a rollback."""
    if decision.verdict in ("fix", "escalate"):
        return "failed"
    if snapshot.checks_in("pending") or decision.reason in _UNSETTLED:
        return "pending"
    return "failed" if snapshot.checks_in("failed") else "passed"
