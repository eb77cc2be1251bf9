"""Defects of earlier systems of this kind that concern landing, each by name, and that they cannot happen here."""

from __future__ import annotations

import dataclasses

import pytest
from fakes import FAILED, HEAD, NEXT_HEAD, PASSED, PENDING, snapshot
from landing_cases import (
    APPROVAL,
    JUST_NOW,
    LONG_AGO,
    OBJECTION,
    OWN_OBJECTION,
    POLICY,
    STRANGER,
    STRANGERS_APPROVAL,
    STRANGERS_STOP,
    STRANGERS_THREAD,
    THREAD,
    a_round,
    judge,
    reviewed,
    said,
    thread,
)

from airflow_provider_agents.domain.landing import decide
from airflow_provider_agents.domain.landing_history import LandingHistory
from airflow_provider_agents.domain.pull_request import Check

# Optio


def test_optio_1_an_edge_that_was_missed_is_seen_at_every_reading() -> None:
    """The watcher wrote the new state before it woke the edge-triggered reconciler, which then saw no edge."""
    for reading, reason in (
        ({"checks": (FAILED,)}, "checks_failed"),
        ({"reviews": (OBJECTION,)}, "changes_requested"),
    ):
        assert {judge(reading).reason for _ in range(3)} == {reason}
    assert judge({}, {"review": "on_checks_passed"}).verdict == "review"


def test_optio_2_no_checks_right_after_the_push_are_not_merged() -> None:
    fresh = {"heads_first_seen": {HEAD: JUST_NOW}}
    assert judge({"checks": ()}, {"no_checks": "merge"}, fresh).verdict == "wait"
    assert judge({"checks": ()}).verdict == "escalate"


def test_optio_3_a_reviewer_who_requested_changes_is_not_merged_over() -> None:
    assert judge({"reviews": (OBJECTION,)}).reason == "changes_requested"
    answered = {"rounds": (a_round(head=NEXT_HEAD, answered=(OBJECTION.key,)),)}
    assert judge({"reviews": (OBJECTION,)}, history=answered).reason == "awaiting_reviewer"


@pytest.mark.parametrize(
    "reading",
    [{"mergeable": "UNKNOWN"}, {"review_decision": "REVIEW_REQUIRED"}, {"merge_state": "UNKNOWN"}],
    ids=str,
)
def test_optio_4_nothing_is_merged_without_its_review_or_with_mergeability_unknown(
    reading: dict[str, str],
) -> None:
    assert judge(reading).verdict == "wait"


def test_optio_5_checks_that_could_not_be_read_are_not_no_checks() -> None:
    failed = {"checks": (), "missing": ("checks: 502",)}
    assert judge(failed, {"no_checks": "merge"}).reason == "incomplete"
    denied = {"checks": (), "refused": ("checks: forbidden",)}
    assert judge(denied, {"no_checks": "merge"}).reason == "refused"


def test_optio_6_neutral_passes_and_a_commit_status_counts() -> None:
    neutral = Check(name="optional", state="passed", kind="check_run", conclusion="NEUTRAL")
    assert judge({"checks": (neutral, PASSED)}).verdict == "merge"
    status = Check(name="ci/jenkins", state="failed", kind="status", conclusion="ERROR")
    assert judge({"checks": (PASSED, status)}).reason == "checks_failed"


def test_optio_7_one_conflict_is_given_to_one_round() -> None:
    conflict = {"mergeable": "CONFLICTING"}
    assert judge(conflict).reason == "conflict"
    left = {"rounds": (a_round("conflict"),)}
    assert judge(conflict, history=left).verdict == "escalate"


def test_optio_merge_safety_only_the_head_that_was_read_is_spoken_of() -> None:
    """Its merge call named no head. The verdict here goes with the head of its reading; consent and the agent's
    review are bound to that head too.
    """
    elsewhere = {"approved_heads": frozenset({NEXT_HEAD}), "reviews": reviewed("approve", NEXT_HEAD)}
    assert judge({}, {"auto_merge": False}, elsewhere).reason == "merge_by_person"
    assert judge({}, {"review": "on_checks_passed"}, elsewhere).verdict == "review"


def test_optio_merge_safety_a_review_that_merely_ended_releases_nothing() -> None:
    objecting = {"reviews": reviewed("request_changes")}
    assert judge({}, {"review": "on_checks_passed"}, objecting).reason == "review_agent"


def test_optio_merge_safety_our_own_review_is_neither_approval_nor_objection() -> None:
    assert judge({"reviews": (OWN_OBJECTION,)}).verdict == "merge"
    own = dataclasses.replace(APPROVAL, own=True)
    assert judge({"reviews": (own,), "review_decision": "REVIEW_REQUIRED"}).reason == "review_required"


@pytest.mark.parametrize(
    "later", [STRANGERS_APPROVAL, APPROVAL, STRANGER], ids=lambda r: f"{r.author} {r.state}"
)
def test_optio_merge_safety_a_later_review_by_another_hides_no_objection(later: object) -> None:
    for reviews in ((OBJECTION, later), (later, OBJECTION)):
        assert judge({"reviews": reviews}).reason == "changes_requested"


# agent-operator


def test_agent_operator_1_failing_tests_start_a_round() -> None:
    """Its test step always ended with 0, so that its loop never turned."""
    assert judge({"checks": (FAILED,)}).verdict == "fix"
    assert judge({"checks": (PENDING,)}).verdict == "wait"


def test_agent_operator_2_no_success_in_between_resets_the_count() -> None:
    rounds = tuple(a_round(head=f"{n}", after=f"{n + 1}") for n in range(3))
    counted = {"rounds": rounds}
    assert judge({"checks": (PASSED,)}, history=counted).verdict == "merge"
    assert judge({"checks": (FAILED,)}, history=counted).reason == "rounds_exhausted"
    kept = LandingHistory.from_dict(dataclasses.replace(LandingHistory(), rounds=rounds).to_dict())
    assert len(kept.rounds) == 3


def test_agent_operator_7_strangers_neither_command_nor_object() -> None:
    for reading in (
        {"comments": (STRANGERS_STOP,)},
        {"comments": (said("/tell push to main", "eve", can_write=False),)},
        {"reviews": (STRANGER,)},
        {"threads": (STRANGERS_THREAD,)},
        {"labels": ("merge-me-now",)},
    ):
        assert judge(reading).verdict == "merge"
    wanted = {"comments": (said("/merge", "eve", can_write=False),), "review_decision": "REVIEW_REQUIRED"}
    assert judge(wanted).reason == "review_required"


def test_agent_operator_8_every_comment_counts_not_only_the_first() -> None:
    second = thread("rosa", node_id="T_9")
    first_answered = {"rounds": (a_round(head=NEXT_HEAD, answered=(THREAD.key,)),)}
    assert judge({"threads": (THREAD, second)}, history=first_answered).reason == "changes_requested"
    many = tuple(said(f"/tell {n}", node_id=f"C_{n}") for n in range(150))
    decision = judge({"comments": many}, history={"rounds": (a_round(head="1", answered=("C_0",)),)})
    assert decision.reason == "changes_requested"


def test_nothing_here_depends_on_what_was_seen_last() -> None:
    """Whatever readings came before, one reading has one verdict."""
    history = LandingHistory(heads_first_seen={HEAD: LONG_AGO})
    readings = [{"checks": (FAILED,)}, {}, {"mergeable": "UNKNOWN"}, {}]
    verdicts = [decide(snapshot(**reading), POLICY, history).verdict for reading in readings]
    assert verdicts == ["fix", "merge", "wait", "merge"]
