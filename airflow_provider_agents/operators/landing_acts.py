"""What a landing gate does by itself: merge, queue, auto-merge, update, re-run, and obey commands.

Each act records its intent before the call, so that no lost answer makes it happen twice without a look at
the pull request in between; and each returns what is to be waited for, or ``None`` to decide anew at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.commands import pending_commands
from airflow_provider_agents.domain.landing import Decision
from airflow_provider_agents.domain.landing_history import Enqueued, Rerun
from airflow_provider_agents.domain.landing_policy import MERGE_METHODS, LandingPolicy, MergeMethod
from airflow_provider_agents.domain.merge_message import merge_message
from airflow_provider_agents.domain.outbound import outbound
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeConflictError,
    ForgeUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from typing import Any

    from airflow_provider_agents.domain.commands import Command
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.hooks.github_client import GitHubClient
    from airflow_provider_agents.operators.landing_memory import LandingMemory

    Ask = Callable[[Callable[[GitHubClient], Coroutine[Any, Any, Any]]], Any]

_BETWEEN_CHANGES_SECONDS = 1.0
"""GitHub's advice for several changes in a row (its best practices for the REST API)."""
MERGE_REFUSED = "merge_refused"


class LandingActs:
    """Acts on one pull request.

    :param ask: runs a question with a client of the connection.
    """

    def __init__(self, ask: Ask, policy: LandingPolicy, memory: LandingMemory) -> None:
        self._ask = ask
        self._policy = policy
        self._memory = memory

    def act(self, decision: Decision, snapshot: PullRequestSnapshot) -> Decision | None:
        """Carry out a verdict of :data:`.landing.ACTS_AND_WAITS` other than ``obey`` and ``note``.

        :raises ForgeError: what passes by itself, or needs a person; the intent is recorded.
        """
        acts = {
            "withdraw": self._withdraw,
            "merge": self._merge,
            "enqueue": self._enqueue,
            "enable_auto_merge": self._enable_auto_merge,
            "update_branch": self._update_branch,
            "rerun_checks": self._rerun_checks,
        }
        return acts[decision.verdict](decision, snapshot)

    def obey(self, snapshot: PullRequestSnapshot, explain: Callable[[], Decision]) -> list[Command]:
        """Note ``/merge`` and ``/review`` for this head, answer ``/explain``; return the commands.

        :param explain: says what the landing waits for once the commands are noted.
        """
        history = self._memory.history
        commands = [
            c for c in pending_commands(snapshot, history) if c.name in ("merge", "review", "explain")
        ]
        names, head = {c.name for c in commands if c.about_head}, frozenset({snapshot.head_sha})
        self._memory.done(
            [c.key for c in commands],
            approved_heads=history.approved_heads | (head if "merge" in names else frozenset()),
            review_asked=history.review_asked | (head if "review" in names else frozenset()),
        )
        now = explain()
        for command in commands:
            said = _REPLIES[command.name] if command.about_head or command.name == "explain" else _OTHER_HEAD
            self.say(snapshot, command.key, f"@{command.author} {said} {outbound(now.message)}".strip())
        return commands

    def say(self, snapshot: PullRequestSnapshot, marker: str, text: str) -> None:
        """Comment once, by ``marker``."""

        async def comment(client: GitHubClient) -> None:
            await client.comment_once(snapshot.repository, snapshot.number, f"landing:{marker}", text)

        self._ask(comment)

    def answer_threads(self, replies: Mapping[str, str], *, resolve: bool) -> None:
        """Write each reply into its review thread, once, and resolve the thread where that is asked for.

        A thread that is gone, or may not be written to, is left.
        """

        async def answer(client: GitHubClient) -> None:
            for number, (thread_id, reply) in enumerate(replies.items()):
                if number:
                    await asyncio.sleep(_BETWEEN_CHANGES_SECONDS)
                with contextlib.suppress(ForgeAccessError, ForgeConflictError):
                    await client.reply_in_thread(thread_id, reply)
                    if resolve:
                        await client.resolve_thread(thread_id)

        self._ask(answer)

    def _merge(self, decision: Decision, s: PullRequestSnapshot) -> Decision | None:
        """Merge exactly the head that was read."""
        method = merge_method(self._policy.merge_method, s.allowed_methods)

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
            self._ask(merge)
        except ForgeConflictError as error:
            return _wait(MERGE_REFUSED, f"GitHub did not merge: {error}")
        except ForgeUnavailableError as error:
            return _wait(MERGE_REFUSED, f"The answer to the merge was lost: {error}")
        return _wait(MERGE_REFUSED, "GitHub accepted the merge but does not show it yet.")

    def _withdraw(self, decision: Decision, s: PullRequestSnapshot) -> Decision | None:
        """Take back what we handed to GitHub, out of the queue or from auto-merge, whichever stands."""
        entry = Enqueued(head_sha=s.head_sha, at=s.read_at)
        self._memory.change(withdrawn=(*self._memory.history.withdrawn, entry))

        async def withdraw(client: GitHubClient) -> None:
            if s.queue_entry is not None:
                await client.dequeue(s.node_id)
            if s.auto_merge_on:
                await client.disable_auto_merge(s.node_id)

        try:
            self._ask(withdraw)
        except (ForgeConflictError, ForgeUnavailableError) as error:
            return _wait("withdrawal_not_shown", f"GitHub did not say that it was taken back: {error}")
        return _wait("withdrawal_not_shown", decision.message)

    def _enqueue(self, decision: Decision, s: PullRequestSnapshot) -> Decision | None:
        entry = Enqueued(head_sha=s.head_sha, at=s.read_at)
        self._memory.change(enqueued=(*self._memory.history.enqueued, entry))
        try:
            self._ask(lambda client: client.enqueue(s.node_id, s.head_sha))
        except ForgeConflictError as error:
            return _wait("queue_refused", f"GitHub did not take it into the merge queue: {error}")
        except ForgeUnavailableError as error:
            return _wait("queue_not_shown", f"The answer of the merge queue was lost: {error}")
        return _wait("queued", decision.message)

    def _enable_auto_merge(self, decision: Decision, s: PullRequestSnapshot) -> Decision | None:
        entry = Enqueued(head_sha=s.head_sha, at=s.read_at)
        self._memory.change(auto_merge_asked=(*self._memory.history.auto_merge_asked, entry))
        method = merge_method(self._policy.merge_method, s.allowed_methods)
        try:
            self._ask(lambda client: client.enable_auto_merge(s.node_id, s.head_sha, method))
        except (ForgeConflictError, ForgeAccessError, ForgeUnavailableError):
            # It was a convenience: without it we merge ourselves.
            return None
        return _wait("auto_merge_on", decision.message)

    def _update_branch(self, decision: Decision, s: PullRequestSnapshot) -> Decision | None:
        self._memory.change(updated_heads=(*self._memory.history.updated_heads, s.head_sha))
        try:
            self._ask(lambda client: client.update_branch(s.repository, s.number, s.head_sha))
        except ForgeConflictError as error:
            return Decision(
                verdict="escalate", reason="update_refused", message=str(error), rule=decision.rule
            )
        except ForgeUnavailableError as error:
            return _wait("update_not_shown", f"The answer to the update was lost: {error}")
        return _wait("update_not_shown", f"{s.head_branch} is being brought up to date with {s.base_branch}.")

    def _rerun_checks(self, decision: Decision, s: PullRequestSnapshot) -> Decision | None:
        failed = s.checks_in("failed")
        before = self._memory.history.reruns

        def record(names: tuple[str, ...]) -> None:
            rerun = Rerun(head_sha=s.head_sha, at=s.read_at, checks=names, evidence=decision.message)
            self._memory.change(reruns=(*before, rerun))

        record(tuple(sorted({check.name for check in failed})))
        try:
            names = self._ask(lambda client: client.rerun_checks(s.repository, failed))
        except (ForgeAccessError, ForgeConflictError):
            names = ()
        except ForgeUnavailableError as error:
            return _wait("rerun_not_shown", f"The answer to the second run was lost: {error}")
        record(tuple(names))
        if not names:
            return None
        return _wait("rerun_not_shown", f"Second run of {', '.join(names)}: {decision.message}")


def merge_method(wanted: MergeMethod, allowed: tuple[MergeMethod, ...]) -> MergeMethod:
    """Return the method to merge by: ``wanted``, else the first that the repository allows."""
    if not allowed or wanted in allowed:
        return wanted
    return next(method for method in MERGE_METHODS if method in allowed)


def merge_pause(calls: int) -> timedelta:
    """Return how long to look away after ``calls`` refused merges of one head: 15 s, 30 s, 60 s …"""
    return timedelta(seconds=15.0 * 2.0 ** (max(calls, 1) - 1))


_OTHER_HEAD = (
    "That was about an earlier head; this one is newer than the comment. Say it again if it still holds."
)
_REPLIES = {
    "merge": "Noted for this head.",
    "review": "The review agent will read this head.",
    "explain": "",
}


def _wait(reason: str, message: str) -> Decision:
    return Decision(verdict="wait", reason=reason, message=message, rule="act")
