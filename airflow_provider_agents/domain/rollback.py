"""How a deployment is taken back, as a state machine: :func:`step`, one pure function.

Level-triggered: what happens next follows from the state, from what is true now, and from how long the state
lasts; never from having seen a change. A task that died goes on where it stood. ``docs/rollback.md`` shows the
table of transitions; :data:`TRANSITIONS` is the same.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_agents.domain.rollback_facts import Candidate
from airflow_provider_agents.domain.rollback_invariants import broken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_agents.domain.pr_rule import Health
    from airflow_provider_agents.domain.rollback_definition import Timings
    from airflow_provider_agents.domain.rollback_facts import Facts

State = Literal[
    "idle",
    "degradation_detected",
    "candidate_resolved",
    "pr_created",
    "awaiting_merge_approval",
    "rollback_merged",
    "rollback_complete",
    "abort",
]
ENDS: frozenset[State] = frozenset({"idle", "rollback_complete", "abort"})
"""States in which nothing is left to be done; of ``abort`` a person is told."""

Event = Literal[
    "",
    "degraded",
    "not_allowed",
    "candidate_found",
    "no_candidate",
    "candidate_timeout",
    "opened",
    "not_opened",
    "checks_passed",
    "checks_failed",
    "checks_timeout",
    "changed",
    "merged",
    "withdrawn",
    "approval_timeout",
    "resolved",
    "restored",
    "not_restored",
]
Act = Literal[
    "",
    "find_candidate",
    "open_pull_request",
    "refresh",
    "ask_person",
    "merge",
    "enqueue",
    "dequeue",
    "close_pull_request",
    "call_person",
]
"""What is to be done now. Without one: wait, and look again."""

TRANSITIONS: Mapping[tuple[State, Event], tuple[State, Act]] = {
    ("idle", "degraded"): ("degradation_detected", "find_candidate"),
    ("idle", "not_allowed"): ("abort", "call_person"),
    ("degradation_detected", "candidate_found"): ("candidate_resolved", "open_pull_request"),
    ("degradation_detected", "resolved"): ("idle", ""),
    ("degradation_detected", "no_candidate"): ("abort", "call_person"),
    ("degradation_detected", "candidate_timeout"): ("abort", "call_person"),
    ("candidate_resolved", "opened"): ("pr_created", ""),
    ("candidate_resolved", "resolved"): ("idle", "close_pull_request"),
    ("candidate_resolved", "not_opened"): ("abort", "call_person"),
    ("pr_created", "checks_passed"): ("awaiting_merge_approval", ""),
    ("pr_created", "checks_failed"): ("abort", "call_person"),
    ("pr_created", "checks_timeout"): ("abort", "call_person"),
    ("pr_created", "changed"): ("abort", "call_person"),
    ("pr_created", "resolved"): ("idle", "close_pull_request"),
    ("pr_created", "merged"): ("rollback_merged", ""),
    ("awaiting_merge_approval", "merged"): ("rollback_merged", ""),
    ("awaiting_merge_approval", "withdrawn"): ("abort", "call_person"),
    ("awaiting_merge_approval", "approval_timeout"): ("abort", "call_person"),
    ("awaiting_merge_approval", "resolved"): ("idle", "close_pull_request"),
    ("rollback_merged", "restored"): ("rollback_complete", ""),
    ("rollback_merged", "not_restored"): ("abort", "call_person"),
}
"""State and event → next state, and what is done on the way. There are no others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """What follows from one look."""

    state: State
    event: Event = ""
    """Empty: the state stays."""
    act: Act = ""
    message: str
    """One sentence for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """One episode, from a degradation to its end: what the tasks of a run hand to each other."""

    name: str
    """Of the definition."""
    application: str
    repository: str
    revision: str
    """That is deployed and degraded."""
    state: State = "idle"
    entered_at: datetime
    """When the state began."""
    degraded_since: datetime
    readings: int = 0
    """In a row that said ``Degraded``."""
    path: str = ""
    """Folder of the application; empty: the whole tree."""
    branch: str = ""
    """That it is deployed from."""
    candidate: Candidate | None = None
    number: int | None = None
    """Of the pull request."""
    url: str = ""
    node_id: str = ""
    head_sha: str = ""
    """Of the pull request, as we made it."""
    base_sha: str = ""
    """Head of the branch when the pull request's commit was made."""
    first_seen: datetime | None = None
    """When :attr:`head_sha` was first seen."""
    risk: int | None = None
    """Of :attr:`head_sha`."""
    approved_head: str = ""
    """Head that a person said yes to."""
    approved_by: str = ""
    declined_by: str = ""
    refreshes: int = 0
    """How often its commit was made anew, because the branch moved."""
    read_at: datetime | None = None
    """When :attr:`readings` was counted last."""
    synced_at: datetime | None = None
    """When what was merged was first seen deployed."""
    hindrance: str = ""
    """Why the last act was not done."""
    event: Event = ""
    """That led to the state."""
    message: str = ""

    @property
    def ended(self) -> bool:
        """Return whether nothing is left to be done."""
        return self.state in ENDS

    @property
    def approved(self) -> bool:
        """Return whether a person said yes to the head that it has."""
        return bool(self.approved_head) and self.approved_head == self.head_sha

    def after(self, transition: Transition, now: datetime) -> Rollback:
        """Return the episode after a transition."""
        if not transition.event:
            return dataclasses.replace(self, message=transition.message)
        return dataclasses.replace(
            self,
            state=transition.state,
            entered_at=now,
            event=transition.event,
            message=transition.message,
        )

    def counted(self, health: Health, poll: float, now: datetime) -> Rollback:
        """Return the episode after another reading. ``Unknown`` is none; readings that follow at once count once.

        :param poll: seconds between two readings.
        """
        if health == "Unknown":
            return self
        if health != "Degraded":
            return dataclasses.replace(self, readings=0, read_at=now)
        if self.read_at is not None and now < self.read_at + timedelta(seconds=poll / 2):
            return self
        return dataclasses.replace(self, readings=self.readings + 1, read_at=now)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        for name in _MOMENTS:
            values[name] = values[name].isoformat() if values[name] else None
        values["candidate"] = self.candidate.to_dict() if self.candidate else None
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Rollback:
        """Read what :meth:`to_dict` wrote."""
        moments = {
            name: datetime.fromisoformat(values[name]) if values.get(name) else None for name in _MOMENTS
        }
        candidate = values.get("candidate")
        return cls(
            **{**values, **moments, "candidate": Candidate.from_dict(candidate) if candidate else None}
        )


