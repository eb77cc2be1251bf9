"""The second look at failing checks: a flake, a failure that came back, or a round."""

from __future__ import annotations

import dataclasses
from typing import Any

from fakes import FAILED, HEAD, NEXT_HEAD
from landing_cases import RERUN, Changes, a_round, case

from airflow_provider_agents.domain.failed_checks import judge_failure
from airflow_provider_agents.domain.feedback import FailingCheck, Feedback
from airflow_provider_agents.domain.fingerprint import fingerprint
from airflow_provider_agents.domain.landing import Decision, decide

FLAKY = FailingCheck(check=FAILED, log_tail="curl: (6) Could not resolve host: dl.example.org")
BROKEN = FailingCheck(check=FAILED, log_tail="E   AssertionError: no")


def feedback(*failing: FailingCheck) -> Feedback:
    return Feedback(
        repository="acme/shop", number=7, head_sha=HEAD, reason="checks_failed", failing_checks=failing
    )


def look(
    *failing: FailingCheck, policy: Changes | None = None, history: Changes | None = None, **reading: Any
) -> Decision:
    facts = case({"checks": (FAILED,), **reading}, policy, history)
    return judge_failure(decide(*facts), *facts, feedback(*failing))


def test_a_failure_is_a_round() -> None:
    assert look(BROKEN).verdict == "fix"


def test_a_flake_runs_again_with_its_evidence() -> None:
    decision = look(FLAKY)
    assert (decision.verdict, decision.reason, decision.rule) == ("rerun_checks", "flaky", "judge_failure")
    assert "dl.example.org" in decision.message


def test_a_flake_runs_again_once_for_a_head() -> None:
    stale = dataclasses.replace(RERUN[0], checks=())
    assert look(FLAKY, history={"reruns": (stale,)}).verdict == "fix"
    other = dataclasses.replace(stale, head_sha=NEXT_HEAD)
    assert look(FLAKY, history={"reruns": (other,)}).verdict == "rerun_checks"


def test_nothing_runs_again_where_that_is_not_wanted_or_one_failure_is_real() -> None:
    assert look(FLAKY, policy={"rerun_flaky": False}).verdict == "fix"
    assert look(FLAKY, BROKEN).verdict == "fix"
    assert look().verdict == "fix"


def test_the_same_failure_after_a_round_is_no_progress_whatever_happened_in_between() -> None:
    print_ = fingerprint(feedback(BROKEN))
    rounds = (a_round(head="1", after="2", fingerprint=print_), a_round("conflict", "2", after=HEAD))
    decision = look(BROKEN, history={"rounds": rounds})
    assert (decision.verdict, decision.reason, decision.rule) == ("escalate", "no_progress", "judge_failure")
    assert "tests" in decision.message


def test_another_failure_after_a_round_is_progress() -> None:
    rounds = (a_round(head="1", after=HEAD, fingerprint="another"),)
    assert look(BROKEN, history={"rounds": rounds}).verdict == "fix"


def test_silent_failures_are_never_taken_for_the_same() -> None:
    rounds = (a_round(head="1", after=HEAD, fingerprint=""),)
    assert look(FailingCheck(check=FAILED), history={"rounds": rounds}).verdict == "fix"


def test_other_decisions_stand() -> None:
    decision = look(FLAKY, mergeable="CONFLICTING")
    assert decision.reason == "conflict"
    assert look(FLAKY, history={"rounds": (a_round(),)}).reason == "no_progress"
