"""Holds that the application is well again after its rollback."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from airflow_provider_agents.operators.rollback_base import RollbackOperator

if TYPE_CHECKING:
    from datetime import datetime

    from airflow.sdk import Context

    from airflow_provider_agents.domain.rollback import Rollback, State
    from airflow_provider_agents.domain.rollback_facts import Facts
    from airflow_provider_agents.operators.rollback_look import RollbackLook


class ConfirmRollbackOperator(RollbackOperator):
    """Wait until what was merged is deployed and Healthy; without that, a person is called."""

    states: ClassVar[frozenset[State]] = frozenset({"rollback_merged"})

    def facts(
        self, look: RollbackLook, episode: Rollback, now: datetime, context: Context
    ) -> tuple[Rollback, Facts]:
        """Look; note when what was merged was first seen deployed."""
        # Argo CD looks at git every three minutes by itself.
        episode, facts = look.base(episode, now, refresh=episode.synced_at is None)
        if episode.synced_at is None and not facts.same_deployment and facts.health != "Unknown":
            episode = dataclasses.replace(episode, synced_at=now)
        return episode, facts
