"""Rounds with other people in them: conflicts, reviews, a no, and runs that are taken up again.

All runs are started at once; each test then plays the other people of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from demo.processes import wait_for
from demo.scenario import REPOSITORY as SAMPLE
from tests.e2e.helpers import decision, mutations, on_main, opened, states

if TYPE_CHECKING:
    from demo.stack import DemoStack

DAG_ID = "coding_task"
SECONDS = 240
TEMPLATE = (SAMPLE / "letters" / "template.py").read_text()
LOOP = "    letter = template\n    for name in names:\n"
SINGLE_PASS = "    return PLACEHOLDER.sub(lambda match: values[match[1]], template)\n"
# A run that waits for this says so and does nothing else, so that other people have all the time they need.
HELD_BY_CHECK = {"main": {"required_checks": ["release"]}}
HELD_BY_APPROVAL = {"main": {"required_approvals": 1}}


@pytest.fixture(scope="module")
def runs(stack: DemoStack) -> dict[str, str]:
    """Start a run in a repository of its own for every test; repository → run id."""
    confs: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "acme/rounds-review": ({"prompt": "straight review"}, HELD_BY_APPROVAL),
        "acme/rounds-conflict": ({"prompt": "straight rebase"}, HELD_BY_CHECK),
        "acme/rounds-closed": ({"prompt": "straight", "max_rounds": 0}, HELD_BY_CHECK),
        "acme/rounds-tests": ({"prompt": "straight broken", "max_attempts": 1, "run_tests": True}, {}),
    }
    started = {}
    for repository, (conf, rules) in confs.items():
        permissions = {"agent": "write", "mona": "write", "eve": "read"}
        stack.forge.seed_repository(repository, SAMPLE, permissions=permissions, rules=rules)
        started[repository] = stack.trigger(
            DAG_ID, {"repository": repository, "run_tests": False, **conf}, repository.partition("/")[2]
        )
    return started


def test_reviewer_asks_for_changes(stack: DemoStack, runs: dict[str, str]) -> None:
    repository, run_id = "acme/rounds-review", runs["acme/rounds-review"]
    number = opened(stack, repository)["number"]
    wish, noise = "Say in the docstring that values are not searched.", "Rewrite it all in another language."
    review = {
        "number": number,
        "event": "REQUEST_CHANGES",
        "body": "Nearly there.",
        "comments": [{"path": "letters/template.py", "line": 36, "body": wish}],
    }
    outsiders = {**review, "body": noise, "comments": [{**review["comments"][0], "body": noise}]}
    stack.forge.act("eve", "review", repository, **outsiders)
    stack.forge.act("eve", "comment", repository, number=number, body=noise)
    asked = stack.forge.act("mona", "review", repository, **review)
    stack.forge.act("eve", "reply", repository, thread=asked["threads"][0], body=noise)

    first = decision(stack, run_id, 1)
    assert (first["verdict"], first["reason"]) == ("fix", "changes_requested")
    feedback = stack.xcom(DAG_ID, run_id, "land.round_1.gate", "feedback")
    assert wish in feedback["text"]
    assert "Nearly there." in feedback["text"]
    assert noise not in feedback["text"]

    # Answered, but mona has not looked again: nothing is asked of the agent, and nothing is merged.
    waiting = "The objections were answered; waiting for mona to look again."
    wait_for_log(stack, run_id, "land.round_2.gate", waiting)
    stack.airflow.wait_for_task(DAG_ID, run_id, "land.round_2.gate", {"deferred"}, 10)
    stack.forge.act("mona", "resolve", repository, thread=asked["threads"][0])
    stack.forge.act("mona", "review", repository, number=number, event="APPROVE")

    assert stack.wait_for_run(DAG_ID, run_id, SECONDS)["state"] == "success"
    assert len(mutations(stack, repository, "pull_request.merged")) == 1
    assert stack.xcom(DAG_ID, run_id, "report")["rounds"] == 1
    assert "Values are not searched." in on_main(stack, repository, "letters/template.py")


def test_base_branch_changes_the_same_lines(stack: DemoStack, runs: dict[str, str]) -> None:
    repository, run_id = "acme/rounds-conflict", runs["acme/rounds-conflict"]
    opened(stack, repository)
    stack.airflow.wait_for_task(DAG_ID, run_id, "land.round_1.gate", {"deferred"}, SECONDS)
    theirs = TEMPLATE.replace(LOOP, LOOP.replace("names:", "sorted(names):")).replace(
        '"""One letter:', '"""One form letter:'
    )
    files = {"letters/template.py": theirs, "NOTES.md": "Kept.\n"}
    stack.forge.act("mona", "push_commit", repository, branch="main", files=files)

    first = decision(stack, run_id, 1)
    assert (first["verdict"], first["reason"]) == ("fix", "conflict")
    assert stack.xcom(DAG_ID, run_id, "land.round_1.gate", "feedback")["conflict"] is True
    stack.airflow.wait_for_task(DAG_ID, run_id, "land.round_2.gate", {"deferred"}, SECONDS)
    push = mutations(stack, repository, "push")[-1]
    assert push["details"]["forced"] is True
    stack.forge.act(
        "mona", "check_run", repository, sha=push["details"]["sha"], name="release", conclusion="SUCCESS"
    )

    assert stack.wait_for_run(DAG_ID, run_id, SECONDS)["state"] == "success"
    (merged,) = mutations(stack, repository, "pull_request.merged")
    assert merged["details"]["head_sha"] == push["details"]["sha"]
    text = on_main(stack, repository, "letters/template.py")
    assert text.startswith('"""One form letter:'), "the other change of main is lost"
    assert text.endswith(SINGLE_PASS), "the change of the branch is lost"
    assert on_main(stack, repository, "NOTES.md") == "Kept.\n"


