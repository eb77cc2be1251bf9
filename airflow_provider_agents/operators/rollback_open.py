"""Makes the commit that goes back, its branch and its pull request; each once, whatever is repeated."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from airflow_provider_agents.domain.rollback_text import (
    body,
    branch_name,
    commit_message,
    marker,
    title,
)
from airflow_provider_agents.exceptions import ForgeConflictError, ForgeError, ForgeUnavailableError
from airflow_provider_agents.hooks.github_names import hidden_marker
from airflow_provider_agents.operators.rollback_base import RollbackOperator
from airflow_provider_agents.operators.rollback_clock import present
from airflow_provider_agents.operators.rollback_limits import RollbackLimits
from airflow_provider_agents.operators.task_state import recall

if TYPE_CHECKING:
    from datetime import datetime

    from airflow.sdk import Context

    from airflow_provider_agents.domain.rollback import Act, Rollback, State
    from airflow_provider_agents.domain.rollback_facts import Facts
    from airflow_provider_agents.hooks.github_client import GitHubClient
    from airflow_provider_agents.hooks.github_models import PullRequestRef
    from airflow_provider_agents.operators.rollback_look import RollbackLook

MOST_LISTED = 50
"""Commits that the pull request lists."""


class OpenRollbackOperator(RollbackOperator):
    """Open the pull request that goes back to the candidate, unless another rollback of the application is open (I7).

    To be run in the pool of rules: it counts towards the limits of the repository.
    """

    states: ClassVar[frozenset[State]] = frozenset({"candidate_resolved"})

    def episode(self, context: Context, look: RollbackLook) -> Rollback | None:
        """Return where the episode stands; the time for opening begins here, not while the pool had no slot."""
        found = super().episode(context, look)
        if found is None or recall(context, self._key(context)):
            return found
        return dataclasses.replace(found, entered_at=present())

    def facts(
        self, look: RollbackLook, episode: Rollback, now: datetime, context: Context
    ) -> tuple[Rollback, Facts]:
        """Look, also for a pull request that an earlier try opened."""
        episode, facts = look.base(episode, now)
        if facts.resolved:
            return episode, facts
        if look.definition.dry_run:
            assert episode.candidate is not None
            text = f"Dry run: {episode.application} would go back to {episode.candidate.revision[:12]}."
            return episode, dataclasses.replace(facts, fault=text)
        try:
            return self._found(look, episode, facts, now)
        except ForgeUnavailableError as error:
            return episode, dataclasses.replace(facts, unread=str(error))
        except ForgeError as error:
            return episode, dataclasses.replace(facts, fault=str(error))

    def _found(
        self, look: RollbackLook, episode: Rollback, facts: Facts, now: datetime
    ) -> tuple[Rollback, Facts]:
        from airflow_provider_agents.domain.rollback_facts import PullFacts

        branch = branch_name(episode.application, episode.revision)
        repository = episode.repository

        async def find(client: GitHubClient) -> tuple[str, PullRequestRef | None, str | None]:
            pulls = await client.open_pulls_into(repository, episode.branch)
            other = look.others(pulls, await client.viewer_login(), branch)
            found = await client.find_pull_request(repository, branch, episode.branch)
            return other, found, await client.branch_head(repository, branch)

        other, found, head = look.ask(find)
        facts = dataclasses.replace(facts, other=other)
        if found is None or (found.state == "CLOSED" and head is None):
            return episode, facts
        if found.state != "OPEN":
            text = f"{found.url} took {episode.revision[:12]} back already and is {found.state.lower()}."
            return episode, dataclasses.replace(facts, fault=text)
        if not episode.head_sha:
            return episode, facts
        pull = PullFacts(
            url=found.url,
            state="OPEN",
            ours=found.head_sha == episode.head_sha,
            fresh=True,
            checks="pending",
            mergeable="UNKNOWN",
            verdict="wait",
            message=f"{found.url} is open.",
        )
        episode = dataclasses.replace(
            episode, number=found.number, url=found.url, node_id=found.node_id, first_seen=now
        )
        fault = "" if pull.ours else f"{found.url} has another head than the one that was made for it."
        return episode, dataclasses.replace(facts, pull=pull, fault=fault)

    def act(self, look: RollbackLook, episode: Rollback, act: Act, context: Context) -> tuple[Rollback, bool]:
        """Open it, or what is left to be done of that."""
        now = present()
        limits = RollbackLimits(look.definition, episode)
        if wait := limits.opening(now):
            return dataclasses.replace(episode, hindrance=wait), False
        made = look.ask(lambda client: restored_head(client, episode))
        episode = dataclasses.replace(episode, head_sha=made[0], base_sha=made[1])
        limits.intend("open", episode.head_sha, now)
        try:
            self._open(look, episode)
        except ForgeError as error:
            if isinstance(error, ForgeConflictError):
                limits.ended("open", episode.head_sha, now, refused=str(error))
            self.log.warning("open_pull_request: %s", error)
            # It may be open all the same, e.g. without its label: the next look tells, and knows the head.
            return dataclasses.replace(episode, hindrance=str(error)[:1000]), False
        limits.ended("open", episode.head_sha, now)
        return episode, True

    def _open(self, look: RollbackLook, episode: Rollback) -> None:
        repository, candidate = episode.repository, episode.candidate
        assert candidate is not None
        branch = branch_name(episode.application, episode.revision)

        async def open_it(client: GitHubClient) -> None:
            commits = await client.commits_between(repository, candidate.revision, episode.base_sha)
            text = f"{body(episode, commits, MOST_LISTED)}\n\n{hidden_marker(marker(episode.application))}"
            made = await client.create_pull_request(repository, branch, episode.branch, title(episode), text)
            await client.add_labels(repository, made.number, [look.definition.label])

        look.ask(open_it)


async def restored_head(client: GitHubClient, episode: Rollback) -> tuple[str, str]:
    """Have the rollback's branch at a commit on top of what is deployed from now; return that and its parent.

    A commit that an earlier try made there is taken if it is exactly that.

    :raises ForgeConflictError: the application's files changed meanwhile, or there is nothing to change.
    """
    repository, branch = episode.repository, branch_name(episode.application, episode.revision)
    tree, base = await _restored_tree(client, episode)
    head = await client.branch_head(repository, branch)
    if head is not None and await _is_restored(client, episode, head, tree, base):
        return head, base
    made = await client.make_commit(repository, tree, base, commit_message(episode))
    if head is None:
        await client.create_branch(repository, branch, made)
    else:
        await client.reset_branch(repository, branch, made)
    return made, base


async def base_of_restored(client: GitHubClient, episode: Rollback, head_sha: str) -> str | None:
    """Return what a commit was made on that is exactly the one that goes back; ``None``: it is another one.

    :raises ForgeError: that cannot be told.
    """
    try:
        tree, base = await _restored_tree(client, episode)
    except ForgeConflictError:
        return None
    return base if await _is_restored(client, episode, head_sha, tree, base) else None


async def _is_restored(client: GitHubClient, episode: Rollback, head_sha: str, tree: str, base: str) -> bool:
    repository = episode.repository
    return await client.tree_of(repository, head_sha) == tree and await client.parents_of(
        repository, head_sha
    ) == (base,)


async def _restored_tree(client: GitHubClient, episode: Rollback) -> tuple[str, str]:
    """Return the tree of what is deployed from now with the candidate's files in it, and that branch's head."""
    repository, candidate = episode.repository, episode.candidate
    assert candidate is not None
    base = await client.branch_head(repository, episode.branch)
    if base is None:
        raise ForgeConflictError(f"{repository} has no branch {episode.branch} any more")
    ill = await client.tree_of(repository, episode.revision, episode.path)
    if await client.tree_of(repository, base, episode.path) != ill:
        raise ForgeConflictError(
            f"{episode.branch} of {repository} has other files of {episode.application} than what is deployed"
        )
    wanted = await client.tree_of(repository, candidate.revision, episode.path)
    if wanted is None or wanted == ill:
        raise ForgeConflictError(
            f"{candidate.revision[:12]} has the same files: there is nothing to take back"
        )
    return await client.restored_tree(repository, base, episode.path, wanted), base
