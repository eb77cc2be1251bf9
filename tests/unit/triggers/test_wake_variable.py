"""The Variable by which somebody who learned of a change has a pull request looked at, in faked time."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from airflow.sdk.api.datamodels._generated import VariableResponse
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, GetVariable, VariableResult

from airflow_provider_agents.domain.webhook_marks import MOST_CHARACTERS, MOST_NAMES
from airflow_provider_agents.triggers import wake_variable
from airflow_provider_agents.triggers.wake_variable import pull_request_of
from tests.unit.triggers.pull_request_world import GREEN, MERGED, Forge, Triggerer, alone, time, trigger

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime(start=0, end=10_000_000)]

DRAFT = {"draft": True}
"""It waits for people, and is looked at every two minutes."""


@dataclass
class FakeVariable:
    """What the Variable says from which second on; an exception is what reading it raises."""

    history: list[tuple[float, Any]] = field(default_factory=list)
    read: list[tuple[float, str]] = field(default_factory=list)

    async def __call__(self, name: str) -> str | None:
        self.read.append((time(), name))
        value = next((value for at, value in reversed(self.history) if at <= time()), None)
        if isinstance(value, Exception):
            raise value
        if value == "hang":
            await asyncio.sleep(1_000_000)
        return value if value is None or isinstance(value, str) else json.dumps(value)


@pytest.fixture
def variable(monkeypatch: pytest.MonkeyPatch) -> FakeVariable:
    variable = FakeVariable()
    monkeypatch.setenv("AIRFLOW__AGENTS__WAKE_SECONDS", "5")
    monkeypatch.setattr(wake_variable, "read_variable", variable)
    return variable


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> Forge:
    forge = Forge()
    forge.install(monkeypatch)
    monkeypatch.setattr(random, "uniform", lambda low, high: high if low else 0.0)
    for number in (1, 2):
        forge.has((0, DRAFT), (241, GREEN), number=number)
    return forge


def start(triggerer: Triggerer, *numbers: int) -> list[asyncio.Task[tuple[float, dict[str, Any]]]]:
    return [triggerer.start(trigger(number)) for number in numbers]


async def ends(*waits: asyncio.Task[tuple[float, dict[str, Any]]]) -> list[float]:
    return [at for at, _ in await asyncio.gather(*waits)]


async def test_a_new_mark_has_its_pull_request_looked_at(forge: Forge, variable: FakeVariable) -> None:
    variable.history = [(0, {"acme/shop#1": 1}), (242, {"acme/shop#1": 2})]
    assert await ends(*start(Triggerer(), 1, 2)) == [245, 360]


async def test_without_it_the_next_poll_finds_the_change(forge: Forge, variable: FakeVariable) -> None:
    variable.history = [(0, {"acme/shop#1": 1})]
    assert await ends(*start(Triggerer(), 1, 2)) == [360, 360]


async def test_a_name_that_was_not_there_wakes(forge: Forge, variable: FakeVariable) -> None:
    variable.history = [(242, {"acme/shop#1": "2026-01-01T00:04:02Z"})]
    assert await ends(*start(Triggerer(), 1, 2)) == [245, 360]


async def test_a_repository_wakes_all_of_its_pull_requests(forge: Forge, variable: FakeVariable) -> None:
    variable.history = [(0, {}), (242, {"Acme/Shop": 1})]
    assert await ends(*start(Triggerer(), 1, 2)) == [245, 245]


async def test_a_mark_that_stays_wakes_once(forge: Forge, variable: FakeVariable) -> None:
    variable.history = [(0, {}), (52, {"acme/shop#1": 1}), (72, {"acme/shop#1": 1, "acme/other": 5})]
    await ends(*start(Triggerer(), 1))
    assert [at for at in forge.read_at(1) if 50 <= at < 120] == [55]


async def test_what_stood_in_it_at_the_start_costs_no_reading(forge: Forge, variable: FakeVariable) -> None:
    variable.history = [(0, {"acme/shop#1": 7})]
    await ends(*start(Triggerer(), 1))
    assert [at for at in forge.read_at(1) if at < 241] == [5]


async def test_it_is_read_once_for_all_waits(forge: Forge, variable: FakeVariable) -> None:
    waits = start(Triggerer(), *range(50))
    await asyncio.sleep(23)
    assert variable.read == [(at, "agents_wake") for at in (0, 5, 10, 15, 20)]
    for wait in waits:
        wait.cancel()


async def test_nobody_reads_it_after_the_last_wait(forge: Forge, variable: FakeVariable) -> None:
    await ends(*start(Triggerer(), 1))
    ended = len(variable.read)
    await asyncio.sleep(1_000)
    assert len(variable.read) == ended


async def test_a_wait_of_its_own_is_woken_too(forge: Forge, variable: FakeVariable) -> None:
    variable.history = [(242, {"acme/shop#1": 1})]
    at, _ = await alone(trigger(1))
    assert at == 245
    assert variable.read[-1][0] == 245


async def test_the_option_says_how_often_it_is_read(
    forge: Forge, variable: FakeVariable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__WAKE_SECONDS", "20")
    await ends(*start(Triggerer(), 1))
    assert [at for at, _ in variable.read[:4]] == [0, 20, 40, 60]


async def test_it_is_read_at_most_once_a_second(
    forge: Forge, variable: FakeVariable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__WAKE_SECONDS", "0")
    await ends(*start(Triggerer(), 1))
    assert [at for at, _ in variable.read[:4]] == [0, 1, 2, 3]


async def test_it_is_read_every_two_seconds_by_default(
    forge: Forge, variable: FakeVariable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW__AGENTS__WAKE_SECONDS")
    await ends(*start(Triggerer(), 1))
    assert variable.read[:3] == [(0, "agents_wake"), (2, "agents_wake"), (4, "agents_wake")]


async def test_it_is_read_once_for_the_polls_of_all_connections(forge: Forge, variable: FakeVariable) -> None:
    variable.history = [(0, {}), (242, {"acme/shop": 1})]
    triggerer = Triggerer()
    first = triggerer.start(trigger(1))
    await asyncio.sleep(12)
    second = triggerer.start(trigger(2, github_conn_id="other"))
    assert await ends(first, second) == [245, 245]
    assert [at for at, _ in variable.read] == list(range(0, 250, 5))


async def test_a_missing_variable_is_no_reason_for_a_warning(
    forge: Forge, variable: FakeVariable, caplog: pytest.LogCaptureFixture
) -> None:
    variable.history = [(242, {"acme/shop#1": 1})]
    assert await ends(*start(Triggerer(), 1)) == [245]
    assert [record for record in caplog.records if record.name == wake_variable.__name__] == []


async def test_without_the_option_nothing_is_read(
    forge: Forge, variable: FakeVariable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__WAKE_VARIABLE", "")
    assert await ends(*start(Triggerer(), 1)) == [360]
    assert variable.read == []


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("no JSON", "Expecting value"),
        (["acme/shop#1"], "must be a JSON object"),
        ({f"acme/shop#{n}": 1 for n in range(MOST_NAMES + 1)}, "more than 1000 names"),
        (" " * (MOST_CHARACTERS + 1), "more than 65536 characters"),
        (RuntimeError("Airflow is away"), "Airflow is away"),
        ("hang", "TimeoutError"),
    ],
)
async def test_what_cannot_be_read_is_told_once_and_ends_no_wait(
    forge: Forge, variable: FakeVariable, caplog: pytest.LogCaptureFixture, bad: Any, words: str
) -> None:
    known = {"acme/shop#2": 1}
    variable.history = [(0, known), (50, bad), (200, known | {"acme/shop#1": 1})]
    forge.has((0, DRAFT), (190, MERGED), number=1)
    first, second = await ends(*start(Triggerer(), 1, 2))
    # A hung reading is given up after half a minute, and begun anew five seconds later.
    assert 200 <= first <= 200 + (35 if bad == "hang" else 5)
    assert second == 360
    (line,) = [record.getMessage() for record in caplog.records if record.name == wake_variable.__name__]
    assert words in line
    assert "'agents_wake'" in line


async def test_names_that_name_nothing_wake_nobody(forge: Forge, variable: FakeVariable) -> None:
    variable.history = [
        (0, {}),
        (242, dict.fromkeys(("", "#", "#1", "acme/shop#", "acme/shop#x", "acme", "tickets:acme/shop#1"), 1)),
    ]
    assert await ends(*start(Triggerer(), 1)) == [360]


async def test_a_wait_that_is_cancelled_ends_the_reading(forge: Forge, variable: FakeVariable) -> None:
    variable.history = [(50, "hang")]
    triggerer = Triggerer()
    (wait,) = start(triggerer, 1)
    await asyncio.sleep(60)
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    await asyncio.sleep(1)
    assert len([task for task in asyncio.all_tasks() if not task.done()]) == 1


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("acme/shop", ("acme/shop", None)),
        ("acme/shop#7", ("acme/shop", 7)),
        ("acme/shop#٧", None),
        ("acme/shop#-7", None),
        ("tickets:acme/shop", None),
    ],
)
async def test_names(name: str, named: Any) -> None:
    assert pull_request_of(name) == named


class FakeSupervisor:
    """Airflow's side of a trigger's process. Only what does not hold up the event loop is there."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    async def asend(self, message: Any) -> Any:
        self.asked.append(message)
        return self.answer


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (VariableResult.from_variable_response(VariableResponse(key="k", value="{}")), "{}"),
        (ErrorResponse(), None),
    ],
)
async def test_airflow_is_asked_without_holding_up_the_loop(
    monkeypatch: pytest.MonkeyPatch, answer: Any, text: str | None
) -> None:
    supervisor = FakeSupervisor(answer)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    assert await wake_variable.read_variable("agents_wake") == text
    assert [(type(each), each.key) for each in supervisor.asked] == [(GetVariable, "agents_wake")]
