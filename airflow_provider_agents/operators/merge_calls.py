"""How a head is merged, queued, updated or taken back: the calls, and what is to be waited for after each.

Whoever makes one has written down before that it will: an answer may be lost, and then the pull request tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.domain.landing import Decision
from airflow_provider_agents.domain.landing_policy import MERGE_METHODS
from airflow_provider_agents.domain.merge_message import merge_message
from airflow_provider_agents.exceptions import ForgeConflictError, ForgeUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from airflow_provider_agents.domain.landing_policy import MergeMethod
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.hooks.github_client import GitHubClient

    Ask = Callable[[Callable[[GitHubClient], Coroutine[Any, Any, Any]]], Any]

MERGE_REFUSED = "merge_refused"


def merge_head(ask: Ask, s: PullRequestSnapshot, wanted: MergeMethod) -> tuple[Decision, bool]:
    """Merge exactly the head that was read.

    :param ask: runs a question with a client of the connection.
    :return: what is to be waited for, should the next reading show it open; and whether GitHub said no.
    """
    method = merge_method(wanted, s.allowed_methods)

    async def merge(client: GitHubClient) -> None:
        title = message = None
        if method != "rebase":
            body = (await client.issue(s.repository, s.number)).body
            commits = await client.pull_request_commits(s.repository, s.number)
            title, message = merge_message(s.title, s.number, body, commits)
        await client.merge_pull_request(
            s.repository, s.number, head_sha=s.head_sha, method=method, title=title, message=message
        )

    try:
        ask(merge)
    except ForgeConflictError as error:
        return waiting(MERGE_REFUSED, f"GitHub did not merge: {error}"), True
    except ForgeUnavailableError as error:
        return waiting(MERGE_REFUSED, f"The answer to the merge was lost: {error}"), False
    return waiting(MERGE_REFUSED, "GitHub accepted the merge but does not show it yet."), False


def enqueue_head(ask: Ask, s: PullRequestSnapshot, message: str) -> Decision:
    """Put exactly the head that was read into the merge queue."""
    try:
        ask(lambda client: client.enqueue(s.node_id, s.head_sha))
    except ForgeConflictError as error:
        return waiting("queue_refused", f"GitHub did not take it into the merge queue: {error}")
    except ForgeUnavailableError as error:
        return waiting("queue_not_shown", f"The answer of the merge queue was lost: {error}")
    return waiting("queued", message)


def update_head(ask: Ask, s: PullRequestSnapshot, rule: str) -> Decision:
    """Bring the branch up to date with its base.

    :param rule: that decided so.
    """
    try:
        ask(lambda client: client.update_branch(s.repository, s.number, s.head_sha))
    except ForgeConflictError as error:
        return Decision(verdict="escalate", reason="update_refused", message=str(error), rule=rule)
    except ForgeUnavailableError as error:
        return waiting("update_not_shown", f"The answer to the update was lost: {error}")
    return waiting("update_not_shown", f"{s.head_branch} is being brought up to date with {s.base_branch}.")


def take_back(ask: Ask, s: PullRequestSnapshot, message: str) -> Decision:
    """Take the pull request out of the merge queue, or from auto-merge, whichever stands."""

    async def withdraw(client: GitHubClient) -> None:
        if s.queue_entry is not None:
            await client.dequeue(s.node_id)
        if s.auto_merge_on:
            await client.disable_auto_merge(s.node_id)

    try:
        ask(withdraw)
    except (ForgeConflictError, ForgeUnavailableError) as error:
        return waiting("withdrawal_not_shown", f"GitHub did not say that it was taken back: {error}")
    return waiting("withdrawal_not_shown", message)


def merge_method(wanted: MergeMethod, allowed: tuple[MergeMethod, ...]) -> MergeMethod:
    """Return the method to merge by: ``wanted``, else the first that the repository allows."""
    if not allowed or wanted in allowed:
        return wanted
    return next(method for method in MERGE_METHODS if method in allowed)


def waiting(reason: str, message: str) -> Decision:
    """Return what is to be waited for after an act."""
    return Decision(verdict="wait", reason=reason, message=message, rule="act")
