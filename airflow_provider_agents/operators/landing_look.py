"""One look of a landing gate at its pull request: what it reads, decides, does and hands on."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_agents.domain.authority import named_teams
from airflow_provider_agents.domain.coding_task import CodingTask
from airflow_provider_agents.domain.commands import pending_commands
from airflow_provider_agents.domain.escalation import EscalationAnswer, instructions_text, judge_answer
from airflow_provider_agents.domain.failed_checks import judge_failure
from airflow_provider_agents.domain.feedback_text import feedback_text
from airflow_provider_agents.domain.fingerprint import fingerprint
from airflow_provider_agents.domain.landing import ACTS_AND_WAITS, Decision, decide
from airflow_provider_agents.domain.landing_decision import MOST_MERGE_CALLS, merge_pause
from airflow_provider_agents.domain.landing_history import AgentReview, Round
from airflow_provider_agents.exceptions import TaskStoppedError
from airflow_provider_agents.links import PULL_REQUEST_URL_KEY
from airflow_provider_agents.operators.decision_log import record_decision
from airflow_provider_agents.operators.landing_acts import LandingActs
from airflow_provider_agents.operators.landing_escalation import LandingEscalation
from airflow_provider_agents.operators.landing_keys import DECISION_KEY, FEEDBACK_KEY, MAY_FIX_KEY
from airflow_provider_agents.operators.landing_memory import LandingMemory, thread_replies
from airflow_provider_agents.operators.merge_calls import MERGE_REFUSED
from airflow_provider_agents.operators.task_state import generation, recall, remember
from airflow_provider_agents.triggers.pull_request import PullRequestTrigger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from airflow_provider_agents.domain.feedback import Feedback
    from airflow_provider_agents.domain.landing_policy import LandingPolicy
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.operators.landing_gate import LandingGateOperator

_GRANTED = ("approved_heads", "overridden", "commands")
"""Parts of the history that an answer of a person changes, however often it is looked at."""
_MOST_ACTS = 10
"""Acts in one look that lead to another at once; more means that two rules contradict each other."""


class LandingLook:
    """What a gate does each time that it runs; what it remembers is not here.

    :param gate: whose arguments count.
    """

    def __init__(self, gate: LandingGateOperator) -> None:
        self._gate = gate

    def look(self, context: Context, event: Mapping[str, Any] | None) -> None:
        """Read, decide and act until the gate leaves its round or waits.

        :param event: what the task was resumed with, if it was.
        :raises TaskDeferred: the gate waits, or asks people.
        :raises TaskStoppedError: the pull request was closed, or nobody can be asked.
        """
        context["ti"].xcom_push(key=PULL_REQUEST_URL_KEY, value=self._gate.pull_request["url"])
        task = CodingTask.model_validate(self._gate.coding_task)
        memory = LandingMemory(self._gate, context, self._gate.earlier_rounds, task.authority)
        memory.heard(event)
        snapshot = self._read(task)
        memory.saw(snapshot, self._gate.pull_request.get("head_sha"))
        self._answer_threads(task, snapshot, memory, context)
        people = LandingEscalation(self._gate, context, memory, self._gate.run_steps, self._gate.rounds_left)
        people.take_answer(snapshot, event)
        for _ in range(_MOST_ACTS):
            decision, feedback = self._decide(task, snapshot, memory, people.answer, context)
            if decision.verdict == "escalate" and task.request.escalate == "ask":
                if people.answer is not None:
                    people.carried_out()
                if people.take_command(snapshot, decision):
                    continue
                self._ask(task, snapshot, decision, people, context)
            self._note(decision, snapshot, context)
            if decision.verdict not in ACTS_AND_WAITS:
                return self._leave(task, snapshot, decision, feedback, memory, context, people)
            waiting, snapshot = self._act(task, snapshot, decision, memory, context)
            if waiting is None:
                continue
            if waiting.verdict == "escalate" and task.request.escalate == "ask":
                people.carried_out()
                self._ask(task, snapshot, waiting, people, context)
            return self._leave(task, snapshot, waiting, None, memory, context, people)
        text = f"{decision.message} {_MOST_ACTS} acts in a row did not change what is to be done."
        raise TaskStoppedError(text)

    def _ask(
        self,
        task: CodingTask,
        snapshot: PullRequestSnapshot,
        decision: Decision,
        people: LandingEscalation,
        context: Context,
    ) -> NoReturn:
        self._note(decision, snapshot, context)
        people.ask(snapshot, decision, timedelta(hours=task.request.land_timeout))

    def _note(self, decision: Decision, snapshot: PullRequestSnapshot, context: Context) -> None:
        """Write a decision down before it is carried out."""
        self._gate.log.info("%s (%s): %s", decision.verdict, decision.reason, decision.message)
        action = "" if decision.verdict == "wait" else decision.verdict
        record_decision(context, decision, head_sha=snapshot.head_sha, action=action)

    # Reading and deciding

    def _read(self, task: CodingTask) -> PullRequestSnapshot:
        from airflow_provider_agents.hooks.github_authority import ask_about

        number = int(self._gate.pull_request["number"])
        ask_about(named_teams(task.authority))
        return self._gate.ask_forge(
            task.request.repository, lambda client: client.snapshot(task.request.repository, number)
        )

    def _decide(
        self,
        task: CodingTask,
        snapshot: PullRequestSnapshot,
        memory: LandingMemory,
        answer: EscalationAnswer | None,
        context: Context,
    ) -> tuple[Decision, Feedback | None]:
        """Decide; read what a decision needs and every poll can do without: the risk, the logs.

        :param answer: what a person chose, until it is carried out.
        """
        policy = task.request.policy
        if answer is not None:
            decision, granted = judge_answer(answer, snapshot, policy, memory.history)
            found = self._gather(snapshot, decision, memory) if decision.verdict == "fix" else None
            memory.change(**{name: getattr(granted, name) for name in _GRANTED})
            if decision.verdict == "fix" and self._gate.round_tasks.fix is None:
                decision = _no_task_left(decision)
            return decision, found
        decision = decide(snapshot, policy, memory.history)
        if decision.verdict in ("merge", "enqueue", "enable_auto_merge"):
            self._weigh(snapshot, memory)
            decision = decide(snapshot, policy, memory.history)
        feedback = None
        if decision.verdict == "fix":
            feedback = self._gather(snapshot, decision, memory)
            decision = judge_failure(decision, snapshot, policy, memory.history, feedback)
        if decision.verdict == "wait":
            decision = self._unless_late(decision, task, context)
        if decision.verdict == "fix" and self._gate.round_tasks.fix is None:
            decision = _no_task_left(decision)
        if decision.verdict == "review" and self._gate.round_tasks.review is None:
            decision = _no_task_left(decision)
        return decision, feedback

    def _unless_late(self, decision: Decision, task: CodingTask, context: Context) -> Decision:
        """Return the decision to wait, or, past the deadline, that people have to say how it goes on."""
        if datetime.now(tz=UTC) < self._deadline(task, context):
            return decision
        hours = f"{task.request.land_timeout:g} hours"
        text = f"The pull request was not merged within {hours}. Last: {decision.message}"
        return dataclasses.replace(decision, verdict="escalate", reason="timeout", message=text)

    def _look_into(self, decision: Decision, snapshot: PullRequestSnapshot, memory: LandingMemory) -> None:
        """Find out what a decision needs to know, and write it into the history."""
        if decision.reason == "risk_unknown":
            self._weigh(snapshot, memory)
        else:
            broken = {**memory.history.broken_base, snapshot.head_sha: snapshot.base_sha}
            memory.change(broken_base=broken)

    def _weigh(self, snapshot: PullRequestSnapshot, memory: LandingMemory) -> None:
        """Note the risk of the head, for the policy and for the report."""
        from airflow_provider_agents.domain.risk import risk

        if snapshot.head_sha in memory.history.risks:
            return
        files = self._gate.ask_forge(
            snapshot.repository, lambda client: client.changed_files(snapshot.repository, snapshot.number)
        )
        found = risk(files)
        for part in found.parts:
            self._gate.log.info("Risk %+d, %s: %s", part.points, part.name, part.why)
        memory.change(risks={**memory.history.risks, snapshot.head_sha: found.score})

    def _gather(self, snapshot: PullRequestSnapshot, decision: Decision, memory: LandingMemory) -> Feedback:
        from airflow_provider_agents.hooks.github_feedback import gather_feedback

        history = memory.history
        own = [
            sha
            for sha in (self._gate.pull_request.get("head_sha"), *(r.head_after for r in history.rounds))
            if sha
        ]
        commands = [c for c in pending_commands(snapshot, history) if c.name in ("tell", "retry")]
        return self._gate.ask_forge(
            snapshot.repository,
            lambda client: gather_feedback(
                client,
                snapshot,
                decision.reason,
                own_heads=frozenset(own),
                since=own[-1] if own else None,
                commands=commands,
                answered=history.answered,
            ),
        )

    # Acting

    def _answer_threads(
        self, task: CodingTask, snapshot: PullRequestSnapshot, memory: LandingMemory, context: Context
    ) -> None:
        """Write what the last fix step answers to review threads into them, once it pushed."""
        key = f"threads_answered_{generation(self._gate, context)}"
        if snapshot.state != "OPEN" or recall(context, key):
            return
        replies = thread_replies(context, self._gate.earlier_rounds)
        if replies:
            resolve = task.request.policy.resolve_threads == "answered"
            self._acts(task, memory).answer_threads(replies, resolve=resolve)
        remember(context, key, True)

    def _acts(self, task: CodingTask, memory: LandingMemory) -> LandingActs:
        repository = task.request.repository
        return LandingActs(
            lambda question: self._gate.ask_forge(repository, question), task.request.policy, memory
        )

    def _act(
        self,
        task: CodingTask,
        snapshot: PullRequestSnapshot,
        decision: Decision,
        memory: LandingMemory,
        context: Context,
    ) -> tuple[Decision | None, PullRequestSnapshot]:
        """Carry out a verdict; return what is to be waited for, if anything, and a fresh reading."""
        acts = self._acts(task, memory)
        if decision.verdict == "obey":
            acts.obey(snapshot, lambda: decide(snapshot, task.request.policy, memory.history))
            return None, snapshot
        if decision.verdict == "note":
            self._look_into(decision, snapshot, memory)
            return None, snapshot
        calls = 0
        if decision.verdict == "merge":
            calls, gave_up = self._intend_merge(snapshot, context)
            if gave_up:
                return gave_up, snapshot
        waiting = acts.act(decision, snapshot)
        if waiting is not None:
            self._gate.log.info("%s", waiting.message)
        after = self._read(task)
        if after.state != "OPEN":
            return None, after
        if calls and waiting:
            self._merge_refused(snapshot, calls, waiting, context)
        return waiting, after

    def _intend_merge(self, snapshot: PullRequestSnapshot, context: Context) -> tuple[int, Decision | None]:
        """Record the merge before its call; give up after too many for one head."""
        key = f"merge_intent_{generation(self._gate, context)}"
        last = recall(context, key) or {}
        calls = last["calls"] + 1 if last.get("head_sha") == snapshot.head_sha else 1
        if calls > MOST_MERGE_CALLS:
            text = f"GitHub refused to merge {snapshot.head_sha[:12]} {MOST_MERGE_CALLS} times: {last.get('said')}"
            return calls, Decision(verdict="escalate", reason=MERGE_REFUSED, message=text, rule="act")
        intent = {"head_sha": snapshot.head_sha, "at": snapshot.read_at.isoformat(), "calls": calls}
        remember(context, key, intent)
        return calls, None

    def _merge_refused(
        self, snapshot: PullRequestSnapshot, calls: int, waiting: Decision, context: Context
    ) -> None:
        key = f"merge_intent_{generation(self._gate, context)}"
        intent = {"head_sha": snapshot.head_sha, "at": snapshot.read_at.isoformat(), "calls": calls}
        remember(context, key, {**intent, "said": waiting.message})

    # Leaving

    def _leave(
        self,
        task: CodingTask,
        snapshot: PullRequestSnapshot,
        decision: Decision,
        feedback: Feedback | None,
        memory: LandingMemory,
        context: Context,
        people: LandingEscalation,
    ) -> None:
        if decision.verdict == "wait":
            self._wait(task, snapshot, decision, memory, context)
        if decision.verdict == "fix" and feedback is not None:
            self._hand_to_fix(snapshot, decision, feedback, memory, context, people.answer)
            # A person's or a check's objection goes straight to the fix.
            self._gate.skip_tasks(
                context, [self._gate.round_tasks.review] if self._gate.round_tasks.review else []
            )
            return
        memory.hand_on()
        self._record(decision, snapshot, memory, context)
        if decision.verdict == "review":
            policy = task.request.policy
            context["ti"].xcom_push(key=MAY_FIX_KEY, value=_may_fix(snapshot, policy, memory))
            return
        if decision.verdict == "done":
            self._gate.leave_loop(context)
            return
        if decision.reason == "closed_by_person":
            self._gate.ask_forge(
                snapshot.repository,
                lambda client: client.close_pull_request(snapshot.repository, snapshot.number),
            )
        where = "" if snapshot.url in decision.message else f" Pull request: {snapshot.url}"
        raise TaskStoppedError(f"{decision.message}{where}")

    def _hand_to_fix(
        self,
        snapshot: PullRequestSnapshot,
        decision: Decision,
        feedback: Feedback,
        memory: LandingMemory,
        context: Context,
        answer: EscalationAnswer | None,
    ) -> None:
        """Give the fix step what it has to answer, a person's instructions first."""
        told = instructions_text(answer) if answer is not None else ""
        value = {
            "reason": decision.message,
            "text": "\n\n".join(text for text in (told, feedback_text(feedback)) if text),
            "conflict": decision.reason == "conflict",
            "threads": dict(feedback.thread_labels),
        }
        context["ti"].xcom_push(key=FEEDBACK_KEY, value=value)
        new = Round(
            reason=decision.reason,
            head_sha=snapshot.head_sha,
            fingerprint=fingerprint(feedback),
            answered=feedback.answered_keys,
        )
        # Not into this gate's own record: should its worker die now, the next try has to hand the round over.
        memory.hand_on(
            rounds=(*memory.history.rounds, new),
            granted_rounds=memory.history.granted_rounds + (answer is not None),
        )
        self._record(decision, snapshot, memory, context)

    def _record(
        self, decision: Decision, snapshot: PullRequestSnapshot, memory: LandingMemory, context: Context
    ) -> None:
        value = {
            **decision.to_dict(),
            "head_sha": snapshot.head_sha,
            "merge_commit_sha": snapshot.merge_commit_sha,
            "risk": memory.history.risks.get(snapshot.head_sha),
        }
        context["ti"].xcom_push(key=DECISION_KEY, value=value)

    # Waiting

    def _wait(
        self,
        task: CodingTask,
        snapshot: PullRequestSnapshot,
        decision: Decision,
        memory: LandingMemory,
        context: Context,
    ) -> None:
        deadline = self._deadline(task, context)
        left = max(deadline - datetime.now(tz=UTC), timedelta(0))
        self._gate.defer(
            trigger=PullRequestTrigger(
                github_conn_id=self._gate.github_conn_id,
                repository=task.request.repository,
                number=int(self._gate.pull_request["number"]),
                node_id=snapshot.node_id,
                poll_interval=self._gate.poll_interval,
                first_look_seconds=self._pause(decision, context),
                deadline=deadline.isoformat(),
                policy=task.request.policy.to_dict(),
                history=memory.history.to_dict(),
            ),
            method_name="look_again",
            # The trigger ends at the deadline itself; this is for a trigger that does not.
            timeout=left + timedelta(minutes=5),
        )

    def _pause(self, decision: Decision, context: Context) -> float:
        """Return how long to look away: after a refused merge the same reading would merge at once again."""
        if decision.reason == "queue_refused":
            return merge_pause(3).total_seconds()
        if decision.reason != MERGE_REFUSED:
            return 0.0
        intent = recall(context, f"merge_intent_{generation(self._gate, context)}") or {}
        return merge_pause(int(intent.get("calls", 1))).total_seconds()

    def _deadline(self, task: CodingTask, context: Context) -> datetime:
        """Return when this gate gives up: set at its first look, kept over retries, new after a clear."""
        key = f"deadline_{generation(self._gate, context)}"
        if isinstance(stored := recall(context, key), str):
            return datetime.fromisoformat(stored)
        deadline = datetime.now(tz=UTC) + timedelta(hours=task.request.land_timeout)
        remember(context, key, deadline.isoformat())
        return deadline


def _no_task_left(decision: Decision) -> Decision:
    text = f"{decision.message} The graph has no further round: raise [agents] max_rounds."
    return dataclasses.replace(decision, verdict="escalate", reason="rounds_exhausted", message=text)


def _may_fix(snapshot: PullRequestSnapshot, policy: LandingPolicy, memory: LandingMemory) -> bool:
    """Tell whether a fix may follow at once, should the review ask for changes."""
    objecting = AgentReview(head_sha=snapshot.head_sha, verdict="request_changes")
    history = dataclasses.replace(memory.history, reviews=(*memory.history.reviews, objecting))
    return decide(snapshot, policy, history).verdict == "fix"
