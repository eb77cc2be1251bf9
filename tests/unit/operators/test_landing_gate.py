"""The gate: it acts on what it reads itself, exactly once, and never on another head."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from airflow.sdk import DAG
from airflow.sdk.definitions.retry_policy import RetryAction
from airflow.sdk.exceptions import DownstreamTasksSkipped, TaskDeferred
from fakes import (
    FAILED,
    HEAD,
    NEXT_HEAD,
    NOW,
    PENDING,
    URL,
    GitHub,
    Store,
    TaskInstance,
    accepted,
    context,
    snapshot,
)

from airflow_provider_agents.domain.pull_request import Comment, Review, ReviewThread
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeConflictError,
    ForgeUnavailableError,
    TaskStoppedError,
)
from airflow_provider_agents.operators.forge import FORGE_RETRY_POLICY
from airflow_provider_agents.operators.landing_gate import LandingGateOperator
from airflow_provider_agents.triggers.pull_request import PullRequestTrigger

LATER = ["land.round_1.fix", "land.round_2.gate"]
RETRIES = 3
MERGED = snapshot(state="MERGED", merge_commit_sha="d" * 40)


class Gate:
    """One gate over its tries; :meth:`look` says how a try ended."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, earlier: dict[str, Any] | None = None, **request: Any
    ) -> None:
        self.journal: list[str] = []
        self.github = GitHub().install(monkeypatch)
        self.github.done = self.journal
        self.store = Store(self.journal)
        earlier = earlier or {}
        self.ti = TaskInstance(
            "gate", retries=RETRIES, xcoms={f"{gate}:decision": d for gate, d in earlier.items()}
        )
        self.arguments = {
            "coding_task": accepted(**request),
            "pull_request": {"number": 7, "url": URL},
            "round_number": len(earlier) + 1,
            "earlier_gates": list(earlier),
            "later_tasks": LATER,
        }

    def operator(self) -> LandingGateOperator:
        return LandingGateOperator(task_id="gate", **self.arguments)  # type: ignore[arg-type]

    def look(self, *snapshots: Any, event: dict[str, Any] | None = None) -> Any:
        """Run a try; return ``None`` where the next task runs, else what was raised."""
        if snapshots:
            self.github.snapshots = list(snapshots)
        operator, run = self.operator(), context(self.ti, self.store)
        try:
            if event is not None:
                operator.look_again(run, event)
            else:
                operator.execute(run)
        except (DownstreamTasksSkipped, TaskDeferred, TaskStoppedError) as end:
            return end
        return None

    @property
    def merges(self) -> list[str]:
        return [entry for entry in self.journal if entry.startswith("merge ")]

    @property
    def decision(self) -> dict[str, Any]:
        return self.ti.pushed["decision"]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def fixed(head: str, **more: Any) -> dict[str, Any]:
    return {"verdict": "fix", "head_sha": head, "answered": [], **more}


def test_green_is_merged_and_the_loop_is_left(gate: Gate) -> None:
    end = gate.look(snapshot(), MERGED)
    assert gate.merges == [f"merge acme/shop#7 {HEAD} squash"]
    assert isinstance(end, DownstreamTasksSkipped)
    assert end.tasks == [(task, -1) for task in LATER]
    assert gate.decision["verdict"] == "done"
    assert gate.decision["merge_commit_sha"] == "d" * 40
    assert gate.ti.pushed["pull_request_url"] == URL


def test_the_method_is_the_one_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, merge_method="rebase")
    gate.look(snapshot(), MERGED)
    assert gate.merges == [f"merge acme/shop#7 {HEAD} rebase"]


def test_the_intent_is_recorded_before_the_call(gate: Gate) -> None:
    gate.look(snapshot(), MERGED)
    order = [entry.split()[0:2] for entry in gate.journal if "merge" in entry]
    assert order == [["set", "merge_intent_0"], ["merge", "acme/shop#7"]]
    assert gate.store.values["merge_intent_0"]["head_sha"] == HEAD


