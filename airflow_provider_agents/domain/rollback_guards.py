"""What stands against the merge of a rollback: the landing decision, within the guards of its definition."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from agent_runner.gateway.protected_paths import ProtectedPaths
from airflow_provider_agents.domain.commands import pending_commands
from airflow_provider_agents.domain.landing import decide
from airflow_provider_agents.domain.landing_decision import wait
from airflow_provider_agents.domain.landing_history import LandingHistory
from airflow_provider_agents.domain.landing_policy import LandingPolicy
from airflow_provider_agents.domain.risk import risk
from airflow_provider_agents.domain.untrusted import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from airflow_provider_agents.domain.landing_decision import Decision
    from airflow_provider_agents.domain.pr_rule_circumstances import PlatformGuards
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.domain.risk import ChangedFile
    from airflow_provider_agents.domain.rollback_definition import RollbackDefinition

MERGES = frozenset({"merge", "enqueue"})
FILES_UNREAD = "files_unread"
"""Reason of a wait: the files have to be read before it can be said."""
_NOTED = frozenset({"merge", "review", "explain"})


def landing_policy(
    definition: RollbackDefinition, platform: PlatformGuards, *, approved: bool = False
) -> LandingPolicy:
    """Return the policy that a rollback lands by.

    :param platform: what the repository's settings say.
    :param approved: a person said yes: where the repository keeps merges for people, that is one.
    """
    guards = definition.guards
    return LandingPolicy(
        auto_merge=platform.auto_merge or approved,
        merge_method=definition.merge_method,
        # Its commit is made anew where the branch moved; an update would bring in what was not looked at.
        update_branch=False,
        no_checks=guards.no_checks,
        no_checks_grace_seconds=guards.no_checks_grace_seconds,
        settle_seconds=guards.settle_seconds,
        hold_labels=(*guards.hold_labels, *platform.hold_labels, definition.escalation_label),
        freeze=(*guards.freeze, *platform.freeze),
        rerun_flaky=False,
    )


def judged(
    snapshot: PullRequestSnapshot,
    definition: RollbackDefinition,
    *,
    first_seen: datetime,
    files: Sequence[ChangedFile] | None,
    platform: PlatformGuards,
    approved: bool = False,
) -> Decision:
    """Say what becomes of a rollback's pull request.

    :param first_seen: when its head was first seen.
    :param files: that it changes; ``None``: not known, and it is not merged.
    :param platform: what the repository's settings say.
    :param approved: a person said yes to this head: consent to its risk and to protected paths.
    """
    history = LandingHistory(heads_first_seen={snapshot.head_sha: first_seen}, authority=platform.authority)
    # What people say to the landing of an agent's work; a rollback heeds /stop, and hands the rest to a person.
    noted = [each for each in pending_commands(snapshot, history) if each.name in _NOTED]
    history = dataclasses.replace(history, commands=frozenset(each.key for each in noted))
    policy = landing_policy(definition, platform, approved=approved)
    decision = decide(snapshot, policy, history)
    if decision.verdict not in MERGES or approved:
        return decision
    return _by_files(definition, platform, files) or decision


def _by_files(
    definition: RollbackDefinition, platform: PlatformGuards, files: Sequence[ChangedFile] | None
) -> Decision | None:
    """Waits, and no failures: they end by a person's merge, or with the time for the approval."""
    if files is None:
        return wait(FILES_UNREAD, "The files that it changes cannot be read now.")
    patterns = ProtectedPaths((*definition.guards.protected_paths, *platform.protected_paths))
    touched = [path for file in files for path in (file.path, file.previous_path) if path]
    if found := sorted(path for path in touched if patterns.covers(path)):
        text = ", ".join(one_line(path, 100) for path in found[:3])
        return wait(
            "protected_paths", f"Green; it changes protected paths ({text}): a person is to merge it."
        )
    limits = [most for most in (definition.guards.max_risk, platform.max_risk) if most is not None]
    if not limits:
        return None
    most = min(limits)
    score = risk(files).score
    if score <= most:
        return None
    return wait("risk", f"Green; its risk {score} is over {most}: a person is to merge it.")
