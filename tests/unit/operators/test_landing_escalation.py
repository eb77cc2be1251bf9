"""A gate that asks people: once, on Airflow's page and in one comment, and it does what they choose."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from airflow.sdk.exceptions import DownstreamTasksSkipped, TaskDeferred
from fakes import FAILED, HEAD, NEXT_HEAD, NOW, snapshot
from landing_world import MERGED, RETRIES, Gate, after, comment, fixed, handed_on

from airflow_provider_agents.exceptions import ForgeConflictError, TaskStoppedError
from airflow_provider_agents.triggers.ticket_comments import TicketCommentsTrigger

STUCK = snapshot(checks=(FAILED,))


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A gate whose one round is used, and did not help."""
    return Gate(monkeypatch, earlier=after(fixed(HEAD)), escalate="ask", max_rounds=1)


def chosen(option: str, **fields: Any) -> dict[str, Any]:
    """Return what Airflow resumes a task with."""
    return {
        "chosen_options": [option],
        "params_input": fields,
        "responded_at": NOW.isoformat(),
        "responded_by_user": {"id": "1", "name": "olga"},
        "timedout": False,
    }


def test_it_asks_on_the_page_and_on_the_pull_request(gate: Gate) -> None:
    end = gate.look(STUCK)
    assert isinstance(end, TaskDeferred)
    assert isinstance(end.trigger, TicketCommentsTrigger)
    assert (end.trigger.number, end.trigger.head_sha) == (7, HEAD)
    (question,) = gate.questions
    assert question["options"] == ["Another round", "Merge", "Close", "Leave"]
    assert "changed nothing" in question["body"]
    assert list(gate.github.comments) == ["escalation"]
    assert gate.decision_log[-1]["reason"] == "no_progress"


def test_it_asks_once_however_often_it_wakes(gate: Gate) -> None:
    for _ in range(3):
        assert isinstance(gate.look(STUCK, event={"status": "changed"}), TaskDeferred)
    assert len(gate.questions) == 1


def test_another_round_has_the_instructions_first(gate: Gate) -> None:
    gate.look(STUCK)
    assert handed_on(gate.look(STUCK, event=chosen("Another round", instructions="Use the other file.")))
    text = gate.ti.pushed["feedback"]["text"]
    assert text.index("Use the other file.") < text.index("tests")
    assert gate.history.granted_rounds == 1
    assert gate.history.rounds[-1].reason == "told_by_person"
    assert "olga chose another round" in gate.github.comments["escalation"]


def test_a_merge_in_spite_of_a_failing_check_is_of_the_head_that_was_asked_about(gate: Gate) -> None:
    gate.look(STUCK)
    assert isinstance(gate.look(STUCK, MERGED, event=chosen("Merge")), DownstreamTasksSkipped)
    assert gate.merges == [f"merge acme/shop#7 {HEAD} squash"]


def test_a_merge_of_a_head_that_moved_is_asked_about_again(gate: Gate) -> None:
    gate.look(STUCK)
    moved = snapshot(head_sha=NEXT_HEAD, checks=(FAILED,))
    end = gate.look(moved, event=chosen("Merge"))
    assert isinstance(end, TaskDeferred)
    assert gate.merges == []
    assert len(gate.questions) == 2


def test_a_merge_over_a_conflict_is_not_made(gate: Gate) -> None:
    gate.look(STUCK)
    end = gate.look(snapshot(checks=(FAILED,), mergeable="CONFLICTING"), event=chosen("Merge"))
    assert isinstance(end, TaskDeferred)
    assert gate.merges == []


def test_close_closes_and_ends_the_run(gate: Gate) -> None:
    gate.look(STUCK)
    assert isinstance(gate.look(STUCK, event=chosen("Close")), TaskStoppedError)
    assert "close acme/shop#7" in gate.journal
    assert gate.decision["reason"] == "closed_by_person"


def test_leave_ends_the_run_and_touches_nothing(gate: Gate) -> None:
    gate.look(STUCK)
    assert isinstance(gate.look(STUCK, event=chosen("Leave")), TaskStoppedError)
    assert "close acme/shop#7" not in gate.journal


