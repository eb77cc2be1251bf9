"""Fetches what a fix round has to answer: failing checks with annotations and logs, reviews, threads, conflicts."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_agents.domain.authority import asks
from airflow_provider_agents.domain.feedback import MOST_THREADS, FailingCheck, Feedback
from airflow_provider_agents.exceptions import ForgeError, ForgeRateLimitedError
from airflow_provider_agents.hooks.github_reruns import job_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from airflow_provider_agents.domain.commands import Command
    from airflow_provider_agents.domain.commits import CommitRef
    from airflow_provider_agents.domain.job_log import LogExtract
    from airflow_provider_agents.domain.pull_request import (
        Annotation,
        Check,
        PullRequestSnapshot,
        Review,
        ReviewThread,
    )
    from airflow_provider_agents.hooks.github_client import GitHubClient

T = TypeVar("T")

MOST_CHECKS_IN_DETAIL = 8
"""Failing checks whose summary, annotations and log are fetched; of further ones the name must do."""
MOST_ANNOTATIONS = 20


async def gather_feedback(
    client: GitHubClient,
    snapshot: PullRequestSnapshot,
    decision_reason: str,
    *,
    own_heads: frozenset[str] = frozenset(),
    since: str | None = None,
    commands: Sequence[Command] = (),
    answered: frozenset[str] = frozenset(),
) -> Feedback:
    """Return all that the next fix round has to answer, as raw text.

    What cannot be fetched is named in ``missing``: a check without its log is still worth a fix.

    :param decision_reason: reason of the landing decision that asks for the fix.
    :param own_heads: heads that our steps pushed. Where the present head is none of them, others pushed.
    :param since: the newest of them.
    :param commands: commands that were not carried out yet; of them ``/tell`` and ``/retry`` are for the round.
    :param answered: keys of the reviews and threads that earlier rounds were given.
    :raises ForgeRateLimitedError: come back later; feedback without any detail would waste a round.
    """
    missing: list[str] = []
    conflicting = snapshot.mergeable == "CONFLICTING"
    threads = _threads(snapshot, answered)
    reviews = tuple(review for review in snapshot.reviews if _is_heard(review))
    keys = {*(review.key for review in reviews), *(thread.key for thread in threads)}
    return Feedback(
        repository=snapshot.repository,
        number=snapshot.number,
        head_sha=snapshot.head_sha,
        reason=decision_reason,
        failing_checks=await _failing(client, snapshot, missing),
        reviews=reviews,
        threads=tuple(threads[:MOST_THREADS]),
        threads_left=max(len(threads) - MOST_THREADS, 0),
        answered_before=answered & keys,
        instructions=tuple(command for command in commands if command.name in ("tell", "retry")),
        conflicts_with=snapshot.base_branch if conflicting else None,
        conflict_files=await _conflict_files(client, snapshot, missing) if conflicting else (),
        pushed_by_others=await _pushed_by_others(client, snapshot, own_heads, since, missing),
        missing=tuple(missing),
    )


def _is_heard(review: Review) -> bool:
    if not review.can_write or review.own:
        return False
    return review.state == "CHANGES_REQUESTED" or bool(review.body.strip())


def _threads(snapshot: PullRequestSnapshot, answered: frozenset[str]) -> list[ReviewThread]:
    """Return the threads that stand against the merge, those that await an answer first.

    Of their comments, those of people with write access and our own are kept.
    """
    threads = [
        dataclasses.replace(thread, comments=tuple(c for c in thread.comments if c.can_write))
        for thread in snapshot.threads
        if asks(thread)
    ]
    return sorted(threads, key=lambda thread: thread.key in answered)


async def _failing(
    client: GitHubClient, snapshot: PullRequestSnapshot, missing: list[str]
) -> tuple[FailingCheck, ...]:
    checks = snapshot.checks_in("failed")
    detailed = [
        await _in_detail(client, snapshot.repository, check, missing)
        for check in checks[:MOST_CHECKS_IN_DETAIL]
    ]
    return (*detailed, *(FailingCheck(check=check) for check in checks[MOST_CHECKS_IN_DETAIL:]))


async def _in_detail(client: GitHubClient, repository: str, check: Check, missing: list[str]) -> FailingCheck:
    annotations: tuple[Annotation, ...] = ()
    summary = check.summary
    if check.kind == "check_run" and check.database_id is not None:
        what, number = f"of check {check.name}", check.database_id
        summary = await _tolerated(client.check_summary(repository, number), "", f"summary {what}", missing)
        annotations = await _tolerated(
            client.check_annotations(repository, number, MOST_ANNOTATIONS), (), f"annotations {what}", missing
        )
    log = await _log(client, repository, check, missing)
    return FailingCheck(
        check=dataclasses.replace(check, summary=summary),
        annotations=annotations,
        log_matches=log.matches if log else (),
        log_excerpt=log.excerpt if log else "",
        log_tail=log.tail if log else "",
    )


async def _log(client: GitHubClient, repository: str, check: Check, missing: list[str]) -> LogExtract | None:
    """Return what counts of the log of the Actions job behind a check.

    Only the job's number is taken from the check's address, and asked for at GitHub's own API. The address
    itself is never fetched: whoever may write a check or a status would choose where we go, with the network
    of the workers and, at the same host, with the credential.
    """
    found = job_of(check)
    # A check run of GitHub Actions has the number of its job; other apps always give an address of theirs.
    job = found[1] if found else check.database_id if check.kind == "check_run" and not check.url else None
    if job is None:
        return None
    log = await _tolerated(client.check_log(repository, job), None, f"log of check {check.name}", missing)
    if log is not None and log.cut:
        missing.append(f"the end of the log of check {check.name}: the log is too long")
    return log


async def _conflict_files(
    client: GitHubClient, snapshot: PullRequestSnapshot, missing: list[str]
) -> tuple[str, ...]:
    # The branch, not its tip of some time ago: what the agent will meet is what is there now.
    work = client.changed_on_both_sides(snapshot.repository, snapshot.base_branch, snapshot.head_sha)
    return await _tolerated(work, (), "the conflicting files", missing)


async def _pushed_by_others(
    client: GitHubClient,
    snapshot: PullRequestSnapshot,
    own_heads: frozenset[str],
    since: str | None,
    missing: list[str],
) -> tuple[CommitRef, ...]:
    if not own_heads or not since or snapshot.head_sha in own_heads:
        return ()
    work = client.commits_between(snapshot.repository, since, snapshot.head_sha)
    return await _tolerated(work, (), f"the commits that others pushed after {since[:12]}", missing)


async def _tolerated(work: Awaitable[T], otherwise: T, part: str, missing: list[str]) -> T:
    """Return what ``work`` returns, or ``otherwise``, which is then named as missing."""
    try:
        return await work
    except ForgeRateLimitedError:
        raise
    except ForgeError as error:
        missing.append(f"{part}: {error}")
        return otherwise
