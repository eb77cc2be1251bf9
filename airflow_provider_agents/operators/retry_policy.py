"""When Airflow repeats a step: decided from the failure itself, never from the exception's class alone.

Airflow's retries are for infrastructure: a repetition must be able to succeed unchanged. How long to wait
depends on what has to pass first: a rate limit takes minutes, another node is found in seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy
from kubernetes.client.exceptions import ApiException

from airflow_provider_agents.domain.kubernetes_errors import api_failure
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
    StepError,
    StepFailedError,
    failure_text,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from agent_runner.contract import Failure

STEP_RETRIES = 3

FIRST_PAUSE = timedelta(seconds=15)
"""Before a step is started again after its pod, its node or the network was lost; doubles with each try.
The task's own ``retry_delay`` takes its place."""
RATE_LIMIT_PAUSES = (timedelta(seconds=60), timedelta(seconds=300), timedelta(seconds=900))
"""By try. A limit per minute has passed after the first, one per five minutes after the second."""
WAITING_PAUSE = timedelta(seconds=60)
"""Before a pod is created again that waited all its time for a node, a claim or an image."""
LONGEST_PAUSE = timedelta(hours=1)

_AFTER_WAITING = frozenset({"scheduling", "storage", "image"})
_AFTER_LOSS = frozenset({"evicted", "network", "resource"})
_REFUSALS = frozenset({401, 403, 422})
"""Answers of the Kubernetes API that come again. Others, and none at all, are Airflow's to repeat."""


class StepRetryPolicy(RetryPolicy):
    """Retry policy of agent steps. Has no settings: all follows from the failure."""

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,
        context: Context | None = None,
    ) -> RetryDecision:
        """Decide; the reason is the last thing that the log of a failed try says.

        :param try_number: counts on over clears, as ``max_tries`` does.
        """
        task = getattr((context or {}).get("ti"), "task", None)
        done = _tries(try_number, max_tries, task)
        pause = _doubled(getattr(task, "retry_delay", None), done)
        if (failure := _failure_of(exception)) is not None:
            return _decide(failure, done, pause)
        if isinstance(exception, InvalidInputError | ForgeAccessError | StepFailedError):
            return RetryDecision.fail(str(exception))
        if isinstance(exception, ForgeRateLimitedError):
            known = exception.retry_at
            return RetryDecision.retry(_until(known) if known else _by_try(done), str(exception))
        if isinstance(exception, ForgeUnavailableError):
            return RetryDecision.retry(pause, str(exception))
        return RetryDecision.default()

    def serialize(self) -> dict[str, Any]:
        """Return the policy as JSON: its name, for it has no settings."""
        return {"__type": f"{type(self).__module__}.{type(self).__qualname__}"}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> StepRetryPolicy:
        """Return the policy."""
        return cls()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))


def _failure_of(exception: BaseException) -> Failure | None:
    if isinstance(exception, StepError):
        return exception.failure
    if isinstance(exception, ApiException) and exception.status in _REFUSALS:
        return api_failure("a call of the step", exception.status, exception.body)
    return None


def _decide(failure: Failure, done: int, pause: timedelta) -> RetryDecision:
    reason = " ".join(failure_text(failure).split())
    if not failure.retryable:
        return RetryDecision.fail(reason)
    if failure.category == "rate_limit":
        return RetryDecision.retry(_by_try(done), reason)
    if failure.category in _AFTER_LOSS:
        return RetryDecision.retry(pause, reason)
    if failure.category in _AFTER_WAITING:
        return RetryDecision.retry(max(WAITING_PAUSE, pause), reason)
    return RetryDecision.retry(None, reason)


def _tries(try_number: int, max_tries: int, task: Any) -> int:
    """Return how many tries there were before this one since the task was last cleared."""
    retries = getattr(task, "retries", None)
    cleared = max(0, max_tries - retries) if isinstance(retries, int) else 0
    return max(0, try_number - cleared - 1)


def _doubled(first: Any, done: int) -> timedelta:
    pause = first if isinstance(first, timedelta) else FIRST_PAUSE
    factor: int = 2 ** min(done, 16)
    return min(pause * factor, LONGEST_PAUSE)


def _by_try(done: int) -> timedelta:
    return RATE_LIMIT_PAUSES[min(done, len(RATE_LIMIT_PAUSES) - 1)]


def _until(moment: datetime) -> timedelta:
    return min(max(moment - datetime.now(tz=UTC), FIRST_PAUSE), LONGEST_PAUSE)
