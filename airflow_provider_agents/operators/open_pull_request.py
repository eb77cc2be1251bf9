"""Opens the pull request, or finds the one that is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_agents.domain.coding_task import CodingTask
from airflow_provider_agents.domain.outbound import outbound_title, pull_request_body
from airflow_provider_agents.exceptions import InvalidInputError, TaskStoppedError
from airflow_provider_agents.links import PULL_REQUEST_URL_KEY, PullRequestLink
from airflow_provider_agents.operators.forge import ForgeMixin, connection_id, fail, forge_defaults

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_agents.hooks.github_client import GitHubClient
    from airflow_provider_agents.hooks.github_models import PullRequestRef


class OpenPullRequestOperator(ForgeMixin, BaseOperator):
    """Open a pull request for a work branch with the connection's credential; no model is involved.

    Idempotent: an open pull request of the branch is found, not made twice.

    :param coding_task: an accepted task; or give ``repository``, ``head_branch`` and ``base_branch``. (templated)
    :param step_results: results of the implement steps, in order; title and description come from the
        last one that there is. (templated)
    :param repository: ``owner/name``. (templated)
    :param head_branch: branch with the work. (templated)
    :param base_branch: branch to merge into. (templated)
    :param title: title, where no step result has one. (templated)
    :param draft: open as a draft; a ``coding_task`` says so itself.
    :return: ``{"number", "url", "head_sha"}``; and as XComs of their own
        ``pull_request_number`` and ``pull_request_url``.
    :raises TaskStoppedError: if the pull request of this branch was closed or merged before.
    """

    template_fields: Sequence[str] = (
        "coding_task",
        "step_results",
        "repository",
        "head_branch",
        "base_branch",
        "title",
        "github_conn_id",
    )
    operator_extra_links = (PullRequestLink(),)
    ui_color = "#d6f0e0"

    def __init__(
        self,
        *,
        coding_task: Any = None,
        step_results: Sequence[Any] = (),
        repository: str | None = None,
        head_branch: str | None = None,
        base_branch: str = "main",
        title: str = "",
        draft: bool = False,
        github_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**forge_defaults(kwargs))
        self.coding_task = coding_task
        self.step_results = step_results
        self.repository = repository
        self.head_branch = head_branch
        self.base_branch = base_branch
        self.title = title
        self.draft = draft
        self.github_conn_id = connection_id(github_conn_id)

    def execute(self, context: Context) -> dict[str, Any]:
        repository, head, base, draft, closes, title = self._what()
        results = [result for result in self.step_results if isinstance(result, Mapping)]
        output: Mapping[str, Any] = next(
            (r["output"] for r in reversed(results) if isinstance(r.get("output"), Mapping)), {}
        )
        ti = context["ti"]
        body = pull_request_body(
            str(output.get("description") or ""),
            closes=closes,
            footer=f"Opened by Airflow: DAG `{ti.dag_id}`, run `{ti.run_id}`",
        )
        title = outbound_title(str(output.get("title") or ""), title)

        async def open_or_find(client: GitHubClient) -> PullRequestRef:
            found = await client.find_pull_request(repository, head, base)
            if found is not None:
                return found
            return await client.create_pull_request(
                repository, head=head, base=base, title=title, body=body, draft=draft
            )

        pull_request = self.ask_forge(open_or_find)
        ti.xcom_push(key=PULL_REQUEST_URL_KEY, value=pull_request.url)
        ti.xcom_push(key="pull_request_number", value=pull_request.number)
        if pull_request.state != "OPEN":
            raise fail(
                TaskStoppedError(
                    f"{pull_request.url} of branch {head} is {pull_request.state.lower()} already. "
                    "Choose another work_branch."
                ),
                context,
            )
        self.log.info("Pull request %s: %s", pull_request.url, pull_request.title)
        return {"number": pull_request.number, "url": pull_request.url, "head_sha": pull_request.head_sha}

    def _what(self) -> tuple[str, str, str, bool, int | None, str]:
        """Return repository, head, base, draft, number of the issue to close, and a fallback title."""
        if self.coding_task:
            task = CodingTask.model_validate(self.coding_task)
            request = task.request
            closes = task.ticket.number if task.ticket else None
            return (
                request.repository,
                task.work_branch,
                request.base_branch,
                request.draft,
                closes,
                task.title,
            )
        if not self.repository or not self.head_branch:
            raise InvalidInputError([f"{self.task_id}: give a coding_task, or repository and head_branch"])
        title = self.title or f"Changes of {self.head_branch}"
        return self.repository, self.head_branch, self.base_branch, self.draft, None, title
