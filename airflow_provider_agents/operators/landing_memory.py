"""What the gates of a run remember about a pull request, from gate to gate and over the tries of one gate."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.authority import BY_WRITERS
from airflow_provider_agents.domain.feedback import thread_answers
from airflow_provider_agents.domain.landing_history import AgentReview, LandingHistory, Round
from airflow_provider_agents.operators.landing_keys import (
    COMMANDS_KEY,
    DECISION_KEY,
    FEEDBACK_KEY,
    HISTORY_KEY,
    REVIEW_KEY,
    RoundTasks,
)
from airflow_provider_agents.operators.pulled import values_of
from airflow_provider_agents.operators.task_state import generation, recall, remember

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

    from airflow_provider_agents.domain.authority_rules import AuthorityRules
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot


class LandingMemory:
    """The landing history of a run, as one gate knows it.

    The first look of a gate takes over what the last gate left, with what came of its round. From then on
    the gate's own record counts, which is written at each change: a retry goes on where the last try was.

    :param authority: whose commands count in this run.
    """

    def __init__(
        self,
        operator: BaseOperator,
        context: Context,
        earlier: Sequence[RoundTasks],
        authority: AuthorityRules = BY_WRITERS,
    ) -> None:
        self._context = context
        self._key = f"{HISTORY_KEY}_{generation(operator, context)}"
        stored = recall(context, self._key)
        if isinstance(stored, Mapping):
            self.history = dataclasses.replace(LandingHistory.from_dict(stored), authority=authority)
            return
        self.history = dataclasses.replace(taken_over(context, earlier), authority=authority)
        done = recall(context, COMMANDS_KEY) or ()
        since = self.history.since or getattr(context.get("dag_run"), "run_after", None)
        self.change(commands=self.history.commands | frozenset(done), since=since)

    def change(self, **changes: Any) -> None:
        """Replace parts of the history, and write it down."""
        self.history = dataclasses.replace(self.history, **changes)
        remember(self._context, self._key, self.history.to_dict())

    def saw(self, snapshot: PullRequestSnapshot, opened: str | None = None) -> None:
        """Note when the present head, and the last one that we pushed, were first seen.

        :param opened: head that the pull request was opened with: a command that was written before a push
            which we did not see is not about what is there now.
        """
        last = self.history.rounds[-1].head_after if self.history.rounds else opened
        pushed = [last] if last else []
        if new := {snapshot.head_sha, *pushed} - set(self.history.heads_first_seen):
            seen = {**self.history.heads_first_seen, **dict.fromkeys(new, snapshot.read_at)}
            self.change(heads_first_seen=seen)

    def heard(self, event: Mapping[str, Any] | None) -> None:
        """Take over when the trigger first saw heads: a grace or a settling time counts from there."""
        seen = {
            sha: datetime.fromisoformat(at)
            for sha, at in ((event or {}).get("heads_first_seen") or {}).items()
        }
        if new := {sha: at for sha, at in seen.items() if sha not in self.history.heads_first_seen}:
            self.change(heads_first_seen={**self.history.heads_first_seen, **new})

    def done(self, commands: Sequence[str], **changes: Any) -> None:
        """Note commands as carried out, for good, together with what they changed."""
        self.change(commands=self.history.commands | frozenset(commands), **changes)
        remember(self._context, COMMANDS_KEY, sorted(self.history.commands))

    def hand_on(self, **changes: Any) -> None:
        """Leave the history to the next gate, with ``changes`` that hold from there on."""
        handed = dataclasses.replace(self.history, **changes)
        self._context["ti"].xcom_push(key=HISTORY_KEY, value=handed.to_dict())


def taken_over(context: Context, earlier: Sequence[RoundTasks]) -> LandingHistory:
    """Return what the last gate left, with what came of its round."""
    histories = values_of(context, [tasks.gate for tasks in earlier], HISTORY_KEY)
    last = next(
        (tasks for tasks in reversed(earlier) if isinstance(histories.get(tasks.gate), Mapping)), None
    )
    if last is None:
        return LandingHistory()
    history = LandingHistory.from_dict(histories[last.gate])
    decision = values_of(context, [last.gate], DECISION_KEY)[last.gate]
    verdict = decision.get("verdict") if isinstance(decision, Mapping) else None
    review = values_of(context, [last.review], REVIEW_KEY).get(last.review) if last.review else None
    fix = values_of(context, [last.fix]).get(last.fix) if last.fix else None
    if verdict == "review":
        return _with_review(history, review, fix)
    return _with_fix(history, fix) if verdict == "fix" else history


def _with_review(history: LandingHistory, review: Any, fix: Any) -> LandingHistory:
    if not isinstance(review, Mapping):
        return history
    found = AgentReview(
        head_sha=review["head_sha"], verdict=review["verdict"], summary=str(review.get("summary") or "")
    )
    # What the reviewer writes as an identity of its own is no person's objection.
    ours = history.ours | ({str(review["reviewer"])} if review.get("reviewer") else set())
    history = dataclasses.replace(history, reviews=(*history.reviews, found), ours=ours)
    if not isinstance(fix, Mapping):
        return history
    # Its fix step followed at once, without a gate between.
    asked = Round(reason="review_agent", head_sha=found.head_sha)
    return _with_fix(dataclasses.replace(history, rounds=(*history.rounds, asked)), fix)


def _with_fix(history: LandingHistory, fix: Any) -> LandingHistory:
    head = fix.get("head_sha") if isinstance(fix, Mapping) else None
    if not head or not history.rounds or head == history.rounds[-1].head_sha:
        return history
    rounds = (*history.rounds[:-1], dataclasses.replace(history.rounds[-1], head_after=head))
    return dataclasses.replace(history, rounds=rounds)


def thread_replies(context: Context, earlier: Sequence[RoundTasks]) -> dict[str, str]:
    """Return node id of a review thread → what the last fix step says in answer to it."""
    for tasks in reversed(earlier):
        fix = values_of(context, [tasks.fix]).get(tasks.fix) if tasks.fix else None
        if not isinstance(fix, Mapping):
            continue
        feedback = values_of(context, [tasks.gate], FEEDBACK_KEY).get(tasks.gate)
        labels = feedback.get("threads") if isinstance(feedback, Mapping) else None
        output = fix.get("output")
        if not isinstance(labels, Mapping) or not isinstance(output, Mapping):
            return {}
        return thread_answers(labels, output)
    return {}
