"""Fetches what a fix round has to answer: failing checks with annotations and logs, reviews, threads."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_agents.domain.feedback import FailingCheck, Feedback
from airflow_provider_agents.exceptions import ForgeError, ForgeRateLimitedError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from airflow_provider_agents.domain.pull_request import Annotation, Check, PullRequestSnapshot
    from airflow_provider_agents.hooks.github_client import GitHubClient

T = TypeVar("T")

MOST_CHECKS_IN_DETAIL = 5
"""Failing checks whose summary, annotations and log are fetched; of further ones the name must do."""
MOST_ANNOTATIONS = 20
MOST_LOG_BYTES = 8 * 1024

_JOB_URL = re.compile(r"/actions/runs/\d+/jobs?/(\d+)")


async def gather_feedback(
    client: GitHubClient, snapshot: PullRequestSnapshot, decision_reason: str
) -> Feedback:
    """Return all that the next fix round has to answer, as raw text.

    What cannot be fetched is named in ``missing``: a check without its log is still worth a fix.

    :param decision_reason: reason of the landing decision that asks for the fix.
    :raises ForgeRateLimitedError: come back later; feedback without any detail would waste a round.
    """
    missing: list[str] = []
    failing = []
    for index, check in enumerate(snapshot.checks_in("failed")):
        if index < MOST_CHECKS_IN_DETAIL and check.kind == "check_run":
            failing.append(await _in_detail(client, snapshot.repository, check, missing))
        else:
            failing.append(FailingCheck(check=check))
    return Feedback(
        repository=snapshot.repository,
        number=snapshot.number,
        head_sha=snapshot.head_sha,
        reason=decision_reason,
        failing_checks=tuple(failing),
        reviews=tuple(
            review
            for review in snapshot.reviews
            if review.can_write and (review.state == "CHANGES_REQUESTED" or review.body.strip())
        ),
        threads=tuple(
            dataclasses.replace(thread, comments=tuple(c for c in thread.comments if c.can_write))
            for thread in snapshot.threads
            if thread.started_by_writer
        ),
        conflicts_with=snapshot.base_branch if snapshot.mergeable == "CONFLICTING" else None,
        missing=tuple(missing),
    )


async def _in_detail(client: GitHubClient, repository: str, check: Check, missing: list[str]) -> FailingCheck:
    annotations: tuple[Annotation, ...] = ()
    summary = ""
    if check.database_id is not None:
        number = check.database_id
        summary = await _tolerated(client.check_summary(repository, number), "", check, "summary", missing)
        annotations = await _tolerated(
            client.check_annotations(repository, number, MOST_ANNOTATIONS), (), check, "annotations", missing
        )
    log: str | None = ""
    if (job := _job_of(check)) is not None:
        log = await _tolerated(client.check_log(repository, job, MOST_LOG_BYTES), "", check, "log", missing)
    return FailingCheck(
        check=dataclasses.replace(check, summary=summary), annotations=annotations, log_tail=log or ""
    )


async def _tolerated(work: Awaitable[T], otherwise: T, check: Check, part: str, missing: list[str]) -> T:
    """Return what ``work`` returns, or ``otherwise``, which is then named as missing."""
    try:
        return await work
    except ForgeRateLimitedError:
        raise
    except ForgeError as error:
        missing.append(f"{part} of check {check.name}: {error}")
        return otherwise


def _job_of(check: Check) -> int | None:
    """Return the GitHub Actions job behind a check run; their numbers are the same."""
    found = _JOB_URL.search(check.url)
    return int(found[1]) if found else check.database_id
