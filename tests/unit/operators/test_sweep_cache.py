"""The pod that sweeps the cache: what it is given, what it must not have, and how its end is read."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from fake_kubernetes import Kubernetes
from fakes import TaskInstance, context

from agent_runner.contract import failure
from airflow_provider_agents.exceptions import InvalidInputError, StepInfrastructureError
from airflow_provider_agents.operators import sweep_cache
from airflow_provider_agents.operators.sweep_cache import SweepCacheOperator
from airflow_provider_agents.triggers.agent_pod import AgentPodTrigger

if TYPE_CHECKING:
    from pathlib import Path

REPORT = {
    "version": 1,
    "bytes_before": 900,
    "bytes_after": 600,
    "freed": 300,
    "entries": [{"path": "packages/github.com/acme/x", "bytes": 300, "action": "evicted", "why": "unused"}],
    "faults": [],
}


class World:
    """A sweep with a cluster of its own."""

    def __init__(self, **arguments: Any) -> None:
        self.arguments = {"task_id": "cache", "claim": "agents-cache"} | arguments
        self.kubernetes = Kubernetes()
        self.ti = TaskInstance("cache")

    def operator(self) -> Any:
        operator = SweepCacheOperator(**self.arguments)
        operator.__dict__.update(hook=self.kubernetes, client=self.kubernetes)
        return operator

    def pod(self) -> dict[str, Any]:
        """Run it until it defers; return its pod as it was sent."""
        with pytest.raises(TaskDeferred) as caught:
            self.operator().execute(context(self.ti))
        assert type(caught.value.trigger) is AgentPodTrigger
        (pod,) = self.kubernetes.pods.values()
        return pod

    def reenter(self, status: str = "success", **event: Any) -> Any:
        values = {"status": status, "name": self.kubernetes.only, "namespace": "agent-system"}
        return self.operator().trigger_reentry(
            context(self.ti), {"message": "m", "last_log_time": None} | values | event
        )

    def finish(self, message: Any, phase: str = "Succeeded") -> None:
        text = message if isinstance(message, str) or message is None else json.dumps(message)
        self.kubernetes.finish(self.kubernetes.only, text, phase=phase)


@pytest.fixture(autouse=True)
def claim(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    found = SimpleNamespace(metadata=SimpleNamespace(deletion_timestamp=None))
    state = SimpleNamespace(found=found)
    monkeypatch.setattr(sweep_cache, "find_claim", lambda client, namespace, name: state.found)
    return state


def test_the_pod_has_the_whole_claim_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__IMAGE", "registry.example/agent:1-{preset}")
    pod = World().pod()
    spec, (base,) = pod["spec"], pod["spec"]["containers"]
    assert pod["metadata"]["labels"]["agents.airflow/installation"] == "default"
    assert pod["metadata"]["labels"]["agents.airflow/kind"] == "cache-sweep"
    assert not spec.get("initContainers")
    assert (spec["automountServiceAccountToken"], spec["restartPolicy"]) == (False, "Never")
    sources = {volume["name"]: sorted(set(volume) - {"name"}) for volume in spec["volumes"]}
    assert sources == {"cache": ["persistentVolumeClaim"], "tmp": ["emptyDir"]}
    assert {mount["name"]: mount["mountPath"] for mount in base["volumeMounts"]} == {
        "cache": "/agent/cache",
        "tmp": "/tmp",
    }
    assert base["image"] == "registry.example/agent:1-base"
    assert base["command"] == ["agent-runner"]
    assert base["args"] == [
        "sweep-cache", "--max-total", "50Gi", "--max-repository", "10Gi", "--unused-days", "30"
    ]  # fmt: skip
    assert {entry["name"]: entry["value"] for entry in base["env"]} == {
        "AGENT_CACHE_ROOT": "/agent/cache",
        "AGENT_TERMINATION_LOG": "/dev/termination-log",
        "HOME": "/tmp",
        "TMPDIR": "/tmp",
    }
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert base["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert base["securityContext"]["readOnlyRootFilesystem"] is True
    assert spec["activeDeadlineSeconds"] > 0


def test_a_template_of_its_own_wins_over_the_installations(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def template(pool: str) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "spec": {"containers": [{"name": "base"}], "nodeSelector": {"pool": pool}},
        }

    (tmp_path / "pod_template.yaml").write_text(json.dumps(template("installation")))
    monkeypatch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", str(tmp_path))
    assert World().pod()["spec"]["nodeSelector"] == {"pool": "installation"}
    assert World(pod_template_dict=template("own")).pod()["spec"]["nodeSelector"] == {"pool": "own"}


def test_its_limits_are_the_operators_then_the_installations(monkeypatch: pytest.MonkeyPatch) -> None:
    for option, value in (("MAX_SIZE", "1Ti"), ("REPOSITORY_MAX_SIZE", "2Gi"), ("UNUSED_DAYS", "7")):
        monkeypatch.setenv(f"AIRFLOW__AGENTS__CACHE_{option}", value)
    args = World(report_only="True", repository_max_size="5Gi").pod()["spec"]["containers"][0]["args"]
    assert args[1:] == [
        "--max-total", "1Ti", "--max-repository", "5Gi", "--unused-days", "7", "--dry-run"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"max_size": "much"}, "cache_max_size: 'much'"),
        ({"repository_max_size": "0Gi"}, "cache_repository_max_size: '0Gi'"),
        ({"unused_days": "-3"}, "unused_days"),
    ],
)
def test_a_limit_that_is_none_is_refused(arguments: dict[str, Any], text: str) -> None:
    world = World(**arguments)
    with pytest.raises(InvalidInputError, match=text):
        world.operator().execute(context(world.ti))
    assert world.kubernetes.pods == {}


def test_without_a_cache_it_is_skipped_with_the_reason(claim: SimpleNamespace) -> None:
    world = World(claim=None)
    with pytest.raises(AirflowSkipException, match="cache_claim is empty"):
        world.operator().execute(context(world.ti))
    claim.found.metadata.deletion_timestamp = "now"
    for found in (claim.found, None):
        claim.found = found
        world = World()
        with pytest.raises(AirflowSkipException, match="There is no claim agents-cache"):
            world.operator().execute(context(world.ti))


def test_its_report_is_the_result_and_its_pod_goes() -> None:
    world = World()
    world.pod()
    world.finish(REPORT)
    result = world.reenter()
    assert result == {"dry_run": False} | {key: REPORT[key] for key in REPORT if key != "version"}
    assert world.ti.pushed["return_value"] == result
    assert world.kubernetes.pods == {}


@pytest.mark.parametrize(
    "message",
    [
        None,
        "Killed",
        "[]",
        REPORT | {"version": 2},
        REPORT | {"freed": "all"},
        REPORT | {"freed": -1},
        REPORT | {"freed": True},
        {key: value for key, value in REPORT.items() if key != "entries"},
    ],
)
def test_a_pod_that_tells_nothing_of_use_is_an_error(message: Any) -> None:
    world = World()
    world.pod()
    world.finish(message, "Failed")
    with pytest.raises(StepInfrastructureError):
        world.reenter("failed")
    assert "return_value" not in world.ti.pushed
    assert world.kubernetes.pods == {}


def test_a_claim_that_it_cannot_have_in_time_is_no_error_and_the_pod_does_not_wait_on() -> None:
    world = World()
    world.pod()
    with pytest.raises(AirflowSkipException, match="in use on another node: Multi-Attach"):
        world.reenter("timeout", message="Multi-Attach error for volume")
    assert world.kubernetes.pods == {}


def test_an_image_that_cannot_be_pulled_is_an_error() -> None:
    world = World()
    world.pod()
    found = failure("image_pull", "No such image.")
    event = {"code": found.code, "category": found.category, "remedy": found.remedy}
    with pytest.raises(StepInfrastructureError):
        world.reenter("timeout", **event)


def test_a_pod_that_somebody_deleted_is_an_error() -> None:
    world = World()
    world.pod()
    name = world.kubernetes.only
    world.kubernetes.pods.clear()
    event = {"status": "error", "name": name, "namespace": "agent-system", "message": "m"}
    with pytest.raises(StepInfrastructureError, match="deleted before its report was read"):
        world.operator().trigger_reentry(context(world.ti), event)
