"""What Airflow knows of the runs of tickets: asked in few questions, answered truthfully."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import comms, task_runner

from airflow_provider_agents.domain.intake import RunFacts
from airflow_provider_agents.operators.ticket_runs import TicketRuns, run_url

NOW = datetime(2026, 5, 1, tzinfo=UTC)


class Airflow:
    """Airflow's record, and how often it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **runs: tuple[str, Any]) -> None:
        self.runs = runs
        self.counts: list[list[str]] = []
        self.reads: list[str] = []
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", self, raising=False)
        monkeypatch.setattr(comms, "DagRunResult", SimpleNamespace)

    def get_dr_count(self, dag_id: str, run_ids: list[str], states: list[str] | None = None) -> int:
        self.counts.append(run_ids)
        known = [self.runs[run_id][0] for run_id in run_ids if run_id in self.runs]
        return sum(states is None or state in states for state in known)

    def send(self, message: Any) -> Any:
        self.reads.append(message.run_id)
        state, conf = self.runs[message.run_id]
        return SimpleNamespace(state=SimpleNamespace(value=state), conf=conf, run_after=NOW)


def test_what_is_known_is_told_with_its_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    airflow = Airflow(
        monkeypatch,
        queued=("queued", {"ticket_asks": ["LE_1"]}),
        over=("success", {"ticket_asks": "no list"}),
        manual=("failed", None),
    )
    facts = TicketRuns(airflow, "coding_task").facts(["queued", "over", "manual", "never"])
    assert facts == {
        "queued": RunFacts(known=True, active=True, asks=("LE_1",), started_at=NOW),
        "over": RunFacts(known=True, active=False, asks=None, started_at=NOW),
        "manual": RunFacts(known=True, active=False, asks=None, started_at=NOW),
        "never": RunFacts(known=False),
    }


def test_hundreds_of_asks_without_a_run_cost_few_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    airflow = Airflow(monkeypatch, r77=("running", {}))
    runs = TicketRuns(airflow, "coding_task")
    names = [f"r{n}" for n in range(300)]
    facts = runs.facts(names)
    assert [name for name in names if facts[name].known] == ["r77"]
    assert len(airflow.counts) < 3 + 2 * 8
    before = len(airflow.counts)
    assert runs.facts(names) == facts
    assert len(airflow.counts) == before


def test_an_airflow_that_does_not_answer_is_no_run_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    airflow = Airflow(monkeypatch, r=("running", {}))
    monkeypatch.setattr(airflow, "send", lambda message: None)
    with pytest.raises(RuntimeError, match="cannot be read"):
        TicketRuns(airflow, "coding_task").facts(["r"])


def test_the_page_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/")
    assert run_url("coding_task", "a b") == "https://airflow.example.com/dags/coding_task/runs/a%20b"


class Dags:
    """What Airflow says of a DAG."""

    def __init__(self, answer: bool | int) -> None:
        self.answer = answer

    def get_dag(self, dag_id: str) -> Any:
        if isinstance(self.answer, bool):
            return SimpleNamespace(dag_id=dag_id, is_paused=self.answer)
        detail = {"status_code": self.answer, "message": "no"}
        raise AirflowRuntimeError(comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))


def test_a_dag_that_cannot_run_is_told_with_what_to_do() -> None:
    assert TicketRuns(Dags(False), "coding_task").hindrance() == ""
    assert "paused" in TicketRuns(Dags(True), "coding_task").hindrance()
    assert "no DAG coding_task" in TicketRuns(Dags(404), "coding_task").hindrance()
    with pytest.raises(AirflowRuntimeError):
        TicketRuns(Dags(503), "coding_task").hindrance()


def test_of_many_runs_those_that_are_over_are_found_in_few_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: dict[str, tuple[str, Any]] = {f"r{n}": ("running", {}) for n in range(90)}
    airflow = Airflow(monkeypatch, **runs)
    assert TicketRuns(airflow, "coding_task").over(runs) == []
    assert len(airflow.counts) == 1
    airflow.runs |= {"r7": ("failed", {}), "r80": ("success", {})}
    del airflow.runs["r33"]
    assert TicketRuns(airflow, "coding_task").over(runs) == ["r7", "r33", "r80"]
    assert len(airflow.counts) < 60
