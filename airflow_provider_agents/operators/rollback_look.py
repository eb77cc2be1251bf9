"""What a rollback's tasks read: the application at Argo CD, the files at GitHub."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_agents.domain.rollback_cause import (
    application_path,
    deployed_revision,
    followed_branch,
)
from airflow_provider_agents.domain.rollback_facts import Facts
from airflow_provider_agents.domain.rollback_text import branch_name, marker
from airflow_provider_agents.exceptions import ForgeError, InvalidInputError
from airflow_provider_agents.hooks.argocd import ArgoCdHook
from airflow_provider_agents.hooks.github_names import hidden_marker

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime

    from airflow_provider_agents.domain.argocd_application import ApplicationReading
    from airflow_provider_agents.domain.rollback import Rollback
    from airflow_provider_agents.domain.rollback_definition import RollbackDefinition
    from airflow_provider_agents.hooks.github_client import GitHubClient
    from airflow_provider_agents.hooks.github_revert_calls import OwnPull
    from airflow_provider_agents.operators.rollback_base import RollbackOperator

T = TypeVar("T")


class RollbackLook:
    """Reads what is true of one rollback.

    :param operator: asks GitHub with its connection, and has the log.
    """

    def __init__(self, operator: RollbackOperator, definition: RollbackDefinition) -> None:
        self._operator = operator
        self.definition = definition
        self.last: ApplicationReading | None = None
        """The application as it was read last."""

    def ask(self, question: Callable[[GitHubClient], Coroutine[Any, Any, T]]) -> T:
        """Ask GitHub about the repository."""
        return self._operator.ask_forge(self.definition.repository, question)

    def reading(self, *, refresh: bool = False) -> ApplicationReading:
        """Read the application.

        :param refresh: have Argo CD look at git first.
        :raises InvalidInputError: the connection is wrong, or the application comes from another repository.
        """
        found = ArgoCdHook(self.definition.argocd).application(self.definition.application, refresh=refresh)
        if not found.fault and not found.deploys(self.definition.repository):
            sources = ", ".join(source.repo_url for source in found.sources) or "none"
            fault = f"application: {found.name} is not deployed from {self.definition.repository}, but from {sources}"
            raise InvalidInputError([fault])
        self.last = found
        return found

    def base(self, episode: Rollback, now: datetime, *, refresh: bool = False) -> tuple[Rollback, Facts]:
        """Return the episode, with the reading counted, and what every state asks about.

        :param refresh: as of :meth:`reading`.
        """
        reading = self.reading(refresh=refresh)
        health, unread = reading.health, reading.fault or episode.hindrance
        same = True
        if not reading.fault:
            try:
                same = self._same_deployment(episode, deployed_revision(reading, self.definition.repository))
            except ForgeError as error:
                health, unread = "Unknown", str(error)
        episode = episode.counted(health, self.definition.timings.poll, now)
        short = self._short() if health == "Degraded" else None
        facts = Facts(
            environment_allowed=self.definition.allowed,
            health=health,
            readings=episode.readings,
            same_deployment=same,
            short=short,
            candidate=episode.candidate,
            unread=unread,
            approval_needed=self.definition.approval == "person",
            approved=episode.approved,
        )
        return episode, facts

    def place(self, episode: Rollback) -> Rollback:
        """Return the episode with branch and folder of the application.

        :raises ForgeError: the repository's default branch could not be read.
        """
        reading = self.last or self.reading()
        repository = self.definition.repository
        branch = self.definition.branch or followed_branch(reading, repository)
        if not branch:
            branch = self.ask(lambda client: client.repository(repository)).default_branch
        path = self.definition.path
        if path is None:
            path = application_path(reading, repository)
        return dataclasses.replace(episode, branch=branch, path=path)

    def withdraw(self, episode: Rollback) -> None:
        """Close the rollback's pull request, if there is one, and delete its branch.

        :raises ForgeError: it could not be done.
        """
        repository, branch = episode.repository, branch_name(episode.application, episode.revision)

        async def close(client: GitHubClient) -> None:
            found = await client.find_pull_request(repository, branch)
            if found is not None and found.state == "MERGED":
                return
            if found is not None and found.state == "OPEN":
                text = f"Not needed any more: {episode.message}"
                await client.comment_in_place(repository, found.number, marker(episode.application), text)
                await client.close_pull_request(repository, found.number)
            if await client.branch_head(repository, branch) is not None:
                await client.delete_branch(repository, branch)

        self.ask(close)

    def others(self, pulls: tuple[OwnPull, ...], login: str, branch: str) -> str:
        """Return the address of another open rollback of the application; empty: there is none.

        What others open in our words, or from a fork, does not count: nobody but us keeps a rollback from happening.

        :param pulls: open ones into the branch that is deployed.
        :param login: of the credential.
        :param branch: of the rollback that is ours.
        """
        hidden = hidden_marker(marker(self.definition.application))
        for pull in pulls:
            ours = pull.same_repository and pull.author.casefold() == login.casefold() and hidden in pull.body
            if ours and pull.head_branch != branch:
                return pull.url
        return ""

    def _same_deployment(self, episode: Rollback, deployed: str) -> bool:
        """Say whether what is deployed has the files of the revision that was found degraded.

        In a repository of many applications each commit is a new revision of all of them.
        """
        if deployed in ("", episode.revision):
            return True
        path = episode.path if episode.branch else self._path()
        repository = episode.repository

        async def compare(client: GitHubClient) -> bool:
            return await client.tree_of(repository, deployed, path) == await client.tree_of(
                repository, episode.revision, path
            )

        return self.ask(compare)

    def _path(self) -> str:
        if self.definition.path is not None:
            return self.definition.path
        return application_path(self.last, self.definition.repository) if self.last else ""

    def _short(self) -> bool | None:
        try:
            found = ArgoCdHook(self.definition.argocd).workloads(self.definition.application)
        except ForgeError as error:
            self._operator.log.warning("The workloads cannot be read: %s", error)
            return None
        return any(one.short for one in found)