_MOMENTS = ("entered_at", "degraded_since", "first_seen", "synced_at", "read_at")


def step(rollback: Rollback, facts: Facts, timings: Timings, now: datetime) -> Transition:
    """Say what follows now.

    A pure function: same arguments, same answer. A merge is an act and no transition: that it happened is seen at the
    next look, as is one that somebody else made.
    """
    match rollback.state:
        case "idle":
            return _idle(rollback, facts, timings, now)
        case "degradation_detected":
            return _detected(rollback, facts, timings, now)
        case "candidate_resolved":
            return _resolved(rollback, facts, timings, now)
        case "pr_created":
            return _created(rollback, facts, timings, now)
        case "awaiting_merge_approval":
            return _awaiting(rollback, facts, timings, now)
        case "rollback_merged":
            return _merged(rollback, facts, timings, now)
    return _stay(rollback, f"{rollback.name} has ended: {rollback.message}")


def _idle(rollback: Rollback, facts: Facts, timings: Timings, now: datetime) -> Transition:
    where = f"{rollback.application} at {rollback.revision[:12]}"
    if facts.health != "Degraded" or not facts.same_deployment or facts.readings < timings.readings:
        count = f"readings in a row that said Degraded: {facts.readings} of {timings.readings}"
        return _stay(rollback, f"{where} is {facts.health}; {count}.")
    if not facts.environment_allowed:
        return _go(rollback, "not_allowed", f"{where} is Degraded, and not of an environment of ours (I1).")
    if facts.short is False:
        text = "but no workload lacks a replica (I3): what ails it is not what a rollback mends."
        return _go(rollback, "not_allowed", f"{where} is Degraded, {text}")
    if facts.short is None:
        if _past(rollback, timings.candidate, now):
            text = f"{where} is Degraded, but its workloads cannot be read (I3)."
            return _go(rollback, "not_allowed", text)
        return _stay(rollback, f"{where} is Degraded; its workloads cannot be read now.")
    text = f"{where} is Degraded in {facts.readings} readings in a row, and replicas are missing."
    return _go(rollback, "degraded", text)


def _detected(rollback: Rollback, facts: Facts, timings: Timings, now: datetime) -> Transition:
    if facts.resolved:
        return _go(rollback, "resolved", facts.resolution(rollback.application))
    if facts.fault:
        return _go(rollback, "no_candidate", facts.fault)
    if facts.candidate is not None and facts.candidate.proven:
        text = f"{facts.candidate.revision[:12]} is what to go back to: {facts.candidate.evidence}."
        return _go(rollback, "candidate_found", text)
    if _past(rollback, timings.candidate, now):
        text = f"No revision to go back to was found within {timings.candidate:g} s. Last: {facts.unread}"
        return _go(rollback, "candidate_timeout", text)
    return _stay(rollback, facts.unread or "Looking for a revision to go back to.", "find_candidate")


def _resolved(rollback: Rollback, facts: Facts, timings: Timings, now: datetime) -> Transition:
    if facts.resolved:
        return _go(rollback, "resolved", facts.resolution(rollback.application))
    if facts.pull is not None and facts.pull.state == "OPEN" and facts.pull.ours:
        return _go(rollback, "opened", f"{facts.pull.url} is open.")
    if facts.other:
        return _go(
            rollback, "not_opened", f"Another rollback of {rollback.application} is open (I7): {facts.other}"
        )
    if facts.fault:
        return _go(rollback, "not_opened", facts.fault)
    if _past(rollback, timings.candidate, now):
        text = f"No pull request could be opened within {timings.candidate:g} s. Last: {facts.unread}"
        return _go(rollback, "not_opened", text)
    return _stay(rollback, facts.unread or "The pull request is to be opened.", "open_pull_request")


