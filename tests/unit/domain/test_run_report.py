from __future__ import annotations

from airflow_provider_agents.domain.run_report import run_report

STEPS = {
    "plan.round_1.plan": {
        "cost_usd": 0.1,
        "seconds": 10,
        "ledger": {"model_calls": 3},
        "agent_version": "2.1",
    },
    "build.attempt_1.implement": {"cost_usd": 0.5, "seconds": 60.5, "ledger": {"model_calls": 9}},
    "build.attempt_1.test": {"cost_usd": 0.0, "seconds": 5, "ledger": None},
    "build.attempt_2.implement": None,
    "land.round_1.fix": {"cost_usd": 0.25, "seconds": 20},
    "land.round_2.fix": None,
}
DONE = {"verdict": "done", "message": "It is merged."}
FIX = {"verdict": "fix", "message": "Failing checks: tests."}


def test_a_merged_run() -> None:
    report = run_report(
        STEPS, {"g1": FIX, "g2": DONE, "g3": None}, {}, {"url": "https://github.com/acme/shop/pull/7"}
    )
    assert report.outcome == "merged"
    assert report.reason == "It is merged."
    assert report.pull_request_url == "https://github.com/acme/shop/pull/7"
    assert (report.attempts, report.rounds, report.model_calls) == (1, 1, 12)
    assert report.cost_usd == 0.85
    assert report.agent_seconds == 95.5
    assert report.agent_version == "2.1"
    assert "Cost:         $0.8500 in 12 model calls" in report.lines()


def test_a_failed_run_says_which_task_failed_and_why() -> None:
    report = run_report(STEPS, {"g1": FIX}, {"land.round_1.fix": "[budget/spent] too dear"}, None)
    assert report.outcome == "not merged"
    assert report.reason == "land.round_1.fix: [budget/spent] too dear"
    assert "Pull request: -" in report.lines()


def test_a_run_in_which_nothing_happened() -> None:
    report = run_report({"plan": None}, {"g1": None}, {}, None)
    assert (report.outcome, report.reason, report.cost_usd, report.attempts) == ("not merged", "", 0, 0)
    assert "Reason:       -" in report.lines()


def test_a_failure_that_came_before_a_merge_does_not_matter() -> None:
    report = run_report({}, {"g1": DONE}, {"report": "lost"}, None)
    assert (report.outcome, report.reason) == ("merged", "It is merged.")
