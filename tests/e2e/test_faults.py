"""Something dies while a step or a wait is on: nothing is lost, and nothing is paid twice."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.http_json import call
from demo.processes import wait_for
from tests.e2e.helpers import injure, mutations, processes, running_pod, states, watch

if TYPE_CHECKING:
    from demo.stack import DemoStack

# Tries are not counted from above: under load Airflow 3.3 fails a task now and then that is resumed before
# its scheduler has seen the deferral, and the retry then harvests what is there. What must not happen twice
# are pushes and paid calls.
SECONDS = 180


def model_calls(stack: DemoStack, contains: str) -> int:
    """Return how many requests the model got in conversations of a scene."""
    seen = call("GET", f"{stack.model_url}/_demo/requests")["requests"]
    return sum(contains in str(request.get("scene")) for request in seen)


def test_no_worker_slot_is_held_while_an_agent_works(stack: DemoStack, repository: str) -> None:
    run_id = stack.trigger("fault_step", {"repository": repository, "prompt": "slow"})
    running_pod(stack, "fault_step", repository)
    stack.airflow.wait_for_task("fault_step", run_id, "implement", {"deferred"}, 30)

    seen = watch(
        lambda: (
            states(stack, "fault_step", run_id)["implement"],
            stack.airflow.request("GET", "/pools/default_pool")["running_slots"],
        ),
        seconds=5,
    )
    assert set(seen) == {("deferred", 0)}
    assert stack.wait_for_run("fault_step", run_id, SECONDS)["state"] == "success"


def test_worker_killed_between_pod_creation_and_deferral(stack: DemoStack, repository: str) -> None:
    before = model_calls(stack, "straight plan")
    run_id = stack.trigger("fault_worker", {"repository": repository})

    assert stack.wait_for_run("fault_worker", run_id, SECONDS)["state"] == "success"
    (task,) = stack.task_instances("fault_worker", run_id)
    assert task["try_number"] >= 2
    assert "of an earlier try is there" in stack.task_log("fault_worker", run_id, "plan", 2)
    assert model_calls(stack, "straight plan") - before == 1, "the finished step was paid twice"
    assert stack.xcom("fault_worker", run_id, "plan")["output"]["files"] == ["letters/template.py"]


def test_scheduler_killed_while_an_agent_works(stack: DemoStack, repository: str) -> None:
    run_id = stack.trigger("fault_step", {"repository": repository, "prompt": "slow"})
    running_pod(stack, "fault_step", repository)
    stack.airflow.wait_for_task("fault_step", run_id, "implement", {"deferred"}, 30)
    stack.processes["scheduler"].kill()
    stack.processes["scheduler"].restart()

    assert stack.wait_for_run("fault_step", run_id, SECONDS)["state"] == "success"
    assert len(mutations(stack, repository, "push")) == 1


def test_triggerer_killed_while_an_agent_works(stack: DemoStack, repository: str) -> None:
    run_id = stack.trigger("fault_step", {"repository": repository, "prompt": "slow"})
    running_pod(stack, "fault_step", repository)
    stack.airflow.wait_for_task("fault_step", run_id, "implement", {"deferred"}, 30)
    stack.processes["triggerer"].kill()
    stack.processes["triggerer"].restart()

    assert stack.wait_for_run("fault_step", run_id, SECONDS)["state"] == "success"
    assert len(mutations(stack, repository, "push")) == 1


def test_triggerer_killed_while_a_pull_request_waits(stack: DemoStack, repository: str) -> None:
    stack.forge.act("mona", "push_commit", repository, branch="work", files={"note.txt": "note"})
    pull = stack.forge.act("mona", "open_pull", repository, head="work", base="main", title="Note")
    run_id = stack.trigger("fault_wait", {"repository": repository, "number": pull["number"]})
    stack.airflow.wait_for_task("fault_wait", run_id, "merged", {"deferred"}, 60)
    assert stack.airflow.request("GET", "/pools/default_pool")["running_slots"] == 0
    stack.processes["triggerer"].kill()
    stack.forge.act("mona", "merge", repository, number=pull["number"])
    stack.processes["triggerer"].restart()

    assert stack.wait_for_run("fault_wait", run_id, SECONDS)["state"] == "success"
    assert stack.xcom("fault_wait", run_id, "merged")["state"] == "MERGED"


def test_agent_program_killed(stack: DemoStack, repository: str) -> None:
    run_id = stack.trigger("fault_step", {"repository": repository, "prompt": "slow"})
    pod = running_pod(stack, "fault_step", repository)
    agent = watch_for_agent(stack, pod)
    os.kill(agent, signal.SIGKILL)

    # The program is gone, not its work: the step is tried again, and the log names the cause.
    assert stack.wait_for_run("fault_step", run_id, SECONDS)["state"] == "success"
    assert stack.task_instances("fault_step", run_id)[0]["try_number"] >= 2
    assert "SIGKILL" in stack.task_log("fault_step", run_id, "implement", 1)
    assert len(mutations(stack, repository, "push")) == 1


def test_gateway_killed(stack: DemoStack, repository: str) -> None:
    run_id = stack.trigger("fault_step", {"repository": repository, "prompt": "slow"})
    pod = running_pod(stack, "fault_step", repository)
    watch_for_agent(stack, pod)
    injure(stack, pod, "kill", "gateway")

    assert stack.wait_for_run("fault_step", run_id, SECONDS)["state"] == "success"
    assert len(mutations(stack, repository, "push")) == 1
    assert stack.xcom("fault_step", run_id, "implement")["ledger"]["pushes"]


def test_pod_evicted(stack: DemoStack, repository: str) -> None:
    run_id = stack.trigger("fault_step", {"repository": repository, "prompt": "slow"})
    pod = running_pod(stack, "fault_step", repository)
    injure(stack, pod, "evict")

    assert stack.wait_for_run("fault_step", run_id, SECONDS)["state"] == "success"
    assert stack.task_instances("fault_step", run_id)[0]["try_number"] >= 2
    assert "evicted" in stack.task_log("fault_step", run_id, "implement", 1)


def watch_for_agent(stack: DemoStack, pod: dict[str, Any]) -> int:
    """Wait until the agent program of a pod runs, and return its process id."""

    def found() -> int | None:
        for pid in processes(stack, pod, "base"):
            # It may end between the listing and the look.
            with suppress(OSError):
                if b"--output-format\0stream-json" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        return None

    return wait_for(found, what="the agent program", seconds=30)
