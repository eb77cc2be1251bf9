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
    context,
    snapshot,
)
from landing_world import LATER, MERGED, RETRIES, Gate, after, comment, fixed, handed_on

from airflow_provider_agents.domain.authority_rules import Standing
from airflow_provider_agents.domain.landing_history import LandingHistory, Rerun
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


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


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
    end = gate.look(snapshot(checks=(dataclasses.replace(FAILED, kind="status", title="2 failed"),)))
    # The review of this round is left out; the fix runs.
    assert isinstance(end, DownstreamTasksSkipped)
    assert end.tasks == [("review", -1)]
    feedback = gate.ti.pushed["feedback"]
    assert feedback["reason"] == "Failing checks: tests."
    assert feedback["conflict"] is False
    assert "2 failed" in feedback["text"]
    assert "<untrusted" in feedback["text"]
    assert gate.decision["verdict"] == "fix"
    assert gate.decision["head_sha"] == HEAD
    assert gate.merges == []


def test_a_conflict_is_handed_on_as_one(gate: Gate) -> None:
    assert handed_on(gate.look(snapshot(mergeable="CONFLICTING")))
    assert gate.ti.pushed["feedback"]["conflict"] is True
    assert "`main`" in gate.ti.pushed["feedback"]["text"]


def test_what_was_answered_is_recorded(gate: Gate) -> None:
    review = Review(author="olga", state="CHANGES_REQUESTED", can_write=True, body="Not so. {{ 7*7 }}")
    thread = ReviewThread(
        node_id="T_1", path="a.py", line=3, comments=(Comment(author="olga", body="Why?", can_write=True),)
    )
    assert handed_on(gate.look(snapshot(reviews=(review,), threads=(thread,))))
    assert gate.history.rounds[0].answered == (review.key, thread.key)
    assert gate.history.rounds[0].reason == "changes_requested"
    assert "Not so. {{ 7*7 }}" in gate.ti.pushed["feedback"]["text"]
    assert "a.py:3" in gate.ti.pushed["feedback"]["text"]


def test_an_answered_review_is_waited_for_on_the_new_head(monkeypatch: pytest.MonkeyPatch) -> None:
    review = Review(author="olga", state="CHANGES_REQUESTED", can_write=True, body="Not so.")
    gate = Gate(
        monkeypatch,
        earlier=after(fixed(HEAD, "changes_requested", answered=(review.key,))),
        xcoms={"f1:return_value": {"head_sha": NEXT_HEAD}},
    )
    end = gate.look(snapshot(head_sha=NEXT_HEAD, reviews=(review,)))
    assert isinstance(end, TaskDeferred)
    history = LandingHistory.from_dict(end.trigger.history)
    assert history.answered == {review.key}
    assert (history.rounds[0].head_sha, history.rounds[0].head_after) == (HEAD, NEXT_HEAD)
    assert gate.merges == []


def test_a_fix_that_changed_nothing_escalates(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, earlier=after(fixed(HEAD)))
    end = gate.look(snapshot(checks=(FAILED,)))
    assert isinstance(end, TaskStoppedError)
    assert "changed nothing" in gate.ti.pushed["failure"]
    assert gate.decision["reason"] == "no_progress"


def test_used_up_rounds_escalate(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, earlier=after(fixed("1" * 40), fixed("2" * 40)), max_rounds=2)
    assert isinstance(gate.look(snapshot(checks=(FAILED,))), TaskStoppedError)
    assert gate.decision["reason"] == "rounds_exhausted"


def test_gates_that_never_ran_count_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, earlier=after(), xcoms={"g1:history": None}, max_rounds=1)
    assert handed_on(gate.look(snapshot(checks=(FAILED,))))
    assert len(gate.history.rounds) == 1


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
    assert trigger.history["heads_first_seen"] == {HEAD: NOW.isoformat()}
    assert trigger.node_id == "PR_1"
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


# Acting


def test_a_flake_is_run_again_once_and_then_fixed(gate: Gate) -> None:
    broken = dataclasses.replace(FAILED, conclusion="TIMED_OUT")
    end = gate.look(snapshot(checks=(broken,)))
    assert isinstance(end, TaskDeferred)
    assert "rerun tests" in gate.journal
    assert LandingHistory.from_dict(end.trigger.history).reruns[0].checks == ("tests",)
    # It failed again: the second run ended after it was asked for.
    again = dataclasses.replace(broken, completed_at=NOW + timedelta(seconds=90))
    assert handed_on(gate.look(snapshot(checks=(again,)), event={"status": "decided"}))
    assert gate.journal.count("rerun tests") == 1


