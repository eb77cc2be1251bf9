"""The guards of rules: each alone, their order, and what holds whatever a model says."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from fakes import FAILED, NEXT_HEAD, NOW, PASSED, PENDING
from hypothesis import given, settings
from hypothesis import strategies as st
from landing_cases import APPROVAL, OBJECTION, STOP, STRANGER, THREAD
from pr_rule_cases import (
    ASKED,
    BOTS,
    FOR_BOTS,
    HOLDING,
    KEY,
    MERGES,
    MOVED_WORKFLOW,
    RISKY,
    ROWS,
    TOUCHED,
    WORKFLOW,
    Row,
    act,
    case,
    judged,
    ledger,
)

from airflow_provider_agents.domain import pr_rule_guards
from airflow_provider_agents.domain.authority import objects
from airflow_provider_agents.domain.freeze import frozen_until
from airflow_provider_agents.domain.pr_rule import ACTS, Guards, Limits
from airflow_provider_agents.domain.pr_rule_circumstances import Case, PlatformGuards
from airflow_provider_agents.domain.pr_rule_guards import GUARDS, OVERRIDABLE, guarded
from airflow_provider_agents.domain.pr_rule_ledger import RuleLedger
from airflow_provider_agents.domain.pull_request import QueueEntry
from airflow_provider_agents.domain.risk import risk


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_what_is_done(row: Row) -> None:
    _name, action, seen, ruled, around, expected, guard = row
    found = judged(case(action, seen, ruled, around))
    assert (found.action, found.guard) == (expected, guard), found.message
    assert found.message


@pytest.mark.parametrize(
    ("action", "guard"),
    [(action, guard) for action, guards in GUARDS.items() for guard in guards],
    ids=lambda each: each if isinstance(each, str) else each.__name__,
)
def test_no_guard_can_be_left_out(action: str, guard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it some row would end otherwise; a shared guard must be missed by the actions that have it together."""
    fewer = {name: tuple(each for each in guards if each is not guard) for name, guards in GUARDS.items()}
    monkeypatch.setattr(pr_rule_guards, "GUARDS", fewer)
    ends = [
        (found.action, found.guard) == row[5:]
        for row in ROWS
        for found in [judged(case(row[1], row[2], row[3], row[4]))]
    ]
    assert not all(ends)


def test_each_action_has_its_guards() -> None:
    assert set(GUARDS) == set(ACTS)
    for guards in GUARDS.values():
        assert [each.__name__ for each in guards[:3]] in ([], ["not_open", "head_moved", "base_moved"])
    assert {guard for guards in GUARDS.values() for guard in guards} > OVERRIDABLE


@pytest.mark.parametrize(
    ("seen", "ruled", "around", "after"),
    [
        ({}, HOLDING, {}, timedelta(days=1, hours=12)),
        ({"checks": ()}, {}, {"head_first_seen": NOW}, timedelta(seconds=120)),
        ({"checks": (dataclasses.replace(PASSED, completed_at=NOW),)}, {}, {}, timedelta(seconds=30)),
        ({"mergeable": "UNKNOWN"}, {}, {}, timedelta(seconds=60)),
        ({}, {}, {"ledger": ledger(act("merge", state="refused", minutes=0.1))}, timedelta(seconds=9)),
        ({}, {}, {"ledger": ledger(others=MERGES)}, timedelta(minutes=46)),
        ({}, {"limits": Limits(merges_per_hour=0)}, {}, timedelta(hours=1)),
        ({}, ASKED, {}, timedelta(seconds=120)),
        ({}, {}, {"ledger": RuleLedger.lost(NOW)}, timedelta(hours=1)),
    ],
)
def test_what_time_alone_ends_is_looked_at_again(
    seen: Any, ruled: Any, around: Any, after: timedelta
) -> None:
    found = judged(case("merge", seen, ruled, around))
    assert found.action == "wait"
    assert found.retry_at == NOW + after


@pytest.mark.parametrize("seen", [{"draft": True}, {"checks": (FAILED,)}, {"reviews": (OBJECTION,)}])
def test_what_shows_in_the_listing_is_not_polled(seen: Any) -> None:
    assert judged(case("merge", seen, {}, {})).retry_at is None


