"""Decides after each attempt: open the pull request, try again, or give up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.coding_task import CodingTask
from airflow_provider_agents.exceptions import TaskStoppedError
from airflow_provider_agents.operators.failure_reason import FAILURE_KEY
from airflow_provider_agents.operators.forge import forge_defaults
from airflow_provider_agents.operators.skipping import LoopExitOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class AttemptGateOperator(LoopExitOperator):
    """Go on to the next attempt if the tests of this one failed, else leave the loop.

    :param coding_task: the accepted task. (templated)
    :param test_result: result of the attempt's test step; none where tests are not run. (templated)
    :param attempt: number of this attempt, counted from 1.
    :raises TaskStoppedError: if the tests failed and no attempt is left.
    """

    template_fields: Sequence[str] = ("coding_task", "test_result")
    ui_color = "#fff4d6"

    def __init__(self, *, coding_task: Any, test_result: Any, attempt: int, **kwargs: Any) -> None:
        super().__init__(**forge_defaults(kwargs))
        self.coding_task = coding_task
        self.test_result = test_result
        self.attempt = attempt

    def execute(self, context: Context) -> None:
        task = CodingTask.model_validate(self.coding_task)
        result = self.test_result if isinstance(self.test_result, Mapping) else None
        passed = result is None or result.get("outcome") == "succeeded"
        if passed:
            self.log.info(
                "Attempt %d %s.", self.attempt, "passed its tests" if result else "is taken without tests"
            )
            context["ti"].xcom_push(key="passed_attempt", value=self.attempt)
            self.leave_loop(context)
            return
        test = (result or {}).get("test") or {}
        found = f"`{test.get('command')}` ended with exit code {test.get('exit_code')}"
        if self.attempt >= task.request.max_attempts or not self.later_tasks:
            text = (
                f"The tests still fail after {self.attempt} attempt(s): {found}. "
                f"The work is on branch {task.work_branch}. See the log of the last test task; "
                "raise max_attempts, correct test_command, or take the branch over."
            )
            context["ti"].xcom_push(key=FAILURE_KEY, value=text)
            raise TaskStoppedError(text)
        self.log.info(
            "Attempt %d failed its tests: %s. The next attempt gets the output.", self.attempt, found
        )
