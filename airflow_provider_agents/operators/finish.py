"""The last task of a run: its colour is the truth about the ticket. And the report, which always comes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_agents.domain.coding_task import CodingTask
from airflow_provider_agents.exceptions import ForgeAccessError, TaskStoppedError
from airflow_provider_agents.links import PULL_REQUEST_URL_KEY, PullRequestLink
from airflow_provider_agents.operators.forge import ForgeMixin, connection_id, forge_defaults
from airflow_provider_agents.operators.read_report import RunTasks, read_report
from airflow_provider_agents.operators.ticket_sources import place_of, with_ticket
from airflow_provider_agents.operators.ticket_status import tell_end

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider_agents.domain.run_report import RunReport
    from airflow_provider_agents.hooks.github_client import GitHubClient


class _RunEndOperator(BaseOperator):
    """Reads what the tasks of the run left."""

    def __init__(self, *, tasks: RunTasks, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tasks = tasks

    def read_report(self, context: Context) -> RunReport:
        """Put the report of the run together."""
        return read_report(context, self.tasks)


class FinishOperator(ForgeMixin, _RunEndOperator):
    """Close the ticket of a merged run; fail with the reason otherwise.

    The only leaf of the graph, so that the run is green exactly if the pull request was merged.

    :param tasks: where the values of the run are.
    :raises TaskStoppedError: if the run ended any other way than merged; the message says why.
    """

    operator_extra_links = (PullRequestLink(),)
    template_fields: Sequence[str] = ("github_conn_id",)
    ui_color = "#d6f0e0"

    def __init__(self, *, github_conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**forge_defaults(kwargs))
        self.github_conn_id = connection_id(github_conn_id)

    def execute(self, context: Context) -> dict[str, Any]:
        report = self.read_report(context)
        if report.pull_request_url:
            context["ti"].xcom_push(key=PULL_REQUEST_URL_KEY, value=report.pull_request_url)
        if report.outcome != "merged":
            raise TaskStoppedError(report.reason or "The run ended without a merged pull request.")
        accepted = context["ti"].xcom_pull(task_ids=self.tasks.accept)
        task = CodingTask.model_validate(accepted)
        if task.request.delete_branch and report.head_sha:
            self._delete_branch(task, report.head_sha)
        if (place := place_of(task)) is not None:
            # GitHub closes it at the merge by the closing keyword, on the default branch only.
            with_ticket(place, self.github_conn_id, lambda source, reading: source.close(reading))
            self.log.info("Ticket %s is closed.", place.named)
        return {"outcome": report.outcome, "pull_request_url": report.pull_request_url}

    def _delete_branch(self, task: CodingTask, merged_head: str) -> None:
        """Delete the work branch, unless it holds more than what was merged."""
        repository, branch = task.request.repository, task.work_branch

        async def delete(client: GitHubClient) -> bool:
            if await client.branch_head(repository, branch) != merged_head:
                return False
            await client.delete_branch(repository, branch)
            return True

        try:
            deleted = self.ask_forge(repository, delete)
        except ForgeAccessError as error:
            # The ticket is done; a branch that stays is no reason for a red run.
            self.log.warning("Branch %s stays: %s", branch, error)
            return
        self.log.info("Branch %s of %s is %s.", branch, repository, "deleted" if deleted else "gone or newer")


class ReportOperator(_RunEndOperator):
    """Write the report of a run into the log and the XCom ``return_value``, and tell the ticket how it ended.

    A teardown: that it fails, because the ticket's tracker stays away, does not change the run's colour.
    """

    ui_color = "#eeeeee"
    template_fields: Sequence[str] = ("github_conn_id",)

    def __init__(self, *, github_conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**forge_defaults(kwargs))
        self.github_conn_id = github_conn_id

    def execute(self, context: Context) -> Mapping[str, Any]:
        report = self.read_report(context)
        for line in report.lines():
            self.log.info("%s", line)
        context["ti"].xcom_push(key="return_value", value=dataclasses.asdict(report))
        tell_end(context, self.tasks, report, self.github_conn_id)
        return dataclasses.asdict(report)
