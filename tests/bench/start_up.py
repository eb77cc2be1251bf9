"""Where the time goes from the trigger of a run to its agent's first model request, on the demo's stack.

Everything is real but GitHub and the model: Airflow's own components, the pods of the local runtime, the
gateway, git and the agent program. What is timed is read from what each part shows anyway: Airflow's task
instances, the task log, the stamped lines of both containers, and the stand-in model's records.

``python -m tests.bench.start_up [--rounds 5]``
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from airflow_provider_agents.operators.pod_parts import SPEC_ANNOTATION
from demo.http_json import HttpError, call
from demo.processes import wait_for
from demo.scenario import REPOSITORY
from demo.stack import NAMESPACE, DemoStack

if TYPE_CHECKING:
    from collections.abc import Sequence

DAG_ID = "coding_task"
STEP = "plan"
TASK = "plan.round_1.plan"
RUN_SECONDS = 120.0
_SCRIPT = {
    "scenes": [{"name": "wait", "when": {"step": STEP}, "turns": [{"text": "I think.", "delay_seconds": 60}]}]
}
"""The model takes so long that pod and logs are there to be read; the run is failed before it answers."""
_WAITS_FOR = ("accept", "workspace")
"""The tasks before the first step."""

PHASES = {
    "run to first task": "Airflow: run made, first task scheduled and started",
    "accept": "the request is checked, the ticket read",
    "accept to workspace": "Airflow: next task scheduled and started",
    "workspace": "the claim is made",
    "workspace to plan": "Airflow: next task scheduled and started",
    "plan to pod": "the worker parses the DAG file, builds and creates the pod",
    "pod to gateway": "the sidecar starts, until it listens",
    "gateway to runner": "the probe sees it, the agent's container starts, the runner's first line",
    "runner to agent": "checkout, until the agent program has started",
    "agent to request": "the agent program, until its request has passed the gateway",
}
"""Each phase, in order, and what is in it."""


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds of each phase of one run, in the order of :data:`PHASES`."""

    seconds: dict[str, float]

    @property
    def total(self) -> float:
        """Seconds from the trigger to the first request."""
        return sum(self.seconds.values())

    @property
    def in_pod(self) -> float:
        """Seconds from the pod's creation to the first request."""
        return sum(value for name, value in self.seconds.items() if name in list(PHASES)[6:])


