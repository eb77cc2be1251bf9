"""How much rollbacks may do in a repository: the ledger that they share with the rules for pull requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.domain.pr_rule_ledger import MERGES, Act, free_at
from airflow_provider_agents.domain.rollback_text import branch_name
from airflow_provider_agents.operators.rule_ledger import read_ledger, write_ledger

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_agents.domain.pr_rule_ledger import ActState, Kind
    from airflow_provider_agents.domain.rollback import Rollback
    from airflow_provider_agents.domain.rollback_definition import RollbackDefinition


class RollbackLimits:
    """Counts what one rollback does. Only for tasks in the pool of rules, which has one slot."""

    def __init__(self, definition: RollbackDefinition, episode: Rollback) -> None:
        self._limits = definition.limits
        self._repository = episode.repository
        self._name = f"rollback {episode.name}"
        branch = branch_name(episode.application, episode.revision)
        # By its branch: what is done begins before the pull request has a number.
        self._key = f"{episode.repository.casefold()}#{branch}"

    def opening(self, now: datetime) -> str:
        """Return why no pull request may be opened now; empty where one may."""
        done = read_ledger(now).touched(self._repository, now, but=self._key)
        until = free_at(done, self._limits.pull_requests_per_hour, now)
        if until is None:
            return ""
        most = self._limits.pull_requests_per_hour
        return f"{len(done)} pull requests of {self._repository} were acted on within an hour, of {most}."

    def merging(self, now: datetime) -> str:
        """Return why nothing may be merged now; empty where it may."""
        ledger = read_ledger(now)
        if ledger.hold_until is not None and now < ledger.hold_until:
            return f"The ledger of acts was damaged; merges are held until {ledger.hold_until:%H:%M} UTC."
        done = list(ledger.merges(self._repository, now))
        for act in ledger.entry(self._key).acts:
            if act.kind in MERGES and act.at in done:
                done.remove(act.at)
        if free_at(done, self._limits.merges_per_hour, now) is None:
            return ""
        return f"{len(done)} merges in {self._repository} within an hour, of {self._limits.merges_per_hour}."

    def intend(self, kind: Kind, head_sha: str, now: datetime) -> None:
        """Write an act down before its call."""
        write_ledger(read_ledger(now).intending(self._key, self._act(kind, head_sha, now)), now)

    def ended(self, kind: Kind, head_sha: str, now: datetime, *, refused: str = "") -> None:
        """Write down what came of it.

        :param refused: what GitHub said; empty: it was done.
        """
        act = self._act(kind, head_sha, now)
        state: ActState = "refused" if refused else "done"
        write_ledger(read_ledger(now).ended(self._key, act, state, refused[:500]), now)

    def _act(self, kind: Kind, head_sha: str, now: datetime) -> Act:
        return Act(kind=kind, head_sha=head_sha, rule=self._name, at=now)
