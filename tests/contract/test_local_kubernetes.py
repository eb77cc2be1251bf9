"""The local pod runtime as Airflow's own operator and the official Kubernetes clients see it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from kubernetes import client, config
from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException

from airflow_provider_agents.local.runtime import LocalKubernetes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

NAMESPACE = "agents"
RESTRICTED = k8s.V1SecurityContext(
    allow_privilege_escalation=False,
    capabilities=k8s.V1Capabilities(drop=["ALL"]),
    run_as_non_root=True,
    seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[LocalKubernetes]:
    """A runtime in a thread of its own, as the operator blocks the one it runs in."""
    runtime = LocalKubernetes(tmp_path / "data", {"shell": "sh"})
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
def core(runtime: LocalKubernetes) -> Iterator[client.CoreV1Api]:
    configuration = client.Configuration()
    assert configuration.client_side_validation
    config.load_kube_config_from_dict(runtime.kubeconfig(), client_configuration=configuration)
    with client.ApiClient(configuration) as api_client:
        yield client.CoreV1Api(api_client)


@pytest.fixture
def kube_config(runtime: LocalKubernetes) -> Path:
    """The file that the runtime itself wrote."""
    return runtime.kubeconfig_file


def pod(name: str, script: str, **more: Any) -> k8s.V1Pod:
    container = k8s.V1Container(
        name="base", image="shell", command=["sh", "-c", script], security_context=RESTRICTED
    )
    spec = k8s.V1PodSpec(containers=[container], restart_policy="Never", **more)
    return k8s.V1Pod(metadata=k8s.V1ObjectMeta(name=name, namespace=NAMESPACE), spec=spec)


def operator(kube_config: Path, script: str, **more: Any) -> Any:
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

    return KubernetesPodOperator(
        task_id="step", kubernetes_conn_id=None, config_file=str(kube_config), in_cluster=False,
        namespace=NAMESPACE, name="step", image="shell", cmds=["sh", "-c"], arguments=[script],
        container_security_context=RESTRICTED, startup_check_interval_seconds=1, **more,
    )  # fmt: skip


@pytest.fixture
def context() -> dict[str, Any]:
    ti = mock.MagicMock(
        dag_id="dag", task_id="step", run_id="manual__1", try_number=1, map_index=-1,
        logical_date=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    ti.get_template_context.return_value = {}
    dag_run = SimpleNamespace(run_id="manual__1", logical_date=ti.logical_date)
    dag = SimpleNamespace(dag_id="dag", is_subdag=False, parent_dag=None)
    return {"ti": ti, "task_instance": ti, "run_id": "manual__1", "dag_run": dag_run, "dag": dag}


def test_the_operator_runs_a_pod_follows_its_log_and_deletes_it(core, kube_config, context):
    from airflow.providers.cncf.kubernetes.callbacks import KubernetesPodOperatorCallback

    lines = []

    class Keep(KubernetesPodOperatorCallback):
        @staticmethod
        def progress_callback(*, line, **_):
            lines.append(line)

    step = operator(kube_config, "echo first line; sleep 1; echo last line", get_logs=True, callbacks=Keep)
    step.execute(context)
    assert [line.strip() for line in lines] == ["first line", "last line"]
    assert core.list_namespaced_pod(NAMESPACE).items == []


def test_the_operator_reports_a_failure_with_the_termination_message(core, kube_config, context):
    from airflow.sdk.exceptions import AirflowException

    script = 'echo the reason > "$LOG"; exit 3'
    env = {"LOG": "/dev/termination-log"}
    step = operator(kube_config, script, env_vars=env, on_finish_action="keep_pod")
    with pytest.raises(AirflowException, match="the reason"):
        step.execute(context)
    (kept,) = core.list_namespaced_pod(NAMESPACE, label_selector="task_id=step,already_checked=True").items
    assert kept.status.phase == "Failed"
    assert kept.status.container_statuses[0].state.terminated.exit_code == 3


def test_the_operator_gives_up_on_a_missing_image(kube_config, context):
    from airflow.sdk.exceptions import AirflowException

    step = operator(kube_config, "true", startup_timeout_seconds=10)
    step.image = "unknown:1"
    with pytest.raises(AirflowException, match="ErrImagePull"):
        step.execute(context)


def test_the_operator_deletes_its_pod_when_it_is_killed(core, kube_config, context):
    step = operator(kube_config, "sleep 60", termination_grace_period=1)
    running = threading.Thread(target=_quietly, args=(step, context))
    running.start()
    wait_for(
        lambda: [each for each in core.list_namespaced_pod(NAMESPACE).items if each.status.phase == "Running"]
    )
    wait_for(lambda: step.pod is not None)
    step.on_kill()
    wait_for(lambda: not core.list_namespaced_pod(NAMESPACE).items)
    running.join(60)
    assert not running.is_alive()


def _quietly(step: Any, context: dict[str, Any]) -> None:
    with contextlib.suppress(Exception):
        step.execute(context)


def wait_for(condition: Any, seconds: float = 20) -> Any:
    import time

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.05)
    raise AssertionError("the condition did not come true in time")


def test_the_pod_managers_functions(core):
    from airflow.providers.cncf.kubernetes.utils.container import container_is_completed, container_is_running
    from airflow.providers.cncf.kubernetes.utils.pod_manager import PodManager

    manager = PodManager(kube_client=core)
    created = manager.create_pod(pod("one", "echo a; echo b; exit 5"))
    wait_for(lambda: manager.read_pod(created).status.phase == "Failed")
    remote = manager.read_pod(created)
    assert not container_is_running(remote, "base")
    assert container_is_completed(remote, "base")
    lines = manager.read_pod_logs(
        pod=remote, container_name="base", tail_lines=1, timestamps=True, follow=False
    )
    assert b"".join(lines).endswith(b" b\n")
    reasons = {event.reason for event in manager.read_pod_events(remote).items}
    assert {"Scheduled", "Started"} <= reasons
    manager.delete_pod(remote)
    with pytest.raises(ApiException) as caught:
        manager.read_pod(remote)
    assert caught.value.status == 404


def test_statuses_read_as_the_clients_models(core):
    script = "sleep 0.2; exit 1"
    body = pod("models", script, active_deadline_seconds=600)
    side = k8s.V1Container(
        name="side", image="shell", command=["sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.05; done"],
        restart_policy="Always", security_context=RESTRICTED,
        startup_probe=k8s.V1Probe(_exec=k8s.V1ExecAction(command=["true"]), period_seconds=1),
    )  # fmt: skip
    body.spec.init_containers = [side]
    core.create_namespaced_pod(NAMESPACE, body)
    ended = wait_for(
        lambda: (found := core.read_namespaced_pod("models", NAMESPACE)).status.phase == "Failed" and found
    )
    assert isinstance(ended.status.start_time, datetime)
    assert isinstance(ended.metadata.creation_timestamp, datetime)
    terminated = ended.status.container_statuses[0].state.terminated
    assert isinstance(terminated.finished_at, datetime)
    assert ended.status.init_container_statuses[0].state.terminated.exit_code == 0
    assert {each.type for each in ended.status.conditions} >= {"PodScheduled", "Initialized", "Ready"}
    assert core.api_client.sanitize_for_serialization(ended)["status"]["phase"] == "Failed"
    (listed,) = core.list_pod_for_all_namespaces(field_selector="status.phase=Failed").items
    assert listed.metadata.uid == ended.metadata.uid
    events = core.list_namespaced_event(NAMESPACE, field_selector="involvedObject.name=models").items
    assert all(event.involved_object.uid == ended.metadata.uid for event in events)
    assert all(isinstance(event.last_timestamp, datetime) for event in events)


def test_secrets_claims_and_owner_references(core):
    secret = k8s.V1Secret(metadata=k8s.V1ObjectMeta(name="s", labels={"run": "1"}), string_data={"k": "v"})
    created = core.create_namespaced_secret(NAMESPACE, secret)
    assert created.data == {"k": "dg=="}
    owner = core.create_namespaced_pod(NAMESPACE, pod("owner", "sleep 60"))
    reference = k8s.V1OwnerReference(api_version="v1", kind="Pod", name="owner", uid=owner.metadata.uid)
    patch = {"metadata": {"ownerReferences": [core.api_client.sanitize_for_serialization(reference)]}}
    assert (
        core.patch_namespaced_secret("s", NAMESPACE, patch).metadata.owner_references[0].uid
        == owner.metadata.uid
    )
    claim = k8s.V1PersistentVolumeClaim(
        metadata=k8s.V1ObjectMeta(name="c"),
        spec=k8s.V1PersistentVolumeClaimSpec(
            access_modes=["ReadWriteOnce"],
            resources=k8s.V1VolumeResourceRequirements(requests={"storage": "1Gi"}),
        ),
    )
    assert core.create_namespaced_persistent_volume_claim(NAMESPACE, claim).status.phase == "Bound"
    core.delete_namespaced_persistent_volume_claim("c", NAMESPACE)
    deleted = core.delete_namespaced_pod("owner", NAMESPACE, grace_period_seconds=0)
    assert deleted.metadata.name == "owner"
    wait_for(lambda: not core.list_namespaced_secret(NAMESPACE, label_selector="run=1").items)


def test_the_stop_in_place_recipe(core):
    script = "trap 'echo stopped; exit 0' TERM; while true; do sleep 0.05; done"
    core.create_namespaced_pod(NAMESPACE, pod("stop", script, active_deadline_seconds=600))
    wait_for(lambda: core.read_namespaced_pod("stop", NAMESPACE).status.phase == "Running")
    core.patch_namespaced_pod("stop", NAMESPACE, {"spec": {"activeDeadlineSeconds": 1}})
    wait_for(lambda: core.read_namespaced_pod("stop", NAMESPACE).status.phase == "Failed")
    assert core.read_namespaced_pod("stop", NAMESPACE).status.reason == "DeadlineExceeded"
    answer = core.read_namespaced_pod_log("stop", NAMESPACE, container="base", _preload_content=False)
    assert answer.data == b"stopped\n"


def test_errors_are_status_objects(core):
    with pytest.raises(ApiException) as caught:
        core.read_namespaced_pod("absent", NAMESPACE)
    assert caught.value.status == 404
    assert json.loads(caught.value.body)["reason"] == "NotFound"
    bad = pod("bad", "true")
    bad.spec.containers[0].security_context = None
    with pytest.raises(ApiException) as caught:
        core.create_namespaced_pod(NAMESPACE, bad)
    assert caught.value.status == 403
    assert "violates PodSecurity" in json.loads(caught.value.body)["message"]


def test_clients_without_the_token_are_refused(core, runtime):
    with client.ApiClient(client.Configuration(host=runtime.url)) as api_client:
        stranger = client.CoreV1Api(api_client)
        for request in (stranger.list_namespaced_secret, stranger.list_namespaced_pod):
            with pytest.raises(ApiException) as caught:
                request(NAMESPACE)
            assert (caught.value.status, json.loads(caught.value.body)["reason"]) == (401, "Unauthorized")
    assert core.list_namespaced_secret(NAMESPACE).items == []


@pytest.mark.parametrize("how", ["kube_config", "kube_config_path"])
def test_both_hooks_find_the_token_through_a_connection(runtime, monkeypatch, how):
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook, KubernetesHook

    found = runtime.kubeconfig() if how == "kube_config" else str(runtime.kubeconfig_file)
    connection = {"conn_type": "kubernetes", "extra": {"in_cluster": False, how: found}}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_LOCAL", json.dumps(connection))
    hook = KubernetesHook(conn_id="kubernetes_local")
    hook.core_v1_client.create_namespaced_pod(NAMESPACE, pod("one", "true"))
    found = asyncio.run(AsyncKubernetesHook(conn_id="kubernetes_local").get_pod("one", NAMESPACE))
    assert found.metadata.name == "one"


@pytest.fixture
async def async_hook(tmp_path: Path) -> AsyncIterator[Any]:
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook

    async with LocalKubernetes(tmp_path / "data", {"shell": "sh"}) as runtime:
        yield AsyncKubernetesHook(conn_id=None, config_dict=runtime.kubeconfig(), in_cluster=False)


async def test_the_triggerers_hook(async_hook):
    from kubernetes_asyncio import client as async_client

    async with async_hook.get_conn() as connection:
        core = async_client.CoreV1Api(connection)
        body = client.ApiClient().sanitize_for_serialization(pod("one", "echo line; sleep 1.5"))
        await core.create_namespaced_pod(NAMESPACE, body)
    watched = [
        event.reason async for event in async_hook.watch_pod_events("one", NAMESPACE, timeout_seconds=1)
    ]
    assert {"Scheduled", "Started"} <= set(watched)
    for _ in range(100):
        found = await async_hook.get_pod("one", NAMESPACE)
        if found.status.phase == "Succeeded":
            break
        await asyncio.sleep(0.05)
    assert found.status.container_statuses[0].state.terminated.exit_code == 0
    logs = await async_hook.read_logs("one", NAMESPACE, container_name="base")
    assert "line" in (logs if isinstance(logs, str) else "\n".join(logs))
    events = await async_hook.get_pod_events("one", NAMESPACE)
    assert "Started" in {event.reason for event in events.items}
    await async_hook.delete_pod("one", NAMESPACE)
