"""Follows one run of Airflow, for the terminal and for the summary."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from demo.airflow_client import FINAL_RUN_STATES, AirflowClient
from demo.stages import Stage, seconds_between, stages, usd

_ENDED = frozenset({"success", "failed"})


class RunWatcher:
    """Reads a run again and again, and its results once each.

    :param client: the Airflow.
    :param dag_id: the run's DAG.
    :param run_id: the run.
    """

    def __init__(self, client: AirflowClient, dag_id: str, run_id: str) -> None:
        self._client = client
        self._dag_id = dag_id
        self._run_id = run_id
        self._read: dict[str, int] = {}
        self.results: dict[str, Any] = {}
        """Task id → result of a step, or decision of a gate."""
        self.tasks: list[dict[str, Any]] = []
        self.stages: list[Stage] = []
        self.state = "queued"
        self.seconds = 0.0
        """How long the run took, or has been running."""

    def poll(self) -> list[Stage]:
        """Read what is new and return the stages.

        :raise HttpError, OSError: Airflow does not answer.
        """
        # The run first: when it has ended, so have all the tasks that are read after it.
        run = self._client.run(self._dag_id, self._run_id)
        self.state = str(run["state"])
        self.seconds = seconds_between(run.get("start_date"), run.get("end_date"), datetime.now(UTC)) or 0.0
        self.tasks = self._client.task_instances(self._dag_id, self._run_id)
        for task in self.tasks:
            task_id, tries = task["task_id"], task.get("try_number") or 0
            if task["state"] in _ENDED and self._read.get(task_id) != tries:
                self.results[task_id] = self._result(task_id)
                self._read[task_id] = tries
        self.stages = stages(self.tasks, self.results)
        return self.stages

    @property
    def ended(self) -> bool:
        """Whether the run has ended, whichever way."""
        return self.state in FINAL_RUN_STATES

    @property
    def usd(self) -> float:
        """What all steps cost so far."""
        return sum(usd(result) for result in self.results.values())

    def failed_task(self) -> dict[str, Any] | None:
        """Return the task instance that failed first, or ``None``."""
        failed = [task for task in self.tasks if task["state"] == "failed"]
        return min(failed, key=lambda task: task.get("end_date") or "", default=None)

    def log(self, task: dict[str, Any]) -> str:
        """Return the log of a task's last try."""
        return self._client.task_log(
            self._dag_id, self._run_id, task["task_id"], max(1, task.get("try_number") or 1)
        )

    def decisions(self) -> list[dict[str, Any]]:
        """Return every landing decision of the run, as its gates wrote them down, with ``task_id``."""
        gates = [
            task["task_id"] for task in self.tasks if re.search(r"land\.round_\d+\.gate$", task["task_id"])
        ]
        found = []
        for gate in sorted(gates):
            record = self._client.task_state(self._dag_id, self._run_id, gate, "decisions")
            found += [{**entry, "task_id": gate} for entry in record or ()]
        return found

    def _result(self, task_id: str) -> Any:
        key = "decision" if task_id.rpartition(".")[2] == "gate" else "return_value"
        return self._client.xcom(self._dag_id, self._run_id, task_id, key)
