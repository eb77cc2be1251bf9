"""How a step stops early: one exception that carries a :class:`~agent_runner.contract.Failure`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_runner.contract import Failure, failure

if TYPE_CHECKING:
    import signal


class StepFailed(Exception):  # noqa: N818 - a verdict about the step, not a fault of the program
    """The step cannot go on. What was learned so far is in the draft of its result."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)


class StepCancelled(StepFailed):
    """SIGTERM or SIGINT came: the pod is being deleted, evicted or has passed its deadline."""

    def __init__(self, received: signal.Signals) -> None:
        super().__init__(
            failure(
                "terminated",
                f"The runner was told to stop by {received.name} before the step was done.",
            )
        )


def failed(code: str, message: str, remedy: str | None = None) -> StepFailed:
    """Return the exception for a failure; the parameters are those of :func:`agent_runner.contract.failure`."""
    return StepFailed(failure(code, message, remedy=remedy))
