"""What the tasks of a rollback share: the episode that they hand on, their looks, and how they wait."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_agents.domain.rollback import Rollback, State, step
from airflow_provider_agents.exceptions import ForgeError, ForgeUnavailableError
from airflow_provider_agents.links import PULL_REQUEST_URL_KEY
from airflow_provider_agents.operators.failure_reason import leaving_reason
from airflow_provider_agents.operators.forge import ForgeMixin, connection_id, forge_defaults
from airflow_provider_agents.operators.rollback_clock import present
from airflow_provider_agents.operators.rollback_look import RollbackLook
from airflow_provider_agents.operators.rollback_sources import load_rollback
from airflow_provider_agents.operators.task_state import generation, recall, remember
from airflow_provider_agents.triggers.pause import PauseTrigger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

    from airflow.sdk import Context

    from airflow_provider_agents.domain.rollback import Act
    from airflow_provider_agents.domain.rollback_facts import Facts

_MOST_ACTS = 5
"""Acts in one look that lead to another at once."""
_SLOW_SECONDS = 30.0
"""Pause between two looks where people are waited for, or a cluster."""


class RollbackOperator(ForgeMixin, BaseOperator):
    """Base of a rollback's tasks: looks, lets :func:`~...domain.rollback.step` decide, acts, waits without a worker.

    Each may be repeated at any time: what follows is decided from what is true then, and every act finds what an
    earlier try did.

    :param rollback: name of the definition.
    :param previous: what the task before returned. (templated)
    :return: the episode, a :class:`~...domain.rollback.Rollback` as a dictionary.
    """

    template_fields: Sequence[str] = ("previous",)
    ui_color = "#f5dcd2"
    states: ClassVar[frozenset[State]] = frozenset()
    """States that it works in; with any other one it is skipped."""

    def __init__(self, *, rollback: str, previous: Any = None, **kwargs: Any) -> None:
        super().__init__(**forge_defaults(kwargs))
        self.rollback = rollback
        self.previous = previous
        self.github_conn_id = connection_id(None)

    def execute(self, context: Context) -> dict[str, Any]:
        """Begin, or begin again."""
        return self.resume(context, None)

    def resume(self, context: Context, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Look, and go on until the episode leaves this task's states or waits.

        :param event: what the task was resumed with, if it was.
        :raises AirflowSkipException: there is nothing for it to do.
        :raises TaskDeferred: it waits.
        :raises InvalidInputError: the definition, or a connection, is wrong.
        """
        with leaving_reason(context):
            definition = load_rollback(self.rollback)
            self.github_conn_id = connection_id(definition.connection or None)
            if not definition.enabled:
                raise AirflowSkipException(f"rollbacks/{self.rollback}.yaml says `enabled: false`.")
            look = RollbackLook(self, definition)
            episode = self.episode(context, look)
            if episode is None or episode.state not in self.states:
                raise AirflowSkipException("There is nothing to do.")
            episode = self.heard(episode, event, context)
            for _ in range(_MOST_ACTS):
                now = present()
                episode, facts = self.facts(look, episode, now, context)
                transition = step(episode, facts, definition.timings, now)
                episode = episode.after(transition, now)
                self._keep(episode, context)
                self.log.info(
                    "%s%s: %s",
                    episode.state,
                    f" ({transition.event})" if transition.event else "",
                    episode.message,
                )
                if episode.state not in self.states or self.over(episode, facts, look):
                    return self._leave(look, episode, transition.act, context)
                if not transition.event and not transition.act:
                    break
                if not transition.act:
                    continue
                episode, again = self._try(look, episode, transition.act, context)
                self._keep(episode, context)
                if not again:
                    break
            self._wait(look, episode)
        return None

    # What each task has of its own

    def facts(
        self, look: RollbackLook, episode: Rollback, now: datetime, context: Context
    ) -> tuple[Rollback, Facts]:
        """Find out what is true now; return the episode with what is to be remembered of it, too."""
        return look.base(episode, now)

    def act(self, look: RollbackLook, episode: Rollback, act: Act, context: Context) -> tuple[Rollback, bool]:
        """Do something; return the episode after it, and whether to look again at once.

        :raises ForgeError: it could not be done; it is tried again until the state's time is over.
        """
        return episode, False

    def heard(self, episode: Rollback, event: Mapping[str, Any] | None, context: Context) -> Rollback:
        """Take what the task was resumed with."""
        return episode

    def over(self, episode: Rollback, facts: Facts, look: RollbackLook) -> bool:
        """Say whether the task ends although its state stays."""
        return False

    def episode(self, context: Context, look: RollbackLook) -> Rollback | None:
        """Return where the episode stands: as this task left it, else as the one before did."""
        kept = recall(context, self._key(context)) or self.previous
        return Rollback.from_dict(kept) if kept else None

    # What they share

    def _try(
        self, look: RollbackLook, episode: Rollback, act: Act, context: Context
    ) -> tuple[Rollback, bool]:
        try:
            return self.act(look, dataclasses.replace(episode, hindrance=""), act, context)
        except ForgeError as error:
            self.log.warning("%s: %s", act, error)
            return dataclasses.replace(episode, hindrance=str(error)[:1000]), False

    def _leave(self, look: RollbackLook, episode: Rollback, act: Act, context: Context) -> dict[str, Any]:
        if act == "close_pull_request":
            try:
                look.withdraw(episode)
            except ForgeUnavailableError:
                raise  # tried again: the state was left, and what was made is still to be closed
            except ForgeError as error:
                self.log.warning("The pull request could not be closed: %s", error)
        if episode.url:
            context["ti"].xcom_push(key=PULL_REQUEST_URL_KEY, value=episode.url)
        return episode.to_dict()

    def _keep(self, episode: Rollback, context: Context) -> None:
        if episode.state in self.states:
            # What ends the task is not kept: a try that dies in leaving decides, and acts, anew.
            remember(context, self._key(context), episode.to_dict())

    def _wait(self, look: RollbackLook, episode: Rollback) -> NoReturn:
        """Let go of the worker until it is worth to look again."""
        slow = episode.state in ("awaiting_merge_approval", "rollback_merged")
        seconds = max(look.definition.timings.poll, _SLOW_SECONDS if slow else 0.0)
        until = present() + timedelta(seconds=seconds)
        self.defer(trigger=PauseTrigger(until=until.isoformat()), method_name="resume")

    def _key(self, context: Context) -> str:
        return f"episode_{generation(self, context)}"
