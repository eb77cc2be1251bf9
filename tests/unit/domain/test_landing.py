"""The landing decision: each rule, their order, and what must never happen."""

from __future__ import annotations

import dataclasses
import itertools
from datetime import timedelta
from typing import Any

import pytest
from fakes import FAILED, HEAD, NEXT_HEAD, NOW, PASSED, PENDING, URL, snapshot
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from airflow_provider_agents.domain.landing import Decision, LandingHistory, LandingPolicy, decide
from airflow_provider_agents.domain.pull_request import Check, Comment, Review, ReviewThread

LONG_AGO = NOW - timedelta(hours=1)
JUST_NOW = NOW - timedelta(seconds=5)

OBJECTION = Review(author="olga", state="CHANGES_REQUESTED", can_write=True, body="Not so.")
STRANGER = Review(author="eve", state="CHANGES_REQUESTED", body="Bad.")
APPROVAL = Review(author="mona", state="APPROVED", can_write=True)
THREAD = ReviewThread(
    node_id="T_1", path="a.py", line=1, comments=(Comment(author="olga", body="Why?", can_write=True),)
)
STRANGERS_THREAD = ReviewThread(
    node_id="T_2", path="a.py", line=1, comments=(Comment(author="eve", body="Spam"),)
)

POLICY = LandingPolicy()
SEEN = LandingHistory(head_first_seen=LONG_AGO)


def judge(
    reading: dict[str, Any] | None = None,
    policy: dict[str, Any] | None = None,
    history: dict[str, Any] | None = None,
) -> Decision:
    return decide(
        snapshot(**(reading or {})),
        dataclasses.replace(POLICY, **(policy or {})),
        dataclasses.replace(SEEN, **(history or {})),
    )


