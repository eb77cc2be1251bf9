"""A budget holds: over attempts, parallel subagents, a lost pod and a gateway that was started again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from demo.http_json import call
from demo.processes import wait_for
from demo.stack import NAMESPACE
from tests.e2e.helpers import injure, mutations

if TYPE_CHECKING:
    from demo.stack import DemoStack

DAG_ID = "coding_task"
MODEL = "dear-model"
PRICE = {"input": 8, "output": 40}
"""USD per million tokens; the stack is told (conftest.py)."""
BUDGET = 1.00
AGENT_TASKS = ("plan.round_1.plan", *(f"build.attempt_{n}.implement" for n in (1, 2, 3)))
SECONDS = 300


def test_it_is_never_overdrawn(stack: DemoStack, repository: str) -> None:
    conf = {"repository": repository, "prompt": "costly", "budget_usd": BUDGET}
    models = {f"{step}_model": MODEL for step in ("plan", "implement")}
    run_id = stack.trigger(DAG_ID, conf | models)

    # The program is busy with a command, so that no call to the model is cut off.
    first = at_work(stack, run_id, begun=1)
    stack.kubernetes.delete(f"/api/v1/namespaces/{NAMESPACE}/pods/{first}?gracePeriodSeconds=0")
    second = at_work(stack, run_id, begun=2)
    assert second != first
    injure(stack, pod_named(stack, second), "kill", "gateway")

    assert stack.wait_for_run(DAG_ID, run_id, SECONDS)["state"] == "failed"
    assert "[budget/budget_exhausted]" in stack.task_log(DAG_ID, run_id, "finish")
    assert not mutations(stack, repository, "pull_request.opened")

    records = [record for task in AGENT_TASKS for record in stack.xcom(DAG_ID, run_id, task, "ledger") or ()]
    known = {record["pod"]: record["usd"] for record in records if record["state"] == "settled"}
    found = {s["pod"]: s for record in records for s in record["settles"]}
    assert [record["pod"] for record in records if record["state"] == "reserved"] == [first]
    assert found[first]["known"], "the ledger of the lost pod was not found"
    spent = sum(known.values()) + found[first]["usd"]
    assert spent == pytest.approx(billed(stack)), "the ledgers and the model's bill differ"
    assert 0.6 * BUDGET < spent <= BUDGET + 0.02
    assert spent == pytest.approx(stack.xcom(DAG_ID, run_id, "report")["cost_usd"])

    (attempts,) = [{r["step"] for r in records}]
    assert attempts == {"plan", "implement"}
    assert len([r for r in records if r["step"] == "implement"]) >= 3
    assert mutations(stack, repository, "push"), "the work so far is lost"


def at_work(stack: DemoStack, run_id: str, *, begun: int) -> str:
    """Wait until the agent's program runs its long command; return the name of its pod.

    :param begun: how often the command was begun by then, over all pods.
    """

    def working() -> str | None:
        seen = call("GET", f"{stack.model_url}/_demo/requests")["requests"]
        if (
            sum((r["scene"], r["turn"], r["status"]) == ("costly implementation", 1, 200) for r in seen)
            < begun
        ):
            return None
        running = [
            pod["metadata"]["name"]
            for pod in stack.pods()
            if pod["metadata"]["labels"].get("agents.airflow/step") == "implement"
            and pod["metadata"]["annotations"]["agents.airflow/spec"].find(MODEL) > 0
            and pod["status"]["phase"] == "Running"
        ]
        return running[0] if running else None

    return wait_for(working, what="an agent at work", seconds=120)


def pod_named(stack: DemoStack, name: str) -> dict[str, Any]:
    return next(pod for pod in stack.pods() if pod["metadata"]["name"] == name)


def billed(stack: DemoStack) -> float:
    """Return what the model charged for this run, at the prices that the installation set."""
    line = call("GET", f"{stack.model_url}/_demo/bill")["models"][MODEL]
    # A prompt read from the cache costs a tenth, one written to it a quarter more.
    micro = (
        line["input"] * PRICE["input"]
        + line["output"] * PRICE["output"]
        + line["cache_read"] * PRICE["input"] / 10
        + line["cache_write"] * PRICE["input"] * 1.25
    )
    return float(micro / 1_000_000)