def test_merged_by_somebody_is_done_without_a_call(gate: Gate) -> None:
    assert isinstance(gate.look(MERGED), DownstreamTasksSkipped)
    assert gate.merges == []


def test_a_crash_between_merge_and_xcom_merges_once(gate: Gate) -> None:
    gate.github.on_merge = lambda: (_ for _ in ()).throw(RuntimeError("the worker dies here"))
    with pytest.raises(RuntimeError):
        gate.look(snapshot())
    gate.ti.retry()
    gate.github.on_merge = lambda: None
    assert isinstance(gate.look(MERGED), DownstreamTasksSkipped)
    assert gate.decision["verdict"] == "done"
    assert len(gate.merges) == 1


def test_a_lost_answer_after_the_merge_is_a_merge(gate: Gate) -> None:
    def lost() -> None:
        raise ForgeUnavailableError("502 after the fact")

    gate.github.on_merge = lost
    assert isinstance(gate.look(snapshot(), MERGED), DownstreamTasksSkipped)
    assert gate.decision["verdict"] == "done"
    assert "502 after the fact" in gate.decision["message"]
    assert len(gate.merges) == 1


def test_a_lost_answer_without_a_merge_waits(gate: Gate) -> None:
    def lost() -> None:
        raise ForgeUnavailableError("502")

    gate.github.on_merge = lost
    assert isinstance(gate.look(snapshot()), TaskDeferred)
    assert gate.store.values["merge_intent_0"]["said"] == "The answer to the merge was lost: 502"


def test_a_head_that_moved_is_waited_for_and_not_merged(gate: Gate) -> None:
    def moved() -> None:
        raise ForgeConflictError("Head branch was modified. Review and try the merge again.")

    gate.github.on_merge = moved
    end = gate.look(snapshot(), snapshot(head_sha=NEXT_HEAD, checks=(PENDING,)))
    assert isinstance(end, TaskDeferred)
    assert [entry.split()[2] for entry in gate.merges] == [HEAD]
    assert "decision" not in gate.ti.pushed


def test_only_the_head_that_was_read_is_ever_asked_for(gate: Gate) -> None:
    gate.look(snapshot(checks=(PENDING,)))
    event = {"status": "decided", "decision": {"verdict": "merge"}, "head_sha": HEAD}
    gate.look(snapshot(head_sha=NEXT_HEAD), dataclasses.replace(MERGED, head_sha=NEXT_HEAD), event=event)
    assert [entry.split()[2] for entry in gate.merges] == [NEXT_HEAD]


def test_the_triggers_verdict_is_only_a_hint(gate: Gate) -> None:
    event = {"status": "decided", "decision": {"verdict": "merge", "reason": "green"}, "head_sha": HEAD}
    assert isinstance(gate.look(snapshot(checks=(PENDING,)), event=event), TaskDeferred)
    assert gate.merges == []


def test_five_refusals_are_enough(gate: Gate) -> None:
    def refused() -> None:
        raise ForgeConflictError("Required status check is expected.")

    gate.github.on_merge = refused
    pauses = []
    for _ in range(5):
        waiting = gate.look(snapshot())
        assert isinstance(waiting, TaskDeferred)
        pauses.append(waiting.trigger.first_look_seconds)
        gate.ti.retry()
    # A forge that is away for some minutes must not use up all calls.
    assert pauses == [15, 30, 60, 120, 240]
    end = gate.look(snapshot())
    assert isinstance(end, TaskStoppedError)
    assert "refused to merge aaaaaaaaaaaa 5 times" in str(end)
    assert "Required status check is expected." in str(end)
    assert gate.ti.pushed["failure"] == str(end)
    assert gate.decision["reason"] == "merge_refused"
    assert len(gate.merges) == 5


def test_after_refusals_a_clear_and_a_new_head_each_get_calls_again(gate: Gate) -> None:
    test_five_refusals_are_enough(gate)
    assert isinstance(gate.look(snapshot(head_sha=NEXT_HEAD)), TaskDeferred)
    assert len(gate.merges) == 6
    gate.ti.clear(RETRIES)
    assert isinstance(gate.look(snapshot()), TaskDeferred)
    assert len(gate.merges) == 7