def test_what_we_queued_is_taken_back_whatever_else_stands() -> None:
    queue = {"has_merge_queue": True, "queue_entry": QueueEntry(state="QUEUED", position=1)}
    mine = {"ledger": ledger(act("enqueue"))}
    for against in (
        {"draft": True},
        {"labels": ("auto-merge", "needs-human-approval")},
        {"comments": (STOP,)},
    ):
        assert judged(case("merge", {**queue, **against}, {}, mine)).step == "withdraw"
    assert judged(case("merge", {**queue, "draft": True}, {}, {})).step == ""
    for action in sorted(ACTS):
        found = judged(case(action, {**queue, "draft": True}, {}, mine))
        assert (found.action, found.step, found.guard) == ("wait", "withdraw", "draft")
        assert judged(case(action, queue, {}, mine)).step == ""
    lost = {"ledger": ledger(act("enqueue"), act("withdraw", minutes=5, state="refused"))}
    assert judged(case("merge", {**queue, "draft": True}, {}, lost)).step == "withdraw"


def test_what_the_queue_gave_back_twice_is_a_persons() -> None:
    twice = {"ledger": ledger(act("enqueue", minutes=90), act("enqueue", minutes=60))}
    found = judged(case("merge", {"has_merge_queue": True}, {}, twice))
    assert (found.action, found.guard) == ("escalate", "queue_gave_up")


def test_the_steps_of_a_merge() -> None:
    assert judged(case("merge", {}, {}, {})).step == "merge"
    assert judged(case("merge", {"has_merge_queue": True}, {}, {})).step == "enqueue"
    assert judged(case("merge", {"merge_state": "BEHIND"}, {}, {})).step == "update_branch"


def test_an_escalation_that_is_due_whatever_the_answer_is() -> None:
    one = case("escalate", {}, {}, {})
    due = dataclasses.replace(judged(one), guard="model_gave_up", message="Five times nothing.")
    found = guarded(one.answer, one.s, one.rule, one.c, calling=due)
    assert (found.action, found.guard) == ("escalate", "model_gave_up")
    told = dataclasses.replace(one.c, ledger=ledger(act("escalate", detail="model_gave_up")))
    found = guarded(one.answer, one.s, one.rule, told, calling=due)
    assert (found.action, found.guard) == ("wait", "model_gave_up")
    closed = dataclasses.replace(one.s, state="CLOSED")
    assert guarded(one.answer, closed, one.rule, one.c, calling=due).guard == "not_open"


