"""An Airflow with runs of a DAG, as the task ``admit`` and its trigger see it: states, XComs, Variables."""

from __future__ import annotations

import copy
import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import ErrorType, TaskDeferred
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import (
    DagRunResult,
    ErrorResponse,
    GetDagRun,
    GetTaskStates,
    GetVariable,
    PutVariable,
    TaskStatesResult,
    VariableResult,
)

from airflow_provider_agents.domain.capacity_ledger import LEDGER_VARIABLE, Entry, Ledger, key_of
from airflow_provider_agents.operators import admit as admit_module
from airflow_provider_agents.operators.admit import AdmitOperator
from tests.unit.fakes import accepted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pytest

DAG_ID = "coding_task"
START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
STEPS = ("plan.round_1.plan", "build.attempt_1.implement", "land.round_1.fix")
TASKS = ("accept", "admit", *STEPS, "open_pull_request", "finish")


class Clock:
    def __init__(self) -> None:
        self.time = START

    def now(self, zone: Any = None) -> datetime:
        return self.time.astimezone(zone) if zone else self.time

    def pass_minutes(self, minutes: float) -> None:
        self.time += timedelta(minutes=minutes)


class World:
    """All runs of one Airflow."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.variables: dict[str, str] = {}
        self.runs: dict[str, dict[str, str | None]] = {}
        self.asked: dict[str, datetime] = {}
        self.xcoms: dict[tuple[str, str, str], Any] = {}
        self.durations: dict[str, dict[str, float]] = {}
        self.down = False
        self.calls: list[Any] = []
        self.lose_write = False
        monkeypatch.setattr(
            task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=self.send, asend=self.asend), raising=False
        )
        monkeypatch.setattr(admit_module, "datetime", SimpleNamespace(now=self.clock.now))

    # What Airflow answers

    def send(self, message: Any) -> Any:
        self.calls.append(message)
        if self.down:
            return ErrorResponse(error=ErrorType.API_SERVER_ERROR)
        match message:
            case GetVariable(key=key):
                if key not in self.variables:
                    return ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND)
                return VariableResult(key=key, value=self.variables[key])
            case PutVariable(key=key, value=value):
                if self.lose_write:
                    raise ConnectionError("the worker died")
                self.variables[key] = str(value)
                return None
            case GetTaskStates():
                return TaskStatesResult(
                    task_states=self.states(message.dag_id, message.task_ids, message.run_ids)
                )
            case GetDagRun(run_id=run_id):
                return self._run(run_id)
        raise AssertionError(f"unexpected message {message!r}")

    async def asend(self, message: Any) -> Any:
        return self.send(message)

    def states(
        self, dag_id: str, task_ids: Sequence[str] | None = None, run_ids: Sequence[str] | None = None
    ) -> dict[str, dict[str, str | None]]:
        if self.down:
            raise ConnectionError("the API server does not answer")
        assert dag_id == DAG_ID
        return {
            run_id: {task: state for task, state in tasks.items() if task_ids is None or task in task_ids}
            for run_id, tasks in self.runs.items()
            if run_ids is None or run_id in run_ids
        }

    def _run(self, run_id: str) -> DagRunResult:
        times = dict.fromkeys(
            ("logical_date", "data_interval_start", "data_interval_end", "start_date", "end_date")
        )
        return DagRunResult.model_validate(
            {
                **times,
                "dag_id": DAG_ID,
                "run_id": run_id,
                "run_after": self.asked[run_id],
                "run_type": "manual",
                "state": "running",
                "consumed_asset_events": [],
                "partition_key": None,
            }
        )

    # What happens to runs

    def start(self, run_id: str, **request: Any) -> None:
        """Trigger a run; its task ``accept`` has succeeded."""
        self.runs[run_id] = {**dict.fromkeys(TASKS), "accept": "success"}
        self.asked[run_id] = self.clock.time
        self.xcoms[run_id, "accept", "return_value"] = accepted(**request)

    def admit(self, run_id: str, event: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """Run its task ``admit``; return what it returned, ``None`` where it defers."""
        states = self.runs[run_id]
        states["admit"] = "running"
        context: Any = {
            "ti": TaskInstance(self, run_id),
            "dag_run": SimpleNamespace(run_after=self.asked[run_id]),
        }
        operator = AdmitOperator(task_id="admit", coding_task=self.xcoms[run_id, "accept", "return_value"])
        try:
            done = operator.execute(context, event)
        except TaskDeferred:
            states["admit"] = "deferred"
            return None
        states["admit"] = "success"
        return done

    def position(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.xcoms[run_id, "admit", "waiting"]
        return found

    def open_pull_request(self, run_id: str, minutes: float = 30) -> None:
        self.runs[run_id]["open_pull_request"] = "success"
        self.durations[run_id] = {"build.attempt_1.implement": minutes * 60, "admit": 9_999.0}

    def end(self, run_id: str, state: str = "failed") -> None:
        self.runs[run_id] |= {"finish": state}

    def spend(self, run_id: str, task: str, usd: float, state: str = "settled", pod: str = "") -> None:
        self.runs[run_id][task] = "success" if state == "settled" else "deferred"
        record = {
            "pod": pod or f"{run_id}-{task}",
            "task": "t",
            "repository": "acme/shop",
            "step": "plan",
            "program": "claude",
            "day": self.clock.time.date().isoformat(),
            "state": state,
            "usd": usd,
        }
        self.xcoms.setdefault((run_id, task, "ledger"), []).append(record)

    # What the books say

    @property
    def ledger(self) -> Ledger:
        return Ledger.from_text(self.variables[LEDGER_VARIABLE])

    def entry(self, run_id: str) -> Entry:
        return self.ledger.entries[key_of(DAG_ID, run_id)]

    def working(self) -> set[str]:
        return {place.key.partition("/")[2] for place in self.ledger.places()}

    def priorities(self, **given: int) -> None:
        self.variables["agents_priorities"] = json.dumps(given)

    @contextmanager
    def dying_at_the_write(self, *, after: bool) -> Iterator[None]:
        """Let the worker die when it writes the books: before it is done, or after."""
        before = copy.deepcopy(self.variables)
        self.lose_write = not after
        try:
            yield
        except ConnectionError:
            assert not after
        finally:
            self.lose_write = False
        if not after:
            assert self.variables == before


class TaskInstance:
    """The task ``admit`` of a run."""

    def __init__(self, world: World, run_id: str) -> None:
        self.dag_id, self.run_id, self.task_id = DAG_ID, run_id, "admit"
        self.world = world

    def get_task_states(self, dag_id: str, **which: Any) -> dict[str, dict[str, str | None]]:
        return self.world.states(dag_id, which.get("task_ids"), which.get("run_ids"))

    def get_task_breadcrumbs(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        return [
            {"task_id": task, "duration": seconds, "state": "success"}
            for task, seconds in self.world.durations.get(run_id, {}).items()
        ]

    def xcom_pull(self, task_ids: str, dag_id: str, run_id: str, key: str = "return_value") -> Any:
        return self.world.xcoms.get((run_id, task_ids, key))

    def xcom_push(self, key: str, value: Any) -> None:
        self.world.xcoms[self.run_id, "admit", key] = value
