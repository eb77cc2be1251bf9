"""Lands the pull request of a rollback: waits for its checks, asks a person where one is to say yes, merges once."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_agents.domain.authority import named_teams
from airflow_provider_agents.domain.rollback_facts import pull_facts
from airflow_provider_agents.domain.rollback_guards import FILES_UNREAD, judged
from airflow_provider_agents.domain.rollback_text import APPROVE, approval_question, branch_name
from airflow_provider_agents.exceptions import ForgeConflictError, ForgeError, ForgeUnavailableError
from airflow_provider_agents.operators.asking import ask, take_answer
from airflow_provider_agents.operators.merge_calls import enqueue_head, merge_head, take_back
from airflow_provider_agents.operators.pr_rule_surroundings import platform_guards
from airflow_provider_agents.operators.rollback_base import RollbackOperator
from airflow_provider_agents.operators.rollback_clock import present
from airflow_provider_agents.operators.rollback_limits import RollbackLimits
from airflow_provider_agents.operators.rollback_open import base_of_restored, restored_head

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider_agents.domain.landing_decision import Decision
    from airflow_provider_agents.domain.pr_rule_ledger import Kind
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.domain.risk import ChangedFile
    from airflow_provider_agents.domain.rollback import Act, Rollback, State
    from airflow_provider_agents.domain.rollback_facts import Facts
    from airflow_provider_agents.hooks.github_client import GitHubClient
    from airflow_provider_agents.operators.rollback_look import RollbackLook

MOST_REFRESHES = 5
"""Times that the commit is made anew because the branch moved."""
_ASK_AGAIN = timedelta(seconds=30)
"""How long a question stands until the task looks by itself."""


class LandRollbackOperator(RollbackOperator):
    """Merge the pull request at exactly the head that was made for it, while all eight invariants hold.

    Where the branch moves meanwhile, and the application's files there did not, the commit is made anew on top of it.
    To be run in the pool of rules: it counts towards the limits of the repository.
    """

    states: ClassVar[frozenset[State]] = frozenset({"pr_created", "awaiting_merge_approval"})

    _snapshot: PullRequestSnapshot | None = None

    def heard(self, episode: Rollback, event: Mapping[str, object] | None, context: Context) -> Rollback:
        """Take a person's answer; it counts for the head that they were shown."""
        answer = take_answer(self, context, event, approval_question(episode))
        if answer is None:
            return episode
        self.log.info("%s chose %r.", answer.by, answer.option)
        if answer.option == APPROVE:
            return dataclasses.replace(episode, approved_head=episode.head_sha, approved_by=answer.by)
        return dataclasses.replace(episode, declined_by=answer.by)

    def facts(
        self, look: RollbackLook, episode: Rollback, now: datetime, context: Context
    ) -> tuple[Rollback, Facts]:
        """Look at the application, and at the pull request and whatever else is open."""
        episode, facts = look.base(episode, now)
        try:
            return self._read(look, episode, facts, now)
        except ForgeUnavailableError as error:
            return episode, dataclasses.replace(facts, unread=str(error))
        except ForgeError as error:
            return episode, dataclasses.replace(facts, fault=str(error))

    def _read(
        self, look: RollbackLook, episode: Rollback, facts: Facts, now: datetime
    ) -> tuple[Rollback, Facts]:
        from airflow_provider_agents.hooks.github_authority import ask_about

        assert episode.number is not None
        repository, number = episode.repository, episode.number
        platform = platform_guards(repository)
        ask_about(named_teams(platform.authority))

        async def read(
            client: GitHubClient,
        ) -> tuple[Rollback, PullRequestSnapshot, Decision, str | None, str | None]:
            snapshot = await client.snapshot(repository, number)
            current = episode
            if snapshot.state == "OPEN" and snapshot.head_sha != episode.head_sha:
                # A try may have made it, and died before it was noted.
                made_on = await base_of_restored(client, episode, snapshot.head_sha)
                if made_on is not None:
                    current = _with_head(episode, snapshot.head_sha, made_on, now)

            def judge(files: Sequence[ChangedFile] | None) -> Decision:
                return judged(
                    snapshot,
                    look.definition,
                    first_seen=current.first_seen or now,
                    files=files,
                    platform=platform,
                    approved=current.approved,
                )

            decision = judge(None)
            if decision.reason == FILES_UNREAD:
                decision = judge(await client.changed_files(repository, number))
            base = await client.branch_head(repository, episode.branch)
            if episode.state != "awaiting_merge_approval":
                return current, snapshot, decision, base, None
            pulls = await client.open_pulls_into(repository, episode.branch)
            branch = branch_name(episode.application, episode.revision)
            other = look.others(pulls, await client.viewer_login(), branch)
            return current, snapshot, decision, base, other

        episode, snapshot, decision, base, other = look.ask(read)
        self._snapshot = snapshot
        fresh = base == episode.base_sha
        pull = pull_facts(snapshot, decision, head_sha=episode.head_sha, fresh=fresh)
        return episode, dataclasses.replace(facts, pull=pull, other=other, approved=episode.approved)

    def _leave(self, look: RollbackLook, episode: Rollback, act: Act, context: Context) -> dict[str, Any]:
        """Leave nothing in the merge queue that is a person's from now on.

        :raises ForgeUnavailableError: it is not known whether something is; the task is tried again.
        """
        if act == "call_person" and (number := episode.number) is not None:
            try:
                look.ask(lambda client: _out_of_queue(client, episode.repository, number))
            except ForgeUnavailableError:
                raise
            except ForgeError as error:
                self.log.warning("%s may still be in the merge queue: %s", episode.url, error)
                text = f"{episode.message} It may still be in the merge queue: take it out there."
                episode = dataclasses.replace(episode, message=text)
        return super()._leave(look, episode, act, context)

    def act(self, look: RollbackLook, episode: Rollback, act: Act, context: Context) -> tuple[Rollback, bool]:
        """Merge, ask, make the commit anew, or take back what is queued."""
        if act == "ask_person":
            self._keep(episode, context)
            ask(self, context, approval_question(episode), method_name="resume", look_again=_ASK_AGAIN)
        if act == "dequeue":
            assert self._snapshot is not None
            take_back(look.ask, self._snapshot, episode.message)
            return episode, False
        if act == "refresh":
            return self._refresh(look, episode), True
        return self._merge(look, episode, "enqueue" if act == "enqueue" else "merge")

    def _refresh(self, look: RollbackLook, episode: Rollback) -> Rollback:
        if episode.refreshes >= MOST_REFRESHES:
            raise ForgeConflictError(f"{episode.branch} moves faster than the checks of {episode.url} run")
        head, base = look.ask(lambda client: restored_head(client, episode))
        return _with_head(episode, head, base, present())

    def _merge(self, look: RollbackLook, episode: Rollback, kind: Kind) -> tuple[Rollback, bool]:
        """Merge it; whether that happened is seen at the next look."""
        now, s = present(), self._snapshot
        limits = RollbackLimits(look.definition, episode)
        if wait := limits.merging(now):
            return dataclasses.replace(episode, hindrance=wait), False
        assert s is not None
        limits.intend(kind, episode.head_sha, now)
        if kind == "enqueue":
            enqueue_head(look.ask, s, "")
            return episode, False
        told, refused = merge_head(look.ask, s, look.definition.merge_method)
        limits.ended(kind, episode.head_sha, now, refused=told.message if refused else "")
        if refused:
            return dataclasses.replace(episode, hindrance=told.message), False
        return episode, True


def _with_head(episode: Rollback, head: str, base: str, now: datetime) -> Rollback:
    return dataclasses.replace(
        episode, head_sha=head, base_sha=base, first_seen=now, refreshes=episode.refreshes + 1
    )


async def _out_of_queue(client: GitHubClient, repository: str, number: int) -> None:
    snapshot = await client.snapshot(repository, number)
    if snapshot.queue_entry is not None:
        await client.dequeue(snapshot.node_id)