def test_an_answer_counts_also_where_nobody_would_be_asked_any_more(gate: Gate) -> None:
    gate.look(STUCK)
    running = snapshot(head_sha=NEXT_HEAD, checks=())
    assert isinstance(gate.look(running, event=chosen("Close")), TaskStoppedError)
    assert "close acme/shop#7" in gate.journal


def test_a_merge_that_github_refuses_again_and_again_is_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, escalate="ask")

    def refuse() -> None:
        raise ForgeConflictError("Required status check is expected.")

    gate.github.on_merge = refuse
    for _ in range(5):
        gate.look(snapshot())
    assert gate.questions == []
    assert isinstance(gate.look(snapshot()), TaskDeferred)
    assert "Required status check is expected." in gate.questions[0]["body"]
    assert len(gate.merges) == 5


def test_a_retried_task_goes_on_with_the_answer(gate: Gate) -> None:
    """The worker dies after the answer was taken and before the pull request is closed."""
    gate.look(STUCK)
    gate.github.faults["close"] = RuntimeError("the worker dies here")
    with pytest.raises(RuntimeError):
        gate.look(STUCK, event=chosen("Close"))
    gate.ti.retry()
    gate.github.faults.clear()
    assert isinstance(gate.look(STUCK), TaskStoppedError)
    assert gate.journal.count("close acme/shop#7") == 2
    assert len(gate.questions) == 1


def test_a_command_on_the_pull_request_answers_too(gate: Gate) -> None:
    gate.look(STUCK)
    said = snapshot(checks=(FAILED,), comments=(comment("/retry Use the other file."),))
    assert handed_on(gate.look(said, event={"status": "changed"}))
    assert "Use the other file." in gate.ti.pushed["feedback"]["text"]


def test_what_a_stranger_writes_answers_nothing(gate: Gate) -> None:
    gate.look(STUCK)
    said = snapshot(checks=(FAILED,), comments=(comment("/retry", author="eve", can_write=False),))
    assert isinstance(gate.look(said, event={"status": "changed"}), TaskDeferred)


def test_what_settles_itself_needs_no_answer(gate: Gate) -> None:
    gate.look(STUCK)
    assert isinstance(gate.look(snapshot(), MERGED, event={"status": "changed"}), DownstreamTasksSkipped)


def test_patience_ends(gate: Gate) -> None:
    with time_machine.travel(NOW, tick=False):
        assert isinstance(gate.look(STUCK), TaskDeferred)
    with time_machine.travel(NOW + timedelta(hours=168), tick=False):
        end = gate.look(STUCK, event={"status": "deadline"})
    assert isinstance(end, TaskStoppedError)
    assert "Nobody answered within 168 hours" in str(end)


def test_a_late_gate_asks_before_it_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, escalate="ask", land_timeout=2, auto_merge=False)
    with time_machine.travel(NOW, tick=False):
        gate.look(snapshot())
    with time_machine.travel(NOW + timedelta(hours=2), tick=False):
        end = gate.look(snapshot(), event={"status": "deadline", "message": "x"})
    assert isinstance(end, TaskDeferred)
    assert "was not merged within 2 hours" in gate.questions[0]["body"]
    assert end.trigger.deadline == (NOW + timedelta(hours=4)).isoformat()


def test_a_clear_asks_anew(gate: Gate) -> None:
    gate.look(STUCK)
    gate.ti.clear(RETRIES)
    gate.look(STUCK)
    assert len(gate.questions) == 2


def test_no_round_is_offered_where_the_graph_has_none(gate: Gate) -> None:
    gate.arguments["rounds_left"] = 0
    gate.look(STUCK)
    assert gate.questions[0]["options"] == ["Merge", "Close", "Leave"]


def test_the_rules_of_the_run_say_whose_command_answers(gate: Gate) -> None:
    gate.arguments["coding_task"]["authority"] = {"steer": {"users": ["ada"]}}
    asked = gate.look(STUCK)
    assert isinstance(asked, TaskDeferred)
    assert asked.trigger.authority == {"steer": {"users": ["ada"]}}
    said = snapshot(checks=(FAILED,), comments=(comment("/retry"),))
    assert isinstance(gate.look(said, event={"status": "spoken"}), TaskDeferred)
    said = snapshot(checks=(FAILED,), comments=(comment("/retry", author="ada", can_write=False),))
    assert handed_on(gate.look(said, event={"status": "spoken"}))
