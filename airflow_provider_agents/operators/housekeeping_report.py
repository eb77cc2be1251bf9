"""Says what a run of the housekeeping freed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

KINDS = ("pods", "claims", "secrets", "branches")


class HousekeepingReportOperator(BaseOperator):
    """Add up what the tasks of the housekeeping did, in the log and as XCom. Meant as a teardown.

    :param tasks: ids of the tasks, each of which returned what it did, or nothing.
    :return: ``{"dry_run", "freed": {"pods", "claims", "secrets", "branches", "claim_bytes", "cache_bytes"},
        "tasks": {task id: state}}``: counts, and bytes of storage. In a dry run, what would be freed.
    """

    ui_color = "#eeeeee"

    def __init__(self, *, tasks: Sequence[str], **kwargs: Any) -> None:
        kwargs.setdefault("retries", 1)
        super().__init__(**kwargs)
        self.tasks = list(tasks)

    def execute(self, context: Context) -> dict[str, Any]:
        ti = context["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, task_ids=self.tasks, run_ids=[ti.run_id])
        found = [ti.xcom_pull(task_ids=task, key="return_value") for task in self.tasks]
        results = [value for value in found if isinstance(value, Mapping)]
        freed = {kind: sum(_number(result, kind, "deleted") for result in results) for kind in KINDS}
        freed["claim_bytes"] = sum(_number(result, "claims", "bytes") for result in results)
        freed["cache_bytes"] = sum(_number(result, "freed") for result in results)
        dry_run = any(result.get("dry_run") is True for result in results)
        ended = {task: states.get(ti.run_id, {}).get(task) for task in self.tasks}
        self.log.info("Would be freed (dry run):" if dry_run else "Freed:")
        for name, number in freed.items():
            self.log.info("  %-12s %s", name, f"{number:,}")
        for task, state in ended.items():
            self.log.info("%s: %s", task, state or "did not run")
        return {"dry_run": dry_run, "freed": freed, "tasks": ended}


def _number(result: Mapping[str, Any], *keys: str) -> int:
    value: Any = result
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
