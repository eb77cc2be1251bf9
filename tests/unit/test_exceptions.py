from __future__ import annotations

import pickle
from datetime import UTC, datetime

import pytest
from airflow.sdk.exceptions import AirflowException

from agent_runner.contract import StepResult
from airflow_provider_agents import exceptions
from airflow_provider_agents.exceptions import (
    AgentsError,
    ForgeAccessError,
    ForgeConflictError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
    StepError,
    StepFailedError,
    StepInfrastructureError,
    TaskStoppedError,
)

CLASSES = [
    value for value in vars(exceptions).values() if isinstance(value, type) and issubclass(value, Exception)
]


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind is not AirflowException])
def test_there_is_one_tree(kind: type[Exception]) -> None:
    assert issubclass(kind, AgentsError)
    assert kind.__doc__


def test_every_fault_of_an_input_is_in_its_text() -> None:
    error = InvalidInputError(["repository: is missing", "cpu: no"])
    assert str(error) == "Invalid input:\n- repository: is missing\n- cpu: no"


@pytest.mark.parametrize(
    "error",
    [
        AgentsError("x"),
        ForgeError("x"),
        ForgeUnavailableError("x"),
        ForgeRateLimitedError("x", datetime(2026, 1, 1, tzinfo=UTC)),
        ForgeAccessError("x"),
        ForgeConflictError("x"),
        InvalidInputError(["a", "b"]),
        StepError("x", StepResult(outcome="failed")),
        StepFailedError("x"),
        StepInfrastructureError("x"),
        TaskStoppedError("x"),
    ],
)
def test_it_can_be_sent_to_another_process(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_a_rate_limit_is_an_outage_and_a_conflict_is_not() -> None:
    assert issubclass(ForgeRateLimitedError, ForgeUnavailableError)
    assert not issubclass(ForgeConflictError, ForgeUnavailableError)
    assert not issubclass(ForgeAccessError, ForgeUnavailableError)
    assert not issubclass(StepFailedError, StepInfrastructureError)
