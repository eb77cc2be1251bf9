"""Places of a repository in a real Airflow: who waits, who goes next, and what a cancelled run leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo.airflow_client import surely
from demo.http_json import HttpError
from demo.processes import wait_for
from demo.scenario import REPOSITORY as SAMPLE
from tests.e2e.helpers import opened, states

if TYPE_CHECKING:
    from demo.stack import DemoStack
    from tests.e2e.commands import Commands

DAG_ID = "coding_task"
REPOSITORY = "acme/capacity-path"
IMPLEMENT, PLAN = "build.attempt_1.implement", "plan.round_1.plan"
PODS = "/api/v1/namespaces/agent-system/pods"
SECONDS = 180


def line_of(airflow_agents: Commands) -> dict[str, dict[str, Any]]:
    """Return what ``queue`` says of this repository, by run id."""
    return {each["what"]: each for each in airflow_agents("queue", "--repository", REPOSITORY)}


def test_a_repository_has_two_places(stack: DemoStack, airflow_agents: Commands) -> None:
    stack.forge.seed_repository(REPOSITORY, SAMPLE)
    stays = start(stack, "stays", "straight, at length")
    ends = start(stack, "ends", "straight")
    wait_for_admit(stack, stays, "success")
    wait_for_admit(stack, ends, "success")
    third, fourth = start(stack, "third", "straight"), start(stack, "fourth", "straight, at length")
    for run_id in (third, fourth):
        wait_for_admit(stack, run_id, "deferred")

    waiting = stack.xcom(DAG_ID, third, "admit", "waiting")
    assert (waiting["number"], waiting["why"]) == (1, f"{REPOSITORY} has 2 of 2 runs at work")
    assert stack.airflow.request("GET", "/pools/agents_admission")["occupied_slots"] == 0
    line = line_of(airflow_agents)
    assert {name: each["state"] for name, each in line.items()} == {
        stays: "working",
        ends: "working",
        third: "waiting",
        fourth: "waiting",
    }
    assert [line[name]["position"] for name in (third, fourth)] == [1, 2]
    airflow_agents("priority", fourth, "50")
    stack.processes["triggerer"].kill()
    stack.processes["triggerer"].restart()
    line = line_of(airflow_agents)
    assert [line[name]["position"] for name in (third, fourth)] == [2, 1]

    # The place is free as soon as the pull request is open.
    opened(stack, REPOSITORY)
    wait_for_admit(stack, fourth, "success")
    assert states(stack, DAG_ID, third)["admit"] == "deferred"
    admitted = stack.xcom(DAG_ID, fourth, "admit")
    assert admitted["waited_seconds"] > 0

    # Who is cancelled while it waits has left the line.
    airflow_agents("cancel", third, "--reason", "not needed")
    assert stack.wait_for_run(DAG_ID, third, SECONDS)["state"] == "failed"
    assert third not in line_of(airflow_agents)

    # One that is cancelled while its agent works takes its pod along, and goes on without another plan.
    pod = implementing(stack, stays)
    airflow_agents("cancel", stays)
    assert stack.wait_for_run(DAG_ID, stays, SECONDS)["state"] == "failed"
    wait_for(lambda: None if pod in pods(stack, stays) else True, what=f"end of pod {pod}", seconds=60)
    told = airflow_agents("retry", stays)
    assert told["from"] == [IMPLEMENT]
    again = implementing(stack, stays)
    assert again != pod
    plan = stack.airflow.task_instance(DAG_ID, stays, PLAN)
    assert (plan["state"], plan["try_number"]) == ("success", 1)
    airflow_agents("cancel-active", "--repository", REPOSITORY, "--yes")
    for run_id in (stays, fourth):
        assert stack.wait_for_run(DAG_ID, run_id, SECONDS)["state"] == "failed"
    assert line_of(airflow_agents) == {}


def start(stack: DemoStack, name: str, prompt: str) -> str:
    conf = {"repository": REPOSITORY, "prompt": prompt, "run_tests": False}

    def trigger() -> str:
        try:
            return stack.trigger(DAG_ID, conf, f"capacity-{name}")
        except HttpError as error:
            if error.status != 409:
                raise
            return f"capacity-{name}"  # made by a try that got no answer

    return surely(trigger)


def wait_for_admit(stack: DemoStack, run_id: str, state: str) -> None:
    stack.airflow.wait_for_task(DAG_ID, run_id, "admit", {state}, SECONDS)


def pods(stack: DemoStack, run_id: str) -> list[str]:
    """Return the pods of a run that have not ended."""
    return [
        pod["metadata"]["name"]
        for pod in stack.pods()
        if pod["metadata"]["labels"].get("run_id") == run_id
        and pod["status"]["phase"] in ("Pending", "Running")
    ]


def implementing(stack: DemoStack, run_id: str) -> str:
    """Wait until the implementation of a run is deferred; return the name of its pod."""

    def working() -> str | None:
        if states(stack, DAG_ID, run_id)[IMPLEMENT] != "deferred":
            return None
        return next(iter(pods(stack, run_id)), None)

    return wait_for(working, what=f"an agent at work for {run_id}", seconds=SECONDS, interval=0.3)
