"""Finds the revision to go back to."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from airflow_provider_agents.domain.rollback_cause import deployed_at, earlier_revisions, not_caused
from airflow_provider_agents.domain.rollback_facts import Candidate
from airflow_provider_agents.domain.rollback_text import branch_name
from airflow_provider_agents.exceptions import ForgeAccessError, ForgeError, ForgeUnavailableError
from airflow_provider_agents.operators.rollback_base import RollbackOperator
from airflow_provider_agents.operators.rollback_detect import health_record

if TYPE_CHECKING:
    from datetime import datetime

    from airflow.sdk import Context

    from airflow_provider_agents.domain.health_record import HealthRecord
    from airflow_provider_agents.domain.rollback import Rollback, State
    from airflow_provider_agents.domain.rollback_facts import Facts
    from airflow_provider_agents.hooks.github_client import GitHubClient
    from airflow_provider_agents.operators.rollback_look import RollbackLook


class FindCandidateOperator(RollbackOperator):
    """Find the last revision that was deployed before, is known to be good (I5), and has other files.

    It has to be an ancestor of the branch's head, not too many commits away; and the degradation has to have begun
    with a deployment.
    """

    states: ClassVar[frozenset[State]] = frozenset({"degradation_detected"})

    def facts(
        self, look: RollbackLook, episode: Rollback, now: datetime, context: Context
    ) -> tuple[Rollback, Facts]:
        """Look, and search where there is still something to take back."""
        episode, facts = look.base(episode, now)
        if facts.resolved or facts.health == "Unknown":
            return episode, facts
        try:
            episode = look.place(episode)
            candidate, fault, unread = self._search(look, episode, health_record(context, self.rollback))
        except ForgeUnavailableError as error:
            return episode, dataclasses.replace(facts, unread=str(error))
        except ForgeError as error:
            return episode, dataclasses.replace(facts, fault=str(error))
        episode = dataclasses.replace(episode, candidate=candidate)
        return episode, dataclasses.replace(facts, candidate=candidate, fault=fault, unread=unread)

    def _search(
        self, look: RollbackLook, episode: Rollback, record: HealthRecord
    ) -> tuple[Candidate | None, str, str]:
        """Return the candidate, or why there is none, or why there is none yet."""
        reading, repository = look.last or look.reading(), episode.repository
        earlier = earlier_revisions(reading, repository, record, episode.revision)
        deployed = deployed_at(reading, repository, record, episode.revision)
        within = look.definition.timings.caused_within
        if fault := not_caused(episode.degraded_since, deployed, earlier, within, episode.revision):
            return None, fault, ""

        async def search(client: GitHubClient) -> tuple[Candidate | None, str, str]:
            head = await client.branch_head(repository, episode.branch)
            if head is None:
                return None, f"{repository} has no branch {episode.branch}.", ""
            ill = await client.tree_of(repository, episode.revision, episode.path)
            if ill is None:
                return None, f"There is no {episode.path}/ in {repository} at {episode.revision[:12]}.", ""
            if await client.tree_of(repository, head, episode.path) != ill:
                text = f"{episode.branch} has other files than what is deployed; they may mend it."
                return None, "", text
            refused = []
            for revision in earlier:
                try:
                    found, why = await _judge(client, look, episode, revision, head, record)
                except ForgeAccessError as error:
                    found, why = None, f"{revision[:12]} cannot be read ({error})"
                if found is None:
                    refused.append(why)
                elif await client.tree_of(repository, revision, episode.path) == ill:
                    text = f"{revision[:12]} was good and has the same files: the degradation was not caused by a change."
                    return None, text, ""
                else:
                    return found, "", ""
            return None, f"None of the earlier revisions is one to go back to: {'; '.join(refused)}.", ""

        return look.ask(search)


async def _judge(
    client: GitHubClient,
    look: RollbackLook,
    episode: Rollback,
    revision: str,
    head: str,
    record: HealthRecord,
) -> tuple[Candidate | None, str]:
    """Return a candidate for a revision, or why it is none."""
    repository, most = episode.repository, look.definition.max_commits
    distance = await client.distance(repository, revision, head)
    if distance.status != "ahead":
        return None, f"{revision[:12]} is no ancestor of {episode.branch}"
    if distance.ahead_by > most:
        return None, f"{revision[:12]} is {distance.ahead_by} commits back, more than {most}"
    if await client.tree_of(repository, revision, episode.path) is None:
        return None, f"{revision[:12]} has no {episode.path}/"
    known = record.of(revision)
    if revision in record.handled or (known is not None and known.ill):
        return None, f"{revision[:12]} was itself not healthy"
    taken_back = await client.find_pull_request(repository, branch_name(episode.application, revision))
    if taken_back is not None and taken_back.state == "MERGED":
        return None, f"{revision[:12]} was itself taken back ({taken_back.url})"
    evidence = known.words if known is not None and known.proven else ""
    if not evidence and await client.commit_passed(repository, revision):
        evidence = "its checks passed"
    if not evidence:
        return None, f"{revision[:12]} was neither healthy for long enough nor did its checks pass"
    return Candidate(revision=revision, proven=True, evidence=evidence, commits=distance.ahead_by), ""
