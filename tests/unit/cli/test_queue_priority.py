"""``airflow agents queue`` and ``priority``: who waits, in which order, and how a person changes it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from airflow_provider_agents.cli.priority import PRIORITIES
from airflow_provider_agents.cli.queue import CAPACITY, TICKETS
from airflow_provider_agents.domain.capacity import Caps, Limits
from airflow_provider_agents.domain.capacity_ledger import Entry, Ledger
from airflow_provider_agents.domain.sync_state import KnownTicket, SyncState
from tests.unit.cli.fake_airflow import FakeAirflow, Fault

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Call

NOW = datetime.now(UTC)


def entry(run_id: str, minutes: int, **values: object) -> Entry:
    since = NOW - timedelta(minutes=minutes)
    return Entry(dag_id="coding_task", run_id=run_id, repository="acme/shop", since=since, **values)  # type: ignore[arg-type]


@pytest.fixture
def line(airflow: FakeAirflow) -> FakeAirflow:
    """One run at work, two that wait, and a ticket behind them."""
    ledger = Ledger(caps=Caps(all=Limits(runs=1)), durations=(600.0, 1200.0))
    for each in (
        entry("works", 30, phase="working", admitted_at=NOW - timedelta(minutes=2), ticket="acme/shop#1"),
        entry("first", 20, ticket="acme/shop#2"),
        entry("second", 10, ticket="acme/shop#3"),
        entry("over", 60, phase="ended"),
    ):
        ledger = ledger.with_entry(each)
    airflow.variables[CAPACITY] = ledger.to_text()
    ticket = KnownTicket(
        id="I_1", key="acme/shop#4", repository="acme/shop", priority=5, since=NOW, updated_at=NOW,
        standing="recheck", why="waits for acme/shop#1",
    )  # fmt: skip
    airflow.variables[f"{TICKETS}shop"] = SyncState(tickets={"I_1": ticket}).to_text()
    for run_id in ("works", "first", "second"):
        number = {"works": 1, "first": 2, "second": 3}[run_id]
        airflow.add_run(run_id, "running", {"repository": "acme/shop", "issue_number": number})
        airflow.add_task(run_id, "admit", "success" if run_id == "works" else "deferred")
        airflow.add_task(run_id, "open_pull_request", None)
        airflow.add_task(run_id, "finish", None)
    return airflow


def shown(call: Call, *line: str) -> list[dict[str, object]]:
    ended = call("queue", "-o", "json", *line)
    assert ended.code == 0, ended.err
    return list(json.loads(ended.out))


def test_the_line(line: FakeAirflow, call: Call) -> None:
    rows = shown(call)
    assert [(row["position"], row["what"], row["state"]) for row in rows] == [
        (None, "works", "working"),
        (1, "first", "waiting"),
        (2, "second", "waiting"),
        (None, "acme/shop#4", "ticket"),
    ]
    assert "1 of 1 runs at work" in str(rows[1]["why"])
    assert float(str(rows[1]["wait_seconds"])) < float(str(rows[2]["wait_seconds"]))
    assert rows[3]["why"] == "waits for acme/shop#1"
    assert "first" in call("queue").out


def test_who_left_since_the_books_were_written(line: FakeAirflow, call: Call) -> None:
    """They are written when the next run is admitted, which may be hours from now."""
    line.add_task("works", "open_pull_request", "success")
    line.add_task("first", "admit", "failed")
    assert [row["what"] for row in shown(call)] == ["second", "acme/shop#4"]
    line.tasks.pop("second")
    assert [row["what"] for row in shown(call)] == ["acme/shop#4"]


def test_a_long_line_is_asked_for_in_parts(line: FakeAirflow, call: Call) -> None:
    ledger = Ledger.from_text(line.variables[CAPACITY])
    for number in range(70):
        ledger = ledger.with_entry(entry(f"w{number}", 5))
        line.add_run(f"w{number}", "running", {"repository": "acme/shop"})
        for task in ("admit", "open_pull_request", "finish"):
            line.add_task(f"w{number}", task, "deferred" if task == "admit" else None)
    line.variables[CAPACITY] = ledger.to_text()
    assert len([row for row in shown(call) if row["state"] == "waiting"]) == 72
    assert sum(request.endswith("/taskInstances/list") for request in line.requests) == 3


@pytest.mark.parametrize("reference", ["second", "acme/shop#3"])
def test_a_person_puts_one_first(line: FakeAirflow, call: Call, reference: str) -> None:
    assert call("priority", reference, "50").code == 0
    assert json.loads(line.variables[PRIORITIES]) == {"second": 50}
    rows = shown(call)
    assert [row["what"] for row in rows if row["state"] == "waiting"] == ["second", "first"]
    assert rows[1]["priority"] == 50

    assert call("priority", reference, "default").code == 0
    assert json.loads(line.variables[PRIORITIES]) == {}


def test_a_ticket_without_a_run(line: FakeAirflow, call: Call) -> None:
    assert call("priority", "acme/shop#4", "9").code == 0
    assert json.loads(line.variables[PRIORITIES]) == {"acme/shop#4": 9}
    assert shown(call)[3]["priority"] == 9


def test_other_priorities_stay(line: FakeAirflow, call: Call) -> None:
    line.variables[PRIORITIES] = json.dumps({"x": 1})
    call("priority", "second", "2")
    assert json.loads(line.variables[PRIORITIES]) == {"x": 1, "second": 2}


def test_one_repository(line: FakeAirflow, call: Call) -> None:
    assert shown(call, "--repository", "acme/other") == []
    assert len(shown(call, "--repository", "ACME/shop")) == 4


def test_an_empty_line(airflow: FakeAirflow, call: Call) -> None:
    assert call("queue").out == "Nothing is at work, and nothing waits.\n"


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 99}', "null", '{"version": 1, "entries": [{}]}'])
def test_a_damaged_ledger(line: FakeAirflow, call: Call, text: str) -> None:
    line.variables[CAPACITY] = text
    line.variables[f"{TICKETS}shop"] = text
    line.variables[PRIORITIES] = text
    ended = call("queue")
    assert ended.code == 0
    assert "agents_capacity cannot be read" in ended.err


def test_a_source_that_fails_says_so(line: FakeAirflow, call: Call) -> None:
    state = SyncState().with_failure("Linear answers 503", NOW, every=60)
    line.variables[f"{TICKETS}linear"] = state.to_text()
    assert "source linear: its last 1 looks failed: Linear answers 503" in call("queue").err


@pytest.mark.parametrize("number", ["high", "1.5", "10000000", ""])
def test_what_is_no_priority(line: FakeAirflow, call: Call, number: str) -> None:
    ended = call("priority", "second", number)
    assert ended.code == 2
    assert PRIORITIES not in line.variables


def test_a_run_that_is_not_there(line: FakeAirflow, call: Call) -> None:
    ended = call("priority", "nonsense", "1")
    assert ended.code == 1
    assert PRIORITIES not in line.variables


def test_two_people_at_the_same_moment(line: FakeAirflow, call: Call) -> None:
    line.variables[PRIORITIES] = "{}"
    line.faults = [Fault("PATCH /api/v2/variables", 200, body=b"{}")]  # the other one wrote last
    ended = call("priority", "second", "1")
    assert ended.code == 1
    assert "run it again" in ended.err
