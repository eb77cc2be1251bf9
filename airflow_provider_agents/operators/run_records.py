"""What this Airflow's own record says of other DAG runs, for housekeeping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.housekeeping import RunSeen
from airflow_provider_agents.domain.stale_branches import RunRecord
from airflow_provider_agents.domain.workspace import GIVEN_BACK_KEY

if TYPE_CHECKING:
    from datetime import datetime

    from airflow.sdk import Context

_RELEASE, _ACCEPT, _OPEN = "release_workspace", "accept", "open_pull_request"
_PUSHING = ("implement", "fix")
"""Last parts of the ids of the pipeline's tasks, which stand in any task group."""


class RunRecords:
    """Asks Airflow for DAG runs, each once.

    Whatever Airflow raises while it cannot be asked comes through: the caller keeps the object then.
    """

    def __init__(self, context: Context) -> None:
        self._ti: Any = context["ti"]
        self._seen: dict[tuple[str, str], RunSeen | None] = {}
        self._tasks: dict[tuple[str, str], list[str]] = {}

    def run(self, dag_id: str, run_id: str) -> RunSeen | None:
        """Return what is known of a run, ``None`` if there is none."""
        key = (dag_id, run_id)
        if key not in self._seen:
            self._seen[key] = self._look(dag_id, run_id)
        return self._seen[key]

    def record(self, dag_id: str, run_id: str) -> RunRecord | None:
        """Return what a run of the pipeline left, ``None`` if there is no such run."""
        run = self.run(dag_id, run_id)
        if run is None:
            return None
        accepted = self._only(dag_id, run_id, _ACCEPT)
        opened = self._only(dag_id, run_id, _OPEN)
        number = opened.get("number") if isinstance(opened, Mapping) else None
        steps = [name for name in self._names(dag_id, run_id) if name.rpartition(".")[2] in _PUSHING]
        results = [self._pull(dag_id, run_id, name) for name in steps]
        return RunRecord(
            run=run,
            task=accepted if isinstance(accepted, Mapping) else {},
            pull_request_number=number if isinstance(number, int) else None,
            heads=frozenset(
                str(result["head_sha"])
                for result in results
                if isinstance(result, Mapping) and result.get("head_sha")
            ),
        )

    def _look(self, dag_id: str, run_id: str) -> RunSeen | None:
        if not self._ti.get_dr_count(dag_id=dag_id, run_ids=[run_id]):
            return None
        state, ended_at = dag_run(dag_id, run_id)
        given_back = False
        if state not in ("running", "queued"):
            given_back = bool(self._only(dag_id, run_id, _RELEASE, GIVEN_BACK_KEY))
        return RunSeen(state=state, ended_at=ended_at, given_back=given_back)

    def _names(self, dag_id: str, run_id: str) -> list[str]:
        """Return the ids of the run's tasks that ran."""
        key = (dag_id, run_id)
        if key not in self._tasks:
            states = self._ti.get_task_states(dag_id=dag_id, run_ids=[run_id])
            found = states.get(run_id) or {}
            self._tasks[key] = [name for name, state in found.items() if state in ("success", "failed")]
        return self._tasks[key]

    def _only(self, dag_id: str, run_id: str, last_part: str, key: str = "return_value") -> Any:
        """Return a value of the one task whose id ends so; ``None`` where there is none, or are several."""
        names = [name for name in self._names(dag_id, run_id) if name.rpartition(".")[2] == last_part]
        return self._pull(dag_id, run_id, names[0], key) if len(names) == 1 else None

    def _pull(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        return self._ti.xcom_pull(task_ids=task_id, dag_id=dag_id, run_id=run_id, key=key)


def dag_run(dag_id: str, run_id: str) -> tuple[str, datetime | None]:
    """Return the state and the end of a DAG run that exists.

    The task's own interface tells the state of other runs only; their end comes by the message below it.
    """
    from airflow.sdk.execution_time.comms import DagRunResult, GetDagRun
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    answer = SUPERVISOR_COMMS.send(GetDagRun(dag_id=dag_id, run_id=run_id))
    if not isinstance(answer, DagRunResult):
        raise RuntimeError(f"run {run_id} of DAG {dag_id} cannot be read: {answer!r}")
    return str(answer.state.value), answer.end_date
