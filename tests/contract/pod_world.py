"""A step operator, its trigger and a real pod runtime, with a scripted runner inside the pod.

What Airflow does between worker and triggerer is done here by hand: the operator defers, the trigger goes
through its serialized form, and a fresh operator takes over.
"""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.serde import deserialize, serialize

from agent_runner.contract import Ledger, StepResult, TerminationMessage, failure
from airflow_provider_agents.local.images import Image
from airflow_provider_agents.local.runtime import LocalKubernetes
from airflow_provider_agents.local.services import Timing
from airflow_provider_agents.operators.steps import AgentPlanOperator
from airflow_provider_agents.triggers.agent_pod import AgentPodTrigger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

NAMESPACE = "agents"
SECONDS = 30.0
QUICK = Timing(
    first_restart=0.1,
    next_restart=0.1,
    longest_restart=0.2,
    image_back_off=0.1,
    retry=0.1,
    least_sidecar_grace=1.0,
    shutdown_grace=1.0,
)

RUNNER = """#!/bin/sh
folder=$(dirname "$0")
case "$1" in
gateway)
    [ -e "$folder/broken-gateway" ] && exit 3
    trap 'cat "$folder/ledger.json" > "$AGENT_TERMINATION_LOG"; exit 0' TERM
    echo http://127.0.0.1:1/0123456789012345678901 > "$AGENT_GATEWAY_URL_FILE"
    while :; do sleep 0.05; done ;;
gateway-ready)
    test -s "$AGENT_GATEWAY_URL_FILE" ;;
run)
    echo "start $$" >> "$folder/journal"
    trap 'cat "$folder/terminated.json" > "$AGENT_TERMINATION_LOG"; echo "end $$" >> "$folder/journal"; exit 0' TERM
    echo "the agent works"
    while ! [ -e "$folder/go" ]; do sleep 0.05; done
    cat "$folder/result.json" > "$AGENT_TERMINATION_LOG"
    echo "end $$" >> "$folder/journal" ;;
esac
"""


def _message(result: StepResult) -> str:
    return TerminationMessage.of(result).to_json()


class TaskInstance:
    """A running task instance, as an operator sees it."""

    def __init__(self) -> None:
        self.dag_id, self.run_id, self.task_id = "faults", "run_1", "plan"
        self.map_index, self.try_number, self.max_tries = -1, 1, 3
        self.start_date = datetime.now(tz=UTC)
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def xcom_pull(self, *positional: Any, **named: Any) -> Any:
        return None

    def get_task_states(self, *positional: Any, **named: Any) -> dict[str, dict[str, str]]:
        return {self.run_id: {}}


class Store(dict[str, Any]):
    """A task state store."""

    def set(self, key: str, value: Any, retention: Any = None) -> None:
        self[key] = value


