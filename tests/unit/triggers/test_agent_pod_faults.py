"""What the pod trigger makes of pods that do not start, do not end, or are gone, and of a cluster that is away."""

# ruff: noqa: F811 - fixtures are imported, and asked for by name

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from types import ModuleType
from typing import Any, ClassVar

import pytest
from agent_pod_world import (  # noqa: F401 - two are fixtures
    CREATING,
    PENDING,
    RUNNING,
    RUNS,
    START,
    SUCCEEDED,
    Hook,
    elapsed,
    hook,
    make,
    one_clock,
    pod,
    run,
    running,
)
from airflow.providers.cncf.kubernetes.exceptions import KubernetesApiPermissionError
from kubernetes.client.exceptions import ApiException

from airflow_provider_agents.triggers.agent_pod import (
    CALL_SECONDS,
    REFUSED_SECONDS,
)

pytestmark = pytest.mark.looptime(start=0, end=1_000_000)


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
