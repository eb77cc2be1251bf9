"""What must outlive a task's tries: Airflow's task state store, which survives retries *and* clears."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.execution_time.context import NEVER_EXPIRE

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context


def recall(context: Context, key: str) -> Any:
    """Return what was remembered under ``key``, or ``None``; also where there is no store."""
    store = context.get("task_state_store")
    return store.get(key) if store is not None else None


def remember(context: Context, key: str, value: Any) -> None:
    """Keep a JSON-ready value for as long as the run is kept."""
    store = context.get("task_state_store")
    if store is not None:
        store.set(key, value, retention=NEVER_EXPIRE)


def generation(operator: BaseOperator, context: Context) -> int:
    """Return what stays the same over retries and moves on when the task is cleared.

    A clear raises the task's ``max_tries`` by the tries that were used; a retry leaves it alone.
    """
    return int(context["ti"].max_tries or 0) - int(operator.retries or 0)
