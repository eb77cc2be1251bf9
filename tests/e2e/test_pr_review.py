"""The review of a pull request of people: posted, held for a person, and stale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from demo.processes import wait_for
from demo.scenario import REPOSITORY as SAMPLE
from tests.e2e.helpers import mutations

if TYPE_CHECKING:
    from demo.stack import DemoStack

DAG_ID = "pr_review"
REPOSITORY = "acme/reviewed"
SECONDS = 240
TEXT = (SAMPLE / "letters" / "template.py").read_text()
FINDING = "Nobody catches this"


@pytest.fixture(scope="module")
def runs(stack: DemoStack) -> dict[str, tuple[int, str]]:
    """Open a pull request of a person for every test, and review each; name → number and run id."""
    stack.forge.seed_repository(REPOSITORY, SAMPLE, permissions={"agent": "write", "mona": "write"})
    stack.wait_for_dag(DAG_ID)
    started = {}
    for name, mode in (("posted", "post"), ("held", "hold"), ("stale", "hold")):
        files = {"letters/template.py": f"{TEXT}\n\nclass {name.title()}Error(Exception):\n    pass\n"}
        stack.forge.act(
            "mona", "push_commit", REPOSITORY, branch=name, files=files, message=f"Add {name}", start="main"
        )
        pull = stack.forge.act(
            "mona", "open_pull", REPOSITORY, head=name, title=f"Add {name}", body="For people's eyes."
        )
        conf = {"repository": REPOSITORY, "pull_request_number": pull["number"], "mode": mode}
        started[name] = (pull["number"], stack.trigger(DAG_ID, conf, f"review-{name}"))
    return started


def reviews(stack: DemoStack, number: int) -> list[dict[str, Any]]:
    return list(stack.forge.get(f"/repos/{REPOSITORY}/pulls/{number}/reviews"))


def hold(stack: DemoStack, run_id: str, option: str) -> None:
    """Answer once the draft is on Airflow's page."""
    stack.airflow.wait_for_task(DAG_ID, run_id, "hold", {"awaiting_input"}, SECONDS)
    stack.airflow.answer(DAG_ID, run_id, "hold", option, {})


def test_a_review_is_posted_at_its_lines_and_bound_to_its_head(
    stack: DemoStack, runs: dict[str, tuple[int, str]]
) -> None:
    number, run_id = runs["posted"]
    assert stack.wait_for_run(DAG_ID, run_id, SECONDS)["state"] == "success"
    (review,) = reviews(stack, number)
    head = stack.forge.get(f"/repos/{REPOSITORY}/pulls/{number}")["head"]["sha"]
    # Another identity than the author's: its verdict is a real one.
    assert (review["state"], review["commit_id"]) == ("CHANGES_REQUESTED", head)
    (remark,) = stack.forge.get(f"/repos/{REPOSITORY}/pulls/{number}/comments")
    assert FINDING in remark["body"]
    assert remark["path"] == "letters/template.py"
    assert stack.airflow.task_instance(DAG_ID, run_id, "hold")["state"] == "skipped"


def test_a_held_draft_is_submitted_by_a_person(stack: DemoStack, runs: dict[str, tuple[int, str]]) -> None:
    number, run_id = runs["held"]
    stack.airflow.wait_for_task(DAG_ID, run_id, "hold", {"awaiting_input"}, SECONDS)
    assert reviews(stack, number) == []
    hold(stack, run_id, "Submit")
    assert stack.wait_for_run(DAG_ID, run_id, SECONDS)["state"] == "success"
    assert len(reviews(stack, number)) == 1


def test_a_draft_of_a_head_that_is_gone_is_not_posted(
    stack: DemoStack, runs: dict[str, tuple[int, str]]
) -> None:
    number, run_id = runs["stale"]
    stack.airflow.wait_for_task(DAG_ID, run_id, "hold", {"awaiting_input"}, SECONDS)
    stack.forge.act("mona", "push_commit", REPOSITORY, number=number, files={"NOTES.md": "More.\n"})
    hold(stack, run_id, "Submit")
    stack.wait_for_run(DAG_ID, run_id, SECONDS)
    assert reviews(stack, number) == []
    log = wait_for(lambda: stack.task_log(DAG_ID, run_id, "hold"), what="a log", seconds=30)
    assert "stale" in log
    assert mutations(stack, REPOSITORY, "review.submitted")
