"""A whole landing of one pull request: the real gates over the stand-in GitHub, with Airflow played around them.

The gates' decisions, memory, acts and questions are the product's, and so are the triggers' judgements of
what they read; the pods of agents are a script (:mod:`landing_agent`), and time passes when a test says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from uuid import UUID

from airflow.sdk.exceptions import DownstreamTasksSkipped, TaskDeferred
from landing_agent import Agent
from landing_forge import REPOSITORY, Forge, WorkerDied, json_copy
from landing_oracle import Oracle, truth_of
from landing_people import People

from airflow_provider_agents.domain.coding_task import CodingTask
from airflow_provider_agents.domain.coding_task_request import Bounds, parse_request
from airflow_provider_agents.domain.landing import decide
from airflow_provider_agents.exceptions import (
    AgentsError,
    ForgeAccessError,
    ForgeError,
    InvalidInputError,
    TaskStoppedError,
)
from airflow_provider_agents.hooks.github_client import GitHubClient
from airflow_provider_agents.operators.landing_gate import LandingGateOperator
from airflow_provider_agents.operators.landing_keys import RoundTasks
from airflow_provider_agents.triggers.pull_request import PullRequestTrigger
from airflow_provider_agents.triggers.ticket_comments import TicketCommentsTrigger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from landing_history_plan import Event, History

    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot

RETRIES = 3
RETRY_SECONDS = 20
QUIET_SECONDS = 5
BOUNDS = Bounds(max_rounds=3, granted_rounds=1)
MOST_LOOKS = 60
"""Looks of one gate, without an event in between, that no history needs."""


@dataclass
class Tally:
    """How much was played in this process."""

    histories: int = 0
    looks: int = 0
    seconds: float = 0.0
    ends: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        rate = self.histories / self.seconds if self.seconds else 0.0
        ends = ", ".join(f"{end} {count}" for end, count in sorted(self.ends.items()))
        return f"{self.histories} histories in {self.seconds:.1f} s ({rate:.0f}/s), {self.looks} looks of gates; {ends}"


TALLY = Tally()


class Store:
    """The task state of one gate; each call is one at which the worker may die."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        self.values: dict[str, str] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.values[key]) if key in self.values else default

    def set(self, key: str, value: Any, retention: Any = None) -> None:
        self._forge.point()
        self.values[key] = json.dumps(value)
        self._forge.point()


class TaskInstance:
    """The running gate, as it sees itself, with the XComs and states of the whole run."""

    def __init__(self, run: Run, number: int) -> None:
        self._run = run
        self.id = UUID(int=number)
        self.dag_id, self.run_id, self.map_index = "coding_task", "run_1", -1
        self.task_id = f"gate_{number}"
        self.try_number, self.max_tries = 1, RETRIES

    def xcom_push(self, key: str, value: Any) -> None:
        self._run.forge.point()
        self._run.xcoms[f"{self.task_id}:{key}"] = json_copy(value)
        self._run.forge.point()

    def xcom_pull(self, task_ids: str, key: str = "return_value") -> Any:
        return json_copy(self._run.xcoms.get(f"{task_ids}:{key}"))

    def get_task_states(
        self, dag_id: str, task_ids: Sequence[str], run_ids: Sequence[str]
    ) -> dict[str, dict[str, str]]:
        return {run_ids[0]: {task: self._run.states[task] for task in task_ids if task in self._run.states}}


