"""What a run came to: outcome, effort and money, put together from what its tasks left."""

from __future__ import annotations

from typing import Any

from agent_runner.contract import ModelUse, Settled, Tokens
from airflow_provider_agents.domain.budget import LedgerRecord
from airflow_provider_agents.domain.run_report import RunReport, run_report

STEPS = {
    "plan.round_1.plan": {"seconds": 10, "agent_version": "2.1"},
    "build.attempt_1.implement": {"seconds": 60.5},
    "build.attempt_1.test": {"seconds": 5},
    "build.attempt_2.implement": None,
    "land.round_1.fix": {"seconds": 20},
    "land.round_2.fix": None,
}
DONE = {"verdict": "done", "message": "It is merged."}
FIX = {"verdict": "fix", "message": "Failing checks: tests."}
URL = "https://github.com/acme/shop/pull/7"


def report(**values: Any) -> RunReport:
    facts: dict[str, Any] = {"steps": {}, "decisions": {}, "failures": {}, "books": (), "pull_request": None}
    return run_report(**facts | values)


def record(pod: str, usd: float, state: Any = "settled", calls: int = 0, **values: Any) -> LedgerRecord:
    models = (ModelUse(model="m", calls=calls, usd=usd, tokens=Tokens()),) if calls else ()
    return LedgerRecord(
        pod=pod, task="t", repository="acme/shop", step="plan", program="claude", day="2026-01-02",
        state=state, usd=usd, models=models, **values,
    )  # fmt: skip


def test_a_merged_run() -> None:
    found = report(
        steps=STEPS,
        decisions={"g1": FIX, "g2": DONE, "g3": None},
        books=[record("p1", 0.1, calls=3), record("p2", 0.5, calls=9), record("p3", 0.25)],
        pull_request={"url": URL},
    )
    assert (found.outcome, found.reason, found.pull_request_url) == ("merged", "It is merged.", URL)
    assert (found.attempts, found.rounds, found.model_calls) == (1, 1, 12)
    assert found.cost_usd == 0.85
    assert found.agent_seconds == 95.5
    assert found.agent_version == "2.1"
    assert "Cost:         $0.8500 in 12 model calls" in found.lines()


def test_what_lost_pods_may_have_spent_is_said_apart() -> None:
    found = report(books=[record("p1", 0.1), record("p2", 1.0, "reserved")])
    assert (found.cost_usd, found.unknown_usd) == (0.1, 1.0)
    assert "Cost:         $0.1000 in 0 model calls, and up to $1.0000 in pods that were lost" in found.lines()


def test_a_lost_pod_that_another_one_found_the_ledger_of_counts_as_spent() -> None:
    settled = (Settled(pod="p1", usd=0.4, tokens=1, known=True),)
    found = report(books=[record("p1", 1.0, "reserved"), record("p2", 0.1, settles=settled)])
    assert (found.cost_usd, found.unknown_usd) == (0.5, 0.0)


def test_a_failed_run_says_which_task_failed_and_why() -> None:
    failures = {"land.round_1.fix": "[budget/budget_exhausted] too dear"}
    found = report(steps=STEPS, decisions={"g1": FIX}, failures=failures)
    assert found.outcome == "not merged"
    assert found.reason == "land.round_1.fix: [budget/budget_exhausted] too dear"
    assert "Pull request: -" in found.lines()


def test_a_run_in_which_nothing_happened() -> None:
    found = report(steps={"plan": None}, decisions={"g1": None})
    assert (found.outcome, found.reason, found.cost_usd, found.attempts) == ("not merged", "", 0, 0)
    assert "Reason:       -" in found.lines()


def test_a_failure_that_came_before_a_merge_does_not_matter() -> None:
    found = report(decisions={"g1": DONE}, failures={"report": "lost"})
    assert (found.outcome, found.reason) == ("merged", "It is merged.")