def test_an_accepted_merge_that_does_not_show_is_waited_for(gate: Gate) -> None:
    assert isinstance(gate.look(snapshot()), TaskDeferred)
    assert isinstance(gate.look(MERGED, event={"status": "decided"}), DownstreamTasksSkipped)
    assert len(gate.merges) == 1


def test_a_refused_permission_is_for_a_person(gate: Gate) -> None:
    def refused() -> None:
        raise ForgeAccessError("may not merge")

    gate.github.on_merge = refused
    with pytest.raises(ForgeAccessError):
        gate.look(snapshot())


# Fix


def test_failing_checks_are_handed_on(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gate.look(snapshot(checks=(dataclasses.replace(FAILED, kind="status", title="2 failed"),))) is None
    feedback = gate.ti.pushed["feedback"]
    assert feedback["reason"] == "Failing checks: tests."
    assert feedback["conflict"] is False
    assert "2 failed" in feedback["text"]
    assert "<untrusted" in feedback["text"]
    assert gate.decision["verdict"] == "fix"
    assert gate.decision["head_sha"] == HEAD
    assert gate.merges == []


def test_a_conflict_is_handed_on_as_one(gate: Gate) -> None:
    assert gate.look(snapshot(mergeable="CONFLICTING")) is None
    assert gate.ti.pushed["feedback"]["conflict"] is True
    assert "`main`" in gate.ti.pushed["feedback"]["text"]


def test_what_was_answered_is_recorded(gate: Gate) -> None:
    review = Review(author="olga", state="CHANGES_REQUESTED", can_write=True, body="Not so. {{ 7*7 }}")
    thread = ReviewThread(
        node_id="T_1", path="a.py", line=3, comments=(Comment(author="olga", body="Why?", can_write=True),)
    )
    assert gate.look(snapshot(reviews=(review,), threads=(thread,))) is None
    assert gate.decision["answered"] == [review.key, thread.key]
    assert "Not so. {{ 7*7 }}" in gate.ti.pushed["feedback"]["text"]
    assert "a.py:3" in gate.ti.pushed["feedback"]["text"]


def test_an_answered_review_is_waited_for_on_the_new_head(monkeypatch: pytest.MonkeyPatch) -> None:
    review = Review(author="olga", state="CHANGES_REQUESTED", can_write=True, body="Not so.")
    gate = Gate(monkeypatch, earlier={"g1": fixed(HEAD, answered=[review.key])})
    end = gate.look(snapshot(head_sha=NEXT_HEAD, reviews=(review,)))
    assert isinstance(end, TaskDeferred)
    assert end.trigger.history["answered"] == [review.key]
    assert end.trigger.history["fixed_heads"] == [HEAD]
    assert gate.merges == []


def test_a_fix_that_changed_nothing_escalates(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, earlier={"g1": fixed(HEAD)})
    end = gate.look(snapshot(checks=(FAILED,)))
    assert isinstance(end, TaskStoppedError)
    assert "changed nothing" in gate.ti.pushed["failure"]
    assert gate.decision["reason"] == "no_progress"


def test_used_up_rounds_escalate(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, earlier={"g1": fixed("1" * 40), "g2": fixed("2" * 40)}, max_rounds=2)
    assert isinstance(gate.look(snapshot(checks=(FAILED,))), TaskStoppedError)
    assert gate.decision["reason"] == "rounds_exhausted"


def test_decisions_of_gates_that_never_ran_count_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, earlier={"g1": None, "g2": "nonsense"}, max_rounds=1)
    assert gate.look(snapshot(checks=(FAILED,))) is None


def test_a_closed_pull_request_stops_the_run(gate: Gate) -> None:
    end = gate.look(snapshot(state="CLOSED"))
    assert isinstance(end, TaskStoppedError)
    assert URL in gate.ti.pushed["failure"]
    assert gate.decision["verdict"] == "stop"


# Waiting


