from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.conditions import CONDITIONS, examine, result_of
from airflow_provider_agents.domain.pull_request import Check, PullRequestSnapshot, Review

PASSED = Check(name="tests", state="passed", kind="check_run")
FAILED = Check(name="tests", state="failed", kind="check_run")
PENDING = Check(name="tests", state="pending", kind="check_run")
APPROVED = Review(author="mona", state="APPROVED", can_write=True)
OBJECTED = Review(author="olga", state="CHANGES_REQUESTED", can_write=True)
STRANGER = Review(author="eve", state="CHANGES_REQUESTED")


def snapshot(**values: Any) -> PullRequestSnapshot:
    facts: dict[str, Any] = {
        "repository": "acme/shop",
        "number": 7,
        "node_id": "PR_1",
        "url": "u",
        "title": "t",
        "state": "OPEN",
        "head_sha": "a" * 40,
        "head_branch": "agents/7",
        "base_branch": "main",
        "read_at": datetime(2026, 1, 1, tzinfo=UTC),
        "mergeable": "MERGEABLE",
        "checks": (PASSED,),
    }
    return PullRequestSnapshot(**facts | values)


@pytest.mark.parametrize(
    ("until", "values", "outcome", "words"),
    [
        ("merged", {}, "unmet", "open"),
        ("merged", {"state": "MERGED"}, "met", "merged"),
        ("merged", {"state": "CLOSED"}, "impossible", "without a merge"),
        ("merged", {"state": "MERGED", "missing": ("checks: 502",)}, "met", "merged"),
        ("closed", {}, "unmet", "open"),
        ("closed", {"state": "CLOSED"}, "met", "closed"),
        ("closed", {"state": "MERGED"}, "met", "merged"),
        ("checks_passed", {}, "met", "passed"),
        ("checks_passed", {"checks": ()}, "unmet", "No check"),
        ("checks_passed", {"checks": (PENDING, FAILED)}, "unmet", "Running checks: tests"),
        ("checks_passed", {"checks": (PASSED, FAILED)}, "unmet", "Failing checks: tests"),
        ("checks_passed", {"state": "CLOSED", "checks": (PENDING,)}, "unmet", "Running"),
        ("checks_passed", {"state": "CLOSED", "checks": (FAILED,)}, "impossible", "Failing checks"),
        ("checks_passed", {"state": "MERGED"}, "met", "passed"),
        ("checks_passed", {"state": "MERGED", "checks": ()}, "impossible", "No check"),
        ("checks_passed", {"missing": ("checks: 502",)}, "unmet", "checks: 502"),
        ("checks_passed", {"state": "CLOSED", "missing": ("checks: 502",)}, "unmet", "checks: 502"),
        ("checks_passed", {"missing": ("labels: 502",)}, "met", "passed"),
        ("approved", {}, "unmet", "Nobody"),
        ("approved", {"review_decision": "APPROVED"}, "met", "approved"),
        ("approved", {"review_decision": "REVIEW_REQUIRED", "reviews": (APPROVED,)}, "unmet", "rules"),
        ("approved", {"review_decision": "CHANGES_REQUESTED"}, "unmet", "requested"),
        ("approved", {"reviews": (APPROVED,)}, "met", "mona"),
        ("approved", {"reviews": (APPROVED, OBJECTED)}, "unmet", "olga"),
        ("approved", {"reviews": (APPROVED, STRANGER)}, "met", "mona"),
        ("approved", {"reviews": (Review(author="eve", state="APPROVED"),)}, "unmet", "Nobody"),
        ("approved", {"state": "MERGED"}, "impossible", "Nobody"),
        ("approved", {"missing": ("reviews: 502",), "reviews": (APPROVED,)}, "unmet", "reviews: 502"),
        ("approved", {"missing": ("review decision: x",), "reviews": (APPROVED,)}, "unmet", "decision"),
        ("green", {}, "met", "green"),
        ("green", {"checks": (PENDING,)}, "unmet", "Running"),
        ("green", {"checks": ()}, "unmet", "No check"),
        ("green", {"reviews": (OBJECTED,)}, "unmet", "olga"),
        ("green", {"reviews": (STRANGER,)}, "met", "green"),
        ("green", {"review_decision": "CHANGES_REQUESTED"}, "unmet", "requested"),
        ("green", {"mergeable": "CONFLICTING"}, "unmet", "conflicts with main"),
        ("green", {"mergeable": "UNKNOWN"}, "unmet", "computing"),
        ("green", {"missing": ("reviews: 502",)}, "unmet", "reviews: 502"),
        # Merged in the moment in which it became green.
        ("green", {"state": "MERGED", "mergeable": "UNKNOWN"}, "met", "green"),
        ("green", {"state": "CLOSED"}, "impossible", "closed"),
        ("green", {"state": "MERGED", "checks": (FAILED,)}, "impossible", "Failing"),
    ],
)
def test_conditions(until: Any, values: dict[str, Any], outcome: str, words: str) -> None:
    finding = examine(snapshot(**values), until)
    assert finding.outcome == outcome
    assert words in finding.message


snapshots = st.builds(
    snapshot,
    state=st.sampled_from(["OPEN", "CLOSED", "MERGED"]),
    mergeable=st.sampled_from(["MERGEABLE", "CONFLICTING", "UNKNOWN"]),
    review_decision=st.sampled_from([None, "APPROVED", "CHANGES_REQUESTED", "REVIEW_REQUIRED"]),
    checks=st.lists(st.sampled_from([PASSED, FAILED, PENDING])).map(tuple),
    reviews=st.lists(st.sampled_from([APPROVED, OBJECTED, STRANGER])).map(tuple),
    missing=st.sampled_from([(), ("checks: x",), ("reviews: x",), ("threads: x",)]),
)


@given(snapshots, st.sampled_from(CONDITIONS))
def test_what_is_open_is_never_impossible(found: PullRequestSnapshot, until: Any) -> None:
    finding = examine(found, until)
    assert finding.message
    assert found.state != "OPEN" or finding.outcome != "impossible"


@given(snapshots)
def test_green_needs_known_and_passed_checks(found: PullRequestSnapshot) -> None:
    if examine(found, "green").outcome == "met":
        assert {check.state for check in found.checks} == {"passed"}
        assert not found.missing or found.missing == ("threads: x",)
        assert OBJECTED not in found.reviews


def test_the_result_is_small_and_json_ready() -> None:
    assert result_of(snapshot()) == {
        "state": "OPEN",
        "head_sha": "a" * 40,
        "url": "u",
        "merge_commit_sha": None,
    }
