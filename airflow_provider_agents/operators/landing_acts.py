"""What a landing gate does by itself: merge, queue, auto-merge, update, re-run, and obey commands.

Each act records its intent before the call, so that no lost answer makes it happen twice without a look at
the pull request in between; and each returns what is to be waited for, or ``None`` to decide anew at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.commands import pending_commands
from airflow_provider_agents.domain.landing_history import Enqueued, Rerun
from airflow_provider_agents.domain.outbound import outbound
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeConflictError,
    ForgeUnavailableError,
)
from airflow_provider_agents.operators.merge_calls import (
    enqueue_head,
    merge_head,
    merge_method,
    take_back,
    update_head,
    waiting,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_agents.domain.commands import Command
    from airflow_provider_agents.domain.landing import Decision
    from airflow_provider_agents.domain.landing_policy import LandingPolicy
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.hooks.github_client import GitHubClient
    from airflow_provider_agents.operators.landing_memory import LandingMemory
    from airflow_provider_agents.operators.merge_calls import Ask

_BETWEEN_CHANGES_SECONDS = 1.0
"""GitHub's advice for several changes in a row (its best practices for the REST API)."""


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
        return merge_head(self._ask, s, self._policy.merge_method)[0]

    def _withdraw(self, decision: Decision, s: PullRequestSnapshot) -> Decision | None:
        """Take back what we handed to GitHub, out of the queue or from auto-merge, whichever stands."""
        entry = Enqueued(head_sha=s.head_sha, at=s.read_at)
        self._memory.change(withdrawn=(*self._memory.history.withdrawn, entry))
        return take_back(self._ask, s, decision.message)

    def _enqueue(self, decision: Decision, s: PullRequestSnapshot) -> Decision | None:
        entry = Enqueued(head_sha=s.head_sha, at=s.read_at)
        self._memory.change(enqueued=(*self._memory.history.enqueued, entry))
        return enqueue_head(self._ask, s, decision.message)

    def _enable_auto_merge(self, decision: Decision, s: PullRequestSnapshot) -> Decision | None:
        entry = Enqueued(head_sha=s.head_sha, at=s.read_at)
        self._memory.change(auto_merge_asked=(*self._memory.history.auto_merge_asked, entry))
        method = merge_method(self._policy.merge_method, s.allowed_methods)
        try:
            self._ask(lambda client: client.enable_auto_merge(s.node_id, s.head_sha, method))
        except (ForgeConflictError, ForgeAccessError, ForgeUnavailableError):
            # It was a convenience: without it we merge ourselves.
            return None
        return waiting("auto_merge_on", decision.message)

    def _update_branch(self, decision: Decision, s: PullRequestSnapshot) -> Decision | None:
        self._memory.change(updated_heads=(*self._memory.history.updated_heads, s.head_sha))
        return update_head(self._ask, s, decision.rule)

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
            return waiting("rerun_not_shown", f"The answer to the second run was lost: {error}")
        record(tuple(names))
        if not names:
            return None
        return waiting("rerun_not_shown", f"Second run of {', '.join(names)}: {decision.message}")


_OTHER_HEAD = (
    "That was about an earlier head; this one is newer than the comment. Say it again if it still holds."
)
_REPLIES = {
    "merge": "Noted for this head.",
    "review": "The review agent will read this head.",
    "explain": "",
}
