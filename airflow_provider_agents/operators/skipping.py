"""Ends a bounded loop of unrolled groups: skips everything that is not needed any more, in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.standard.utils.skipmixin import XCOM_SKIPMIXIN_KEY, XCOM_SKIPMIXIN_SKIPPED
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import DownstreamTasksSkipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context


class LoopExitOperator(BaseOperator):
    """Base of the operators that may end a loop of unrolled attempts or rounds.

    :param later_tasks: ids of all tasks of the loop that come after this one. A plain list that whoever
        builds the graph fills when the loop is complete.
    """

    def __init__(self, *, later_tasks: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.later_tasks = later_tasks if later_tasks is not None else []

    def leave_loop(self, context: Context) -> None:
        """Skip all later tasks of the loop at once, without a cascade from level to level.

        Push XComs before: nothing after this runs, and a return value is not kept.
        """
        self.skip_tasks(context, self.later_tasks)

    def skip_tasks(self, context: Context, task_ids: Sequence[str]) -> None:
        """Skip the named tasks at once and end this one as a success; does nothing where there is none."""
        if task_ids:
            skip(self, context, task_ids)


def skip(operator: BaseOperator, context: Context, task_ids: Sequence[str]) -> NoReturn:
    """End the task as a success, with the named tasks skipped at once."""
    direct = [task_id for task_id in task_ids if task_id in operator.downstream_task_ids]
    # Keeps what is skipped now skipped when it is cleared later (Airflow's NotPreviouslySkippedDep).
    context["ti"].xcom_push(key=XCOM_SKIPMIXIN_KEY, value={XCOM_SKIPMIXIN_SKIPPED: direct})
    raise DownstreamTasksSkipped(tasks=[(task_id, -1) for task_id in task_ids])  # type: ignore[no-untyped-call]
