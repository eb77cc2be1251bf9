"""The last task of a review run: posts the review, or the draft that a person submitted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_agents.domain.review import ReviewOutput
from airflow_provider_agents.domain.review_draft import compose_draft, read_draft
from airflow_provider_agents.exceptions import InvalidInputError, TaskStoppedError
from airflow_provider_agents.links import PULL_REQUEST_URL_KEY, PullRequestLink
from airflow_provider_agents.operators.failure_reason import leaving_reason
from airflow_provider_agents.operators.forge import ForgeMixin, connection_id, forge_defaults
from airflow_provider_agents.operators.post_review import post_review, submit
from airflow_provider_agents.operators.review_look import reviewer_connection

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_agents.domain.review_diff import DiffLines
    from airflow_provider_agents.domain.review_text import PostedReview
    from airflow_provider_agents.hooks.github_client import GitHubClient
    from airflow_provider_agents.operators.post_review import Posted


class SubmitReviewOperator(ForgeMixin, BaseOperator):
    """Post a review of exactly the head that was read.

    :param pull_request: what :class:`~.review_look.LookAtPullRequestOperator` returned. (templated)
    :param review: XCom ``review`` of the review step. (templated)
    :param draft: what :class:`~.review_hold.HoldReviewOperator` returned, where the review was held.
        (templated)
    :return: ``url``, ``event`` and ``reviewer``.
    :raises TaskStoppedError: a person submitted a draft that is stale by now.
    """

    template_fields: Sequence[str] = ("pull_request", "review", "draft", "github_conn_id", "review_conn_id")
    operator_extra_links = (PullRequestLink(),)
    ui_color = "#d6f0e0"

    def __init__(
        self,
        *,
        pull_request: Any,
        review: Any,
        draft: Any = None,
        github_conn_id: str | None = None,
        review_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**forge_defaults(kwargs))
        self.pull_request = pull_request
        self.review = review
        self.draft = draft
        self.github_conn_id = connection_id(github_conn_id)
        self.review_conn_id = review_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        with leaving_reason(context):
            return self._submit(context)

    def _submit(self, context: Context) -> dict[str, Any]:
        if not isinstance(self.review, Mapping):
            raise AirflowSkipException("There is no review.")
        held = self.pull_request["mode"] == "hold"
        if held and not isinstance(self.draft, Mapping):
            raise AirflowSkipException("Nobody submitted the draft.")
        context["ti"].xcom_push(key=PULL_REQUEST_URL_KEY, value=self.pull_request["url"])
        self.github_conn_id = reviewer_connection(self.review_conn_id, self.github_conn_id)
        posted = self.ask_forge(self.pull_request["repository"], self._held if held else self._direct)
        if posted is None:
            text = f"{self.pull_request['url']} moved on: the review of {self.review['head_sha'][:12]} is not posted."
            if held:
                raise TaskStoppedError(f"{text} Start the run again for a review of the new head.")
            raise AirflowSkipException(text)
        self.log.info("Posted as %s by %s: %s", posted.event, posted.reviewer, posted.url)
        return dataclasses.asdict(posted)

    async def _direct(self, client: GitHubClient) -> Posted | None:
        review = ReviewOutput.from_dict(self.review)
        return await post_review(
            client,
            self.pull_request["repository"],
            int(self.pull_request["number"]),
            self.review["head_sha"],
            review,
            earlier=(),
            wrote_code=False,
        )

    async def _held(self, client: GitHubClient) -> Posted | None:
        draft, faults = read_draft(self.draft)
        if draft is None:
            raise InvalidInputError(faults)
        head_sha = self.review["head_sha"]

        def compose(own_work: bool, lines: DiffLines) -> PostedReview:
            return compose_draft(
                draft, head_sha=head_sha, own_work=own_work, lines=lines, by=str(self.draft["by"])
            )

        snapshot = await client.snapshot(self.pull_request["repository"], int(self.pull_request["number"]))
        return await submit(client, snapshot, head_sha, compose, wrote_code=False)
