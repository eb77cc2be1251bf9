"""A run is one conversation: each step goes on with it in a pod of its own, and its loss loses no knowledge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from demo.http_json import call
from demo.processes import wait_for
from demo.scenario import REPOSITORY as SAMPLE
from demo.stack import NAMESPACE
from tests.e2e.helpers import RUN_SECONDS, decision, mutations, on_main, opened

if TYPE_CHECKING:
    from demo.stack import DemoStack

DAG_ID = "coding_task"
REPOSITORY = "acme/memory"
MODEL = "memory-model"


@pytest.fixture(scope="module")
def run_id(stack: DemoStack) -> str:
    """A run that waits for an approval; its model has a name of its own, by which its requests are known."""
    rules = {"main": {"required_approvals": 1}}
    stack.forge.seed_repository(
        REPOSITORY, SAMPLE, permissions={"agent": "write", "mona": "write"}, rules=rules
    )
    conf = {"repository": REPOSITORY, "prompt": "straight memory", "run_tests": False}
    models = {f"{step}_model": MODEL for step in ("plan", "implement", "fix")}
    run = stack.trigger(DAG_ID, conf | models, "memory")
    opened(stack, REPOSITORY)
    stack.airflow.wait_for_task(DAG_ID, run, "land.round_1.gate", {"deferred"}, RUN_SECONDS)
    return run


def result(stack: DemoStack, run_id: str, task_id: str) -> dict[str, Any]:
    return dict(stack.xcom(DAG_ID, run_id, task_id))


def first_request(stack: DemoStack, scene: str) -> dict[str, Any]:
    """Return the first request that the model got for a scene of this run."""
    seen = call("GET", f"{stack.model_url}/_demo/requests")["requests"]
    return next(r for r in seen if r["model"] == MODEL and r["scene"] == scene and r["turn"] == 0)


def claims(stack: DemoStack) -> list[str]:
    """Return the names of this run's claims that are there."""
    listed = stack.kubernetes.get(f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims")
    return [item["metadata"]["name"] for item in listed["items"] if "-memory-" in item["metadata"]["name"]]


def test_the_second_step_goes_on_with_the_conversation_of_the_first_on_a_fresh_pod(
    stack: DemoStack, run_id: str
) -> None:
    plan = result(stack, run_id, "plan.round_1.plan")
    implement = result(stack, run_id, "build.attempt_1.implement")
    assert plan["pod_name"] != implement["pod_name"]
    assert (plan["resumed"], implement["resumed"]) == (False, True)
    assert plan["session_key"] == implement["session_key"]
    assert plan["session_id"] == implement["session_id"]

    assert first_request(stack, "straight plan")["messages"] <= 2
    # Question, call, what it returned, and the next question, at least.
    assert first_request(stack, "straight implementation")["messages"] >= 4
    # Each step costs what it cost itself, though the program counts on over its sessions.
    assert implement["cost_usd"] == implement["ledger"]["usd"] > 0


def test_a_lost_claim_is_made_anew_and_the_agent_gets_a_digest(stack: DemoStack, run_id: str) -> None:
    (claim,) = claims(stack)
    # It stays until the ended pods that mount it are gone: the next step sees to that.
    stack.kubernetes.delete(f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims/{claim}")
    number = opened(stack, REPOSITORY)["number"]
    stack.forge.act(
        "mona",
        "review",
        REPOSITORY,
        number=number,
        event="REQUEST_CHANGES",
        body="Where do you know that from?",
    )

    assert decision(stack, run_id, 1)["verdict"] == "fix"
    stack.airflow.wait_for_task(DAG_ID, run_id, "land.round_1.fix", {"success", "failed"}, RUN_SECONDS)
    fix = result(stack, run_id, "land.round_1.fix")
    assert (fix["outcome"], fix["resumed"]) == ("succeeded", False)
    assert first_request(stack, "answer from a digest")["messages"] <= 2
    assert claims(stack) == [claim]


def test_a_merged_run_gives_its_claim_back(stack: DemoStack, run_id: str) -> None:
    number = opened(stack, REPOSITORY)["number"]
    stack.forge.act("mona", "review", REPOSITORY, number=number, event="APPROVE")
    assert stack.wait_for_run(DAG_ID, run_id, RUN_SECONDS)["state"] == "success"
    assert len(mutations(stack, REPOSITORY, "pull_request.merged")) == 1
    assert "From a digest." in on_main(stack, REPOSITORY, "letters/template.py")
    assert stack.xcom(DAG_ID, run_id, "release_workspace")["released"] is True
    wait_for(lambda: not claims(stack) or None, what="the end of the claim", seconds=30)