def test_failed_gate_is_cleared(stack: DemoStack, runs: dict[str, str]) -> None:
    repository, run_id = "acme/rounds-closed", runs["acme/rounds-closed"]
    pull = opened(stack, repository)
    stack.airflow.wait_for_task(DAG_ID, run_id, "land.round_1.gate", {"deferred"}, SECONDS)
    stack.forge.act("mona", "close", repository, number=pull["number"])
    assert stack.wait_for_run(DAG_ID, run_id, SECONDS)["state"] == "failed"
    assert "was closed without a merge" in stack.task_log(DAG_ID, run_id, "finish")

    stack.forge.act("mona", "reopen", repository, number=pull["number"])
    stack.forge.act(
        "mona", "check_run", repository, number=pull["number"], name="release", conclusion="SUCCESS"
    )
    clear(stack, run_id, "land.round_1.gate")

    assert stack.wait_for_run(DAG_ID, run_id, SECONDS)["state"] == "success"
    assert len(mutations(stack, repository, "pull_request.opened")) == 1
    assert len(mutations(stack, repository, "pull_request.merged")) == 1
    assert stack.xcom(DAG_ID, run_id, "report")["outcome"] == "merged"


def test_branch_of_a_failed_run_is_taken_over(stack: DemoStack, runs: dict[str, str]) -> None:
    repository, run_id = "acme/rounds-tests", runs["acme/rounds-tests"]
    assert stack.wait_for_run(DAG_ID, run_id, SECONDS)["state"] == "failed"
    log = stack.task_log(DAG_ID, run_id, "finish")
    assert "The tests still fail after 1 attempt(s): `make test` ended with exit code 2" in log
    assert not mutations(stack, repository, "pull_request.opened")
    found = states(stack, DAG_ID, run_id)
    assert {found[task] for task in ("open_pull_request", "build.attempt_2.implement")} == {"upstream_failed"}

    # A person mends what the agent left, and lets the run go on from the tests.
    branch = stack.xcom(DAG_ID, run_id, "accept")["work_branch"]
    mended = TEMPLATE[: TEMPLATE.index("    letter = template")] + SINGLE_PASS
    stack.forge.act("mona", "push_commit", repository, branch=branch, files={"letters/template.py": mended})
    before = stack.xcom(DAG_ID, run_id, "build.attempt_1.implement")
    clear(stack, run_id, "build.attempt_1.test")

    assert stack.wait_for_run(DAG_ID, run_id, SECONDS)["state"] == "success"
    assert len(mutations(stack, repository, "pull_request.merged")) == 1
    assert stack.xcom(DAG_ID, run_id, "build.attempt_1.implement") == before
    found = states(stack, DAG_ID, run_id)
    assert {found[f"build.attempt_{n}.{task}"] for n in (2, 3) for task in ("implement", "test", "gate")} == {
        "skipped"
    }
    assert on_main(stack, repository, "letters/template.py") == mended


def wait_for_log(stack: DemoStack, run_id: str, task_id: str, text: str) -> None:
    """Wait until the log of a task's latest try holds a text."""

    def found() -> bool | None:
        tries = stack.airflow.task_instance(DAG_ID, run_id, task_id)["try_number"]
        return text in stack.task_log(DAG_ID, run_id, task_id, tries) or None

    wait_for(found, what=f"{text!r} in the log of {task_id}", seconds=SECONDS, interval=0.5)


def clear(stack: DemoStack, run_id: str, task_id: str) -> None:
    """Let a run go on from a task, as a person does in the UI."""
    stack.airflow.request(
        "POST",
        f"/dags/{DAG_ID}/clearTaskInstances",
        {
            "dag_run_id": run_id,
            "task_ids": [task_id],
            "include_downstream": True,
            "only_failed": False,
            "dry_run": False,
            "reset_dag_runs": True,
        },
    )
