"""Values of other tasks, taken when this task runs, without drawing an edge in the graph.

``task.output`` would add an edge from every task whose value is read; the pipeline's order is drawn by
hand, so that a person can read it.

A clear leaves XComs in place until their task runs again: one that then is skipped left nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions._internal.mixins import ResolveMixin

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow.sdk import Context


_DID_NOT_RUN = ("skipped", "upstream_failed", "removed")


def values_of(context: Context, task_ids: Sequence[str], key: str = "return_value") -> dict[str, Any]:
    """Return task id → XCom of those tasks that ran in this go at the run, in the order given.

    Those that ran and pushed nothing are there with ``None``.
    """
    if not task_ids:
        return {}
    ti = context["ti"]
    states = ti.get_task_states(dag_id=ti.dag_id, task_ids=list(task_ids), run_ids=[ti.run_id])
    state_of = states.get(ti.run_id, {})
    ran = [task_id for task_id in task_ids if state_of.get(task_id) not in _DID_NOT_RUN]
    return {task_id: ti.xcom_pull(task_ids=task_id, key=key) for task_id in ran}


class Pulled(ResolveMixin):
    """The XCom of a task of the same run, for a template field; ``None`` where it left none.

    The value keeps its type and is not rendered again, so that a ``{{ … }}`` in it stays as it is.

    :param task_id: the task that pushed it.
    :param key: XCom key.
    """

    def __init__(self, task_id: str, key: str = "return_value") -> None:
        self.task_id = task_id
        self.key = key

    def iter_references(self) -> Iterable[tuple[Any, str]]:
        return ()

    def resolve(self, context: Context) -> Any:
        return values_of(context, [self.task_id], self.key).get(self.task_id)

    def __repr__(self) -> str:
        return f"{self.key} of {self.task_id}"


class LatestPulled(ResolveMixin):
    """The XCom of the last of several tasks that left one, for a template field; ``None`` where none did.

    :param task_ids: the tasks, in their order.
    :param key: XCom key.
    """

    def __init__(self, task_ids: Sequence[str], key: str = "return_value") -> None:
        self.task_ids = list(task_ids)
        self.key = key

    def iter_references(self) -> Iterable[tuple[Any, str]]:
        return ()

    def resolve(self, context: Context) -> Any:
        values = [
            value for value in values_of(context, self.task_ids, self.key).values() if value is not None
        ]
        return values[-1] if values else None

    def __repr__(self) -> str:
        return f"{self.key} of the last of {', '.join(self.task_ids)}"
