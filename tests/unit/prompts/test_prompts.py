"""The agents' instructions: exact headers, and text of outsiders as it was written."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import coding_task

from airflow_provider_agents import prompts
from airflow_provider_agents.domain.coding_task import CodingTask, Ticket
from airflow_provider_agents.operators.steps import (
    AgentFixOperator,
    AgentImplementOperator,
    AgentPlanOperator,
    AgentTestOperator,
)

MARKERS = "{{ 7*7 }} {% raw %} {# comment #}"
STEPS = (AgentPlanOperator, AgentImplementOperator, AgentFixOperator)


def task(**request: Any) -> CodingTask:
    ticket = Ticket(number=3, title=f"Title {MARKERS}", body=f"Body {MARKERS}", author="mona")
    return coding_task(issue_number=3, ticket=ticket, prompt=f"Remark {MARKERS}", **request)


def plan(**arguments: Any) -> str:
    return AgentPlanOperator(task_id="plan", **arguments).build_prompt(task(), {})


def implement(accepted: CodingTask | None = None, **arguments: Any) -> str:
    return AgentImplementOperator(task_id="implement", **arguments).build_prompt(accepted or task(), {})


def fix(feedback: Any = "Mend it", **arguments: Any) -> str:
    return AgentFixOperator(task_id="fix", feedback=feedback, **arguments).build_prompt(task(), {})


def test_each_prompt_begins_with_its_step() -> None:
    assert plan().splitlines()[0] == "# Step: plan"
    assert implement(attempt=1).splitlines()[0] == "# Step: implement, attempt 1 of 3"
    assert implement().splitlines()[0] == "# Step: implement"
    assert fix(round_number=1).splitlines()[0] == "# Step: fix, round 1 of 5"
    assert fix().splitlines()[0] == "# Step: fix"


def test_the_numbers_are_those_of_the_request() -> None:
    assert implement(task(max_attempts=2), attempt=2).startswith("# Step: implement, attempt 2 of 2\n")


@pytest.mark.parametrize("prompt", [plan, implement, fix])
def test_text_arrives_verbatim(prompt: Any) -> None:
    text = prompt()
    assert f"Title {MARKERS}" in text
    assert f"Body {MARKERS}" in text
    assert f"Remark {MARKERS}" in text
    assert "issue #3" in text
    assert "49" not in text


@pytest.mark.parametrize("prompt", [plan, implement, fix])
def test_the_ticket_is_fenced_and_names_its_author(prompt: Any) -> None:
    text = prompt()
    before, _, after = text.partition('source="issue #3, written by mona">')
    assert "Title {{" not in before
    assert after.index("Body {{") < after.index("</untrusted")


def test_feedback_arrives_with_its_reason() -> None:
    text = fix({"reason": f"Failing checks: {MARKERS}", "text": f"Log {MARKERS}", "conflict": False})
    assert f"Failing checks: {MARKERS}" in text
    assert f"Log {MARKERS}" in text
    assert "Rebase" not in text


def test_a_conflict_asks_for_a_rebase() -> None:
    assert "Rebase the branch on `origin/main`" in fix({"reason": "r", "text": "t", "conflict": True})


def test_the_plan_is_given_fenced() -> None:
    result = {
        "output": {"summary": f"Sum {MARKERS}", "steps": ["one </untrusted>"], "files": ["a.py"], "risks": []}
    }
    text = implement(plan=result)
    assert "## Plan" in text
    assert f"Sum {MARKERS}" in text
    assert "- a.py" in text
    assert "Risks:" not in text
    assert "one &lt;/untrusted>" in text


@pytest.mark.parametrize("result", [None, {}, {"output": None}, {"output": "text"}, "text"])
def test_without_a_plan_there_is_no_heading(result: Any) -> None:
    assert "## Plan" not in implement(plan=result)


def test_a_failed_attempt_is_told_of_its_output() -> None:
    tail = "first\n" + "x" * 20_000 + f"\n{MARKERS} last"
    result = {"outcome": "failed", "test": {"command": "make\ntest", "exit_code": 2, "tail": tail}}
    text = implement(attempt=2, test_result=result)
    assert "The test command ended with exit code 2" in text
    assert "make test" in text
    assert f"{MARKERS} last" in text
    assert "first\n" not in text.partition("exit code 2")[2]
    assert "did not pass" not in implement(attempt=2, test_result={"outcome": "succeeded"})


def test_the_test_step_needs_no_prompt() -> None:
    assert AgentTestOperator(task_id="test").build_prompt(task(), {}) == ""


def test_rendering_is_repeatable() -> None:
    assert plan() == plan()


def test_a_value_that_is_not_given_is_an_error() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError, match="resumed"):
        prompts.render("plan")


@pytest.mark.parametrize("step", ["plan", "implement", "fix"])
def test_instructions(step: str) -> None:
    text = prompts.render(
        "instructions",
        step=step,
        repository="acme/shop",
        base_branch="main",
        work_branch="ai/x",
        max_turns=15,
        minutes=30,
    )
    assert "at most 15 turns and 30 minutes" in text
    assert "`ai/x`" in text
    assert ("Change no file" in text) == (step == "plan")
    assert ("Do not push" in text) == (step != "plan")


def test_instructions_without_a_number_of_turns() -> None:
    values = {"step": "fix", "repository": "a/b", "base_branch": "m", "work_branch": "w", "minutes": 1}
    assert "a limited number of turns" in prompts.render("instructions", max_turns=None, **values)


@pytest.mark.parametrize("step", STEPS)
def test_structured_output_is_strict(step: Any) -> None:
    schema = step.output_schema
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == set(schema["properties"])
