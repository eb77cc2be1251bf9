"""The one comment on a ticket: what it says, and what a hostile text in it cannot do."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_agents.domain.ticket_comment import (
    STAGES,
    RunStatus,
    ended_headline,
    plan_text,
    refusal_comment,
    run_comment,
    stages_of,
    waiting_comment,
)


@pytest.mark.parametrize(
    ("states", "outcome", "strip"),
    [
        ({}, "", "○○○○○○"),
        ({"accept": "running"}, "", "◐○○○○○"),
        ({"accept": "success", "admit": "deferred"}, "", "◐○○○○○"),
        ({"accept": "success", "plan.round_1.plan": "deferred"}, "", "●◐○○○○"),
        (
            {
                "accept": "success",
                "plan.round_1.plan": "success",
                "plan.round_2.plan": "skipped",
                "build.attempt_1.test": "success",
                "build.attempt_2.implement": "running",
            },
            "",
            "●●◐○○○",
        ),
        (
            {"accept": "success", "open_pull_request": "success", "land.round_1.gate": "deferred"},
            "",
            "●○○●◐○",
        ),
        ({"accept": "failed"}, "not merged", "✕○○○○✕"),
        ({"accept": "success", "plan.round_1.plan": "success", "report": "running"}, "merged", "●●●●●●"),
        ({"accept": "success", "land.round_2.fix": "failed"}, "not merged", "●○○○✕✕"),
    ],
)
def test_the_strip_shows_how_far_it_is(states: dict[str, str], outcome: str, strip: str) -> None:
    stages = stages_of(states, outcome=outcome)
    assert tuple(stages) == STAGES
    marks = {"ahead": "○", "now": "◐", "done": "●", "failed": "✕"}
    assert "".join(marks[state] for state in stages.values()) == strip


def status(**more: Any) -> RunStatus:
    values: dict[str, Any] = {
        "run_id": "ticket__github__I_1__ab",
        "stages": stages_of({}),
        "headline": "Work begins.",
    }
    return RunStatus(**values | more)


def test_it_tells_pull_request_effort_cost_and_plan() -> None:
    text = run_comment(
        status(
            run_url="https://airflow.example.com/dags/coding_task/runs/r",
            pull_request_url="https://github.com/acme/shop/pull/7",
            attempts=1,
            rounds=2,
            cost_usd=1.234,
            unknown_usd=0.5,
            plan={"summary": "Escape it.", "steps": ["Read", "Write"]},
        )
    )
    assert "○ accepted → ○ plan" in text
    assert "Pull request: https://github.com/acme/shop/pull/7 · 1 attempt · 2 fix rounds · cost $1.23" in text
    assert "up to $0.50 in pods that were lost" in text
    assert "<details><summary>Plan</summary>\n\nEscape it.\n\n1. Read\n2. Write\n\n</details>" in text
    assert "[run](https://airflow.example.com/dags/coding_task/runs/r)" in text


def test_without_a_plan_or_facts_there_is_no_empty_line_for_them() -> None:
    assert run_comment(status()).count("\n\n") == 2


@pytest.mark.parametrize("plan", [None, {}, {"summary": None, "steps": "no list"}, {"steps": [1, {"a": 2}]}])
def test_a_plan_of_any_shape_is_survived(plan: Any) -> None:
    assert isinstance(plan_text(plan), str)


def test_a_models_words_call_nobody_close_nothing_and_stay_in_their_fold() -> None:
    text = run_comment(
        status(plan={"summary": "@mona Closes #1 </details> <!-- agents:ticket -->", "steps": []})
    )
    assert "@mona" not in text
    assert "Closes #1" not in text
    assert text.count("</details>") == 1
    assert "<!--" not in text
    refused = refusal_comment(["@evil may not", "@evil may not"])
    assert "@evil" not in refused
    assert refused.count("may not") == 1


def test_waiting_says_place_and_time() -> None:
    assert waiting_comment("All 5 places are taken.", position=3, waits="about 40 min").endswith(
        "All 5 places are taken. Place 3 in the line, about 40 min."
    )
    assert waiting_comment("It depends on acme/shop#3.").endswith("It depends on acme/shop#3.")


def test_the_end_is_one_sentence() -> None:
    assert ended_headline("merged", "x") == "Merged. This ticket is done."
    assert ended_headline("not merged", "accept: two\nlines @mona").startswith(
        "The run ended without a merged"
    )
    assert "\n" not in ended_headline("not merged", "a\nb")
    assert ended_headline("not merged", "").endswith("its log says why")