def a_few_of(choices: dict[str, list[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    changes = [(name, value) for name, values in choices.items() for value in values]
    return st.lists(st.sampled_from(changes), max_size=3).map(dict)


READINGS = a_few_of(
    {
        "state": ["CLOSED", "MERGED"],
        "head_sha": [NEXT_HEAD],
        "base_branch": ["release"],
        "draft": [True],
        "fork": [True, None],
        "author": ["ghost", "", "eve"],
        "mergeable": ["CONFLICTING", "UNKNOWN"],
        "merge_state": ["BEHIND", "BLOCKED", "DIRTY", "UNSTABLE"],
        "checks": [(), (FAILED,), (PENDING,), (PASSED, FAILED), (PASSED, PENDING)],
        "required_checks": [frozenset({"tests"}), frozenset({"tests", "deploy"})],
        "reviews": [(OBJECTION,), (STRANGER,), (APPROVAL,), (APPROVAL, OBJECTION)],
        "threads": [(THREAD,)],
        "review_decision": ["REVIEW_REQUIRED", "CHANGES_REQUESTED", "APPROVED"],
        "labels": [(), ("auto-merge", "do-not-merge"), ("auto-merge", "needs-human-approval")],
        "comments": [(STOP,)],
        "missing": [("checks: timeout",)],
        "refused": [("reviews: no right",)],
        "has_merge_queue": [True],
        "queue_entry": [QueueEntry(state="QUEUED", position=1)],
        "changed_files": [2, 40, 3000, None],
    }
)
RULED = a_few_of(
    {
        "answer": [{"confidence": 0.0}, {"confidence": 0.5}, {"confidence": 1.0}],
        "actions": [("close", "escalate"), ("merge",)],
        "guards": [HOLDING["guards"], Guards(max_risk=0), Guards(max_risk=None), Guards(update_branch=False)],
        "limits": [Limits(merges_per_hour=0), Limits(merges_per_hour=6), Limits(pull_requests_per_hour=0)],
        "argocd": [ASKED["argocd"]],
        "selector": [FOR_BOTS["selector"]],
    }
)
AROUND = a_few_of(
    {
        "decided_head": [NEXT_HEAD],
        "head_first_seen": [NOW, None],
        "files": [WORKFLOW, MOVED_WORKFLOW, RISKY, None, ()],
        "files_fault": ["HTTP 403"],
        "commit_authors": [frozenset({"eve"}), None],
        "health": ["Degraded", None],
        "platform": [
            PlatformGuards(freeze=("2026-01-01/2026-01-03",)),
            PlatformGuards(max_risk=0),
            PlatformGuards(auto_merge=False),
        ],
        "ledger": [
            RuleLedger.lost(NOW),
            ledger(others=MERGES),
            ledger(others=TOUCHED),
            ledger(*[act("merge", state="refused")] * 5),
            ledger(act("merge", rule="other")),
            ledger(consent="merge"),
            ledger(consent="merge", consent_head=NEXT_HEAD),
            ledger(consent="merge", consent_base="release"),
            ledger(act("merge", state="refused", minutes=0), consent="merge"),
        ],
    }
)
CASES = st.builds(case, st.sampled_from(sorted(ACTS)), READINGS, RULED, AROUND)


@settings(max_examples=600, deadline=None)
@given(one=CASES)
def test_whatever_is_answered_nothing_unfit_is_merged(one: Case) -> None:
    found = judged(one)
    if found.action != "merge":
        return
    s, c, rule = one.s, one.c, one.rule
    assert one.answer.action == "merge"
    assert (s.state, s.draft, s.fork, s.mergeable) == ("OPEN", False, False, "MERGEABLE")
    assert s.head_sha == c.decided_head
    assert not s.checks_in("failed")
    assert not s.checks_in("pending")
    assert (s.required_checks or frozenset()) <= {check.name for check in s.checks_in("passed")}
    assert not any(objects(review) for review in s.reviews)
    assert not s.threads
    assert s.review_decision in (None, "APPROVED")
    assert not s.missing
    assert not s.refused
    assert "do-not-merge" not in s.labels
    assert frozen_until((*rule.guards.freeze, *c.platform.freeze), NOW) is None
    assert len(c.ledger.merges(s.repository, NOW)) < rule.limits.merges_per_hour
    assert len(c.ledger.touched(s.repository, NOW, but=KEY)) < rule.limits.pull_requests_per_hour
    assert c.ledger.hold_until is None
    assert s.base_branch == c.decided_base
    consent = c.ledger.entry(KEY).consent(s.head_sha, s.base_branch)
    if consent is None or consent.choice != "merge":
        assert "merge" in rule.allowed
        assert one.answer.confidence >= 0.5
        assert s.checks
        assert s.author not in ("", "ghost")
        assert "needs-human-approval" not in s.labels
        assert c.files is not None
        assert len(c.files) >= (s.changed_files or 0)
        assert not any(path.startswith(".github/workflows") for each in c.files for path in each.paths)
        ceilings = [each for each in (rule.guards.max_risk, c.platform.max_risk) if each is not None]
        assert risk(c.files).score <= min(ceilings, default=100)


@settings(max_examples=300, deadline=None)
@given(one=CASES)
def test_guards_only_ever_soften(one: Case) -> None:
    """What comes out is the answer itself, a wait, a call for people, or the update that its merge needs."""
    found = judged(one)
    allowed = {one.answer.action, "wait", "escalate"} | (
        {"update_branch"} if one.answer.action == "merge" else set()
    )
    assert found.action in allowed
    if found.action != one.answer.action:
        assert found.guard


def test_a_bots_rule_reads_the_commits_before_it_merges() -> None:
    found = judged(case("merge", BOTS, FOR_BOTS, {"commit_authors": None}))
    assert found.needs == "commits"
    assert judged(case("merge", {}, {}, {"files": None})).needs == "files"
    assert judged(case("merge", {"checks": (FAILED,)}, {}, {"files": None})).needs == ""
    assert judged(case("close", {}, {}, {"reopened_by": None})).needs == "reopened"
    assert judged(case("merge", {}, ASKED, {"health": None})).needs == "health"
