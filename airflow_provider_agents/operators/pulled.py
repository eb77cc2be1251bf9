"""A value of another task, taken when this task runs, without drawing an edge in the graph.

``task.output`` would add an edge from every task whose value is read; the pipeline's order is drawn by
hand, so that a person can read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions._internal.mixins import ResolveMixin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.sdk import Context


class Pulled(ResolveMixin):
    """The XCom of a task of the same run, for a template field; ``None`` where there is none.

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
        return context["ti"].xcom_pull(task_ids=self.task_id, key=self.key)

    def __repr__(self) -> str:
        return f"{self.key} of {self.task_id}"
