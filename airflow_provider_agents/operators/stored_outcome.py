"""A step's finished outcome, kept before its pod is deleted: what was paid for is never paid for twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.operators.step_outcome import StepOutcome
from airflow_provider_agents.operators.task_state import generation, recall, remember

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

    from agent_runner.contract import StepSpec


class StoredOutcome:
    """The outcome of ``operator`` in its present generation: a retry finds it, a clear does not."""

    def __init__(self, operator: BaseOperator, context: Context) -> None:
        self._context = context
        self._key = f"step_{generation(operator, context)}"

    def get(self, spec: StepSpec) -> StepOutcome | None:
        """Return what was stored for exactly this specification, or ``None``."""
        record = recall(self._context, self._key)
        if isinstance(record, dict) and record.get("spec") == spec.fingerprint():
            return StepOutcome.from_dict(record["outcome"])
        return None

    def put(self, outcome: StepOutcome, spec: StepSpec) -> None:
        """Store the outcome of a finished step."""
        remember(self._context, self._key, {"spec": spec.fingerprint(), "outcome": outcome.to_dict()})
