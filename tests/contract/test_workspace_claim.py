"""A run's claim on the local pod runtime, over HTTP: made, shared, lost, made anew, released, swept."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes import client, config
from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException

from airflow_provider_agents.domain.workspace import (
    ANNOTATION_EXPIRES_AT,
    HOME_FOLDER,
    LABEL_INSTALLATION,
    LEDGER_FOLDER,
    WORKSPACE_FOLDER,
    Workspace,
    read_stamp,
    stamp,
)
from airflow_provider_agents.exceptions import InvalidInputError, StepInfrastructureError
from airflow_provider_agents.local.runtime import LocalKubernetes
from airflow_provider_agents.local.sandbox import BubblewrapSandbox, SandboxUnavailableError
from airflow_provider_agents.local.services import Timing
from airflow_provider_agents.operators import run_records
from airflow_provider_agents.operators.kubernetes_objects import workspace_mount, workspace_volumes
from airflow_provider_agents.operators.sweep import SweepOperator
from airflow_provider_agents.operators.workspace import PrepareWorkspaceOperator, ReleaseWorkspaceOperator
from airflow_provider_agents.operators.workspace_claim import ensure_claim, keep_claim, wait_until_free

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "agents"
RESTRICTED = k8s.V1SecurityContext(
    allow_privilege_escalation=False,
    capabilities=k8s.V1Capabilities(drop=["ALL"]),
    run_as_non_root=True,
    run_as_user=1000,
    seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
)


def bubblewrap_works() -> bool:
    try:
        BubblewrapSandbox([], [])
    except SandboxUnavailableError:
        return False
    return True


@pytest.fixture
def runtime(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LocalKubernetes]:
    """A runtime in a thread of its own, as the operators block the one that they run in."""
    sandbox = getattr(request, "param", "none")
    if sandbox == "bubblewrap" and not bubblewrap_works():
        pytest.skip("bubblewrap does not work here")
    runtime = LocalKubernetes(
        tmp_path / "data",
        {"shell": "sh"},
        sandbox=sandbox,
        timing=Timing(retry=0.05, least_sidecar_grace=1.0, shutdown_grace=1.0),
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(runtime.start(), loop).result(20)
    yield runtime
    asyncio.run_coroutine_threadsafe(runtime.stop(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture
def core(runtime: LocalKubernetes, monkeypatch: pytest.MonkeyPatch) -> Iterator[client.CoreV1Api]:
    extra = {"in_cluster": False, "kube_config_path": str(runtime.kubeconfig_file)}
    connection = {"conn_type": "kubernetes", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW__AGENTS__NAMESPACE", NAMESPACE)
    with config.new_client_from_config(str(runtime.kubeconfig_file)) as api_client:
        yield client.CoreV1Api(api_client)


class TaskInstance:
    """What the operators ask of a running task."""

    def __init__(self, task_id: str = "workspace", **decisions: str) -> None:
        self.dag_id, self.run_id, self.task_id, self.map_index = "coding_task", "manual__1", task_id, -1
        self.pushed: dict[str, Any] = {}
        self.runs: dict[str, str] = {}
        self.decisions = decisions

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def xcom_pull(self, task_ids: str, key: str, **_: Any) -> Any:
        assert key == "decision"
        return {"verdict": self.decisions[task_ids], "message": "So it is."}

    def get_task_states(self, run_ids: list[str], task_ids: Any = (), **_: Any) -> dict[str, Any]:
        return {run_ids[0]: dict.fromkeys(task_ids, "success")}

    def get_dr_count(self, dag_id: str, run_ids: list[str]) -> int:
        return int(run_ids[0] in self.runs)

    def dag_run(self, dag_id: str, run_id: str) -> tuple[str, datetime | None]:
        state = self.runs[run_id]
        return state, None if state == "running" else datetime.now(UTC)


def prepared(**arguments: Any) -> Workspace:
    """Run the setup task; return what later tasks read."""
    values = PrepareWorkspaceOperator(task_id="workspace", **arguments).execute({"ti": TaskInstance()})
    workspace = Workspace.from_dict(json.loads(json.dumps(values)))
    assert workspace is not None
    return workspace


def container(name: str, script: str, claim: str, *folders: str, **more: Any) -> k8s.V1Container:
    return k8s.V1Container(
        name=name,
        image="shell",
        command=["sh", "-c", script],
        security_context=RESTRICTED,
        volume_mounts=[workspace_mount(folder, f"/agent/{folder}", claim) for folder in folders],
        env=[k8s.V1EnvVar(name=folder.upper(), value=f"/agent/{folder}") for folder in folders],
        **more,
    )


def run(core: client.CoreV1Api, claim: str, name: str, *containers: k8s.V1Container) -> None:
    *early, base = containers
    spec = k8s.V1PodSpec(
        init_containers=early,
        containers=[base],
        volumes=workspace_volumes(claim),
        restart_policy="Never",
        termination_grace_period_seconds=1,
    )
    core.create_namespaced_pod(NAMESPACE, k8s.V1Pod(metadata=k8s.V1ObjectMeta(name=name), spec=spec))


def phase(core: client.CoreV1Api, name: str, wanted: str) -> k8s.V1Pod:
    for _ in range(500):
        pod = core.read_namespaced_pod(name, NAMESPACE)
        if pod.status.phase == wanted:
            return pod
        time.sleep(0.03)
    raise AssertionError(f"{name} is not {wanted}: {pod.status}")


def log(core: client.CoreV1Api, name: str) -> str:
    # Decoded here: the client makes the text of bytes otherwise.
    answer = core.read_namespaced_pod_log(name, NAMESPACE, container="base", _preload_content=False)
    return str(answer.data.decode())


def gone(read: Any, name: str) -> bool:
    for _ in range(300):
        try:
            read(name, NAMESPACE)
        except ApiException as error:
            return bool(error.status == 404)
        time.sleep(0.03)
    return False


def delete_pod(core: client.CoreV1Api, name: str) -> None:
    core.delete_namespaced_pod(name, NAMESPACE, grace_period_seconds=0)
    assert gone(core.read_namespaced_pod, name)


def claims(core: client.CoreV1Api) -> list[str]:
    return [item.metadata.name for item in core.list_namespaced_persistent_volume_claim(NAMESPACE).items]


def expire(core: client.CoreV1Api, claim: str) -> None:
    past = stamp(datetime.now(UTC) - timedelta(hours=1))
    body = {"metadata": {"annotations": {ANNOTATION_EXPIRES_AT: past}}}
    core.patch_namespaced_persistent_volume_claim(claim, NAMESPACE, body)


def sweep(ti: TaskInstance, **arguments: Any) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_records, "dag_run", ti.dag_run)
        result: dict[str, Any] = SweepOperator(task_id="sweep", **arguments).execute({"ti": ti})
    assert ti.pushed["return_value"] == result
    json.dumps(result)
    return result


@pytest.mark.parametrize("runtime", ["none", "bubblewrap"], indirect=True)
def test_two_pods_share_checkout_and_home_and_the_agent_never_sees_the_ledger(core: client.CoreV1Api) -> None:
    claim = prepared().claim
    gateway = container(
        "gateway",
        'echo spent >> "$LEDGER/pods"; trap "exit 0" TERM; while true; do sleep 0.05; done',
        claim,
        LEDGER_FOLDER,
        restart_policy="Always",
        startup_probe=k8s.V1Probe(
            _exec=k8s.V1ExecAction(command=["test", "-f", "/agent/ledger/pods"]), period_seconds=1
        ),
    )
    agent = (WORKSPACE_FOLDER, HOME_FOLDER)
    first = 'echo "checked out" > "$WORKSPACE/f"; echo session > "$HOME/s"; env | grep -c LEDGER || true'
    run(core, claim, "first", gateway, container("base", first, claim, *agent))
    pod = phase(core, "first", "Succeeded")
    assert log(core, "first").strip() == "0"
    assert pod.spec.init_containers[0].volume_mounts[0].sub_path == "ledger"
    delete_pod(core, "first")
    second = 'cat "$WORKSPACE/f" "$HOME/s"; test -e /agent/ledger && echo ledger || echo no ledger'
    run(core, claim, "second", gateway, container("base", second, claim, *agent))
    phase(core, "second", "Succeeded")
    assert log(core, "second") == "checked out\nsession\nno ledger\n"
    # What the gateways wrote is there for the next one.
    delete_pod(core, "second")
    run(core, claim, "third", container("base", 'cat "$LEDGER/pods"', claim, LEDGER_FOLDER))
    phase(core, "third", "Succeeded")
    assert log(core, "third") == "spent\nspent\n"


def test_a_claim_that_was_lost_is_made_anew(core: client.CoreV1Api) -> None:
    workspace = prepared()
    assert ensure_claim(core, workspace) is False
    core.delete_namespaced_persistent_volume_claim(workspace.claim, NAMESPACE)
    assert ensure_claim(core, workspace) is True
    assert claims(core) == [workspace.claim]


def test_a_claim_that_is_being_deleted_is_waited_for(core: client.CoreV1Api) -> None:
    workspace = prepared()
    run(core, workspace.claim, "holder", container("base", "true", workspace.claim, WORKSPACE_FOLDER))
    phase(core, "holder", "Succeeded")
    core.delete_namespaced_persistent_volume_claim(workspace.claim, NAMESPACE)
    old = core.read_namespaced_persistent_volume_claim(workspace.claim, NAMESPACE)
    assert old.metadata.deletion_timestamp
    with pytest.raises(StepInfrastructureError, match="holder") as caught:
        ensure_claim(core, workspace, seconds=0)
    assert caught.value.failure is not None
    assert caught.value.failure.code == "claim_held"
    # The pod goes while it is waited for.
    assert ensure_claim(core, workspace, sleep=lambda _: delete_pod(core, "holder")) is True
    new = core.read_namespaced_persistent_volume_claim(workspace.claim, NAMESPACE)
    assert new.metadata.uid != old.metadata.uid


def test_a_repeated_setup_keeps_the_claim_and_what_is_in_it_for_longer(core: client.CoreV1Api) -> None:
    workspace = prepared()
    expire(core, workspace.claim)
    before = core.read_namespaced_persistent_volume_claim(workspace.claim, NAMESPACE)
    assert prepared(size="20Gi", expiry_hours=1).claim == workspace.claim
    after = core.read_namespaced_persistent_volume_claim(workspace.claim, NAMESPACE)
    assert after.metadata.uid == before.metadata.uid
    left = read_stamp(after.metadata.annotations[ANNOTATION_EXPIRES_AT]) - datetime.now(UTC)
    assert timedelta(minutes=58) < left <= timedelta(hours=1)
    assert after.spec.resources.requests["storage"] == "20Gi"


def test_an_unknown_storage_class_is_refused_at_once(core: client.CoreV1Api) -> None:
    with pytest.raises(InvalidInputError, match="no storage class 'fast'"):
        prepared(storage_class="fast")
    assert claims(core) == []
    prepared(storage_class="local")


def test_the_next_pod_waits_for_the_last_one(core: client.CoreV1Api) -> None:
    claim = prepared().claim
    script = "trap '' TERM; while true; do sleep 0.05; done"
    run(core, claim, "living", container("base", script, claim, WORKSPACE_FOLDER))
    phase(core, "living", "Running")
    with pytest.raises(StepInfrastructureError, match="living") as caught:
        wait_until_free(core, NAMESPACE, claim, seconds=0)
    assert caught.value.failure is not None
    assert caught.value.failure.code == "claim_held"
    wait_until_free(core, NAMESPACE, claim, except_pod="living", seconds=0)
    wait_until_free(core, NAMESPACE, "another", seconds=0)
    # In its grace it still counts: its processes still write.
    core.delete_namespaced_pod("living", NAMESPACE, grace_period_seconds=1)
    with pytest.raises(StepInfrastructureError, match="living"):
        wait_until_free(core, NAMESPACE, claim, seconds=0)
    wait_until_free(core, NAMESPACE, claim, sleep=lambda _: time.sleep(0.1), seconds=20)
    assert gone(core.read_namespaced_pod, "living")


def release(workspace: Workspace, **decisions: str) -> dict[str, Any]:
    task = ReleaseWorkspaceOperator(task_id="release", workspace=workspace.to_dict(), gates=list(decisions))
    result: dict[str, Any] = task.execute({"ti": TaskInstance("release", **decisions)})
    return result


def test_a_merged_run_gives_its_claim_back_and_a_clear_makes_it_anew(core: client.CoreV1Api) -> None:
    workspace = prepared()
    assert release(workspace, first="fix", second="done")["released"] is True
    assert gone(core.read_namespaced_persistent_volume_claim, workspace.claim)
    assert release(workspace, first="done")["released"] is True
    assert prepared().claim == workspace.claim
    assert claims(core) == [workspace.claim]


def test_a_failed_run_keeps_its_claim_until_it_expires(core: client.CoreV1Api) -> None:
    workspace = prepared()
    expire(core, workspace.claim)
    outcome = release(workspace, first="fix")
    assert outcome["released"] is False
    kept = core.read_namespaced_persistent_volume_claim(workspace.claim, NAMESPACE)
    assert kept.metadata.annotations[ANNOTATION_EXPIRES_AT] == outcome["kept_until"]
    assert read_stamp(outcome["kept_until"]) > datetime.now(UTC) + timedelta(hours=167)


def test_a_sweep_deletes_expired_claims_only_and_never_one_that_is_in_use(core: client.CoreV1Api) -> None:
    workspace = prepared()
    ti = TaskInstance("sweep")
    assert sweep(ti)["claims"] == {"kept": 1, "deleted": 0, "bytes": 0, "names": [], "faults": []}
    expire(core, workspace.claim)
    ti.runs["manual__1"] = "running"
    assert sweep(ti)["claims"]["kept"] == 1
    ti.runs["manual__1"] = "failed"
    run(core, workspace.claim, "living", container("base", "sleep 60", workspace.claim, WORKSPACE_FOLDER))
    phase(core, "living", "Running")
    assert sweep(ti)["claims"]["kept"] == 1
    delete_pod(core, "living")
    assert sweep(ti, installation="team-b")["claims"] == {
        "kept": 0,
        "deleted": 0,
        "bytes": 0,
        "names": [],
        "faults": [],
    }
    dry = sweep(ti, report_only="True")
    assert (dry["dry_run"], dry["claims"]["names"]) == (True, [workspace.claim])
    assert claims(core) == [workspace.claim]
    assert sweep(ti)["claims"]["names"] == [workspace.claim]
    assert claims(core) == []


def test_a_step_that_asks_for_the_claim_in_the_middle_of_a_sweep_keeps_it(core: client.CoreV1Api) -> None:
    workspace = prepared()
    expire(core, workspace.claim)
    ti = TaskInstance("sweep")

    def meanwhile(dag_id: str, run_ids: list[str]) -> int:
        assert keep_claim(core, workspace) is not None
        return 0

    ti.get_dr_count = meanwhile  # type: ignore[method-assign]
    assert sweep(ti)["claims"] == {"kept": 1, "deleted": 0, "bytes": 0, "names": [], "faults": []}
    assert claims(core) == [workspace.claim]


def test_a_sweep_frees_a_claim_that_ended_pods_hold(
    core: client.CoreV1Api,
) -> None:
    claim = prepared().claim
    run(core, claim, "ended", container("base", "true", claim, WORKSPACE_FOLDER))
    phase(core, "ended", "Succeeded")
    body = {"metadata": {"labels": {LABEL_INSTALLATION: "default"}}}
    core.patch_namespaced_pod("ended", NAMESPACE, body)
    core.delete_namespaced_persistent_volume_claim(claim, NAMESPACE)
    assert claims(core) == [claim]
    ti = TaskInstance("sweep")
    # Somebody may still come for its result; once it was read, it does not keep the claim.
    assert sweep(ti)["pods"] == {"kept": 1, "deleted": 0, "bytes": 0, "names": [], "faults": []}
    core.patch_namespaced_pod("ended", NAMESPACE, {"metadata": {"labels": {"already_checked": "True"}}})
    assert sweep(ti)["pods"]["names"] == ["ended"]
    assert gone(core.read_namespaced_persistent_volume_claim, claim)


PARSE = """
import json, sys, time
begin = time.process_time()
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG
base, before = time.process_time(), set(sys.modules)
import runpy
from airflow.sdk.definitions._internal.contextmanager import DagContext
DagContext.current_autoregister_module_name = "__main__"
runpy.run_path(sys.argv[1])
end = time.process_time()
((dag, _),) = DagContext.autoregistered_dags
print(json.dumps({
    "seconds": end - base, "airflow": base - begin, "dag": dag.dag_id,
    "tasks": {task.task_id: type(task).__name__ for task in dag.tasks}, "schedule": str(dag.schedule), "runs": dag.max_active_runs,
    "catchup": dag.catchup, "tags": sorted(dag.tags), "dry_run": dag.params["dry_run"],
    "heavy": sorted({"kubernetes_asyncio", "aiohttp", "pydantic_ai", "jinja2"} & (set(sys.modules) - before)),
}))
"""


def test_the_maintenance_dag_is_parsed_quickly(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(ROOT / "dags" / "agents_maintenance.py")],
        env={
            "AIRFLOW_HOME": str(tmp_path),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'agent-image'}",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    found = SimpleNamespace(**json.loads(done.stdout.strip().splitlines()[-1]))
    assert found.dag == "agents_maintenance"
    assert found.tasks == {
        "sweep": "SweepOperator",
        "branches": "SweepBranchesOperator",
        "cache": "SweepCacheOperator",
        "report": "HousekeepingReportOperator",
    }
    assert (found.schedule, found.runs, found.catchup) == ("17 * * * *", 1, False)
    assert found.tags == ["agents"]
    assert found.dry_run is False
    assert found.heavy == []
    # What the DAG costs beside Airflow and its KubernetesPodOperator.
    assert found.seconds < max(0.5, 0.5 * found.airflow), (found.seconds, found.airflow)