def test_where_nothing_can_be_run_again_it_is_fixed_at_once(gate: Gate) -> None:
    gate.github.rerun = ()
    assert handed_on(gate.look(snapshot(checks=(dataclasses.replace(FAILED, conclusion="TIMED_OUT"),))))
    assert gate.history.reruns == (
        Rerun(head_sha=HEAD, at=NOW, checks=(), evidence=gate.history.reruns[0].evidence),
    )


def test_a_missing_right_to_run_again_does_not_stop_the_run(gate: Gate) -> None:
    gate.github.faults["rerun"] = ForgeAccessError("Actions: write is missing")
    assert handed_on(gate.look(snapshot(checks=(dataclasses.replace(FAILED, conclusion="TIMED_OUT"),))))


def test_a_lost_answer_of_a_rerun_is_waited_for(gate: Gate) -> None:
    gate.github.faults["rerun"] = ForgeUnavailableError("502")
    end = gate.look(snapshot(checks=(dataclasses.replace(FAILED, conclusion="TIMED_OUT"),)))
    assert isinstance(end, TaskDeferred)
    assert gate.journal.count("rerun tests") == 1


def test_a_branch_with_a_queue_is_queued_into_and_not_merged(gate: Gate) -> None:
    end = gate.look(snapshot(has_merge_queue=True))
    assert isinstance(end, TaskDeferred)
    assert gate.merges == []
    assert f"enqueue PR_1 {HEAD}" in gate.journal
    assert LandingHistory.from_dict(end.trigger.history).enqueued[0].head_sha == HEAD


def test_the_entry_is_recorded_before_it_is_made(gate: Gate) -> None:
    gate.github.faults["enqueue"] = ForgeUnavailableError("lost")
    gate.look(snapshot(has_merge_queue=True))
    made = gate.journal.index(f"enqueue PR_1 {HEAD}")
    assert "set history_0" in gate.journal[:made]
    # A look at once afterwards does not make a second one.
    assert isinstance(gate.look(snapshot(has_merge_queue=True)), TaskDeferred)
    assert gate.journal.count(f"enqueue PR_1 {HEAD}") == 1


def test_a_branch_that_is_behind_is_updated_once(gate: Gate) -> None:
    behind = snapshot(merge_state="BEHIND")
    assert isinstance(gate.look(behind), TaskDeferred)
    assert isinstance(gate.look(behind, event={"status": "decided"}), TaskDeferred)
    assert gate.journal.count(f"update acme/shop#7 {HEAD}") == 1


def test_a_refused_update_is_for_people(gate: Gate) -> None:
    gate.github.faults["update"] = ForgeConflictError("merge conflict between base and head")
    assert isinstance(gate.look(snapshot(merge_state="BEHIND")), TaskStoppedError)
    assert gate.decision["reason"] == "update_refused"


def test_the_method_is_one_that_the_repository_allows(gate: Gate) -> None:
    gate.look(snapshot(allowed_methods=("merge", "rebase")), MERGED)
    assert gate.merges == [f"merge acme/shop#7 {HEAD} merge"]


def test_auto_merge_is_handed_to_github_while_required_checks_run(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, github_auto_merge=True)
    running = snapshot(checks=(PENDING,), auto_merge_allowed=True, required_checks=frozenset({"tests"}))
    assert isinstance(gate.look(running), TaskDeferred)
    assert f"auto-merge PR_1 {HEAD} squash" in gate.journal
    assert gate.merges == []


def test_the_risk_of_a_head_is_weighed_once(gate: Gate) -> None:
    gate.look(snapshot(), MERGED)
    assert gate.github.asked == ["changed_files"]
    assert gate.decision["risk"] is not None


def test_commands_are_carried_out_once_and_answered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, auto_merge=False)
    told = snapshot(comments=(comment("/explain"),))
    assert isinstance(gate.look(told), TaskDeferred)
    assert isinstance(gate.look(told, event={"status": "decided"}), TaskDeferred)
    (answer,) = gate.github.comments.values()
    assert "auto_merge is off" in answer
    assert gate.merges == []
    end = gate.look(snapshot(comments=(comment("/explain"), comment("/merge", key="C_2"))), MERGED)
    assert isinstance(end, DownstreamTasksSkipped)
    assert len(gate.merges) == 1


