"""The whole pipeline against a forge that moves and loses answers: always exactly one merge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.helpers import fault, mutations, states

if TYPE_CHECKING:
    from demo.stack import DemoStack

DAG_ID = "coding_task"
SECONDS = 240


@pytest.fixture
def conf(repository: str) -> dict[str, object]:
    return {"repository": repository, "prompt": "straight", "run_tests": False}


def test_head_moves_between_decision_and_merge(
    stack: DemoStack, repository: str, conf: dict[str, object]
) -> None:
    path = rf"/repos/{repository}/pulls/\d+/merge"
    fault(stack, {"method": "PUT", "path": path}, {"move_head_before": {"as": "mona"}})

    run_id = stack.trigger(DAG_ID, conf)
    assert stack.wait_for_run(DAG_ID, run_id, SECONDS)["state"] == "success"

    (opened,) = mutations(stack, repository, "pull_request.opened")
    (merged,) = mutations(stack, repository, "pull_request.merged")
    assert merged["details"]["head_sha"] != opened["details"]["sha"], (
        "merged the head that was not there any more"
    )
    passed = {
        check["details"]["name"]
        for check in mutations(stack, repository, "check.completed")
        if check["details"]["sha"] == merged["details"]["head_sha"]
        and check["details"]["conclusion"] == "SUCCESS"
    }
    assert passed == {"tests", "docs"}, "merged a head that did not pass"


def test_answer_of_the_merge_is_lost(stack: DemoStack, repository: str, conf: dict[str, object]) -> None:
    fault(stack, {"method": "PUT", "path": rf"/repos/{repository}/pulls/\d+/merge"}, "drop_after")

    run_id = stack.trigger(DAG_ID, conf)
    assert stack.wait_for_run(DAG_ID, run_id, SECONDS)["state"] == "success"

    assert len(mutations(stack, repository, "pull_request.merged")) == 1
    assert stack.xcom(DAG_ID, run_id, "report")["outcome"] == "merged"


def test_pull_request_closed_by_a_person(stack: DemoStack, repository: str, conf: dict[str, object]) -> None:
    fault(
        stack,
        {"operation": "PullRequestSnapshot"},
        {"before": "close", "as": "mona", "repository": repository, "number": 1},
    )
    run_id = stack.trigger(DAG_ID, conf)

    assert stack.wait_for_run(DAG_ID, run_id, SECONDS)["state"] == "failed"
    assert states(stack, DAG_ID, run_id)["finish"] == "failed"
    assert "was closed without a merge" in stack.task_log(DAG_ID, run_id, "finish")
    assert not mutations(stack, repository, "pull_request.merged")

    # Its branch is left for a while; then the housekeeping finds it by Airflow's own record of the run.
    (branch,) = {push["details"]["branch"] for push in mutations(stack, repository, "push")} - {"main"}
    kept = stack.trigger("agents_maintenance", {"branch_keep_days": 1e-6})
    assert stack.wait_for_run("agents_maintenance", kept, SECONDS)["state"] == "success"
    deleted = mutations(stack, repository, "branch.deleted")
    assert [each["details"]["branch"] for each in deleted] == [branch]
