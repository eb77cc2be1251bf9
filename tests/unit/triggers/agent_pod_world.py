"""A pod, its cluster and a clock that only waiting moves, for the tests of the pod trigger."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes.client.exceptions import ApiException

from airflow_provider_agents.triggers import agent_pod as module
from airflow_provider_agents.triggers.agent_pod import (
    AgentPodTrigger,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

START = datetime(2026, 1, 1, tzinfo=UTC)


RUNNING = {"running": {"started_at": "x"}}
ENDED = {"terminated": {"exit_code": 0}}
CREATING = {"waiting": {"reason": "ContainerCreating"}}


def elapsed() -> float:
    return asyncio.get_running_loop().time()


def pod(phase: str, base: Any = None, gateway: Any = None, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "agent-plan-x", "uid": "u1", **metadata},
        "status": {
            "phase": phase,
            "container_statuses": [{"name": "base", "image": "i", "state": base}] if base else None,
            "init_container_statuses": [
                {"name": "gateway", "image": "i", "restart_count": 0, "state": gateway}
            ]
            if gateway
            else None,
        },
    }


PENDING = pod("Pending", CREATING)
RUNS = pod("Running", RUNNING, RUNNING)
SUCCEEDED = pod("Succeeded", ENDED, ENDED)
FAILED = pod("Failed", ENDED, ENDED)


class Hook:
    """A cluster: what the pod is at a moment, and a log that grows."""

    def __init__(self) -> None:
        self.states: list[tuple[float, Any]] = [(0, RUNS)]
        self.log: list[tuple[float, str]] = []
        self.deleted: list[str] = []
        self.reads = 0
        self.log_reads: list[int | None] = []
        self.log_fails: Callable[[], bool] = lambda: False
        self.hangs = False
        self.events: list[tuple[float, str, str]] = []
        self.event_reads: list[float] = []
        self.events_fail: Exception | None = None

    async def get_pod(self, name: str, namespace: str) -> Any:
        self.reads += 1
        if self.hangs:
            await asyncio.sleep(10**6)
        state = [state for since, state in self.states if since <= elapsed()][-1]
        if isinstance(state, Exception):
            raise state
        return SimpleNamespace(to_dict=lambda: state)

    async def read_logs(
        self, name: str, namespace: str, container_name: str | None = None, since_seconds: int | None = None
    ) -> list[str]:
        self.log_reads.append(since_seconds)
        if self.log_fails():
            raise ApiException(status=500)
        oldest = elapsed() - since_seconds if since_seconds else 0
        return [f"{stamp(at)} {line}" for at, line in self.log if oldest <= at <= elapsed()]

    async def get_pod_events(self, name: str, namespace: str, resource_version: str | None = None) -> Any:
        self.event_reads.append(elapsed())
        if self.events_fail:
            raise self.events_fail
        items = [
            {"reason": reason, "message": message, "type": "Warning", "involved_object": {"uid": "u1"}}
            for at, reason, message in self.events
            if at <= elapsed()
        ]
        return SimpleNamespace(items=[SimpleNamespace(to_dict=lambda item=item: item) for item in items])

    async def delete_pod(self, name: str, namespace: str, grace_period_seconds: int | None = None) -> None:
        self.deleted.append(name)


def stamp(at: float) -> str:
    moment = START + timedelta(seconds=at)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


@pytest.fixture(autouse=True)
def one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the wall clock go with the loop's."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return START + timedelta(seconds=elapsed())

    monkeypatch.setattr(module, "datetime", Clock)
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: START.timestamp() + elapsed()))


@pytest.fixture
def hook() -> Hook:
    return Hook()


class Trigger(AgentPodTrigger):
    """The trigger with its log in a list."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lines: list[str] = []
        self.warnings: list[str] = []
        write = lambda lines: lambda text, *values: lines.append(text % values)  # noqa: E731
        quiet = lambda *values, **more: None  # noqa: E731
        self._log = SimpleNamespace(
            info=write(self.lines), warning=write(self.warnings), debug=quiet, exception=write(self.warnings)
        )

    @property
    def log(self) -> Any:
        return self._log


def make(hook: Hook, kind: type[AgentPodTrigger] = Trigger, **changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "pod_name": "agent-plan-x",
        "pod_namespace": "agents",
        "trigger_start_time": START,
        "base_container_name": "base",
        "poll_interval": 2,
        "startup_timeout": 600,
        "trigger_kwargs": {},
    }
    trigger = kind(**arguments | changes)
    trigger.__dict__["hook"] = hook
    return trigger


async def run(trigger: AgentPodTrigger) -> dict[str, Any]:
    """Return the payload of the one event."""
    events = [event.payload async for event in trigger.run()]
    assert len(events) == 1
    return events[0]  # type: ignore[no-any-return]


@contextlib.asynccontextmanager
async def running(trigger: AgentPodTrigger) -> AsyncIterator[asyncio.Task[dict[str, Any]]]:
    task = asyncio.create_task(run(trigger))
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
