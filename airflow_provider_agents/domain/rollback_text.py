"""What a rollback says: names, pull request, comment and questions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.outbound import outbound, outbound_title, pull_request_body
from airflow_provider_agents.domain.people import Option, Question

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_agents.domain.commits import CommitRef
    from airflow_provider_agents.domain.rollback import Rollback

BRANCH_PREFIX = "rollback/"
APPROVE = "Roll back"
LEAVE = "Leave it to people"
TAKEN = "I take over"
_SHA = 12


def branch_name(application: str, revision: str) -> str:
    """Return the name of a rollback's branch: of the application, and of what it takes back."""
    return f"{BRANCH_PREFIX}{application}-{re.sub(r'[^0-9a-f]', '', revision.lower())[:_SHA]}"


def marker(application: str) -> str:
    """Return what makes the pull request known again as a rollback of ``application``."""
    return f"rollback={application}"


def commit_message(rollback: Rollback) -> str:
    """Return the message of the commit that goes back."""
    assert rollback.candidate is not None
    where = f"{rollback.path}/" if rollback.path else "All files"
    return (
        f"{title(rollback)}\n\n{where} as of {rollback.candidate.revision}, because {rollback.application} is Degraded "
        f"since {rollback.revision} was deployed."
    )


def title(rollback: Rollback) -> str:
    """Return the title of the pull request, and of the commit that its merge makes."""
    assert rollback.candidate is not None
    return outbound_title(
        f"Roll back {rollback.application} to {rollback.candidate.revision[:_SHA]}", "Roll back"
    )


def body(rollback: Rollback, commits: Sequence[CommitRef], most: int) -> str:
    """Return the description of the pull request, without its hidden marker.

    :param commits: that are taken back, oldest first.
    :param most: that are listed.
    """
    candidate = rollback.candidate
    assert candidate is not None
    where = f"`{rollback.path}/`" if rollback.path else "the whole repository"
    taken = [
        f"- {commit.sha[:_SHA]} {outbound_title(commit.title, 'without a title')} ({outbound_title(commit.author, '?')})"
        for commit in reversed(commits)
    ]
    rest = [f"- and {len(taken) - most} more"] if len(taken) > most else []
    text = "\n".join(
        [
            (
                f"Argo CD calls `{rollback.application}` Degraded since {rollback.degraded_since:%Y-%m-%d %H:%M:%S} UTC, after "
                f"{rollback.revision[:_SHA]} was deployed. This brings {where} back to {candidate.revision[:_SHA]} "
                f"({candidate.evidence})."
            ),
            "",
            f"Commits on `{rollback.branch}` since then, of which it takes back what they changed there:",
            "",
            *taken[:most],
            *rest,
            "",
            "It is merged once its checks pass, while the application still is Degraded. Close it to keep it from that.",
        ]
    )
    footer = f"Opened by Airflow: rollback `{rollback.name}`"
    return pull_request_body(text, closes=None, footer=footer)


def abort_comment(rollback: Rollback) -> str:
    """Return the comment that calls a person."""
    return (
        f"**The rollback of `{rollback.application}` needs a person** ({rollback.event.replace('_', ' ')}).\n\n"
        f"{outbound(rollback.message)}\n\nNothing more is done by itself."
    )


def approval_question(rollback: Rollback) -> Question:
    """Return the question whether the rollback is to be merged."""
    assert rollback.candidate is not None
    return Question(
        key=f"approve:{rollback.head_sha}",
        subject=f"Roll back {rollback.application} to {rollback.candidate.revision[:_SHA]}?",
        body=(
            f"`{rollback.application}` is Degraded since {rollback.degraded_since:%Y-%m-%d %H:%M:%S} UTC, after "
            f"`{rollback.revision[:_SHA]}` was deployed.\n\n"
            f"{rollback.url} goes back to `{rollback.candidate.revision[:_SHA]}` ({rollback.candidate.evidence}); its "
            f"checks passed. Head: `{rollback.head_sha[:_SHA]}`."
        ),
        options=(
            Option(
                name=APPROVE,
                explanation="It is merged while the application still is Degraded.",
                binding=True,
            ),
            Option(name=LEAVE, explanation="Nothing more is done by itself."),
        ),
        facts=rollback.head_sha,
    )


def abort_question(rollback: Rollback, why: str) -> Question:
    """Return the question that calls a person.

    :param why: what happened.
    """
    where = f"\n\nPull request: {rollback.url}" if rollback.url else ""
    return Question(
        key=f"abort:{rollback.revision}:{rollback.event}",
        subject=f"{rollback.application} is Degraded, and its rollback needs a person",
        body=f"{outbound(why)}{where}\n\nUntil somebody takes over, nothing more is rolled back for it.",
        options=(Option(name=TAKEN, explanation="The run ends; the next degradation is handled again."),),
    )
