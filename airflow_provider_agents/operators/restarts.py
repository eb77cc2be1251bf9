"""How often a step's pod is started again, with how much memory, and whether with the cache.

Bounded, because every start spends money: a lost pod three times, one that ran out of memory once.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from airflow_provider_agents import settings
from airflow_provider_agents.domain.quantity import raised
from airflow_provider_agents.operators.task_state import generation, recall, remember

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

    from agent_runner.contract import Failure

MOST_RESTARTS = 3
_LOST = "lost"
_MEMORY = "memory"
_NO_CACHE = "no_cache"


class Restarts:
    """Counts in the task state store, so that a clear starts anew and a retry does not."""

    def __init__(self, operator: BaseOperator, context: Context) -> None:
        self._context = context
        self._key = f"restarts_{generation(operator, context)}"
        self._counts: dict[str, Any] = recall(context, self._key) or {}

    def memory(self, asked: str) -> str:
        """Return the memory of the next pod: what was asked for, or more after it did not suffice."""
        return str(self._counts.get(_MEMORY) or asked)

    @property
    def uses_cache(self) -> bool:
        """Whether the next pod is to mount the cache claim: not where one could not be started with it."""
        return not self._counts.get(_NO_CACHE)

    def judge(self, failure: Failure, asked_memory: str) -> Failure:
        """Return ``failure`` with what is left of its being retryable, and count it."""
        if failure.code == "out_of_memory":
            return self._out_of_memory(failure, asked_memory)
        if failure.code == "cache_unusable":
            self._remember({_NO_CACHE: True})
            return dataclasses.replace(
                failure, message=f"{failure.message} It is repeated without the cache."
            )
        if failure.category != "evicted":
            return failure
        lost = int(self._counts.get(_LOST) or 0) + 1
        self._remember({_LOST: lost})
        if lost > MOST_RESTARTS:
            message = f"{failure.message} It was started again {MOST_RESTARTS} times already."
            return dataclasses.replace(failure, message=message, retryable=False)
        return failure

    def _out_of_memory(self, failure: Failure, asked: str) -> Failure:
        ceiling = settings.text("memory_ceiling", "16Gi")
        more = None if self._counts.get(_MEMORY) else raised(asked, ceiling)
        if more is None:
            message = f"{failure.message} It had {self.memory(asked)}; [agents] memory_ceiling is {ceiling}."
            return dataclasses.replace(failure, message=message, retryable=False)
        self._remember({_MEMORY: more})
        message = f"{failure.message} It had {asked}; the step is repeated once, with {more}."
        return dataclasses.replace(failure, message=message, retryable=True)

    def _remember(self, change: dict[str, Any]) -> None:
        self._counts = {**self._counts, **change}
        remember(self._context, self._key, self._counts)
