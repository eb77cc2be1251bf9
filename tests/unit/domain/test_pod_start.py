"""What keeps a pod from starting, with statuses and events as Kubernetes gives them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from agent_runner.contract import failure
from airflow_provider_agents.domain.pod_events import PodEvent
from airflow_provider_agents.domain.pod_start import PULLS, start_fault, start_timeout, with_events

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
RUNNING = {"running": {"started_at": NOW}}


def waiting(reason: str, message: str | None = None) -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def ended(code: int, reason: str = "Error", **more: Any) -> dict[str, Any]:
    return {"terminated": {"exit_code": code, "reason": reason, **more}}


def container(name: str, state: Any, *, restarts: int = 0, last: Any = None) -> dict[str, Any]:
    return {"name": name, "image": "agent:1", "state": state, "last_state": last, "restart_count": restarts}


def pod(base: Any = None, gateway: Any = None, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "agent-plan-x"},
        "status": {
            "phase": "Pending",
            "container_statuses": [container("base", base)] if base else None,
            "init_container_statuses": [gateway] if gateway else None,
            **status,
        },
    }


def event(reason: str, message: str, count: int = 1, *, warning: bool = True) -> PodEvent:
    return PodEvent(reason=reason, message=message, count=count, warning=warning, last=NOW)


GATEWAY = container("gateway", RUNNING)
CREATING = waiting("PodInitializing")
PULLING = waiting("ImagePullBackOff", 'Back-off pulling image "agent:1"')


def unscheduled(message: str, reason: str = "Unschedulable") -> list[dict[str, Any]]:
    return [{"type": "PodScheduled", "status": "False", "reason": reason, "message": message}]


def pull_event(cause: str, count: int = 1) -> PodEvent:
    return event("Failed", f'Failed to pull image "agent:1": {cause}', count)


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        # Never better by itself
        ('failed to resolve reference "docker.io/acme/agent:1": docker.io/acme/agent:1: not found', "image_pull"),
        ("manifest unknown: manifest unknown", "image_pull"),
        ("failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized", "image_pull"),
        ("pull access denied, repository does not exist or may require authorization", "image_pull"),
        ("no basic auth credentials", "image_pull"),
        ("403 Forbidden", "image_pull"),
        ("no match for platform in manifest: not found", "image_pull"),
        # Passing
        ("429 Too Many Requests - Server message: toomanyrequests: You have reached your unauthenticated pull rate limit", None),
        ("failed to authorize: failed to fetch oauth token: Post: dial tcp 1.2.3.4:443: i/o timeout", None),
        ("failed to do request: Head: dial tcp 1.2.3.4:443: connect: connection refused", None),
        ("read tcp 10.0.0.1:5000: read: connection reset by peer", None),
        ("unexpected status from HEAD request to https://registry.example/v2/: 503 Service Unavailable", None),
        ("unexpected status: 502 Bad Gateway", None),
        ("500 Internal Server Error", None),
        ("context deadline exceeded", None),
        ("net/http: TLS handshake timeout", None),
        ("pull QPS exceeded", None),
        ("dial tcp: lookup registry.example: Temporary failure in name resolution", None),
        # Neither: decided by how often it failed
        ("dial tcp: lookup registry.example: no such host", None),
        ("x509: certificate signed by unknown authority", None),
        ("", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff"])
def test_an_image_that_cannot_be_pulled(reason: str, cause: str, code: str | None) -> None:
    for state in (pod(waiting(reason, cause)), pod(CREATING, container("gateway", waiting(reason, cause)))):
        fault = start_fault(state)
        assert (fault.code if fault else None) == code
        if fault is not None:
            assert "agent:1" in fault.message
            assert cause in fault.message
            assert not fault.retryable


def test_a_back_off_that_does_not_say_its_cause_is_not_final_at_first_sight() -> None:
    assert start_fault(pod(PULLING, GATEWAY)) is None


def test_the_cause_behind_a_back_off_is_in_the_events() -> None:
    fault = start_fault(pod(PULLING, GATEWAY), [pull_event("manifest unknown")])
    assert fault is not None
    assert fault.code == "image_pull"
    assert "manifest unknown" in fault.message


@pytest.mark.parametrize("failed", [1, PULLS - 1, PULLS, PULLS + 4])
def test_what_nobody_knows_is_final_after_some_pulls(failed: int) -> None:
    fault = start_fault(pod(PULLING, GATEWAY), [pull_event("x509: unknown authority", failed)])
    assert (fault.code if fault else None) == ("image_pull" if failed >= PULLS else None)


def test_what_passes_is_waited_for_however_often_it_failed() -> None:
    events = [pull_event("429 Too Many Requests", 12)]
    assert start_fault(pod(PULLING, GATEWAY), events) is None
    late = start_timeout(pod(PULLING, GATEWAY), events, 600)
    assert (late.code, late.retryable) == ("registry_unavailable", True)
    assert "within 600 s" in late.message
    assert "429" in late.message


def test_pulls_of_another_image_do_not_count() -> None:
    other = event("Failed", 'Failed to pull image "other:2": manifest unknown', 9)
    assert start_fault(pod(PULLING, GATEWAY), [other]) is None


@pytest.mark.parametrize("reason", ["InvalidImageName", "ErrImageNeverPull", "SignatureValidationFailed"])
def test_an_image_that_will_never_do(reason: str) -> None:
    fault = start_fault(pod(waiting(reason, "no: timeout")))
    assert fault is not None
    assert fault.code == "image_pull"


@pytest.mark.parametrize(
    ("reason", "message", "code"),
    [
        ("CreateContainerConfigError", 'secret "agent-secrets" not found', "secret_missing"),
        ("CreateContainerConfigError", "couldn't find key github-token in Secret agents/agent-secrets", "secret_missing"),
        ("CreateContainerConfigError", 'configmap "settings" not found', "container_config"),
        ("CreateContainerConfigError", 'failed to create subPath directory for volumeMount "cache" of container "base"', "cache_unusable"),
        ("CreateContainerConfigError", 'failed to prepare subPath for volumeMount "cache" of container "gateway"', "cache_unusable"),
        ("CreateContainerConfigError", 'failed to create subPath directory for volumeMount "run" of container "base"', "container_config"),
        ("CreateContainerConfigError", "container has runAsNonRoot and image will run as root", "container_config"),
        ("CreateContainerConfigError", "failed to sync secret cache: timed out waiting for the condition", None),
        ("RunContainerError", 'exec: "agent-runner": executable file not found in $PATH: unknown', "agent_missing"),
        ("RunContainerError", "failed to create containerd task: mount: invalid argument", "container_config"),
        ("CreateContainerError", 'name "base" is reserved for "1f"', None),
        ("ContainerCreating", None, None),
        ("PodInitializing", None, None),
    ],
)  # fmt: skip
def test_a_container_that_cannot_be_created(reason: str, message: str | None, code: str | None) -> None:
    fault = start_fault(pod(waiting(reason, message), GATEWAY))
    assert (fault.code if fault else None) == code
    assert fault is None or fault.remedy


# Mounts: only the events tell

NO_SECRET = 'MountVolume.SetUp failed for volume "secrets" : secret "agent-secrets" not found'
MULTI_ATTACH = 'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) agent-plan-y'


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([event("FailedMount", NO_SECRET, 4)], "secret_missing"),
        ([event("FailedMount", 'MountVolume.SetUp failed for volume "x" : configmap "x" not found')], "container_config"),
        ([event("FailedMount", 'MountVolume.SetUp failed for volume "secrets" : failed to sync secret cache')], None),
        ([event("FailedAttachVolume", MULTI_ATTACH)], None),
        # It came about after all: the image is being pulled.
        ([event("FailedMount", NO_SECRET), event("Pulling", 'Pulling image "agent:1"', warning=False)], None),
        ([event("Pulling", "x", warning=False)], None),
        ([], None),
    ],
)  # fmt: skip
def test_a_volume_that_cannot_be_mounted(events: list[PodEvent], code: str | None) -> None:
    fault = start_fault(pod(CREATING, container("gateway", CREATING)), events)
    assert (fault.code if fault else None) == code


def test_a_volume_that_is_still_attached_elsewhere_is_named_at_the_end() -> None:
    late = start_timeout(pod(CREATING), [event("FailedAttachVolume", MULTI_ATTACH, 3)], 600)
    assert (late.code, late.retryable) == ("volume_mount", True)
    assert "Multi-Attach" in late.message


def test_events_of_the_start_do_not_concern_a_pod_that_runs() -> None:
    assert start_fault(pod(RUNNING, GATEWAY), [event("FailedMount", NO_SECRET)]) is None


# The gateway


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (ended(3), "gateway_crashed"),
        (ended(137, "OOMKilled"), "gateway_memory"),
        (
            ended(128, "StartError", message='exec: "agent-runner": executable file not found'),
            "agent_missing",
        ),
    ],
)
def test_a_gateway_that_does_not_start(last: dict[str, Any], code: str) -> None:
    crashing = container("gateway", waiting("CrashLoopBackOff", "back-off"), restarts=1, last=last)
    fault = start_fault(pod(CREATING, crashing))
    assert fault is not None
    assert fault.code == code


def test_the_first_end_of_a_gateway_is_not_final() -> None:
    assert start_fault(pod(CREATING, container("gateway", ended(1)))) is None


def test_a_gateway_that_restarts_beside_a_running_agent_is_no_fault_of_the_start() -> None:
    assert start_fault(pod(RUNNING, container("gateway", RUNNING, restarts=2, last=ended(137)))) is None


# Time is over


@pytest.mark.parametrize(
    ("message", "reason", "code"),
    [
        ("0/3 nodes are available: 3 Insufficient cpu.", "Unschedulable", "unschedulable"),
        ("0/3 nodes are available: 3 node(s) had untolerated taint(s).", "Unschedulable", "unschedulable"),
        ("Scheduling is blocked due to non-empty scheduling gates", "SchedulingGated", "unschedulable"),
        ("0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.", "Unschedulable", "claim_pending"),
        ('0/1 nodes are available: persistentvolumeclaim "run-1" not found.', "Unschedulable", "claim_pending"),
        ('running PreBind plugin "VolumeBinding": binding volumes: timed out', "SchedulerError", "claim_pending"),
    ],
)  # fmt: skip
def test_a_pod_that_no_node_takes(message: str, reason: str, code: str) -> None:
    state = pod(conditions=unscheduled(message, reason))
    assert start_fault(state) is None
    late = start_timeout(state, [], 600)
    assert (late.code, late.retryable) == (code, True)
    assert message in late.message
    assert late.remedy


def test_what_is_wrong_for_good_is_said_at_the_end_too() -> None:
    assert start_timeout(pod(waiting("ErrImagePull", "manifest unknown"))).code == "image_pull"


@pytest.mark.parametrize("state", [pod(CREATING, GATEWAY), pod(), {}, {"metadata": {}, "status": None}])
def test_nothing_is_known(state: dict[str, Any]) -> None:
    late = start_timeout(state, (), 60)
    assert (late.code, late.category) == ("not_started", "scheduling")
    assert "within 60 s" in late.message


def test_containers_that_wait_are_named() -> None:
    assert "base: PodInitializing" in start_timeout(pod(CREATING, GATEWAY)).message


# Events in messages


def test_the_last_warnings_are_added_to_a_failure() -> None:
    events = [
        event("FailedMount", "first"),
        event("Scheduled", "assigned", warning=False),
        event("FailedCreatePodSandBox", "network plugin is not ready", 5),
    ]
    found = with_events(failure("not_started", "Late."), events)
    assert found.message == (
        "Late. Events: FailedMount: first; FailedCreatePodSandBox (5 times): network plugin is not ready"
    )
    assert found.remedy == failure("not_started", "").remedy


def test_a_warning_that_is_quoted_already_is_not_repeated() -> None:
    late = failure("volume_mount", f"Late: FailedMount: {NO_SECRET}")
    assert with_events(late, [event("FailedMount", NO_SECRET)]) == late
    assert with_events(late, []) == late
