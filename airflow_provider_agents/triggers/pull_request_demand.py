"""When a wait needs its next reading: pure functions of what was read and what was decided on it.

A pulse shows most changes. What it does not show, and what changes by time alone, is named here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from airflow_provider_agents.domain.freeze import frozen_until

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_agents.domain.conditions import Condition
    from airflow_provider_agents.domain.landing import Decision
    from airflow_provider_agents.domain.landing_history import LandingHistory
    from airflow_provider_agents.domain.landing_policy import LandingPolicy
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot

Reading = Literal["on_change", "while_running", "every_time"]

PATIENCE = 4.0
"""How much rarer a pull request is looked at that only people or the calendar can move."""

UNSEEN_BY_PULSE = frozenset(
    {
        "auto_merge_on",
        "base_broken",
        "incomplete",
        "mergeability_unknown",
        "no_checks_yet",
        "push_not_shown",
        "queue_not_shown",
        "queued",
        "required_missing",
        "rerun_not_shown",
        "settling",
        "update_not_shown",
        "withdrawal_not_shown",
    }
)
"""Reasons to wait that end by time alone, or by what no pulse shows. What GitHub is to merge by itself is among
them: a freeze that begins has to take it back in time."""
AWAITS_PEOPLE = frozenset(
    {
        "awaiting_reviewer",
        "base_broken",
        "behind",
        "blocked",
        "draft",
        "frozen",
        "held",
        "merge_by_person",
        "no_checks",
        "review_by_command",
        "review_required",
        "risk",
    }
)
"""Reasons to wait in which nothing but a person, the calendar or another branch moves."""


@dataclass(frozen=True, slots=True)
class Demand:
    """When the next reading is wanted, counted from the last.

    :param pace: multiple of the poll interval between two pulses.
    :param reading: when a pulse is followed by a full reading: where it changed; also while checks run
        that it does not show; or every time.
    :param after: seconds after which a full reading is wanted in any case; ``None``: at no special time.
    """

    pace: float = 1.0
    reading: Reading = "on_change"
    after: float | None = None


def demand_of_decision(
    decision: Decision, snapshot: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> Demand:
    """Return what a wait that :func:`~.domain.landing.decide` asked for needs.

    A reason that is not known here is looked at as often and as closely as any.
    """
    reason = decision.reason
    if reason == "checks_running":
        return Demand(reading=_of_checks(snapshot))
    quiet = reason in AWAITS_PEOPLE and reason not in UNSEEN_BY_PULSE
    return Demand(
        pace=PATIENCE if reason in AWAITS_PEOPLE else 1.0,
        reading="on_change" if quiet else "every_time",
        after=_seconds_until(_moment(reason, snapshot, policy, history), snapshot),
    )


def demand_of_condition(until: Condition, snapshot: PullRequestSnapshot) -> Demand:
    """Return what a wait for ``until`` needs, which does not hold yet."""
    if snapshot.missing or (until == "green" and snapshot.mergeable == "UNKNOWN"):
        return Demand(reading="every_time")
    if until in ("green", "checks_passed") and snapshot.checks_in("pending"):
        return Demand(reading=_of_checks(snapshot))
    return Demand()


def _of_checks(snapshot: PullRequestSnapshot) -> Reading:
    # Once a check failed, the pulse says so until the last one ends: their end does not show in it.
    return "every_time" if snapshot.checks_in("failed") else "while_running"


def _moment(
    reason: str, snapshot: PullRequestSnapshot, policy: LandingPolicy, history: LandingHistory
) -> tuple[datetime, float] | None:
    """Return a moment by GitHub's clock, and seconds after it, at which the decision may change."""
    first_seen = history.first_seen(snapshot.head_sha, snapshot.read_at)
    if reason == "settling":
        return snapshot.checks_changed_at or first_seen, policy.settle_seconds
    if reason == "no_checks_yet":
        return first_seen, policy.no_checks_grace_seconds
    if reason == "frozen" and (end := frozen_until(policy.freeze, snapshot.read_at)) is not None:
        return end, 0.0
    return None


def _seconds_until(moment: tuple[datetime, float] | None, snapshot: PullRequestSnapshot) -> float | None:
    if moment is None:
        return None
    since, seconds = moment
    # One second more: moments of GitHub are whole seconds.
    return max(1.0, seconds - (snapshot.read_at - since).total_seconds() + 1.0)
