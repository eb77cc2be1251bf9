"""Exceptions of this provider: one class for each decision that a caller may take.

::

    AgentsError
    ├── InvalidInputError         the run's conf or an operator's argument: correct it, start again
    ├── ForgeError                GitHub did not do what was asked
    │   ├── ForgeUnavailableError     passing: the same call may succeed later
    │   ├── ForgeRateLimitedError     passing, with a time: wait until then
    │   ├── ForgeAccessError          a permission or a name is wrong: a person must act
    │   └── ForgeConflictError        the world moved (head, state): read again, decide again
    ├── StepError                 an agent step ended without doing its work
    │   ├── StepInfrastructureError   pod, node, network: the same step may succeed unchanged
    │   └── StepFailedError           the agent or its input: repeating it costs money, changes nothing
    └── TaskStoppedError          the pipeline ended without a merge; the reason is the message
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowException

if TYPE_CHECKING:
    from datetime import datetime

    from agent_runner.contract import Failure, StepResult


class AgentsError(AirflowException):
    """Base of all exceptions of this provider."""


class InvalidInputError(AgentsError):
    """The conf of a run or an argument of an operator is wrong: correct it and start again.

    :param faults: every fault found, each naming the field and the remedy.
    """

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("\n".join(["Invalid input:", *(f"- {fault}" for fault in faults)]))

    def __reduce__(self) -> tuple[type[InvalidInputError], tuple[list[str]]]:
        return type(self), (self.faults,)


class ForgeError(AgentsError):
    """GitHub did not do what was asked."""


class ForgeUnavailableError(ForgeError):
    """GitHub could not be reached or answered with a server error: try again later."""


class ForgeRateLimitedError(ForgeUnavailableError):
    """A primary or secondary rate limit is used up: wait until :attr:`retry_at`."""

    def __init__(self, message: str, retry_at: datetime | None = None) -> None:
        self.retry_at = retry_at
        super().__init__(message)


class ForgeAccessError(ForgeError):
    """The credential or the name is wrong: a person must act, repeating does not help."""


class ForgeConflictError(ForgeError):
    """The pull request moved between reading and acting: read again and decide again."""


class StepError(AgentsError):
    """An agent step ended without doing its work.

    Made with :meth:`of` where the failure is known; its text then is category and code, what happened, and
    on a line of its own the remedy.

    :param message: what happened, for a person.
    :param result: the step's result, where there is one.
    """

    failure: Failure | None
    """Why, as everything that decides about a repetition reads it."""

    def __init__(self, message: str, result: StepResult | None = None) -> None:
        self.result = result
        self.failure = result.failure if result is not None else None
        super().__init__(message)

    @classmethod
    def of(cls, failure: Failure, result: StepResult | None = None) -> StepError:
        """Return the exception for a failure: of this class, or from the base the class that fits it."""
        kind = cls
        if kind is StepError:
            kind = StepInfrastructureError if failure.retryable else StepFailedError
        error = kind(failure_text(failure), result)
        error.failure = failure
        return error


class StepInfrastructureError(StepError):
    """Pod, node, network or a passing fault of a service: the same step may succeed unchanged."""


class StepFailedError(StepError):
    """The agent or its input: repeating the step costs money and changes nothing."""


def failure_text(failure: Failure) -> str:
    """Return category and code with what happened, and the remedy on the next line."""
    text = f"[{failure.category}/{failure.code}] {failure.message}"
    return f"{text}\nRemedy: {failure.remedy}" if failure.remedy else text


class TaskStoppedError(AgentsError):
    """The pipeline ended without a merge; the message says why and what to do."""