def measure(rounds: int = 5) -> list[Start]:
    """Start as many runs, one after the other, and return the phases of each but the first.

    The first one warms what a running installation has warm: the caches of Airflow's components.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "script.json"
        script.write_text(json.dumps(_SCRIPT))
        with DemoStack(folder, model_arguments=("--script", str(script))) as stack:
            stack.wait_for_dag(DAG_ID)
            return [_start(stack, number) for number in range(rounds + 1)][1:]


def table(starts: Sequence[Start]) -> str:
    """Return the medians as a table, in Markdown."""
    rows = [
        (name, statistics.median(start.seconds[name] for start in starts), text)
        for name, text in PHASES.items()
    ]
    rows.append(("pod to request", statistics.median(start.in_pod for start in starts), "the last four"))
    rows.append(("total", statistics.median(start.total for start in starts), f"{len(starts)} runs, medians"))
    lines = ["| phase | s | what |", "|---|---:|---|"]
    lines += [f"| {name} | {value:.2f} | {text} |" for name, value, text in rows]
    return "\n".join(lines)


def _start(stack: DemoStack, number: int) -> Start:
    repository = f"acme/start-{number}"
    stack.forge.seed_repository(repository, REPOSITORY, permissions={"agent": "write", "mona": "write"})
    asked = _requests(stack)["count"]
    triggered = time.time()
    conf = {"repository": repository, "prompt": "Fill in all placeholders in a single pass."}
    run_id = stack.trigger(DAG_ID, conf)
    try:
        requested = wait_for(
            lambda: _first_request(stack, asked), what="a model request", seconds=RUN_SECONDS, interval=0.05
        )
        pod = next(
            p for p in stack.pods() if repository in p["metadata"]["annotations"].get(SPEC_ANNOTATION, "")
        )
        moments = _moments(stack, run_id, pod["metadata"]["name"])
    finally:
        _end(stack, run_id)
    times = [triggered, *moments, requested]
    return Start(dict(zip(PHASES, (b - a for a, b in itertools.pairwise(times)), strict=True)))


def _moments(stack: DemoStack, run_id: str, pod: str) -> list[float]:
    tasks = {ti["task_id"]: ti for ti in stack.task_instances(DAG_ID, run_id)}
    moments = []
    for name in _WAITS_FOR:
        moments += [_seconds(tasks[name]["start_date"]), _seconds(tasks[name]["end_date"])]
    moments.append(_seconds(tasks[TASK]["start_date"]))
    moments.append(_logged(stack, run_id, f"Created pod {pod}."))
    base = _lines(stack, pod, "base")
    moments.append(_first(_lines(stack, pod, "gateway"), "listening on"))
    moments.append(_first(base, f"step {STEP} of"))
    # Said once the program has spoken; the last of its phases is the time since it was started.
    said, line = next((at, line) for at, line in base if line.startswith("start-up: "))
    moments.append(said - float(line.rsplit(maxsplit=2)[1]))
    return moments


def _requests(stack: DemoStack) -> Any:
    return call("GET", f"{stack.model_url}/_demo/requests")


def _first_request(stack: DemoStack, before: int) -> float | None:
    found = _requests(stack)
    new = found["count"] - before
    return float(found["requests"][-new]["at"]) if new > 0 else None


def _logged(stack: DemoStack, run_id: str, event: str) -> float:
    """Return when the step's task said ``event``."""
    path = (
        f"/dags/{DAG_ID}/dagRuns/{run_id.replace('+', '%2B')}/taskInstances/{TASK}/logs/1?full_content=true"
    )

    def said() -> float | None:
        for line in stack.airflow.request("GET", path)["content"]:
            if line.get("event") == event:
                return _seconds(line["timestamp"])
        return None

    return wait_for(said, what=f"log line {event!r}", seconds=30)


def _lines(stack: DemoStack, pod: str, container: str) -> list[tuple[float, str]]:
    config = json.loads(stack.kubernetes.kubeconfig.read_text())
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/log?container={container}&timestamps=true"
    headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
    with urlopen(Request(f"{stack.kubernetes.url}{path}", headers=headers), timeout=30) as answer:
        stamped = [line.partition(" ") for line in answer.read().decode().splitlines()]
    return [(_seconds(stamp), line) for stamp, _, line in stamped]


def _first(lines: list[tuple[float, str]], part: str) -> float:
    return next(at for at, line in lines if part in line)


def _seconds(stamp: str) -> float:
    """Return an RFC 3339 stamp as seconds; its nanoseconds are cut to the microseconds that Python reads."""
    head, dot, rest = stamp.replace("Z", "+00:00").partition(".")
    digits = rest[: len(rest) - 6] if dot else ""
    return datetime.fromisoformat(
        f"{head}{dot}{digits[:6].ljust(6, '0')}{rest[-6:]}" if dot else head
    ).timestamp()


def _end(stack: DemoStack, run_id: str) -> None:
    """Fail the run, so that the next one has the machine to itself."""
    path = f"/dags/{DAG_ID}/dagRuns/{run_id.replace('+', '%2B')}"
    try:
        stack.airflow.request("PATCH", path, {"state": "failed"})
    except HttpError as error:
        sys.stderr.write(f"{run_id} goes on: {error}\n")
    wait_for(lambda: not stack.pods() or None, what="end of the pods", seconds=90, interval=0.3)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    print(table(measure(parser.parse_args().rounds)))


if __name__ == "__main__":
    main()