def _created(rollback: Rollback, facts: Facts, timings: Timings, now: datetime) -> Transition:
    pull = facts.pull
    if pull is not None and pull.state == "MERGED":
        return _go(rollback, "merged", f"{pull.url} was merged by other hands.")
    if facts.resolved:
        return _go(rollback, "resolved", facts.resolution(rollback.application))
    if fault := _changed(facts):
        return _go(rollback, "changed", fault)
    if pull is not None and pull.checks == "failed":
        return _go(rollback, "checks_failed", pull.message)
    if pull is not None and pull.checks == "passed" and pull.fresh:
        return _go(rollback, "checks_passed", f"The checks of {pull.url} passed.")
    if _past(rollback, timings.checks, now):
        last = facts.unread or (pull.message if pull else "")
        return _go(
            rollback, "checks_timeout", f"The checks did not pass within {timings.checks:g} s. Last: {last}"
        )
    if pull is None:
        return _stay(rollback, facts.unread or "The pull request cannot be read now.")
    return _stay(rollback, pull.message, "" if pull.fresh else "refresh")


def _awaiting(rollback: Rollback, facts: Facts, timings: Timings, now: datetime) -> Transition:
    pull = facts.pull
    if pull is not None and pull.state == "MERGED":
        return _go(rollback, "merged", f"{pull.url} is merged.")
    if facts.resolved:
        return _go(rollback, "resolved", facts.resolution(rollback.application))
    if rollback.declined_by:
        return _go(rollback, "withdrawn", f"{rollback.declined_by} said no.")
    if fault := _changed(facts):
        return _go(rollback, "withdrawn", fault)
    if pull is not None and (pull.checks == "failed" or pull.verdict == "stop"):
        return _go(rollback, "withdrawn", pull.message)
    if facts.other:
        return _go(
            rollback, "withdrawn", f"Another rollback of {rollback.application} is open (I7): {facts.other}"
        )
    if not facts.environment_allowed:
        return _go(
            rollback, "withdrawn", f"{rollback.application} is not of an environment of ours any more (I1)."
        )
    against = broken(facts, timings)
    if _past(rollback, timings.approval, now):
        last = facts.unread or (pull.message if pull else "")
        held = f" Against it: {'; '.join(against)}." if against else ""
        text = f"It was not merged within {timings.approval:g} s. Last: {last}{held}"
        return _go(rollback, "approval_timeout", text)
    if pull is None:
        return _stay(rollback, facts.unread or "The pull request cannot be read now.")
    if pull.queued:
        if against:
            return _stay(rollback, f"Taken out of the merge queue: {'; '.join(against)}.", "dequeue")
        return _stay(rollback, pull.message)
    if not pull.fresh:
        return _stay(rollback, pull.message, "refresh")
    if facts.approval_needed and not facts.approved:
        return _stay(rollback, "A person is to say yes.", "ask_person")
    if against:
        return _stay(rollback, f"Not merged now: {'; '.join(against)}.")
    return _stay(rollback, pull.message, "enqueue" if pull.verdict == "enqueue" else "merge")


def _merged(rollback: Rollback, facts: Facts, timings: Timings, now: datetime) -> Transition:
    where = rollback.application
    if facts.health == "Healthy" and not facts.same_deployment:
        took = (now - rollback.entered_at).total_seconds()
        return _go(rollback, "restored", f"{where} is Healthy again, {took:.0f} s after the merge.")
    late = rollback.synced_at is not None and now > rollback.synced_at + timedelta(seconds=timings.restored)
    if _past(rollback, timings.recovery, now):
        text = f"{where} is {facts.health} {timings.recovery:g} s after the rollback was merged."
        return _go(rollback, "not_restored", text)
    if rollback.synced_at is None:
        return _stay(rollback, f"Waiting for Argo CD to deploy the merge; {where} is {facts.health}.")
    slow = f", and should be Healthy {timings.restored:g} s after its deployment" if late else ""
    return _stay(rollback, f"The merge is deployed; {where} is {facts.health}{slow}.")


def _changed(facts: Facts) -> str:
    """Return what other hands did to the pull request or its branch; empty where nothing."""
    if facts.fault:
        return facts.fault
    pull = facts.pull
    if pull is None:
        return ""
    if pull.state == "CLOSED":
        return f"{pull.url} was closed without a merge."
    if not pull.ours:
        return f"{pull.url} has another head than the one that was made for it."
    return ""


def _past(rollback: Rollback, seconds: float, now: datetime) -> bool:
    return now >= rollback.entered_at + timedelta(seconds=seconds)


def _go(rollback: Rollback, event: Event, message: str) -> Transition:
    state, act = TRANSITIONS[rollback.state, event]
    return Transition(state=state, event=event, act=act, message=message)


def _stay(rollback: Rollback, message: str, act: Act = "") -> Transition:
    return Transition(state=rollback.state, act=act, message=message)
