"""A second look at failing checks, once their logs were read: :func:`judge_failure`, a pure function.

The logs are too much for every poll, so the first decision is made without them. Before a fix round starts
the gate reads them, and asks here whether it should be a round at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.domain.fingerprint import fingerprint
from airflow_provider_agents.domain.flakes import suspicion
from airflow_provider_agents.domain.landing import Decision

if TYPE_CHECKING:
    from airflow_provider_agents.domain.feedback import Feedback
    from airflow_provider_agents.domain.landing_history import LandingHistory
    from airflow_provider_agents.domain.landing_policy import LandingPolicy
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot


def judge_failure(
    decision: Decision,
    snapshot: PullRequestSnapshot,
    policy: LandingPolicy,
    history: LandingHistory,
    feedback: Feedback,
) -> Decision:
    """Return ``decision``, or what takes its place now that the failure is known in detail.

    ``rerun_checks``
        every failing check may be a flake, and this head's checks were not run again yet.
    ``escalate``
        exactly this failure was given to an earlier round, whatever happened in between: no progress.
    """
    if decision.verdict != "fix" or decision.reason != "checks_failed":
        return decision
    if policy.rerun_flaky and not any(r.head_sha == snapshot.head_sha for r in history.reruns):
        evidence = [suspicion(failing) for failing in feedback.failing_checks]
        if evidence and all(evidence):
            text = "; ".join(sorted({found for found in evidence if found}))
            return Decision(verdict="rerun_checks", reason="flaky", message=text, rule="judge_failure")
    print_now = fingerprint(feedback)
    if any(r.fingerprint == print_now for r in history.rounds if r.fingerprint):
        text = f"{decision.message} The same failure came back after a fix round."
        return Decision(verdict="escalate", reason="no_progress", message=text, rule="judge_failure")
    return decision
