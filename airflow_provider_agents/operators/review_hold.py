"""Holds the draft of a review until a person submits, edits or discards it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_agents.domain.outbound import outbound_title
from airflow_provider_agents.domain.review import ReviewOutput
from airflow_provider_agents.domain.review_draft import (
    DISCARD,
    ReviewDraft,
    draft_of,
    read_draft,
    review_question,
)
from airflow_provider_agents.exceptions import TaskStoppedError
from airflow_provider_agents.operators.asking import ask, take_answer
from airflow_provider_agents.operators.failure_reason import leaving_reason
from airflow_provider_agents.operators.forge import ForgeMixin, connection_id, forge_defaults
from airflow_provider_agents.operators.review_look import reviewer_connection
from airflow_provider_agents.operators.task_state import generation, recall, remember

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_agents.domain.people import Answer, Question

_EDITED = "edited_draft"
"""Task state: what a person wrote that could not be read. It survives a clear, which asks again."""


class HoldReviewOperator(ForgeMixin, BaseOperator):
    """Ask a person, on Airflow's page of required actions, what becomes of a draft.

    Skipped where the mode of the run is another, where the draft is discarded, where a new head makes it
    stale (looked at every few minutes), or where nobody answers in time.

    :param pull_request: what :class:`~.review_look.LookAtPullRequestOperator` returned. (templated)
    :param review: XCom ``review`` of the review step. (templated)
    :param hold_timeout: how long a draft is held.
    :param look_again: pause between two looks at the head.
    :return: the draft that a person submitted: ``verdict``, ``summary``, ``fileComments``, and ``by``.
    :raises TaskStoppedError: what a person wrote cannot be read; the message names each fault.
    """

    template_fields: Sequence[str] = ("pull_request", "review", "github_conn_id", "review_conn_id")
    ui_color = "#fff4d6"

    def __init__(
        self,
        *,
        pull_request: Any,
        review: Any,
        hold_timeout: timedelta = timedelta(days=7),
        look_again: timedelta = timedelta(minutes=10),
        github_conn_id: str | None = None,
        review_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**forge_defaults(kwargs))
        self.pull_request = pull_request
        self.review = review
        self.hold_timeout = hold_timeout
        self.look_again = look_again
        self.github_conn_id = connection_id(github_conn_id)
        self.review_conn_id = review_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask."""
        return self.resume(context, None)

    def resume(self, context: Context, event: Mapping[str, Any] | None) -> dict[str, Any]:
        """Take the answer, or look whether there still is something to ask."""
        with leaving_reason(context):
            if not isinstance(self.review, Mapping):
                raise AirflowSkipException("There is no review.")
            if self.pull_request["mode"] != "hold":
                raise AirflowSkipException("The review is not held.")
            question = self._question(context)
            if (answer := take_answer(self, context, event, question)) is not None:
                return self._answered(answer, context)
            self._wait(question, context)
        return None

    def _question(self, context: Context) -> Question:
        kept = recall(context, _EDITED)
        edited = kept if isinstance(kept, Mapping) else None
        draft = draft_of(ReviewOutput.from_dict(self.review))
        title = outbound_title(str(self.pull_request["title"]), f"#{self.pull_request['number']}")
        return review_question(
            draft, title=title, url=self.pull_request["url"], head_sha=self.review["head_sha"], edited=edited
        )

    def _answered(self, answer: Answer, context: Context) -> dict[str, Any]:
        if answer.option == DISCARD:
            raise AirflowSkipException(f"{answer.by} discarded the draft.")
        draft, faults = self._read(answer)
        if draft is None:
            remember(context, _EDITED, dict(answer.fields))
            raise TaskStoppedError(
                f"What {answer.by} submitted cannot be read: {'; '.join(faults)}. "
                "Clear this task to be asked again; what was written is kept."
            )
        self.log.info("%s submitted the draft.", answer.by)
        return {**draft.to_dict(), "by": answer.by}

    def _read(self, answer: Answer) -> tuple[ReviewDraft | None, list[str]]:
        draft = draft_of(ReviewOutput.from_dict(self.review)).to_dict()
        given = {
            "verdict": answer.text("verdict") or draft["verdict"],
            "summary": answer.text("summary") if "summary" in answer.fields else draft["summary"],
            "fileComments": answer.text("file_comments")
            if "file_comments" in answer.fields
            else draft["fileComments"],
        }
        return read_draft(given)

    def _wait(self, question: Question, context: Context) -> NoReturn:
        key = f"held_since_{generation(self, context)}"
        now = datetime.now(tz=UTC)
        since = recall(context, key)
        if not isinstance(since, str):
            since = now.isoformat()
            remember(context, key, since)
        left = datetime.fromisoformat(since) + self.hold_timeout - now
        if left <= timedelta(0):
            raise AirflowSkipException(f"Nobody submitted the draft within {self.hold_timeout}.")
        repository, number = self.pull_request["repository"], int(self.pull_request["number"])
        self.github_conn_id = reviewer_connection(self.review_conn_id, self.github_conn_id)
        snapshot = self.ask_forge(repository, lambda client: client.snapshot(repository, number))
        if snapshot.state != "OPEN":
            raise AirflowSkipException(f"The pull request is {snapshot.state.lower()}.")
        if snapshot.head_sha != self.review["head_sha"]:
            raise AirflowSkipException(
                f"The draft is stale: it is about {self.review['head_sha'][:12]}, "
                f"the pull request is at {snapshot.head_sha[:12]}."
            )
        ask(self, context, question, method_name="resume", look_again=min(self.look_again, left))
