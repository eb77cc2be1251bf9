from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime

import pytest
from airflow.sdk.exceptions import AirflowException

from agent_runner.contract import StepResult, failure
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
        StepError.of(failure("evicted", "The pod was evicted."), StepResult(outcome="failed")),
        StepError.of(failure("image_pull", "No such image.", remedy="Correct `image`.")),
        TaskStoppedError("x"),
    ],
)
def test_it_can_be_sent_to_another_process(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
    assert vars(copy.deepcopy(error)) == vars(error)


@pytest.mark.parametrize(
    ("code", "kind"), [("evicted", StepInfrastructureError), ("image_pull", StepFailedError)]
)
def test_a_step_fails_with_the_class_that_fits_its_failure(code: str, kind: type[StepError]) -> None:
    found = failure(code, "What happened.")
    result = StepResult(outcome="failed")
    error = StepError.of(found, result)
    assert type(error) is kind
    assert (error.failure, error.result) == (found, result)


def test_a_class_that_was_chosen_stays() -> None:
    assert type(StepFailedError.of(failure("evicted", "m"))) is StepFailedError


def test_the_last_line_of_a_failed_step_is_its_remedy() -> None:
    error = StepError.of(failure("image_pull", "No such image."))
    assert str(error).splitlines() == [
        "[image/image_pull] No such image.",
        "Remedy: Check `image` and the image pull secrets.",
    ]
    assert "Remedy" not in str(StepError.of(failure("image_pull", "No such image.", remedy="")))


def test_the_failure_of_a_result_is_that_of_its_error() -> None:
    found = failure("agent_stuck", "m")
    assert StepFailedError("text", StepResult(outcome="failed", failure=found)).failure is found
    assert StepFailedError("text").failure is None


def test_a_rate_limit_is_an_outage_and_a_conflict_is_not() -> None:
    assert issubclass(ForgeRateLimitedError, ForgeUnavailableError)
    assert not issubclass(ForgeConflictError, ForgeUnavailableError)
    assert not issubclass(ForgeAccessError, ForgeUnavailableError)
    assert not issubclass(StepFailedError, StepInfrastructureError)