def test_waiting_costs_no_slot_and_ends_at_the_deadline(gate: Gate) -> None:
    end = gate.look(snapshot(checks=(PENDING,)))
    assert isinstance(end, TaskDeferred)
    assert end.method_name == "look_again"
    trigger = end.trigger
    assert isinstance(trigger, PullRequestTrigger)
    assert (trigger.repository, trigger.number) == ("acme/shop", 7)
    deadline = datetime.fromisoformat(trigger.deadline or "")
    assert timedelta(hours=167.9) < deadline - datetime.now(tz=UTC) <= timedelta(hours=168)
    assert end.timeout > deadline - datetime.now(tz=UTC)
    assert trigger.history["head_first_seen"] == {HEAD: NOW.isoformat()}
    assert type(trigger)(**trigger.serialize()[1]).serialize() == trigger.serialize()


def test_the_deadline_outlives_tries_but_not_a_clear(gate: Gate) -> None:
    def deadline() -> str | None:
        end = gate.look(snapshot(checks=(PENDING,)))
        assert isinstance(end, TaskDeferred)
        return end.trigger.deadline  # type: ignore[no-any-return]

    first = deadline()
    gate.ti.retry()
    assert deadline() == first
    gate.ti.clear(RETRIES)
    assert deadline() != first


def test_a_gate_gives_up_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, land_timeout=2)
    with time_machine.travel(NOW, tick=False):
        assert isinstance(gate.look(snapshot(checks=(PENDING,))), TaskDeferred)
    with time_machine.travel(NOW + timedelta(hours=2), tick=False):
        end = gate.look(snapshot(checks=(PENDING,)), event={"status": "deadline", "message": "x"})
    assert isinstance(end, TaskStoppedError)
    assert "was not merged within 2 hours. Last: Running checks: tests." in gate.ti.pushed["failure"]


def test_green_in_the_last_moment_is_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, land_timeout=2)
    with time_machine.travel(NOW, tick=False):
        gate.look(snapshot(checks=(PENDING,)))
    with time_machine.travel(NOW + timedelta(hours=3), tick=False):
        assert isinstance(gate.look(snapshot(), MERGED, event={"status": "deadline"}), DownstreamTasksSkipped)
    assert len(gate.merges) == 1


def test_the_grace_for_checks_counts_from_the_first_sight_of_a_head(gate: Gate) -> None:
    assert isinstance(gate.look(snapshot(checks=())), TaskDeferred)
    gate.ti.retry()
    end = gate.look(snapshot(checks=(), read_at=NOW + timedelta(seconds=121)))
    assert isinstance(end, TaskStoppedError)
    assert gate.decision["reason"] == "no_checks"


def test_a_trigger_that_gave_up_is_an_outage(gate: Gate) -> None:
    with pytest.raises(ForgeUnavailableError, match="60 failed"):
        gate.look(event={"status": "error", "kind": "ForgeUnavailableError", "message": "60 failed readings"})
    assert gate.journal == []


def test_an_outage_while_reading_is_left_to_the_retries(gate: Gate) -> None:
    with pytest.raises(ForgeUnavailableError):
        gate.look(ForgeUnavailableError("502"))
    assert gate.operator().retries == RETRIES
    assert FORGE_RETRY_POLICY.evaluate(ForgeUnavailableError("502"), 1, 3).action == RetryAction.DEFAULT
    for error in (ForgeAccessError("x"), TaskStoppedError("x")):
        assert FORGE_RETRY_POLICY.evaluate(error, 1, 3).action == RetryAction.FAIL


def test_a_later_clear_keeps_the_next_fix_skipped(gate: Gate) -> None:
    with DAG("d", schedule=None):
        operator = gate.operator()
        fix = LandingGateOperator(task_id=LATER[0], coding_task={}, pull_request={}, round_number=2)
        operator >> fix
    gate.github.snapshots = [MERGED]
    with pytest.raises(DownstreamTasksSkipped):
        operator.execute(context(gate.ti, gate.store))
    assert gate.ti.pushed["skipmixin_key"] == {"skipped": [LATER[0]]}
