"""What the guards go by that is read only when they ask for it: files, commits, the timeline, Argo CD, settings."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from airflow_provider_agents import settings
from airflow_provider_agents.domain.config_files import repositories_file
from airflow_provider_agents.domain.pr_rule_circumstances import PlatformGuards
from airflow_provider_agents.domain.pr_rule_facts import environment_of
from airflow_provider_agents.domain.pr_rule_merge_guards import MOST_COMMITS
from airflow_provider_agents.domain.settings_layers import effective
from airflow_provider_agents.exceptions import ForgeAccessError, InvalidInputError
from airflow_provider_agents.operators.effective_settings import installed_options

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from airflow_provider_agents.domain.commits import CommitRef
    from airflow_provider_agents.domain.pr_rule import PullRequestRule
    from airflow_provider_agents.domain.pr_rule_circumstances import Circumstances, Need
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.hooks.github_client import GitHubClient
    from airflow_provider_agents.operators.pr_rule_application import Applications

    Ask = Callable[[Callable[[GitHubClient], Coroutine[Any, Any, Any]]], Any]


def platform_guards(repository: str) -> PlatformGuards:
    """Return what ``repositories.yaml`` says about merges in a repository.

    :raises InvalidInputError: the file has faults, each named with its line.
    """
    installed, faults = repositories_file(settings.config_folder())
    if installed is None:
        raise InvalidInputError(faults)
    values = effective(installed, repository, options=installed_options()).values
    return PlatformGuards(
        freeze=tuple(values["freeze"]),
        hold_labels=tuple(values["hold_labels"]),
        protected_paths=tuple(values["protected_paths"]),
        max_risk=values["auto_merge_max_risk"],
        auto_merge=bool(values["auto_merge"]),
        authority=values["authority"],
    )


def looked_into(
    need: Need,
    circumstances: Circumstances,
    rule: PullRequestRule,
    snapshot: PullRequestSnapshot,
    ask: Ask,
    applications: Applications,
) -> Circumstances:
    """Return the circumstances with what a guard asked for.

    :param ask: runs a question with a client of the repository.
    :param applications: those of Argo CD.
    :raises ForgeError: what passes by itself; a right that lacks is a fault in the circumstances.
    """
    repository, number = snapshot.repository, snapshot.number
    if need == "health":
        reading = applications.reading((repository, environment_of(snapshot.labels, rule)))
        return dataclasses.replace(circumstances, health=reading.health, health_fault=reading.fault)
    if need == "files":
        try:
            files = tuple(ask(lambda client: client.changed_files(repository, number)))
        except ForgeAccessError as error:
            return dataclasses.replace(circumstances, files=(), files_fault=str(error))
        return dataclasses.replace(circumstances, files=files)
    if need == "reopened":
        return dataclasses.replace(
            circumstances, reopened_by=ask(lambda client: client.reopened_by(repository, number))
        )
    try:
        commits = ask(lambda client: client.pull_request_commits(repository, number))
        own = ask(lambda client: client.viewer_login())
    except ForgeAccessError as error:
        return dataclasses.replace(circumstances, commit_authors=frozenset(), commits_fault=str(error))
    fault = f"there are {MOST_COMMITS} or more" if len(commits) >= MOST_COMMITS else ""
    authors = frozenset(_author(commit) for commit in commits)
    return dataclasses.replace(circumstances, commit_authors=authors, commits_fault=fault, own_login=own)


def _author(commit: CommitRef) -> str:
    """Return the author's login; whoever pushes writes the author's name and address, so only a signature proves it."""
    if commit.login and commit.verified:
        return commit.login
    return f"{commit.login or commit.author} (no verified signature)"
