"""Opens the pull request, or finds the one that is there, and labels it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_agents.domain.coding_task import CodingTask
from airflow_provider_agents.domain.outbound import outbound_title, pull_request_body
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeConflictError,
    InvalidInputError,
    TaskStoppedError,
)
from airflow_provider_agents.links import PULL_REQUEST_URL_KEY, PullRequestLink
from airflow_provider_agents.operators.failure_reason import leaving_reason
from airflow_provider_agents.operators.forge import ForgeMixin, connection_id, forge_defaults

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_agents.hooks.github_client import GitHubClient
    from airflow_provider_agents.hooks.github_models import PullRequestRef


class OpenPullRequestOperator(ForgeMixin, BaseOperator):
    """Open a pull request for a work branch with the connection's credential; no model is involved.

    Idempotent: an open pull request of the branch is found, not made twice. It is given the labels that the settings
    of the repository name.

    :param coding_task: an accepted task. (templated)
    :param step_results: results of implement steps, in order. Title and description come from the last one
        that has them; without a ``coding_task`` also repository and branches. (templated)
    :param repository: ``owner/name``. (templated)
    :param head_branch: branch with the work. (templated)
    :param base_branch: branch to merge into. (templated)
    :param title: title, where no step result has one. (templated)
    :param draft: open as a draft; a ``coding_task`` says so itself.
    :return: ``{"number", "url", "head_sha"}``; and as XComs of their own
        ``pull_request_number`` and ``pull_request_url``.
    :raises TaskStoppedError: if the pull request of this branch was closed, or merged with other work.
    :raises ForgeError: GitHub did not open it, or refuses a label.
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
        base_branch: str | None = None,
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
        with leaving_reason(context):
            return self._open(context)

    def _open(self, context: Context) -> dict[str, Any]:
        results = [result for result in self.step_results if isinstance(result, Mapping)]
        output: Mapping[str, Any] = next(
            (r["output"] for r in reversed(results) if isinstance(r.get("output"), Mapping)), {}
        )
        wanted = self._wanted(results[-1] if results else {})
        work_sha = next((sha for r in reversed(results) if (sha := r.get("head_sha"))), None)
        ti = context["ti"]
        body = pull_request_body(
            str(output.get("description") or ""),
            closes=wanted.closes,
            footer=f"Opened by Airflow: DAG `{ti.dag_id}`, run `{ti.run_id}`",
        )
        title = outbound_title(str(output.get("title") or ""), wanted.title)

        async def open_or_find(client: GitHubClient) -> PullRequestRef:
            found = await client.find_pull_request(wanted.repository, wanted.head, wanted.base)
            if found is not None:
                return found
            return await client.create_pull_request(
                wanted.repository,
                head=wanted.head,
                base=wanted.base,
                title=title,
                body=body,
                draft=wanted.draft,
            )

        pull_request = self.ask_forge(wanted.repository, open_or_find)
        ti.xcom_push(key=PULL_REQUEST_URL_KEY, value=pull_request.url)
        ti.xcom_push(key="pull_request_number", value=pull_request.number)
        # Somebody else's automation may have merged it between two tries of this task.
        merged = pull_request.state == "MERGED" and pull_request.head_sha == work_sha
        if pull_request.state != "OPEN" and not merged:
            raise TaskStoppedError(
                f"{pull_request.url} of branch {wanted.head} is {pull_request.state.lower()} already. "
                "Choose another work_branch."
            )
        self.log.info("Pull request %s: %s", pull_request.url, pull_request.title)
        if wanted.labels and not merged:
            self._label(wanted, pull_request.number)
        return {"number": pull_request.number, "url": pull_request.url, "head_sha": pull_request.head_sha}

    def _label(self, wanted: _Wanted, number: int) -> None:
        async def label(client: GitHubClient) -> None:
            try:
                await client.add_labels(wanted.repository, number, wanted.labels)
            except (ForgeAccessError, ForgeConflictError) as refusal:
                now = await client.find_pull_request(wanted.repository, wanted.head, wanted.base)
                if now is None or now.state == "OPEN":
                    remedy = f"The labels are set in {wanted.labels_origin}: correct it, or the right of the connection."
                    raise type(refusal)(f"{refusal}\n{remedy}") from None
                self.log.warning("It was %s before it had its labels: %s", now.state.lower(), refusal)

        self.ask_forge(wanted.repository, label)

    def _wanted(self, result: Mapping[str, Any]) -> _Wanted:
        """Say what to open: from the task, else from the arguments, else from the step that pushed."""
        if self.coding_task:
            task = CodingTask.model_validate(self.coding_task)
            return _Wanted(
                repository=task.request.repository,
                head=task.work_branch,
                base=task.request.base_branch,
                draft=task.request.draft,
                closes=task.ticket.number if task.ticket else None,
                title=task.title,
                labels=task.platform.labels,
                labels_origin=task.settings_origin.get("labels", "the settings of the repository"),
            )
        repository = self.repository or result.get("repository")
        head = self.head_branch or result.get("work_branch")
        if not repository or not head:
            raise InvalidInputError(
                [f"{self.task_id}: give a coding_task, step_results, or repository and head_branch"]
            )
        return _Wanted(
            repository=repository,
            head=head,
            base=self.base_branch or result.get("base_branch") or "main",
            draft=self.draft,
            title=self.title or f"Changes of {head}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """The pull request to open or to find."""

    repository: str
    head: str
    base: str
    draft: bool
    title: str
    closes: int | None = None
    labels: tuple[str, ...] = ()
    labels_origin: str = ""
    """Where they are set: ``repositories.yaml:12``."""