def test_a_command_outlives_a_clear_as_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clear must not let an old ``/merge`` speak for a new head."""
    gate = Gate(monkeypatch, auto_merge=False)
    told = (comment("/merge"),)
    gate.look(snapshot(comments=told, checks=(PENDING,)))
    gate.ti.clear(RETRIES)
    assert isinstance(gate.look(snapshot(head_sha=NEXT_HEAD, comments=told)), TaskDeferred)
    assert gate.merges == []


def test_a_command_from_before_an_unseen_push_is_not_about_the_new_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = Gate(monkeypatch, auto_merge=False)
    told = dataclasses.replace(comment("/merge"), created_at=NOW - timedelta(minutes=1))
    assert isinstance(gate.look(snapshot(head_sha=NEXT_HEAD, comments=(told,))), TaskDeferred)
    assert gate.merges == []


def test_strangers_command_nothing(gate: Gate) -> None:
    end = gate.look(snapshot(comments=(comment("/stop", author="stranger", can_write=False),)), MERGED)
    assert isinstance(end, DownstreamTasksSkipped)


def test_what_is_told_to_the_agent_is_a_round(gate: Gate) -> None:
    assert handed_on(gate.look(snapshot(comments=(comment("/tell Use the other name."),))))
    assert "Use the other name." in gate.ti.pushed["feedback"]["text"]
    assert "C_1" in gate.history.answered


def test_stop_stops(gate: Gate) -> None:
    assert isinstance(gate.look(snapshot(comments=(comment("/stop"),))), TaskStoppedError)
    assert gate.decision["reason"] == "told_to_stop"


def test_threads_are_answered_once_after_the_push(monkeypatch: pytest.MonkeyPatch) -> None:
    left = {
        "g1:feedback": {"text": "x", "threads": {"T1": "PRRT_9"}},
        "f1:return_value": {
            "head_sha": NEXT_HEAD,
            "output": {"summary": "x", "thread_replies": [{"thread": "T1", "reply": "Renamed."}]},
        },
    }
    gate = Gate(monkeypatch, earlier=after(fixed(HEAD)), xcoms=left, resolve_threads="answered")
    running = snapshot(head_sha=NEXT_HEAD, checks=(PENDING,))
    gate.look(running)
    gate.look(running, event={"status": "decided"})
    assert [line for line in gate.journal if line.startswith(("reply", "resolve"))] == [
        "reply PRRT_9: Renamed.",
        "resolve PRRT_9",
    ]


# Review


def test_a_review_is_handed_on_with_leave_to_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, review="on_checks_passed")
    assert gate.look(snapshot()) is None
    assert gate.decision["verdict"] == "review"
    assert gate.ti.pushed["may_fix"] is True
    assert gate.merges == []


def test_no_leave_to_fix_when_the_rounds_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, earlier=after(fixed("1" * 40)), review="on_checks_passed", max_rounds=1)
    assert gate.look(snapshot()) is None
    assert gate.ti.pushed["may_fix"] is False


@pytest.mark.parametrize(
    ("verdict", "fix", "rounds"),
    [("approve", None, 0), ("request_changes", {"head_sha": NEXT_HEAD}, 1), ("request_changes", None, 0)],
)
def test_what_came_of_a_review_is_taken_over(
    monkeypatch: pytest.MonkeyPatch, verdict: str, fix: Any, rounds: int
) -> None:
    left = {
        "g1:decision": {"verdict": "review"},
        "r1:review": {"head_sha": HEAD, "verdict": verdict, "summary": "So."},
        "f1:return_value": fix,
    }
    gate = Gate(monkeypatch, earlier=after(), xcoms=left, review="on_checks_passed")
    gate.look(snapshot(checks=(PENDING,), head_sha=NEXT_HEAD))
    history = LandingHistory.from_dict(gate.store.values["history_0"])
    assert [review.verdict for review in history.reviews] == [verdict]
    assert len(history.rounds) == rounds
    if rounds:
        assert history.rounds[0].head_after == NEXT_HEAD


ONLY_ADA = {"steer": {"users": ["ada"]}, "merge": {"permission": "admin"}}


@pytest.mark.parametrize(
    ("author", "permission", "merged"),
    [("olga", "write", False), ("ada", "read", False), ("pat", "admin", True)],
)
def test_the_rules_of_the_run_say_who_merges(
    monkeypatch: pytest.MonkeyPatch, author: str, permission: Any, merged: bool
) -> None:
    gate = Gate(monkeypatch, auto_merge=False)
    gate.arguments["coding_task"]["authority"] = ONLY_ADA
    standing = Standing(login=author, permission=permission)
    told = dataclasses.replace(comment("/merge", author=author), standing=standing)
    gate.look(snapshot(comments=(told,)), *[MERGED] * merged)
    assert bool(gate.merges) is merged


def test_the_rules_of_the_run_hold_at_the_next_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come from the task, not from what an earlier try wrote down; the trigger has them too."""
    gate = Gate(monkeypatch, auto_merge=False)
    waits = gate.look(snapshot())
    assert isinstance(waits, TaskDeferred)
    assert waits.trigger.history["authority"] == {}
    gate.arguments["coding_task"]["authority"] = ONLY_ADA
    gate.ti.retry()
    stays = gate.look(snapshot(comments=(comment("/stop"),)))
    assert isinstance(stays, TaskDeferred)
    assert stays.trigger.history["authority"] == {
        "steer": {"users": ["ada"]},
        "merge": {"permission": "admin"},
    }
