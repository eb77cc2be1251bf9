"""What the record of another run says, by the message that Airflow's supervisor answers."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import DagRunResult, ErrorResponse, GetDagRun

from airflow_provider_agents.operators.run_records import dag_run

END = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def run(state: str, end: datetime | None) -> DagRunResult:
    times = dict.fromkeys(("logical_date", "data_interval_start", "data_interval_end", "start_date"))
    return DagRunResult.model_validate(
        {
            **times,
            "dag_id": "coding_task",
            "run_id": "run_1",
            "run_after": END,
            "end_date": end,
            "run_type": "manual",
            "state": state,
            "consumed_asset_events": [],
            "partition_key": None,
        }
    )


def answers(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[Any]:
    asked: list[Any] = []

    def send(message: Any) -> Any:
        asked.append(message)
        return answer

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=send), raising=False)
    return asked


@pytest.mark.parametrize(
    ("state", "end"), [("success", END), ("failed", END), ("running", None), ("queued", None)]
)
def test_state_and_end_of_a_run(monkeypatch: pytest.MonkeyPatch, state: str, end: datetime | None) -> None:
    asked = answers(monkeypatch, run(state, end))
    assert dag_run("coding_task", "run_1") == (state, end)
    assert asked == [GetDagRun(dag_id="coding_task", run_id="run_1")]


def test_a_run_that_airflow_cannot_tell_of_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, ErrorResponse(error=ErrorType.API_SERVER_ERROR))
    with pytest.raises(RuntimeError, match="run run_1 of DAG coding_task cannot be read"):
        dag_run("coding_task", "run_1")
