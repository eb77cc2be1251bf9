"""People who are asked: in Airflow's page of required actions, and on the pull request and the ticket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from demo.processes import wait_for
from demo.scenario import REPOSITORY as SAMPLE
from tests.e2e.helpers import mutations, opened, states

if TYPE_CHECKING:
    from demo.stack import DemoStack

DAG_ID = "coding_task"
SECONDS = 240
HELD = {"main": {"required_checks": ["release"]}}


@pytest.fixture(scope="module")
def runs(stack: DemoStack) -> dict[str, str]:
    """Start a run in a repository of its own for every test; repository → run id."""
    confs: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "acme/people-stuck": ({"prompt": "straight", "max_rounds": 0}, HELD),
        "acme/people-plan": ({"plan_approval": True}, {}),
    }
    started = {}
    for repository, (conf, rules) in confs.items():
        permissions = {"agent": "write", "mona": "write", "eve": "read"}
        stack.forge.seed_repository(repository, SAMPLE, permissions=permissions, rules=rules)
        if "prompt" not in conf:
            issue = stack.forge.create_issue(repository, "Fill in straight", "straight, please")
            conf["issue_number"] = issue["number"]
        started[repository] = stack.trigger(
            DAG_ID, {"repository": repository, "run_tests": False, **conf}, repository.partition("/")[2]
        )
    return started


def comment(stack: DemoStack, repository: str, number: int, words: str) -> dict[str, Any]:
    """Wait for the comment that holds ``words``, and return it."""

    def found() -> dict[str, Any] | None:
        listed = stack.forge.get(f"/repos/{repository}/issues/{number}/comments")
        return next((each for each in listed if words in each["body"]), None)

    return wait_for(found, what=f"a comment with {words!r} on {repository}#{number}", seconds=SECONDS)


def test_a_person_merges_what_is_stuck(stack: DemoStack, runs: dict[str, str]) -> None:
    repository, run_id = "acme/people-stuck", runs["acme/people-stuck"]
    pull = opened(stack, repository)
    gate = "land.round_1.gate"
    stack.airflow.wait_for_task(DAG_ID, run_id, gate, {"deferred"}, SECONDS)
    stack.forge.act(
        "mona", "check_run", repository, number=pull["number"], name="release", conclusion="FAILURE"
    )
    asked = comment(stack, repository, pull["number"], "needs a person")
    stack.forge.act("eve", "comment", repository, number=pull["number"], body="/merge")
    stack.airflow.wait_for_task(DAG_ID, run_id, gate, {"deferred"}, SECONDS)
    # The rules of the branch still hold: whoever merges in spite of a check settles it there first.
    stack.forge.act("mona", "configure", repository, rules={"main": None})
    stack.airflow.answer(DAG_ID, run_id, gate, "Merge", {})

    assert stack.wait_for_run(DAG_ID, run_id, SECONDS)["state"] == "success"
    assert len(mutations(stack, repository, "pull_request.merged")) == 1
    edited = comment(stack, repository, pull["number"], "chose to merge")
    assert edited["id"] == asked["id"]
    record = stack.airflow.task_state(DAG_ID, run_id, gate, "decisions")
    assert [entry["verdict"] for entry in record][-2:] == ["merge", "done"]


def test_a_plan_is_answered_on_the_ticket_and_approved(stack: DemoStack, runs: dict[str, str]) -> None:
    repository, run_id = "acme/people-plan", runs["acme/people-plan"]
    first = comment(stack, repository, 1, "single pass")
    assert mutations(stack, repository, "push") == []
    stack.forge.act("eve", "comment", repository, number=1, body="/approve")
    stack.forge.act("mona", "comment", repository, number=1, body="Keep the function's name, please.")
    stack.airflow.wait_for_task(DAG_ID, run_id, "plan.round_2.approve", {"deferred"}, SECONDS)
    approval = stack.xcom(DAG_ID, run_id, "plan.round_1.approve", "approval")
    assert approval["approved"] is False
    assert "Keep the function's name, please." in approval["feedback"]
    assert "/approve" not in approval["feedback"]
    stack.airflow.answer(DAG_ID, run_id, "plan.round_2.approve", "Approve", {})

    assert stack.wait_for_run(DAG_ID, run_id, SECONDS)["state"] == "success"
    seen = states(stack, DAG_ID, run_id)
    assert seen["plan.round_3.plan"] == seen["plan.round_3.approve"] == "skipped"
    assert first["html_url"]
