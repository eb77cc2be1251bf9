"""Calls a person, where a rollback ended without its purpose, or a task of it failed."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_agents.domain.rollback import Rollback
from airflow_provider_agents.domain.rollback_text import abort_comment, abort_question, marker
from airflow_provider_agents.exceptions import ForgeError, InvalidInputError, TaskStoppedError
from airflow_provider_agents.operators.asking import ask, take_answer
from airflow_provider_agents.operators.failure_reason import FAILURE_KEY, leaving_reason
from airflow_provider_agents.operators.forge import ForgeMixin, connection_id, forge_defaults
from airflow_provider_agents.operators.pulled import values_of
from airflow_provider_agents.operators.rollback_clock import present
from airflow_provider_agents.operators.rollback_sources import load_rollback
from airflow_provider_agents.operators.task_state import generation, recall, remember

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider_agents.domain.rollback_definition import RollbackDefinition
    from airflow_provider_agents.hooks.github_client import GitHubClient

PATIENCE = timedelta(days=7)
_LOOK_AGAIN = timedelta(hours=1)


class CallPersonOperator(ForgeMixin, BaseOperator):
    """Label the pull request, comment on it in place, and ask on Airflow's page until somebody takes over.

    Skipped where the rollback came to its end, or there was nothing to take back. As a rollback has one run at a
    time, nothing more is rolled back for the application until then.

    :param rollback: name of the definition.
    :param tasks: ids of the tasks before, in their order.
    :raises TaskStoppedError: nobody took over within a week.
    """

    template_fields: Sequence[str] = ("tasks",)
    ui_color = "#fff4d6"

    def __init__(self, *, rollback: str, tasks: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**forge_defaults(kwargs))
        self.rollback = rollback
        self.tasks = list(tasks)
        self.github_conn_id = connection_id(None)

    def execute(self, context: Context) -> str:
        """Call."""
        return self.resume(context, None)

    def resume(self, context: Context, event: Mapping[str, Any] | None = None) -> str:
        """Take the answer, or go on waiting; return who took over."""
        with leaving_reason(context):
            episode = self._aborted(context)
            question = abort_question(episode, episode.message)
            if (answer := take_answer(self, context, event, question)) is not None:
                self.log.info("%s takes over.", answer.by)
                return answer.by
            key = f"called_{generation(self, context)}"
            since = recall(context, key)
            if not isinstance(since, str):
                self._tell(episode)
                since = present().isoformat()
                remember(context, key, since)
            left = datetime.fromisoformat(since) + PATIENCE - present()
            if left <= timedelta(0):
                raise TaskStoppedError(f"{episode.message} Nobody took over within {PATIENCE.days} days.")
            ask(self, context, question, method_name="resume", look_again=min(left, _LOOK_AGAIN))
        return ""

    def _aborted(self, context: Context) -> Rollback:
        """Return the episode that needs a person.

        :raises AirflowSkipException: none does.
        """
        values = values_of(context, self.tasks)
        left = [Rollback.from_dict(value) for value in values.values() if value]
        ended = left[-1] if left else None
        if ended is not None and ended.ended:
            if ended.state != "abort" or self._dry_run():
                raise AirflowSkipException(ended.message or "Nobody is needed.")
            return ended
        failed = next((task for task, value in values.items() if value is None), None)
        if failed is None:
            raise AirflowSkipException("Nothing was begun.")
        why = context["ti"].xcom_pull(task_ids=failed, key=FAILURE_KEY)
        text = f"The task {failed} failed: {why or 'its log says why'}"
        if ended is not None:
            return dataclasses.replace(ended, message=text)
        now = present()
        definition = self._definition()
        return Rollback(
            name=self.rollback,
            application=definition.application if definition else self.rollback,
            repository=definition.repository if definition else "",
            revision="",
            entered_at=now,
            degraded_since=now,
            message=text,
        )

    def _definition(self) -> RollbackDefinition | None:
        try:
            return load_rollback(self.rollback)
        except InvalidInputError:
            return None

    def _dry_run(self) -> bool:
        definition = self._definition()
        return definition is not None and definition.dry_run

    def _tell(self, episode: Rollback) -> None:
        """Say it at the pull request, where there is one. The page is what counts; this may fail."""
        definition = self._definition()
        number = episode.number
        if definition is None or number is None:
            return
        self.github_conn_id = connection_id(definition.connection or None)
        label = definition.escalation_label

        async def tell(client: GitHubClient) -> None:
            await client.add_labels(episode.repository, number, [label])
            name = f"{marker(episode.application)} abort"
            await client.comment_in_place(episode.repository, number, name, abort_comment(episode))

        try:
            self.ask_forge(episode.repository, tell)
        except ForgeError as error:
            self.log.warning("It could not be said at %s: %s", episode.url, error)
