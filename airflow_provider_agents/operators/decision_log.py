"""Where landing decisions are written down: the gate's task state, which no retry, clear or expiry takes away.

Airflow shows it in the Storage tab of the task, key ``decisions``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.decision_record import DecisionEntry, appended, entry_of
from airflow_provider_agents.operators.task_state import recall, remember

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_agents.domain.landing import Decision

DECISIONS_KEY = "decisions"


def record_decision(
    context: Context, decision: Decision, *, head_sha: str, action: str = "", at: datetime | None = None
) -> None:
    """Write a decision down. Call it before the act, so that an act that crashed the task is in the record.

    :param head_sha: head that was judged.
    :param action: what is done about it; empty where nothing is.
    :param at: when it was decided, timezone-aware; ``None``: now.
    """
    entry = entry_of(decision, head_sha=head_sha, action=action, at=at or datetime.now(tz=UTC))
    record = appended(entries(context), entry)
    remember(context, DECISIONS_KEY, [each.to_dict() for each in record])


def entries(context: Context) -> tuple[DecisionEntry, ...]:
    """Return the record of this task, oldest first."""
    return tuple(DecisionEntry.from_dict(values) for values in recall(context, DECISIONS_KEY) or ())
