"""Waiting for a pod, in faked time: what is logged, when it fires, and what a kill does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from datetime import UTC, datetime, timedelta
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from airflow.providers.cncf.kubernetes.exceptions import KubernetesApiPermissionError
from airflow.sdk.serde import deserialize, serialize
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.client.exceptions import ApiException

from agent_runner.contract import RESULT_MARKER
from airflow_provider_agents.triggers import agent_pod as module
from airflow_provider_agents.triggers.agent_pod import (
    CALL_SECONDS,
    CLOCK_SKEW_SECONDS,
    REFUSED_SECONDS,
    AgentPodTrigger,
    event_failure,
    new_lines,
    seconds_since,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

START = datetime(2026, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.looptime(start=0, end=1_000_000)

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


@pytest.mark.parametrize(("end", "status"), [(SUCCEEDED, "success"), (FAILED, "failed")])
async def test_it_fires_when_the_pod_has_ended(hook: Hook, end: Any, status: str) -> None:
    hook.states = [(0, PENDING), (10, RUNS), (60, end)]
    event = await run(make(hook))
    assert event["status"] == status
    assert (event["name"], event["namespace"]) == ("agent-plan-x", "agents")
    assert 60 <= elapsed() <= 62


async def test_it_waits_for_the_pod_not_for_one_container(hook: Hook) -> None:
    hook.states = [(0, RUNS), (20, pod("Running", ENDED, RUNNING)), (50, SUCCEEDED)]
    await run(make(hook))
    assert elapsed() >= 50


async def test_no_event_in_the_first_five_seconds(hook: Hook) -> None:
    hook.states = [(0, SUCCEEDED)]
    assert (await run(make(hook)))["status"] == "success"
    assert elapsed() == 5


async def test_an_event_after_that_is_not_held_back(hook: Hook) -> None:
    hook.states = [(0, RUNS), (8, SUCCEEDED)]
    await run(make(hook))
    assert elapsed() == 8


async def test_a_kill_in_the_quiet_seconds_deletes_the_pod(hook: Hook) -> None:
    hook.states = [(0, SUCCEEDED)]
    trigger = make(hook)
    async with running(trigger) as task:
        await asyncio.sleep(3)
        assert not task.done()
        await trigger.on_kill()
    assert hook.deleted == ["agent-plan-x"]


async def test_a_kill_while_the_agent_works_deletes_the_pod(hook: Hook) -> None:
    trigger = make(hook)
    async with running(trigger):
        await asyncio.sleep(100)
        await trigger.on_kill()
    assert hook.deleted == ["agent-plan-x"]


async def test_a_kill_after_the_event_leaves_the_pod_to_the_operator(hook: Hook) -> None:
    hook.states = [(0, SUCCEEDED)]
    trigger = make(hook)
    await run(trigger)
    await trigger.on_kill()
    assert hook.deleted == []


async def test_a_restart_of_the_triggerer_does_not_delete_the_pod(hook: Hook) -> None:
    trigger = make(hook)
    async with running(trigger):
        await asyncio.sleep(100)
    await trigger.cleanup()
    assert hook.deleted == []


# The log


async def test_each_line_is_logged_once_and_while_the_agent_works(hook: Hook) -> None:
    hook.log = [(second + 0.123456, f"line {second}") for second in range(60)]
    hook.states = [(0, RUNS), (59, RUNS), (61, SUCCEEDED)]
    trigger = make(hook)
    async with running(trigger) as task:
        await asyncio.sleep(30.5)
        assert trigger.lines[-1] in ("line 28", "line 29", "line 30")
        await task
    assert trigger.lines == [f"line {second}" for second in range(60)]
    assert max(read for read in hook.log_reads[1:] if read) <= 5 + CLOCK_SKEW_SECONDS


async def test_lines_are_logged_once_over_a_re_deferral(hook: Hook) -> None:
    hook.log = [(second + 0.5, f"line {second}") for second in range(40)]
    hook.states = [(0, RUNS), (20, ApiException(status=500)), (100, RUNS), (120, SUCCEEDED)]
    first = make(hook, failed_seconds=6)
    event = await run(first)
    assert event["status"] == "error"
    await asyncio.sleep(100 - elapsed())
    second = make(
        hook, last_log_time=event["last_log_time"], trigger_start_time=START + timedelta(seconds=100)
    )
    await run(second)
    assert [line for line in first.lines + second.lines if line.startswith("line")] == [
        f"line {second}" for second in range(40)
    ]


async def test_the_results_line_is_not_logged(hook: Hook) -> None:
    hook.log = [(1, "before"), (2, f'{RESULT_MARKER}{{"outcome": "succeeded"}}'), (3, "after")]
    hook.states = [(0, RUNS), (10, SUCCEEDED)]
    trigger = make(hook)
    event = await run(trigger)
    assert trigger.lines == ["before", "after"]
    assert event["last_log_time"] == stamp(3)


async def test_a_failed_reading_of_the_log_loses_nothing(hook: Hook) -> None:
    hook.log = [(second + 0.5, f"line {second}") for second in range(30)]
    hook.states = [(0, RUNS), (40, SUCCEEDED)]
    hook.log_fails = lambda: 5 < elapsed() < 25
    trigger = make(hook)
    await run(trigger)
    assert trigger.lines == [f"line {second}" for second in range(30)]


async def test_the_log_of_a_pod_that_has_not_started_is_not_asked_for(hook: Hook) -> None:
    hook.states = [(0, PENDING), (20, SUCCEEDED)]
    await run(make(hook))
    assert len(hook.log_reads) == 1


async def test_the_log_can_be_turned_off(hook: Hook) -> None:
    hook.log = [(1, "line")]
    hook.states = [(0, RUNS), (10, SUCCEEDED)]
    trigger = make(hook, get_logs=False)
    await run(trigger)
    assert (hook.log_reads, trigger.lines) == ([], [])


# What goes wrong


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            pod("Pending", {"waiting": {"reason": "ErrImagePull", "message": "manifest unknown"}}),
            "manifest unknown",
        ),
        (
            pod("Pending", CREATING, {"waiting": {"reason": "ImagePullBackOff", "message": "denied"}}),
            "denied",
        ),
        (
            pod("Pending", {"waiting": {"reason": "CreateContainerConfigError", "message": "no such mount"}}),
            "no such mount",
        ),
    ],
)
async def test_a_pod_that_cannot_start_ends_the_wait(hook: Hook, state: Any, words: str) -> None:
    hook.states = [(0, PENDING), (20, state)]
    event = await run(make(hook))
    assert event["status"] == "timeout"
    assert words in event["message"]
    assert elapsed() <= 22
    assert hook.log_reads == []


async def test_a_passing_fault_of_the_registry_is_waited_for(hook: Hook) -> None:
    limited = pod("Pending", {"waiting": {"reason": "ErrImagePull", "message": "429 Too Many Requests"}})
    hook.states = [(0, limited), (200, RUNS), (300, SUCCEEDED)]
    assert (await run(make(hook)))["status"] == "success"


async def test_a_pod_that_does_not_start_in_time(hook: Hook) -> None:
    hook.states = [(0, PENDING)]
    trigger = make(hook, startup_timeout=60)
    event = await run(trigger)
    assert event["status"] == "timeout"
    assert "within 60 s" in event["message"]
    assert 60 <= elapsed() <= 64
    assert trigger.lines == ["Waiting for pod agent-plan-x to start."]


async def test_starting_up_counts_from_the_first_deferral(hook: Hook) -> None:
    """A restart of the triggerer does not grant the time again."""
    hook.states = [(0, PENDING)]
    await asyncio.sleep(50)
    await run(make(hook, startup_timeout=60))
    assert elapsed() <= 64


async def test_a_started_pod_has_no_start_deadline(hook: Hook) -> None:
    hook.states = [(0, RUNS), (1_000, SUCCEEDED)]
    assert (await run(make(hook, startup_timeout=60)))["status"] == "success"


async def test_the_deadline_of_the_task(hook: Hook) -> None:
    trigger = make(hook, trigger_kwargs={"_execution_deadline": START.timestamp() + 100})
    event = await run(trigger)
    assert event["status"] == "timeout"
    assert (event["code"], event["category"]) == ("pod_deadline", "timeout")
    assert "execution_timeout" in event["message"]
    assert 100 <= elapsed() <= 102


async def test_the_deadline_holds_while_the_cluster_is_away(hook: Hook) -> None:
    hook.states = [(0, ApiException(status=500))]
    trigger = make(hook, trigger_kwargs={"_execution_deadline": START.timestamp() + 50}, failed_seconds=1_000)
    assert (await run(trigger))["status"] == "timeout"
    assert elapsed() <= 52


@pytest.mark.parametrize(
    "away",
    [
        ApiException(status=503, reason="Service Unavailable"),
        ApiException(status=500),
        ConnectionRefusedError(111, "refused"),
        TimeoutError(),
    ],
)
async def test_an_api_server_that_is_away_for_minutes_is_survived(hook: Hook, away: Exception) -> None:
    hook.log = [(5, "before"), (150, "meanwhile")]
    hook.states = [(0, RUNS), (10, away), (300, RUNS), (320, SUCCEEDED)]
    trigger = make(hook)
    assert (await run(trigger))["status"] == "success"
    assert trigger.lines == ["before", "meanwhile"]
    assert "fails since 288 s" in trigger.warnings[-1]


async def test_the_time_of_failing_is_counted_in_a_row_only(hook: Hook) -> None:
    away = ApiException(status=503)
    hook.states = [(0, away), (8, RUNS), (10, away), (18, RUNS), (20, away), (28, SUCCEEDED)]
    assert (await run(make(hook, failed_seconds=8)))["status"] == "success"


async def test_an_api_server_that_stays_away_is_an_error(hook: Hook) -> None:
    hook.states = [(0, RUNS), (10, ApiException(status=503, reason="away"))]
    event = await run(make(hook, failed_seconds=10))
    assert (event["status"], event["code"]) == ("error", "kubernetes_unavailable")
    assert "away" in event["message"]
    assert elapsed() == 20


async def test_a_cluster_that_never_answers_is_a_failed_read(hook: Hook) -> None:
    hook.hangs = True
    event = await run(make(hook, failed_seconds=100))
    assert (event["status"], event["code"]) == ("error", "kubernetes_unavailable")
    assert "TimeoutError" in event["message"]
    assert elapsed() <= 200


@pytest.mark.parametrize(
    "refusal",
    [
        ApiException(status=401, reason="Unauthorized"),
        ApiException(status=403, reason="Forbidden"),
        KubernetesApiPermissionError("Permission denied (403) from Kubernetes API."),
    ],
)
async def test_an_identity_without_rights_is_told_which_it_needs(hook: Hook, refusal: Exception) -> None:
    hook.states = [(0, RUNS), (10, refusal)]
    event = await run(make(hook))
    assert (event["status"], event["code"], event["category"]) == ("error", "kubernetes_refused", "auth")
    assert "on pods get, list, create" in event["remedy"]
    assert 10 + REFUSED_SECONDS <= elapsed() <= 12 + REFUSED_SECONDS


async def test_rights_that_are_back_soon_are_waited_for(hook: Hook) -> None:
    hook.states = [(0, RUNS), (10, ApiException(status=403)), (30, SUCCEEDED)]
    assert (await run(make(hook)))["status"] == "success"


async def test_a_pod_that_is_gone_is_an_error_at_once(hook: Hook) -> None:
    hook.states = [(0, RUNS), (30, ApiException(status=404))]
    event = await run(make(hook))
    assert (event["status"], event["code"]) == ("error", "pod_gone")
    assert "agents/agent-plan-x does not exist any more" in event["message"]
    assert elapsed() <= 32


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("PreemptionByScheduler", "preempted"),
        ("EvictionByEvictionAPI", "drained"),
        ("DeletionByTaintManager", "node_gone"),
    ],
)
async def test_why_a_pod_is_gone_was_the_last_thing_seen_of_it(hook: Hook, reason: str, code: str) -> None:
    marked = pod("Running", RUNNING, RUNNING)
    entry = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m"}
    marked["status"]["conditions"] = [entry]
    hook.states = [(0, RUNS), (20, marked), (30, ApiException(status=404))]
    event = await run(make(hook))
    assert (event["status"], event["code"], event["category"]) == ("error", code, "evicted")


async def test_a_pod_whose_node_does_not_let_it_end(hook: Hook) -> None:
    told = START + timedelta(seconds=100)
    hook.states = [(0, RUNS), (70, pod("Running", RUNNING, RUNNING, deletion_timestamp=told))]
    event = await run(make(hook))
    assert (event["status"], event["code"]) == ("failed", "node_gone")
    assert 160 <= elapsed() <= 162


async def test_a_gateway_that_keeps_ending_ends_the_wait(hook: Hook) -> None:
    broken = pod("Running", RUNNING, RUNNING)
    broken["status"]["init_container_statuses"][0] |= {
        "restart_count": 5,
        "last_state": {"terminated": {"exit_code": 1, "reason": "Error"}},
    }
    hook.states = [(0, RUNS), (50, broken)]
    event = await run(make(hook))
    assert (event["status"], event["code"]) == ("failed", "gateway_crashed")
    assert elapsed() <= 52


# Events of the pod

NO_SECRET = 'MountVolume.SetUp failed for volume "secrets" : secret "agent-secrets" not found'


async def test_a_pod_that_starts_soon_is_not_asked_for_events(hook: Hook) -> None:
    hook.states = [(0, PENDING), (14, RUNS), (60, SUCCEEDED)]
    await run(make(hook))
    assert hook.event_reads == []


async def test_a_missing_secret_shows_only_in_the_events(hook: Hook) -> None:
    hook.states = [(0, PENDING)]
    hook.events = [(3, "FailedMount", NO_SECRET)]
    event = await run(make(hook))
    assert (event["status"], event["code"], event["category"]) == ("timeout", "secret_missing", "config")
    assert NO_SECRET in event["message"]
    assert event["remedy"] == "Create the secret that the message names."
    assert 15 <= elapsed() <= 17


async def test_events_are_not_read_at_every_poll(hook: Hook) -> None:
    hook.states = [(0, PENDING), (120, RUNS), (130, SUCCEEDED)]
    await run(make(hook))
    assert 9 <= len(hook.event_reads) <= 11
    assert hook.event_reads[0] >= 15


async def test_what_failed_early_is_explained_by_events(hook: Hook) -> None:
    hook.states = [
        (0, pod("Pending", {"waiting": {"reason": "CreateContainerConfigError", "message": "no"}}))
    ]
    hook.events = [(0, "Failed", "Error: the whole story")]
    event = await run(make(hook))
    assert event["code"] == "container_config"
    assert event["message"].endswith("Events: Failed: Error: the whole story")
    assert elapsed() == 5


async def test_why_a_pod_did_not_start_in_time_is_explained_by_events(hook: Hook) -> None:
    hook.states = [(0, PENDING)]
    hook.events = [(5, "FailedAttachVolume", "Multi-Attach error for volume pvc-1")]
    event = await run(make(hook, startup_timeout=60))
    assert (event["status"], event["code"]) == ("timeout", "volume_mount")
    assert "Multi-Attach" in event["message"]


@pytest.mark.parametrize(
    "refusal", [ApiException(status=403), KubernetesApiPermissionError("Permission denied (403)")]
)
async def test_without_the_right_to_read_events_it_goes_on(hook: Hook, refusal: Exception) -> None:
    hook.states = [(0, PENDING)]
    hook.events_fail = refusal
    event = await run(make(hook, startup_timeout=100))
    assert (event["status"], event["code"]) == ("timeout", "not_started")
    assert len(hook.event_reads) == 1


async def test_events_that_cannot_be_read_now_are_read_later(hook: Hook) -> None:
    hook.states = [(0, PENDING)]
    hook.events = [(3, "FailedMount", NO_SECRET)]
    hook.events_fail = ApiException(status=500)
    async with running(make(hook)) as task:
        await asyncio.sleep(40)
        hook.events_fail = None
        assert (await task)["code"] == "secret_missing"


# Credentials that expire


class Renewal:
    """Stands for the renewal of credentials."""

    made: ClassVar[list[Renewal]] = []
    fault: ClassVar[Exception | None] = None
    hangs: ClassVar[bool] = False

    def __init__(self, spec: dict[str, Any], hook: Any) -> None:
        self.spec = spec
        self.hook = hook
        self.ticks: list[float] = []
        self.made.append(self)
        if spec.get("fails"):
            raise ValueError("not a specification")

    async def tick(self) -> None:
        self.ticks.append(elapsed())
        if self.hangs:
            await asyncio.sleep(10**6)
        if self.fault:
            raise self.fault


@pytest.fixture
def renewal(monkeypatch: pytest.MonkeyPatch) -> type[Renewal]:
    stand_in: Any = ModuleType("credential_renewal")
    stand_in.CredentialRenewal = Renewal
    name = "airflow_provider_agents.triggers.credential_renewal"
    monkeypatch.setitem(sys.modules, name, stand_in)
    monkeypatch.setattr(Renewal, "made", [])
    return Renewal


async def test_credentials_are_looked_at_with_every_poll(hook: Hook, renewal: type[Renewal]) -> None:
    hook.states = [(0, RUNS), (20, SUCCEEDED)]
    await run(make(hook, renewal={"secret": "s"}))
    (made,) = renewal.made
    assert (made.spec, made.hook) == ({"secret": "s"}, hook)
    assert made.ticks == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]


async def test_they_are_while_the_pod_cannot_be_read(hook: Hook, renewal: type[Renewal]) -> None:
    hook.states = [(0, RUNS), (4, ApiException(status=503)), (20, SUCCEEDED)]
    await run(make(hook, renewal={}))
    assert len(renewal.made[0].ticks) == 10


async def test_a_renewal_that_fails_does_not_end_the_wait(
    hook: Hook, renewal: type[Renewal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "fault", RuntimeError("no token today"))
    hook.states = [(0, RUNS), (20, SUCCEEDED)]
    trigger = make(hook, renewal={})
    assert (await run(trigger))["status"] == "success"
    assert "no token today" in trigger.warnings[-1]


async def test_a_renewal_that_hangs_does_not_hold_up_the_wait(
    hook: Hook, renewal: type[Renewal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "hangs", True)
    hook.states = [(0, RUNS), (20, SUCCEEDED)]
    assert (await run(make(hook, renewal={})))["status"] == "success"
    assert elapsed() <= 2 + CALL_SECONDS + 2


async def test_a_renewal_that_cannot_be_set_up_does_not_end_the_wait(
    hook: Hook, renewal: type[Renewal]
) -> None:
    hook.states = [(0, RUNS), (20, SUCCEEDED)]
    trigger = make(hook, renewal={"fails": True})
    assert (await run(trigger))["status"] == "success"
    assert "will not be renewed" in trigger.warnings[0]


# What goes to the operator


async def test_an_event_carries_its_failure(hook: Hook) -> None:
    hook.states = [(0, PENDING)]
    event = await run(make(hook, startup_timeout=60))
    found = event_failure(json.loads(json.dumps(event)))
    assert found is not None
    assert (found.code, found.category, found.retryable) == ("not_started", "scheduling", True)
    assert found.message == event["message"]


async def test_the_remedy_of_an_event_is_kept() -> None:
    found = event_failure({"code": "evicted", "message": "m", "remedy": "Raise `workspace_size`."})
    assert found is not None
    assert found.remedy == "Raise `workspace_size`."


@pytest.mark.parametrize("event", [{}, {"code": None}, {"code": "of a later version", "message": "m"}])
async def test_an_event_without_a_known_failure(event: dict[str, Any]) -> None:
    assert event_failure(event) is None


async def test_a_pod_that_failed_without_a_word_of_its_runner(hook: Hook) -> None:
    evicted = pod("Failed", {"terminated": {"exit_code": 137}}, ENDED)
    evicted["status"] |= {"reason": "Evicted", "message": "The node was low on resource: memory."}
    hook.states = [(0, RUNS), (10, evicted)]
    event = await run(make(hook))
    assert (event["status"], event["code"]) == ("failed", "evicted")


async def test_what_the_runner_said_is_the_operators_to_read(hook: Hook) -> None:
    said = pod("Failed", {"terminated": {"exit_code": 1, "message": "{}"}}, ENDED)
    hook.states = [(0, RUNS), (10, said)]
    event = await run(make(hook))
    assert (event["status"], event["code"], event["category"]) == ("failed", None, None)


async def test_what_the_operator_gave_comes_back(hook: Hook) -> None:
    hook.states = [(0, SUCCEEDED)]
    event = await run(make(hook, trigger_kwargs={"_redefer_count": 2, "_execution_deadline": 9e9}))
    assert (event["_redefer_count"], event["_execution_deadline"]) == (2, 9e9)


async def test_it_comes_back_from_the_database(hook: Hook) -> None:
    sent = make(
        hook,
        AgentPodTrigger,
        failed_seconds=7,
        renewal={"secret_name": "s", "expires_at": stamp(9)},
        last_log_time=stamp(3),
        trigger_kwargs={"_redefer_count": 1},
    )
    path, arguments = sent.serialize()
    assert path == "airflow_provider_agents.triggers.agent_pod.AgentPodTrigger"
    again = AgentPodTrigger(**deserialize(serialize(arguments)))
    assert again.serialize() == (path, arguments)
    assert again.failed_seconds == 7
    assert again.renewal == {"secret_name": "s", "expires_at": stamp(9)}
    assert again._last_log_stamp == stamp(3)


# Time stamps


async def test_lines_not_newer_than_the_last_are_left_out() -> None:
    lines = [f"{stamp(n)} line {n}" for n in range(4)]
    assert [text for _, text in new_lines(lines, stamp(1))] == ["line 2", "line 3"]
    assert len(new_lines(lines, None)) == 4
    assert new_lines(lines, stamp(3)) == []


async def test_what_has_no_stamp_is_no_line() -> None:
    assert (
        new_lines(["", "unable to retrieve container logs", "2026-01-01 x", "2026-01-01T00:00:0x.5Z x"], None)
        == []
    )


async def test_a_line_may_be_empty_and_may_hold_anything() -> None:
    assert new_lines([f"{stamp(1)} ", f"{stamp(2)}", f"{stamp(3)}  two  spaces "], None) == [
        (stamp(1), ""),
        (stamp(2), ""),
        (stamp(3), " two  spaces "),
    ]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("2026-01-01T00:00:01Z", "2026-01-01T00:00:01.000000001Z"),
        ("2026-01-01T00:00:01.9Z", "2026-01-01T00:00:02Z"),
        ("2026-01-01T00:00:01.123456788Z", "2026-01-01T00:00:01.123456789Z"),
        ("2026-01-01T00:00:01.1Z", "2026-01-01T00:00:01.12Z"),
        ("2026-01-01T08:00:01+08:00", "2026-01-01T00:00:01.5Z"),
        ("2025-12-31T19:00:01.5-05:00", "2026-01-01T00:00:02Z"),
        ("2026-10-25T02:59:59.9+02:00", "2026-10-25T02:00:00.1+01:00"),
    ],
)
async def test_stamps_are_ordered_as_moments(older: str, newer: str) -> None:
    assert new_lines([f"{newer} x"], older) == [(newer, "x")]
    assert new_lines([f"{older} x"], newer) == []


@pytest.mark.parametrize("zone", ["Z", "+00:00"])
async def test_seconds_since(zone: str) -> None:
    await asyncio.sleep(100)
    assert seconds_since(None) is None
    assert seconds_since(f"2026-01-01T00:01:30.5{zone}") == 10 + CLOCK_SKEW_SECONDS
    assert seconds_since("2026-01-01T08:01:30.5+08:00") == 10 + CLOCK_SKEW_SECONDS
    assert seconds_since("2026-01-02T00:00:00Z") == 1


@pytest.mark.looptime(False)
@given(st.lists(st.integers(0, 10**10), unique=True, min_size=1), st.data())
def test_reading_in_any_parts_gives_each_line_once(moments: list[int], data: st.DataObject) -> None:
    def written(nanoseconds: int) -> str:
        seconds, rest = divmod(nanoseconds, 10**9)
        return f"2026-01-01T00:00:{seconds:02d}.{rest:09d}".rstrip("0").rstrip(".") + f"Z {nanoseconds}"

    lines = [written(moment) for moment in sorted(moments)]
    last: str | None = None
    seen: list[int] = []

    def read(part: list[str]) -> None:
        nonlocal last
        for stamped, text in new_lines(part, last):
            last = stamped
            seen.append(int(text))

    for _ in range(5):
        end = data.draw(st.integers(0, len(lines)))
        start = data.draw(st.integers(0, len(seen)))
        read(lines[start:end])
    read(lines)
    assert seen == sorted(moments)
