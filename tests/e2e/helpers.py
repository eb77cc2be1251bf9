"""What the end-to-end tests ask the stack again and again."""

from __future__ import annotations

import base64
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_agents.operators.pod_parts import SPEC_ANNOTATION
from demo.http_json import call
from demo.processes import wait_for
from demo.stack import NAMESPACE, DemoStack

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

RUN_SECONDS = 240


def mutations(stack: DemoStack, repository: str, kind: str) -> list[dict[str, Any]]:
    """Return the changes of one kind to one repository, in order."""
    return [m for m in stack.mutations() if m["repository"] == repository and m["kind"] == kind]


def states(stack: DemoStack, dag_id: str, run_id: str) -> dict[str, str | None]:
    """Return the state of each task of a run."""
    return {ti["task_id"]: ti["state"] for ti in stack.task_instances(dag_id, run_id)}


def running_pod(stack: DemoStack, dag_id: str, repository: str, seconds: float = 60.0) -> dict[str, Any]:
    """Wait for the pod of a run in ``repository`` whose agent's container runs, and return it."""

    def found() -> dict[str, Any] | None:
        for pod in stack.pods():
            statuses = pod["status"].get("containerStatuses") or []
            spec = (pod["metadata"].get("annotations") or {}).get(SPEC_ANNOTATION, "")
            of_run = pod["metadata"]["labels"].get("dag_id") == dag_id and repository in spec
            if of_run and any("running" in (status.get("state") or {}) for status in statuses):
                return pod
        return None

    return wait_for(found, what=f"a running pod of {dag_id}", seconds=seconds)


def processes(stack: DemoStack, pod: dict[str, Any], container: str) -> list[int]:
    """Return the ids of all processes of a container: its first one and whatever that started."""
    listed = stack.kubernetes.get("/_local/processes")["processes"]
    name = pod["metadata"]["name"]
    (first,) = [p["pid"] for p in listed if (p["pod"], p["container"]) == (name, container)]
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            parents[int(stat.parent.name)] = int(fields[1])
    found = [first]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def injure(stack: DemoStack, pod: dict[str, Any], what: str, container: str = "") -> None:
    """Let a fault happen to a pod: ``kill``, ``oom`` or ``evict``."""
    query = f"?container={container}" if container else ""
    stack.kubernetes.post(f"/_local/pods/{NAMESPACE}/{pod['metadata']['name']}/{what}{query}")


def fault(stack: DemoStack, match: dict[str, Any], action: Any, times: int = 1) -> None:
    """Order a fault at the stand-in GitHub."""
    call("POST", f"{stack.forge.url}/_demo/faults", {"match": match, "action": action, "times": times})


def watch(question: Callable[[], T], seconds: float, interval: float = 0.25) -> list[T]:
    """Ask again and again for some time and return all answers."""
    answers, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        answers.append(question())
        time.sleep(interval)
    return answers


def opened(stack: DemoStack, repository: str) -> dict[str, Any]:
    """Wait for the pull request of a run and return the change that opened it."""

    def found() -> dict[str, Any] | None:
        return next(iter(mutations(stack, repository, "pull_request.opened")), None)

    return wait_for(found, what=f"a pull request in {repository}", seconds=RUN_SECONDS)


def decision(stack: DemoStack, run_id: str, number: int) -> dict[str, Any]:
    """Wait for the gate of a round to end and return what it decided."""
    gate = f"land.round_{number}.gate"
    stack.airflow.wait_for_task(
        "coding_task", run_id, gate, {"success", "failed", "upstream_failed"}, RUN_SECONDS
    )
    return dict(stack.xcom("coding_task", run_id, gate, "decision") or {})


def on_main(stack: DemoStack, repository: str, path: str) -> str:
    """Return a file of the default branch."""
    return base64.b64decode(stack.forge.get(f"/repos/{repository}/contents/{path}")["content"]).decode()
