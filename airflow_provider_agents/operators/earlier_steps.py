"""What the run's earlier agent steps left for the next one: their conversation, and a digest of it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.digest import StepNote
from airflow_provider_agents.operators.pulled import values_of
from airflow_provider_agents.operators.task_state import generation

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

_SESSIONS = uuid.UUID("6b6f7c1e-8a4e-5a0e-9c57-0f4f6a1f7a52")


class EarlierSteps:
    """The results of agent steps that come before this one in the graph.

    :param task_ids: of those steps, in their order.
    """

    def __init__(self, context: Context, task_ids: Sequence[str]) -> None:
        self._context = context
        others = [task_id for task_id in task_ids if task_id != context["ti"].task_id]
        found = values_of(context, others)
        self._results = {task_id: value for task_id, value in found.items() if isinstance(value, Mapping)}

    def session_key(self, operator: BaseOperator) -> str:
        """Return the name of the conversation that ``operator`` goes on with.

        That of the latest earlier step; else one of the operator's own, which is the same in each of its
        retries and another after a clear.
        """
        for result in reversed(self._results.values()):
            if key := result.get("session_key"):
                return str(key)
        ti = self._context["ti"]
        parts = (ti.dag_id, ti.run_id, ti.task_id, ti.map_index, generation(operator, self._context))
        return str(uuid.uuid5(_SESSIONS, "/".join(map(str, parts))))

    def notes(self, *, besides: str) -> list[StepNote]:
        """Return what the steps did, for an agent that was not there.

        :param besides: last part of the task ids that are left out.
        """
        return [
            StepNote.of(task_id, result)
            for task_id, result in self._results.items()
            if task_id.rpartition(".")[2] != besides
        ]
