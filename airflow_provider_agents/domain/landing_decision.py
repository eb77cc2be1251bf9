"""What a landing decision is, and what the rules of :mod:`.landing` share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from airflow_provider_agents.domain.commands import pending_commands
from airflow_provider_agents.domain.landing_history import LandingHistory
from airflow_provider_agents.domain.landing_policy import LandingPolicy
from airflow_provider_agents.domain.pull_request import Check, PullRequestSnapshot
from airflow_provider_agents.domain.untrusted import one_line

Verdict = Literal[
    "done",
    "stop",
    "obey",
    "note",
    "withdraw",
    "wait",
    "fix",
    "rerun_checks",
    "update_branch",
    "review",
    "enable_auto_merge",
    "enqueue",
    "merge",
    "escalate",
]
ACTS_AND_WAITS: frozenset[Verdict] = frozenset(
    {
        "obey",
        "note",
        "withdraw",
        "rerun_checks",
        "update_branch",
        "enable_auto_merge",
        "enqueue",
        "merge",
    }
)
"""Verdicts that a gate carries out itself, and after which it looks again.

``note`` asks for something to be found out and written into the history before the next decision, by reason:
``base_broken`` puts the head with ``base_sha`` into ``broken_base``, ``risk_unknown`` its score into ``risks``.
``withdraw`` takes the pull request out of the merge queue, or turns off its auto-merge, whichever stands,
and adds to ``withdrawn``.
"""

STALE_SECONDS = 600
"""How long GitHub may show a head, or a check, that we know to be outdated."""
PATIENCE_SECONDS = 3600
"""How long a green head may be kept from its merge by something that nobody was told of."""
MOST_QUEUE_ENTRIES = 2
"""Entries in the merge queue for one head."""
MOST_BRANCH_UPDATES = 10
"""Updates with the base branch. One that moves faster than its checks run needs a merge queue."""
MOST_MERGE_CALLS = 5
"""Refused merges of one head. GitHub refuses for reasons that the API does not always show beforehand."""
LIMITED_REASONS = frozenset({"checks_failed", "conflict", "queue_ejected", "review_agent"})
"""Reasons whose rounds ``max_rounds_per_reason`` limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict and why."""

    verdict: Verdict
    reason: str
    """Stable lower-case word, e.g. ``checks_failed``."""
    message: str
    """One sentence for a person."""
    rule: str = ""
    """Name of the rule that decided."""

    def to_dict(self) -> dict[str, str]:
        """Return the decision as JSON-ready values."""
        return dataclasses.asdict(self)


Rule = Callable[[PullRequestSnapshot, LandingPolicy, LandingHistory], Decision | None]


def wait(reason: str, message: str) -> Decision:
    """Return a wait."""
    return Decision(verdict="wait", reason=reason, message=message)


def escalate(reason: str, message: str) -> Decision:
    """Return an escalation to a person."""
    return Decision(verdict="escalate", reason=reason, message=message)


def fix(
    s: PullRequestSnapshot,
    policy: LandingPolicy,
    history: LandingHistory,
    reason: str,
    message: str,
    *,
    new: bool = False,
) -> Decision:
    """Ask for a fix round, unless they are used up or an earlier one left the head as it was.

    A ``/retry`` is a round more than the policy's, and like a ``/tell`` it is news to the agent: without
    that, nobody could leave an escalation by a comment.

    :param new: whether no round was given this yet, so that the head may well be one that a round left.
    """
    told = [c.name for c in pending_commands(s, history) if c.name in ("retry", "tell")]
    if not new and not told and any(r.head_sha == s.head_sha and r.reason == reason for r in history.rounds):
        return escalate("no_progress", f"{message} The last fix round changed nothing.")
    granted = history.granted_rounds + told.count("retry")
    most = policy.max_rounds + granted
    if len(history.rounds) >= most:
        return escalate("rounds_exhausted", f"{message} All {most} fix rounds are used.")
    most = policy.max_rounds_per_reason + granted
    if reason in LIMITED_REASONS and history.rounds_for(reason) >= most:
        return escalate("rounds_exhausted", f"{message} {most} fix rounds for this reason are used.")
    return Decision(verdict="fix", reason=reason, message=message)


def names(checks: Iterable[Check]) -> str:
    """Return the names of checks, each once, fit for a log; outsiders may have given them."""
    return ", ".join(sorted({one_line(check.name) for check in checks}))


def seconds(s: PullRequestSnapshot, since: datetime) -> float:
    """Return how long before the reading ``since`` was."""
    return (s.read_at - since) / timedelta(seconds=1)


def quiet_seconds(s: PullRequestSnapshot, history: LandingHistory) -> float:
    """Return for how long no check of the head has appeared or ended.

    Checks of other apps give their times themselves, so a moment that is not here yet does not count, and
    none is believed to be older than our first sight of the head.
    """
    latest = s.read_at + timedelta(minutes=1)
    moments = [
        at for check in s.checks for at in (check.started_at, check.completed_at) if at and at <= latest
    ]
    return seconds(s, max([*moments, history.first_seen(s.head_sha, s.read_at)]))


def merge_pause(calls: int) -> timedelta:
    """Return how long to look away after ``calls`` refused merges of one head: 15 s, 30 s, 60 s …"""
    return timedelta(seconds=15.0 * 2.0 ** (max(calls, 1) - 1))
