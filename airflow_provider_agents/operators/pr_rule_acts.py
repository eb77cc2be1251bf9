"""What a rule does at GitHub: one function for each kind of act, safe to be made again after a lost answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.landing_decision import merge_pause
from airflow_provider_agents.domain.pr_rule_message import (
    close_comment,
    comment_marker,
    escalation_comment,
    plain_comment,
)
from airflow_provider_agents.exceptions import ForgeConflictError
from airflow_provider_agents.hooks.github import AgentsGitHubHook
from airflow_provider_agents.operators.merge_calls import enqueue_head, merge_head, take_back, update_head

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from airflow_provider_agents.domain.pr_rule import PullRequestRule
    from airflow_provider_agents.domain.pr_rule_circumstances import Guarded
    from airflow_provider_agents.domain.pr_rule_decision import Outcome, RuleAnswer
    from airflow_provider_agents.domain.pr_rule_ledger import ActState, Kind
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.hooks.github_client import GitHubClient

LABEL_DESCRIPTION = "A rule wants a person to decide about this pull request"
QUEUE_LOOK = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted:
    """What came of an act."""

    outcome: Outcome
    message: str
    state: ActState
    retry_at: datetime | None = None


class RuleActs:
    """Acts of one rule on one pull request.

    :param run_link: page on which people choose what becomes of it; empty where its address is not known.
    :param calls: how often this act was tried with this one.
    """

    def __init__(
        self,
        *,
        connection: str,
        rule_name: str,
        rule: PullRequestRule,
        snapshot: PullRequestSnapshot,
        answer: RuleAnswer | None,
        run_link: str = "",
        calls: int = 1,
    ) -> None:
        self._connection = connection
        self._name = rule_name
        self._rule = rule
        self._s = snapshot
        self._answer = answer
        self._run_link = run_link
        self._calls = calls

    def act(self, kind: Kind, found: Guarded) -> Acted:
        """Do it.

        :param kind: which act; its intent stands in the ledger.
        :raises ForgeError: what passes by itself, or needs a person.
        """
        acts: dict[Kind, Callable[[Guarded], Acted]] = {
            "merge": self._merge,
            "enqueue": self._enqueue,
            "withdraw": self._withdraw,
            "update_branch": self._update_branch,
            "close": self._close,
            "comment": self._comment,
            "label": self._label,
            "request_review": self._request_review,
            "escalate": self._escalate,
        }
        return acts[kind](found)

    def ask(self, question: Callable[[GitHubClient], Coroutine[Any, Any, Any]]) -> Any:
        """Run a question with a client that may see this repository."""
        return AgentsGitHubHook(self._connection, repository=self._s.repository).run(question)

    def _merge(self, found: Guarded) -> Acted:
        waiting, refused = merge_head(self.ask, self._s, self._rule.merge_method)
        after = self._read()
        if after.state == "MERGED":
            return Acted(outcome="done", message=f"Merged {self._s.head_sha[:12]}.", state="done")
        again = datetime.now(UTC) + merge_pause(self._calls)
        state: ActState = "refused" if refused else "intended"
        return Acted(outcome="failed", message=waiting.message, state=state, retry_at=again)

    def _enqueue(self, found: Guarded) -> Acted:
        waiting = enqueue_head(self.ask, self._s, f"{self._s.head_sha[:12]} is in the merge queue.")
        if waiting.reason == "queued":
            # The queue may yet take it out again.
            again = datetime.now(UTC) + QUEUE_LOOK
            return Acted(outcome="waiting", message=waiting.message, state="done", retry_at=again)
        again = datetime.now(UTC) + merge_pause(self._calls)
        state: ActState = "refused" if waiting.reason == "queue_refused" else "intended"
        return Acted(outcome="failed", message=waiting.message, state=state, retry_at=again)

    def _withdraw(self, found: Guarded) -> Acted:
        waiting = take_back(self.ask, self._s, found.message)
        after = self._read()
        # Where it still stands, the next look tries again: else it would be merged in spite of what came up.
        stands = after.state == "OPEN" and (after.queue_entry is not None or after.auto_merge_on)
        state: ActState = "refused" if stands else "done"
        return Acted(outcome="guarded", message=waiting.message, state=state, retry_at=found.retry_at)

    def _update_branch(self, found: Guarded) -> Acted:
        waiting = update_head(self.ask, self._s, "act")
        again = datetime.now(UTC) + QUEUE_LOOK
        if waiting.verdict == "escalate":
            return Acted(outcome="failed", message=waiting.message, state="refused", retry_at=again)
        outcome: Outcome = "guarded" if found.guard else "done"
        return Acted(outcome=outcome, message=waiting.message, state="done", retry_at=again)

    def _close(self, found: Guarded) -> Acted:
        text = close_comment(self._name, self._reason)

        async def close(client: GitHubClient) -> None:
            await client.comment_in_place(self._s.repository, self._s.number, self._marker, text)
            await client.close_pull_request(self._s.repository, self._s.number)

        self.ask(close)
        return Acted(outcome="done", message="Closed, with the reason in a comment.", state="done")

    def _comment(self, found: Guarded) -> Acted:
        text = plain_comment(self._name, self._answer.comment if self._answer else "")
        self.ask(
            lambda client: client.comment_in_place(self._s.repository, self._s.number, self._marker, text)
        )
        return Acted(outcome="done", message="Commented.", state="done")

    def _label(self, found: Guarded) -> Acted:
        labels = self._answer.labels if self._answer else ()
        self.ask(lambda client: client.add_labels(self._s.repository, self._s.number, labels))
        return Acted(outcome="done", message=f"Labelled {', '.join(labels)}.", state="done")

    def _request_review(self, found: Guarded) -> Acted:
        author = self._s.author.casefold()
        wanted = [
            login for login in (self._answer.reviewers if self._answer else ()) if login.casefold() != author
        ]
        try:
            self.ask(lambda client: client.request_reviewers(self._s.repository, self._s.number, wanted))
        except ForgeConflictError as error:
            return Acted(outcome="failed", message=str(error), state="refused", retry_at=_later(self._calls))
        return Acted(outcome="done", message=f"Asked {', '.join(wanted)} for a review.", state="done")

    def _escalate(self, found: Guarded) -> Acted:
        label = self._rule.escalation_label
        text = escalation_comment(
            self._name, found, self._reason, self._s.head_sha, label=label, link=self._run_link
        )

        async def call(client: GitHubClient) -> None:
            await client.ensure_label(self._s.repository, label, LABEL_DESCRIPTION)
            await client.comment_in_place(self._s.repository, self._s.number, self._marker, text)
            # Last: with the label on, no rule looks at it any more.
            await client.add_labels(self._s.repository, self._s.number, (label,))

        self.ask(call)
        outcome: Outcome = "guarded" if found.guard else "done"
        return Acted(outcome=outcome, message=found.message or self._reason, state="done")

    @property
    def _marker(self) -> str:
        return comment_marker(self._name)

    @property
    def _reason(self) -> str:
        return self._answer.reason if self._answer else ""

    def _read(self) -> PullRequestSnapshot:
        s: PullRequestSnapshot = self.ask(lambda client: client.snapshot(self._s.repository, self._s.number))
        return s


def failed(error: Exception, calls: int) -> Acted:
    """Return what is recorded of an act that raised, and may have happened."""
    return Acted(
        outcome="failed", message=str(error) or type(error).__name__, state="intended", retry_at=_later(calls)
    )


def _later(calls: int) -> datetime:
    """Return when to try again: in 1, 2, 4 … minutes, an hour at most."""
    return datetime.now(UTC) + min(timedelta(minutes=2.0 ** min(calls - 1, 6)), timedelta(hours=1))