TABLE = [
    # name, reading, policy, history, verdict, reason
    ("merged", {"state": "MERGED"}, {}, {}, "done", "merged"),
    ("merged, though unreadable", {"state": "MERGED", "missing": ("checks",)}, {}, {}, "done", "merged"),
    ("closed", {"state": "CLOSED"}, {}, {}, "stop", "closed"),
    ("checks unreadable", {"checks": (), "missing": ("checks: 502",)}, {}, {}, "wait", "incomplete"),
    ("reviews unreadable, checks green", {"missing": ("reviews: 502",)}, {}, {}, "wait", "incomplete"),
    ("unreadable and conflict", {"missing": ("x",), "mergeable": "CONFLICTING"}, {}, {}, "wait", "incomplete"),
    ("conflict", {"mergeable": "CONFLICTING"}, {}, {}, "fix", "conflict"),
    ("conflict before running checks", {"mergeable": "CONFLICTING", "checks": (PENDING,)}, {}, {}, "fix", "conflict"),
    ("conflict before an objection", {"mergeable": "CONFLICTING", "reviews": (OBJECTION,)}, {}, {}, "fix", "conflict"),
    ("objection with green checks", {"reviews": (OBJECTION,)}, {}, {}, "fix", "changes_requested"),
    ("objection, checks running", {"reviews": (OBJECTION,), "checks": (PENDING,)}, {}, {}, "fix", "changes_requested"),
    ("objection and a failing check", {"reviews": (OBJECTION,), "checks": (FAILED,)}, {}, {}, "fix", "changes_requested"),
    ("open thread of a writer", {"threads": (THREAD,)}, {}, {}, "fix", "changes_requested"),
    ("answered objection", {"reviews": (OBJECTION,)}, {}, {"answered": frozenset([OBJECTION.key])}, "wait", "awaiting_reviewer"),
    ("answered thread", {"threads": (THREAD,)}, {}, {"answered": frozenset([THREAD.key])}, "wait", "awaiting_reviewer"),
    ("new objection on a head that a fix left as it was", {"reviews": (OBJECTION,)}, {}, {"fixed_heads": (HEAD,), "rounds_used": 1}, "fix", "changes_requested"),
    ("answered, but checks fail now", {"threads": (THREAD,), "checks": (FAILED,)}, {}, {"answered": frozenset([THREAD.key])}, "fix", "checks_failed"),
    ("stranger's objection", {"reviews": (STRANGER,)}, {}, {}, "merge", "green"),
    ("stranger's thread", {"threads": (STRANGERS_THREAD,)}, {}, {}, "merge", "green"),
    ("failing check", {"checks": (FAILED, PASSED)}, {}, {}, "fix", "checks_failed"),
    ("one fails, one runs", {"checks": (FAILED, PENDING)}, {}, {}, "wait", "checks_running"),
    ("running check", {"checks": (PENDING, PASSED)}, {}, {}, "wait", "checks_running"),
    ("no check yet", {"checks": ()}, {}, {"head_first_seen": JUST_NOW}, "wait", "no_checks_yet"),
    ("no check yet, merge asked for", {"checks": ()}, {"no_checks": "merge"}, {"head_first_seen": JUST_NOW}, "wait", "no_checks_yet"),
    ("never a check", {"checks": ()}, {}, {}, "escalate", "no_checks"),
    ("never a check, wait", {"checks": ()}, {"no_checks": "wait"}, {}, "wait", "no_checks"),
    ("never a check, merge", {"checks": ()}, {"no_checks": "merge"}, {}, "merge", "green"),
    ("mergeability unknown", {"mergeable": "UNKNOWN"}, {}, {}, "wait", "mergeability_unknown"),
    ("draft", {"draft": True}, {}, {}, "wait", "draft"),
    ("draft with a failing check", {"draft": True, "checks": (FAILED,)}, {}, {}, "fix", "checks_failed"),
    ("review required", {"review_decision": "REVIEW_REQUIRED"}, {}, {}, "wait", "review_required"),
    ("rules see an objection", {"review_decision": "CHANGES_REQUESTED"}, {}, {}, "wait", "review_required"),
    ("auto_merge off", {}, {"auto_merge": False}, {}, "wait", "merge_by_person"),
    ("blocked by a rule", {"merge_state": "BLOCKED"}, {}, {}, "wait", "blocked"),
    ("behind its base", {"merge_state": "BEHIND"}, {}, {}, "wait", "behind"),
    ("green", {}, {}, {}, "merge", "green"),
    ("green and approved", {"reviews": (APPROVAL,), "review_decision": "APPROVED"}, {}, {}, "merge", "green"),
    ("rounds used up", {"checks": (FAILED,)}, {"max_rounds": 2}, {"rounds_used": 2}, "escalate", "rounds_exhausted"),
    ("no rounds wanted", {"checks": (FAILED,)}, {"max_rounds": 0}, {}, "escalate", "rounds_exhausted"),
    ("fix changed nothing", {"checks": (FAILED,)}, {}, {"fixed_heads": (HEAD,), "rounds_used": 1}, "escalate", "no_progress"),
    ("fix gave a new head", {"checks": (FAILED,)}, {}, {"fixed_heads": (NEXT_HEAD,), "rounds_used": 1}, "fix", "checks_failed"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reading", "policy", "history", "verdict", "reason"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_each_rule(
    reading: dict[str, Any], policy: dict[str, Any], history: dict[str, Any], verdict: str, reason: str
) -> None:
    decision = judge(reading, policy, history)
    assert (decision.verdict, decision.reason) == (verdict, reason), decision.message


def test_messages_name_what_they_are_about() -> None:
    assert URL in judge({"state": "CLOSED"}).message
    assert "checks: 502" in judge({"missing": ("checks: 502",)}).message
    assert "lint, tests" in judge({"checks": (FAILED, dataclasses.replace(FAILED, name="lint"))}).message
    assert "olga" in judge({"reviews": (OBJECTION,)}).message
    assert "main" in judge({"mergeable": "CONFLICTING"}).message
    assert "All 3 fix rounds" in judge({"checks": (FAILED,)}, {"max_rounds": 3}, {"rounds_used": 3}).message


@pytest.mark.parametrize("conclusion", ["NEUTRAL", "SKIPPED"])
def test_neutral_and_skipped_checks_are_passed_checks(conclusion: str) -> None:
    check = Check(name="optional", state="passed", kind="check_run", conclusion=conclusion)
    assert judge({"checks": (check, PASSED)}).verdict == "merge"


def test_a_new_comment_in_an_answered_thread_is_a_new_objection() -> None:
    again = dataclasses.replace(
        THREAD, comments=(*THREAD.comments, Comment(author="olga", body="Still", can_write=True))
    )
    answered = {"answered": frozenset([THREAD.key]), "fixed_heads": (NEXT_HEAD,), "rounds_used": 1}
    assert judge({"threads": (again,)}, history=answered).verdict == "fix"


def test_a_second_objection_of_the_same_person_is_a_new_one() -> None:
    again = dataclasses.replace(OBJECTION, head_sha=HEAD, body="Now this.")
    answered = {"answered": frozenset([OBJECTION.key]), "fixed_heads": (NEXT_HEAD,), "rounds_used": 1}
    assert judge({"reviews": (again,)}, history=answered).verdict == "fix"


def a_few_of(choices: dict[str, list[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Change up to four things: were all drawn freely, hardly anything would ever be merged."""
    changes = [(name, value) for name, values in choices.items() for value in values]
    return st.lists(st.sampled_from(changes), max_size=4).map(dict)


snapshots = a_few_of(
    {
        "state": ["CLOSED", "MERGED"],
        "head_sha": [NEXT_HEAD],
        "draft": [True],
        "mergeable": ["CONFLICTING", "UNKNOWN"],
        "merge_state": ["BLOCKED", "BEHIND", "UNSTABLE", "UNKNOWN", "HAS_HOOKS", "DIRTY"],
        "review_decision": ["APPROVED", "CHANGES_REQUESTED", "REVIEW_REQUIRED"],
        "checks": [(), (FAILED,), (PENDING,), (PASSED, FAILED), (FAILED, PENDING), (PASSED, PASSED)],
        "reviews": [(OBJECTION,), (STRANGER,), (APPROVAL,), (APPROVAL, OBJECTION)],
        "threads": [(THREAD,), (STRANGERS_THREAD,), (STRANGERS_THREAD, THREAD)],
        "missing": [("checks: 502",), ("threads: 502",)],
    }
).map(lambda changes: snapshot(**changes))
policies = a_few_of(
    {
        "auto_merge": [False],
        "no_checks": ["merge", "wait"],
        "no_checks_grace_seconds": [0],
        "max_rounds": [0, 1],
    }
).map(lambda changes: LandingPolicy(**changes))
histories = st.builds(
    LandingHistory,
    head_first_seen=st.sampled_from([LONG_AGO, JUST_NOW, NOW]),
    rounds_used=st.integers(0, 4),
    fixed_heads=st.lists(st.sampled_from([HEAD, NEXT_HEAD]), max_size=2).map(tuple),
    answered=st.frozensets(st.sampled_from([OBJECTION.key, THREAD.key])),
)


@settings(max_examples=600)
@given(snapshots, policies, histories)
def test_merges_only_what_passed_everything(s: Any, policy: LandingPolicy, history: LandingHistory) -> None:
    if decide(s, policy, history).verdict != "merge":
        return
    assert s.state == "OPEN"
    assert not s.missing
    assert s.mergeable == "MERGEABLE"
    assert not s.draft
    assert policy.auto_merge
    assert all(check.state == "passed" for check in s.checks)
    assert s.checks or policy.no_checks == "merge"
    assert not any(review.state == "CHANGES_REQUESTED" and review.can_write for review in s.reviews)
    assert not any(thread.started_by_writer for thread in s.threads)
    assert s.review_decision in (None, "APPROVED")
    assert s.merge_state not in ("BLOCKED", "BEHIND")


@settings(max_examples=300)
@given(snapshots, policies, histories)
def test_a_fix_is_bounded_and_never_repeated_on_a_head(
    s: Any, policy: LandingPolicy, history: LandingHistory
) -> None:
    if decide(s, policy, history).verdict == "fix":
        assert history.rounds_used < policy.max_rounds
        # Only an objection that no round was given yet may ask for the same head again.
        assert (
            s.head_sha not in history.fixed_heads or decide(s, policy, history).reason == "changes_requested"
        )
        assert s.state == "OPEN"


@given(snapshots, policies, histories)
def test_same_reading_same_answer_that_is_json(
    s: Any, policy: LandingPolicy, history: LandingHistory
) -> None:
    decision = decide(s, policy, history)
    assert decide(dataclasses.replace(s), policy, history) == decision
    assert decision.message
    assert decision.reason == decision.reason.lower()
    assert set(decision.to_dict()) == {"verdict", "reason", "message"}


@given(snapshots, policies, histories)
def test_the_order_of_checks_and_reviews_does_not_matter(
    s: Any, policy: LandingPolicy, history: LandingHistory
) -> None:
    verdicts = {
        decide(dataclasses.replace(s, checks=checks), policy, history).verdict
        for checks in itertools.permutations(s.checks)
    }
    assert len(verdicts) == 1


@pytest.mark.parametrize("verdict", ["done", "stop", "wait", "fix", "merge", "escalate"])
def test_the_generated_readings_reach_every_verdict(verdict: str) -> None:
    """The properties above say nothing of a case that is never made."""
    cases = st.tuples(snapshots, policies, histories)
    quick = settings(phases=[Phase.generate], max_examples=5_000)
    assert find(cases, lambda case: decide(*case).verdict == verdict, settings=quick)


def test_policy_comes_back_from_a_trigger() -> None:
    policy = LandingPolicy(auto_merge=False, merge_method="rebase", no_checks="wait", max_rounds=1)
    assert LandingPolicy.from_dict(policy.to_dict()) == policy
