"""What this Airflow knows of the runs of tickets."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_agents.domain.intake import RunFacts

if TYPE_CHECKING:
    from collections.abc import Iterable

ASKS_KEY = "ticket_asks"
"""In the conf of a run: keys of the asks that it answers."""

_ACTIVE = ("queued", "running")
_RUNS_PER_CALL = 100


class TicketRuns:
    """Asks Airflow for runs of one DAG, each once.

    :param ti: the running task instance.
    :param dag_id: the DAG that works on tickets.
    """

    def __init__(self, ti: Any, dag_id: str) -> None:
        self._ti = ti
        self._dag_id = dag_id
        self._known: dict[str, RunFacts] = {}

    def hindrance(self) -> str:
        """Say why nothing is to be started now, one sentence; empty: nothing is in the way."""
        from airflow.sdk.exceptions import AirflowRuntimeError

        try:
            paused = self._ti.get_dag(self._dag_id).is_paused
        except AirflowRuntimeError as error:
            if (error.error.detail or {}).get("status_code") != HTTPStatus.NOT_FOUND:
                raise
            return f"Airflow has no DAG {self._dag_id}; see `airflow dags list-import-errors`."
        return f"DAG {self._dag_id} is paused; tickets wait until somebody unpauses it." if paused else ""

    def facts(self, run_ids: Iterable[str]) -> dict[str, RunFacts]:
        """Return what Airflow says of each run; one that it does not know is not ``known``."""
        wanted = list(dict.fromkeys(run_ids))
        unknown = [run_id for run_id in wanted if run_id not in self._known]
        for start in range(0, len(unknown), _RUNS_PER_CALL):
            self._ask(unknown[start : start + _RUNS_PER_CALL])
        return {run_id: self._known[run_id] for run_id in wanted}

    def over(self, run_ids: Iterable[str]) -> list[str]:
        """Return those of the runs that are not queued or running: they ended, or Airflow forgot them."""
        found: list[str] = []
        wanted = list(dict.fromkeys(run_ids))
        for start in range(0, len(wanted), _RUNS_PER_CALL):
            found += self._over(wanted[start : start + _RUNS_PER_CALL])
        return found

    def _over(self, run_ids: list[str]) -> list[str]:
        # Mostly all of them go on, which one question tells.
        active = self._ti.get_dr_count(dag_id=self._dag_id, run_ids=run_ids, states=list(_ACTIVE))
        if active == len(run_ids):
            return []
        if not active or len(run_ids) == 1:
            return run_ids
        half = len(run_ids) // 2
        return [*self._over(run_ids[:half]), *self._over(run_ids[half:])]

    def _ask(self, run_ids: list[str]) -> None:
        # Most asks never had a run, which one question tells of all of them.
        if not self._ti.get_dr_count(dag_id=self._dag_id, run_ids=run_ids):
            self._known |= dict.fromkeys(run_ids, RunFacts(known=False))
            return
        if len(run_ids) > 1:
            half = len(run_ids) // 2
            self._ask(run_ids[:half])
            self._ask(run_ids[half:])
            return
        self._known[run_ids[0]] = self._read(run_ids[0])

    def _read(self, run_id: str) -> RunFacts:
        from airflow.sdk.execution_time.comms import DagRunResult, GetDagRun
        from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

        answer = SUPERVISOR_COMMS.send(GetDagRun(dag_id=self._dag_id, run_id=run_id))
        if not isinstance(answer, DagRunResult):
            raise RuntimeError(f"run {run_id} of DAG {self._dag_id} cannot be read: {answer!r}")
        asks = (answer.conf or {}).get(ASKS_KEY)
        return RunFacts(
            known=True,
            active=answer.state.value in _ACTIVE,
            asks=tuple(str(key) for key in asks) if isinstance(asks, list) else None,
            started_at=answer.run_after,
        )


def run_url(dag_id: str, run_id: str) -> str:
    """Return the page of a run; empty where ``[api] base_url`` says no address."""
    from airflow.sdk.configuration import conf

    base: Any = conf.get("api", "base_url", fallback="")
    return f"{str(base).rstrip('/')}/dags/{quote(dag_id)}/runs/{quote(run_id)}" if base else ""