class World:
    """One runtime and one step.

    :param folder: for data and the scripted runner.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "image"
        self.folder.mkdir()
        program = self.folder / "agent-runner"
        program.write_text(RUNNER)
        program.chmod(0o755)
        planned = StepResult(outcome="succeeded", summary="planned", output={"summary": "S"}, turns=3)
        stopped = StepResult(outcome="cancelled", failure=failure("terminated", "Told to stop by SIGTERM."))
        (self.folder / "result.json").write_text(_message(planned))
        (self.folder / "terminated.json").write_text(_message(stopped))
        (self.folder / "ledger.json").write_text(Ledger(usd=0.5, model_calls=4).to_json())
        self.runtime = LocalKubernetes(folder / "data", {"agent:1": Image(path=(self.folder,))}, timing=QUICK)
        self.ti = TaskInstance()
        self.store = Store()
        self.events: list[dict[str, Any]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.runtime.start(), self._loop).result(SECONDS)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.runtime.stop(), self._loop).result(SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    @property
    def connection(self) -> str:
        """The Airflow connection to the runtime, as an environment variable holds it."""
        config = self.runtime.kubeconfig(NAMESPACE)
        extra = {"in_cluster": False, "namespace": NAMESPACE, "kube_config": config}
        return json.dumps({"conn_type": "kubernetes", "extra": extra})

    # The step

    def operator(self, **arguments: Any) -> AgentPlanOperator:
        """Return the operator as each process of a task makes it."""
        given: dict[str, Any] = {
            "repository": "acme/shop",
            "prompt": "Mend the basket",
            "image": "agent:1",
            "namespace": NAMESPACE,
            "kubernetes_conn_id": "kubernetes_faults",
            "poll_interval": 0.1,
            "termination_grace_period": 2,
        }
        return AgentPlanOperator(task_id="plan", **given | arguments)

    @property
    def context(self) -> Any:
        return {
            "ti": self.ti,
            "task_instance": self.ti,
            "run_id": self.ti.run_id,
            "dag": SimpleNamespace(parent_dag=None, dag_id=self.ti.dag_id),
            "dag_run": SimpleNamespace(run_id=self.ti.run_id),
            "params": {},
            "task_state_store": self.store,
        }

    def run(self, meanwhile: Callable[[World], Awaitable[None]] | None = None, **arguments: Any) -> Any:
        """Run one try of the step to its end; return its value, or raise what it raises.

        :param meanwhile: what happens while the trigger waits for the first time.
        """
        step = lambda: self.operator(**arguments).execute(self.context)  # noqa: E731
        for _ in range(10):
            try:
                return step()
            except TaskDeferred as deferral:
                path, values = deferral.trigger.serialize()
                assert path.endswith(".AgentPodTrigger")
                trigger = AgentPodTrigger(**deserialize(serialize(values)))
            event = asyncio.run(self._wait(trigger, meanwhile))
            self.events.append(event)
            meanwhile = None
            step = lambda event=event: self.operator(**arguments).trigger_reentry(self.context, event)  # noqa: E731
        raise AssertionError("deferred again and again")

    async def _wait(
        self, trigger: AgentPodTrigger, meanwhile: Callable[[World], Awaitable[None]] | None
    ) -> dict[str, Any]:
        async def first_event() -> dict[str, Any]:
            events = [event.payload async for event in trigger.run()]
            assert len(events) == 1
            return events[0]  # type: ignore[no-any-return]

        async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
            waiting = group.create_task(first_event())
            if meanwhile is not None:
                group.create_task(_awaited(meanwhile(self)))
        return waiting.result()

    def go(self) -> None:
        """Let the agent finish its work."""
        (self.folder / "go").touch()

    @property
    def journal(self) -> list[str]:
        """Return what the agents did, in order: ``start PID``, ``end PID``."""
        file = self.folder / "journal"
        return file.read_text().splitlines() if file.exists() else []

    # The cluster

    @property
    def headers(self) -> dict[str, str]:
        """What each request to the runtime has to bring."""
        return {"Authorization": f"Bearer {self.runtime.token}"}

    async def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Call the runtime; raise for a refusal."""
        limit = aiohttp.ClientTimeout(total=SECONDS)
        async with (
            aiohttp.ClientSession(timeout=limit, headers=self.headers) as session,
            session.request(
                method,
                f"{self.runtime.url}{path}",
                json=body,
                params={key: str(value) for key, value in query.items()},
            ) as answer,
        ):
            found = await answer.json()
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {found}")
            return found

    async def pods(self) -> list[dict[str, Any]]:
        return (await self.call("GET", f"/api/v1/namespaces/{NAMESPACE}/pods"))["items"]  # type: ignore[no-any-return]

    async def pod(self, condition: Callable[[dict[str, Any]], Any] = bool) -> dict[str, Any]:
        """Wait until the one pod meets a condition."""
        async with asyncio.timeout(SECONDS):
            while True:
                for pod in await self.pods():
                    if condition(pod):
                        return pod
                await asyncio.sleep(0.05)

    async def no_living_pods(self) -> None:
        """Wait until no pod is left but those that have ended, which are kept to be looked at."""
        async with asyncio.timeout(SECONDS):
            while any(pod["status"]["phase"] not in ("Succeeded", "Failed") for pod in await self.pods()):
                await asyncio.sleep(0.05)

    async def working(self) -> dict[str, Any]:
        """Wait until the agent works, and return its pod."""
        pod = await self.pod(lambda pod: pod["status"]["phase"] == "Running")
        while not self.journal:
            await asyncio.sleep(0.02)
        return pod

    async def injure(self, what: str, **query: Any) -> None:
        """Let a fault happen to the pod whose agent works."""
        pod = await self.working()
        await self.call("POST", f"/_local/pods/{NAMESPACE}/{pod['metadata']['name']}/{what}", **query)

    async def create_secret(self) -> None:
        """Create the secret of the installation."""
        secret = {"metadata": {"name": "agent-secrets"}, "stringData": {"github-token": "t"}}
        await self.call("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", secret)


async def _awaited(work: Awaitable[None]) -> None:
    await work