class Run:
    """One run of the landing loop over a history; :meth:`play` plays all of it."""

    def __init__(self, forge: Forge) -> None:
        self.forge = forge
        history = forge.history
        values = {"repository": REPOSITORY, "prompt": "Mend the shop", "max_rounds": 2} | history.request
        request, faults = parse_request(values, BOUNDS)
        assert request is not None, faults
        self.policy = request.policy
        self._task = CodingTask.accept(
            request, run_key="coding_task/run_1", base_sha="c" * 40, ticket=None
        ).model_dump(mode="json")
        self._began = forge.now
        self._first_head = forge.pull.head_ref_oid
        self.agent = Agent(forge)
        self.people = People(forge, self)
        self.oracle = Oracle(forge, self.policy)
        self.xcoms: dict[str, Any] = {}
        self.states: dict[str, str] = {}
        self.ended: str | None = None
        """``merged``, ``stopped`` or ``failed``, once the run is over."""
        self.why = ""
        self.decisions: list[tuple[str, str]] = []
        """Verdict and reason of every decision in the record of the gates."""
        self.asks = False
        """Whether a person is being asked."""
        self.waits_for = ""
        self.restart_due = False
        self.rounds: list[str] = []
        """Reason of every fix step that ran."""
        self.granted = 0
        """Rounds that people gave on Airflow's page."""
        self._number = 0
        self._rounds = BOUNDS.max_rounds + BOUNDS.granted_rounds
        self._trigger: Any = None
        self._deferred_at = forge.now
        self._snapshot: PullRequestSnapshot | None = None
        self._page: dict[str, Any] | None = None
        """The question on Airflow's page: its options, and the answer once there is one."""
        self._shown = ("", frozenset[str]())
        """Head and failing checks that the newest question is about."""
        self._looks = 0

    def play(self) -> None:
        """Play the events of the history, then calm down; the end is :attr:`ended`."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(patch.object(GitHubClient, "snapshot", self._reading()))
            stack.enter_context(
                patch("airflow.sdk.execution_time.hitl.upsert_hitl_detail", self._put_question)
            )
            self.oracle.watch()
            self._next_gate()
            for event in self.forge.history.events:
                self.happen(event)
            self.calm()
            self.oracle.conclude(self)

    def happen(self, event: Event) -> None:
        """Let one event happen, and the run see what it sees of it."""
        self._looks = 0
        if event.after > 15:
            # The trigger does not sleep until then.
            self.forge.advance(event.after - 5)
            self.poll()
            self.forge.advance(5)
        else:
            self.forge.advance(event.after)
        self.people.happen(event)
        self.poll()

    # The end of every history

    def calm(self) -> None:
        """Let nothing go wrong any more, and drive the run to its end.

        Time alone has to bring it to one, or to something that a person or a check has yet to do; when that
        is done too, to an end or a question; and where a person then leaves it, to a stop.
        """
        self.forge.server.faults.clear()
        self.forge.ambushes.clear()
        self.forge.dies_in = None
        self.forge.server.forge.mergeability_delays.clear()
        self._drive(6 * 3600)
        if self.ended or self.asks:
            return self._leave()
        legitimate = self._awaited()
        assert self.waits_for in legitimate, f"waits for {self.waits_for}, but GitHub shows {legitimate}"
        for _ in range(3):
            self._do_what_is_awaited()
            self._drive(6 * 3600)
        assert self.ended or self.asks, f"nothing stands against it, but it waits for {self.waits_for}"
        return self._leave()

    def _leave(self) -> None:
        if not self.ended:
            self.answered("olga", "Leave")
            self._drive(3600)
            assert self.ended, "an answer did not end it"

    def _drive(self, seconds: float) -> None:
        """Let time pass until the run ends, asks, or the time is over."""
        end = self.forge.clock.time() + seconds
        pause = 5.0
        self._looks = 0
        while not self.ended and not self._asks_quietly() and self.forge.clock.time() < end:
            self.forge.advance(min(round(pause), end - self.forge.clock.time()))
            before = self._looks
            self.poll()
            # Nothing happened: look after a longer time.
            pause = 5.0 if self._looks != before else pause * 5

    def _asks_quietly(self) -> bool:
        return self.asks and not (self._page or {}).get("answer")

    def _awaited(self) -> set[str]:
        """Return what the run may wait for as long as nobody does anything, from what GitHub knows."""
        truth, policy, pull = truth_of(self.forge), self.policy, self.forge.pull
        rules = self.forge.repository.rules_of("main")
        found = set()
        if truth.draft:
            found.add("draft")
        if {label.casefold() for label in truth.labels} & {label.casefold() for label in policy.hold_labels}:
            found.add("held")
        if truth.objecting:
            found |= {"awaiting_reviewer", "review_required"}
        if rules.required_approvals:
            found.add("review_required")
        if truth.running:
            found |= {"checks_running", "auto_merge_on"}
        if not policy.auto_merge:
            found.add("merge_by_person")
        if policy.freeze:
            found.add("frozen")
        if not truth.checks and policy.no_checks == "wait":
            found.add("no_checks")
        if pull.merge_queue_entry:
            found.add("queued")
        if policy.review == "manual":
            found.add("review_by_command")
        if policy.auto_merge_max_risk is not None:
            found.add("risk")
        if truth.failed:
            found.add("base_broken")
        if pull.auto_merge and rules.required_approvals:
            found.add("auto_merge_on")
        return found

    def _do_what_is_awaited(self) -> None:
        forge, people = self.forge, self.people

        async def everything() -> None:
            await people.readies("olga", None)
            for label in list(forge.pull.labels):
                await people.unlabels("olga", label.name)
            await people.resolves("olga", None)
            await people.dismisses("olga", None)
            for commit in (forge.pull.head_ref_oid, await forge.repository.git.branch("main")):
                for run in forge.repository.check_runs(commit or ""):
                    if not run.passed and (commit != forge.pull.head_ref_oid or run.status != "COMPLETED"):
                        forge.server.forge.checks.complete(run, "SUCCESS", None, None)
            entry = forge.pull.merge_queue_entry
            if entry is not None:
                for run in forge.repository.check_runs(entry.group_oid or ""):
                    if run.status != "COMPLETED":
                        forge.server.forge.checks.complete(run, "SUCCESS", None, None)
            await people.approves("igor", None)
            await people.approves("olga", None)
            await people.says("olga", "/merge")
            await forge.settle()

        forge.wait_for(everything())

    # Waiting

    def poll(self) -> None:
        """Let the trigger look once, if one waits, and resume the gate if it says so."""
        if self.ended or self._trigger is None:
            return
        waited = (self.forge.now - self._deferred_at) / timedelta(seconds=1)
        if waited < max(QUIET_SECONDS, getattr(self._trigger, "first_look_seconds", 0.0)):
            return
        event = self._event_of_question() if self.asks else self._event_of_pull_request()
        if event is not None:
            self._trigger = None
            self._try(json_copy(event))

    def answered(self, who: str, option: str) -> None:
        """Let a person choose an option on Airflow's page, if it shows one of that name."""
        if self._page is None or self._page.get("answer") or option not in self._page["options"]:
            return
        self._page["answer"] = {
            "chosen_options": [option],
            "params_input": {},
            "responded_at": self.forge.now.isoformat(),
            "responded_by_user": {"id": "1", "name": who},
            "timedout": False,
        }
        self.granted += option == "Another round"
        if option == "Merge" and self._page["shown"] == self._shown:
            self.oracle.consents(*self._shown)

    def _event_of_question(self) -> dict[str, Any] | None:
        assert isinstance(self._trigger, TicketCommentsTrigger)
        # It stands there until the question is written again, also where the worker that took it died.
        if self._page and (answer := self._page.get("answer")):
            return {"status": "answered", **answer}
        trigger = self._trigger
        if trigger._deadline is not None and self.forge.now >= trigger._deadline:
            return {"status": "deadline"}
        try:
            found: dict[str, Any] | None = self.forge.wait_for(self._ask(trigger._look))
            return found
        except ForgeError:
            return None

    def _event_of_pull_request(self) -> dict[str, Any] | None:
        trigger = self._trigger
        assert isinstance(trigger, PullRequestTrigger)
        try:
            snapshot = self.forge.wait_for(self._ask(lambda client: client.snapshot(REPOSITORY, 1)))
            event, _ = trigger._judged(snapshot)
            if event is None:
                self.waits_for = decide(snapshot, trigger._policy, trigger._history).reason
        except ForgeError as error:
            event = trigger._failed(error)
        if event is None and trigger._deadline is not None and self.forge.now >= trigger._deadline:
            return {"status": "deadline", "message": trigger._waiting_for}
        return event

    async def _ask(self, question: Any) -> Any:
        from airflow_provider_agents.hooks.github import AgentsGitHubHook

        hook = AgentsGitHubHook("github_default")
        async with hook.opened(hook.get_conn()) as client:
            return await question(client)

    # The gates

    def _next_gate(self) -> None:
        self._number += 1
        number = self.oracle.gate = self._number
        last = number > self._rounds
        self._ti = TaskInstance(self, number)
        self._store, self._noted = Store(self.forge), 0
        self._page = None
        rounds = [_round_tasks(each) for each in range(1, number)]
        self._gate = LandingGateOperator(
            task_id=self._ti.task_id,
            retries=RETRIES,
            coding_task=self._task,
            pull_request={"number": 1, "url": self._url, "head_sha": self._first_head},
            round_number=number,
            earlier_rounds=rounds,
            round_tasks=RoundTasks(gate=self._ti.task_id) if last else _round_tasks(number),
            rounds_left=self._rounds + 1 - number,
            later_tasks=["later"],
        )
        self._try(None)

    @property
    def log(self) -> list[dict[str, Any]]:
        """What changed on GitHub, oldest first."""
        return self.forge.server.mutations

    @property
    def _url(self) -> str:
        return f"{self.forge.server.url}/{REPOSITORY}/pull/1"

    def _try(self, event: dict[str, Any] | None) -> None:
        """Run the gate, and again after what a retry may mend."""
        while True:
            self._looks += 1
            assert self._looks <= MOST_LOOKS, f"{MOST_LOOKS} looks without an end: {self.decisions[-6:]}"
            TALLY.looks += 1
            if self.restart_due:
                self.restart_due = False
                self.forge.restart()
            end = self._run_once(event)
            self._after_look()
            if not isinstance(end, WorkerDied | AgentsError):
                return self._go_on(end)
            refused = isinstance(end, ForgeAccessError | InvalidInputError | TaskStoppedError)
            if refused or self._ti.try_number > RETRIES:
                self.ended = "stopped" if isinstance(end, TaskStoppedError) else "failed"
                self.why = str(end)
                self.asks = False
                return None
            self._ti.try_number += 1
            for key in [key for key in self.xcoms if key.startswith(f"{self._ti.task_id}:")]:
                del self.xcoms[key]
            event = None
            self.forge.advance(RETRY_SECONDS)

    def _run_once(self, event: dict[str, Any] | None) -> Any:
        context: Any = {
            "ti": self._ti,
            "run_id": "run_1",
            "dag": SimpleNamespace(parent_dag=None),
            "dag_run": SimpleNamespace(run_after=self._began),
            "params": {},
            "task_state_store": self._store,
        }
        self.forge.gate_runs = True
        try:
            if event is None:
                return self._gate.execute(context)
            return self._gate.look_again(context, event)
        except (DownstreamTasksSkipped, TaskDeferred, WorkerDied, AgentsError) as end:
            return end
        finally:
            self.forge.gate_runs = False

    def _after_look(self) -> None:
        entries = self._store.get("decisions") or []
        self.decisions += [(entry["verdict"], entry["reason"]) for entry in entries[self._noted :]]
        self._noted = len(entries)
        self.forge.wait_for(self.forge.settle())

    def _go_on(self, end: Any) -> None:
        self.asks = False
        if isinstance(end, TaskDeferred):
            return self._defer(end)
        self.states[self._ti.task_id] = "success"
        if isinstance(end, DownstreamTasksSkipped) and end.tasks == [("later", -1)]:
            self.ended = "merged"
            assert self.forge.pull.state == "MERGED", "said to be merged, but is not"
            return None
        assert self._number <= self._rounds, "the last gate handed on to a step that is not there"
        if end is None:
            return self._review()
        assert end.tasks == [(f"review_{self._number}", -1)], end.tasks
        self.states[f"review_{self._number}"] = "skipped"
        return self._fix(self.xcoms[f"{self._ti.task_id}:feedback"])

    def _defer(self, end: TaskDeferred) -> None:
        path, arguments = end.trigger.serialize()
        trigger: Any = type(end.trigger)(**json_copy(arguments))
        assert path.endswith(type(trigger).__name__)
        self._trigger, self._deferred_at = trigger, self.forge.now
        self.asks = isinstance(trigger, TicketCommentsTrigger)
        last = (self._store.get("decisions") or [{}])[-1]
        self.waits_for = "" if self.asks else last.get("reason", "")
        if self.asks:
            assert self._page is not None, "it asks, but nothing is on the page"
            return
        assert last["verdict"] == "wait" or last["action"], last
        if last["verdict"] == "wait" and self._snapshot is not None:
            # The trigger has to agree, or the two would wake each other for ever.
            judged = decide(self._snapshot, trigger._policy, trigger._history)
            assert judged.verdict == "wait", f"{last['reason']}, but its trigger says {judged.verdict}"

    def _fix(self, feedback: Any) -> None:
        self.rounds.append(self.xcoms[f"{self._ti.task_id}:decision"]["reason"])
        result = self.agent.fix(feedback)
        if result is None:
            self.ended, self.why = "failed", "the fix step failed"
            return
        self.xcoms[f"fix_{self._number}:return_value"] = json_copy(result)
        self.states[f"fix_{self._number}"] = "success"
        self._next_gate()

    def _review(self) -> None:
        task = f"review_{self._number}"
        review = self.agent.review(self.xcoms[f"{self._ti.task_id}:decision"]["head_sha"])
        if review is not None:
            self.xcoms[f"{task}:review"] = json_copy(review)
            self.states[task] = "success"
            if review["verdict"] == "request_changes" and self.xcoms[f"{self._ti.task_id}:may_fix"]:
                return self._fix({"text": review["summary"]})
        else:
            self.states[task] = "skipped"
        self.states[f"fix_{self._number}"] = "skipped"
        return self._next_gate()

    # What the gate does, seen from outside

    def _reading(self) -> Any:
        read = GitHubClient.snapshot
        run = self

        async def snapshot(client: GitHubClient, repository: str, number: int) -> PullRequestSnapshot:
            began, first = run.forge.now, run.oracle.now()
            found = await read(client, repository, number)
            if run.forge.gate_runs:
                run._snapshot = found
                run.oracle.read(began, first, found.head_sha)
            return found

        return snapshot

    def _put_question(self, *, options: Sequence[str], **_: Any) -> None:
        self.forge.point()
        about = self._snapshot
        assert about is not None
        self._shown = (about.head_sha, frozenset(check.name for check in about.checks_in("failed")))
        # Airflow's page keeps the text of the first question of a task.
        first = self._page["shown"] if self._page else self._shown
        self._page = {"options": list(options), "shown": first}
        self.forge.point()


def play(history: History) -> Run:
    """Play one history to its end, and hold what must be true of every history."""
    begun = time.perf_counter()
    with Forge(history) as forge:
        run = Run(forge)
        run.play()
        TALLY.ends[run.ended or "?"] = TALLY.ends.get(run.ended or "?", 0) + 1
    TALLY.histories += 1
    TALLY.seconds += time.perf_counter() - begun
    return run


def without(history: History, login: str) -> History:
    """Return the history in which somebody only looks on."""
    events = tuple(
        dataclasses.replace(event, do="nods", ambush=0) if event.who == login else event
        for event in history.events
    )
    return dataclasses.replace(history, events=events)


def _round_tasks(number: int) -> RoundTasks:
    return RoundTasks(gate=f"gate_{number}", review=f"review_{number}", fix=f"fix_{number}")
