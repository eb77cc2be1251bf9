"""Posts a review: once for each head, as the identity of a connection, and never of a head that is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.review import new_findings
from airflow_provider_agents.domain.review_text import (
    PostedReview,
    ReviewEvent,
    compose_review,
    finding_in,
)
from airflow_provider_agents.exceptions import ForgeConflictError, ForgeError
from airflow_provider_agents.hooks.github_review_calls import diff_lines, same_login

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.domain.review import Finding, ReviewOutput
    from airflow_provider_agents.domain.review_diff import DiffLines
    from airflow_provider_agents.hooks.github_client import GitHubClient

log = logging.getLogger(__name__)

Compose = Callable[[bool, "DiffLines"], PostedReview]
"""Puts a review into words: whether the identity that posts wrote the code, and where remarks can stand."""

_PAUSE_SECONDS = 1.0
"""Between two changes in a row, as GitHub asks for."""
_MOST_RESOLVED = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """A review that stands on the pull request."""

    url: str
    event: ReviewEvent
    reviewer: str
    """Login of the identity that posted it."""


async def post_review(
    client: GitHubClient,
    repository: str,
    number: int,
    head_sha: str,
    review: ReviewOutput,
    *,
    earlier: Sequence[Finding],
    wrote_code: bool,
) -> Posted | None:
    """Post the review of a head, and resolve threads of earlier ones whose finding is not found any more.

    :param earlier: findings that were posted at earlier heads: they are not posted again.
    :param wrote_code: whether the credential of ``client`` is the one that pushed the code.
    :return: ``None`` where the pull request has another head by now, or is not open: nothing was posted.
    :raises ForgeError: GitHub did not take it; a repetition does not post it twice.
    """
    snapshot = await client.snapshot(repository, number)
    standing = _standing(snapshot)

    def compose(own_work: bool, lines: DiffLines) -> PostedReview:
        findings = new_findings(review.findings, [*earlier, *standing.values()])
        return compose_review(review, findings=findings, head_sha=head_sha, own_work=own_work, lines=lines)

    posted = await submit(client, snapshot, head_sha, compose, wrote_code=wrote_code)
    if posted is not None:
        await _resolve(client, [thread for thread, found in standing.items() if not _among(found, review)])
    return posted


async def submit(
    client: GitHubClient, snapshot: PullRequestSnapshot, head_sha: str, compose: Compose, *, wrote_code: bool
) -> Posted | None:
    """Submit what ``compose`` makes as a review of ``head_sha``; ``None`` where that is stale.

    :raises ForgeError: GitHub did not take it.
    """
    if snapshot.head_sha != head_sha or snapshot.state != "OPEN":
        return None
    reviewer = await client.viewer_login()
    own_work = wrote_code or same_login(reviewer, snapshot.author)
    try:
        lines = await diff_lines(client, snapshot.repository, snapshot.number)
    except ForgeError as error:
        log.warning("The diff could not be read, so all findings go into the body: %s", error)
        lines = {}
    made = compose(own_work, lines)
    event = made.event
    try:
        ref = await client.submit_review(snapshot.node_id, head_sha, event, made.body, made.remarks)
    except ForgeConflictError as error:
        now = await client.snapshot(snapshot.repository, snapshot.number)
        if now.head_sha != head_sha or now.state != "OPEN":
            return None
        if event == "COMMENT":
            raise
        # An identity that may not judge this pull request, by a rule that cannot be seen beforehand.
        log.warning("GitHub refused the verdict, so the review only comments: %s", error)
        await asyncio.sleep(_PAUSE_SECONDS)
        event = "COMMENT"
        ref = await client.submit_review(snapshot.node_id, head_sha, event, made.body, made.remarks)
    return Posted(url=ref.url, event=event, reviewer=reviewer)


def _standing(snapshot: PullRequestSnapshot) -> dict[str, Finding]:
    """Return thread id → finding of our unresolved threads."""
    found = {
        thread.node_id: finding_in(thread.path, thread.line, thread.comments[0].body)
        for thread in snapshot.threads
        if thread.comments and thread.comments[0].own
    }
    return {thread: finding for thread, finding in found.items() if finding is not None}


def _among(finding: Finding, review: ReviewOutput) -> bool:
    return any(finding.same_as(each) for each in review.findings)


async def _resolve(client: GitHubClient, threads: Sequence[str]) -> None:
    """Resolve threads. A failure is only logged: what is left open, a person can resolve."""
    for thread in threads[:_MOST_RESOLVED]:
        await asyncio.sleep(_PAUSE_SECONDS)
        try:
            await client.resolve_thread(thread)
        except ForgeError as error:
            log.warning("A thread of an earlier review could not be resolved: %s", error)
