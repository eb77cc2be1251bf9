"""Housekeeping against the stand-in GitHub and the local pod runtime, over HTTP."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from kubernetes import client, config
from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException

from airflow_provider_agents.domain.coding_task import CodingTask
from airflow_provider_agents.domain.coding_task_request import Bounds, parse_request
from airflow_provider_agents.domain.outbound import pull_request_body
from airflow_provider_agents.domain.workspace import (
    CLAIM_VOLUME,
    GIVEN_BACK_KEY,
    LABEL_INSTALLATION,
    LABEL_RUN,
    Workspace,
)
from airflow_provider_agents.exceptions import ForgeError
from airflow_provider_agents.hooks import github_transport
from airflow_provider_agents.hooks.github_client import GitHubClient
from airflow_provider_agents.local.images import Image
from airflow_provider_agents.local.runtime import LocalKubernetes
from airflow_provider_agents.local.services import Timing
from airflow_provider_agents.operators import run_records
from airflow_provider_agents.operators.kubernetes_objects import workspace_volumes
from airflow_provider_agents.operators.stale_branches import SweepBranchesOperator
from airflow_provider_agents.operators.sweep import SweepOperator
from airflow_provider_agents.operators.sweep_cache import SweepCacheOperator
from airflow_provider_agents.operators.workspace import PrepareWorkspaceOperator, ReleaseWorkspaceOperator
from airflow_provider_agents.triggers import agent_pod
from demo.github.server import StandInGitHub

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from airflow_provider_agents.domain.stale_branches import ClosedWork

REPOSITORY, NAMESPACE = "acme/calc", "agents"
LONG_AGO = timedelta(days=20)
AGENT_IMAGE = Path(__file__).resolve().parents[2] / "agent-image"
OURS = {LABEL_INSTALLATION: "default", LABEL_RUN: "run_1"}
READ = OURS | {"already_checked": "True"}


class Loop:
    """An event loop in a thread: the operators block the one that they run in."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


class Airflow:
    """The runs that an Airflow knows, as a task of its asks for them."""

    def __init__(self) -> None:
        self.dag_id, self.run_id, self.task_id, self.map_index = "coding_task", "run_1", "task", -1
        self.runs: dict[str, tuple[str, datetime | None]] = {}
        self.xcoms: dict[tuple[str, str, str], Any] = {}
        self.try_number, self.start_date = 1, datetime.now(UTC)

    def work(self, run_id: str, head: str, number: int, **request: Any) -> None:
        """Record a run that opened a pull request."""
        self.runs[run_id] = ("failed", datetime.now(UTC) - LONG_AGO)
        task = task_of(run_id, **request).model_dump(mode="json")
        values = {"accept": task, "open_pull_request": {"number": number}, "implement": {"head_sha": head}}
        self.xcoms |= {(run_id, name, "return_value"): value for name, value in values.items()}

    def get_dr_count(self, dag_id: str, run_ids: list[str]) -> int:
        return int(dag_id == "coding_task" and run_ids[0] in self.runs)

    def get_task_states(self, run_ids: list[str], **_: Any) -> dict[str, dict[str, str]]:
        names = [name for run_id, name, _ in self.xcoms if run_id == run_ids[0]]
        return {run_ids[0]: dict.fromkeys([*names, "gate"], "success")}

    def xcom_pull(self, task_ids: str, key: str = "return_value", run_id: str | None = None, **_: Any) -> Any:
        return self.xcoms.get((run_id or self.run_id, task_ids, key))

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[self.run_id, self.task_id, key] = value

    def dag_run(self, dag_id: str, run_id: str) -> tuple[str, datetime | None]:
        return self.runs[run_id]


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Airflow:
    airflow = Airflow()
    monkeypatch.setattr(run_records, "dag_run", airflow.dag_run)
    return airflow


def task_of(run_id: str, **request: Any) -> CodingTask:
    values = {"repository": REPOSITORY, "prompt": "Mend it"} | request
    parsed, faults = parse_request(values, Bounds())
    assert parsed is not None, faults
    return CodingTask.accept(parsed, run_key=f"coding_task/{run_id}", base_sha="c" * 40, ticket=None)


# Branches


class Forge:
    """The stand-in with closed work of several runs."""

    def __init__(self, server: StandInGitHub, loop: Loop, airflow: Airflow) -> None:
        self.server, self.loop, self.airflow = server, loop, airflow
        self.repository = server.forge.store.repositories[REPOSITORY]

    def act(self, who: str, what: str, **values: Any) -> None:
        self.loop.run(self.server.act(who, what, REPOSITORY, **values))

    def push(self, branch: str, who: str = "agent") -> str:
        self.act(who, "push_commit", branch=branch, files={f"{time.monotonic_ns()}.py": "pass\n"})
        return self.branches()[branch]

    def closed_work(
        self, run_id: str, who: str = "agent", days: float = 20, base: str | None = None, **request: Any
    ) -> str:
        """Have a run open a pull request that was closed; return its branch."""
        branch = task_of(run_id, **request).work_branch
        head = self.push(branch)
        footer = f"Opened by Airflow: DAG `coding_task`, run `{run_id}`"
        body = pull_request_body("It is mended.", closes=None, footer=footer)
        more = {"base": base} if base else {}
        self.act(who, "open_pull", head=branch, title="Fix", body=body, **more)
        number = max(self.repository.pulls)
        self.act("alice", "close", number=number)
        self.repository.pulls[number].closed_at = datetime.now(UTC) - timedelta(days=days)
        self.airflow.work(run_id, head, number, **request)
        return branch

    def branches(self) -> dict[str, str]:
        refs = self.loop.run(self.repository.git.refs())
        prefix = "refs/heads/"
        return {name.removeprefix(prefix): oid for name, oid in refs.items() if name.startswith(prefix)}

    def sweep(self, **arguments: Any) -> dict[str, Any]:
        operator = SweepBranchesOperator(task_id="branches", **arguments)
        result = operator.execute({"ti": self.airflow})  # type: ignore[typeddict-item]
        assert json.loads(json.dumps(result)) == result
        return dict(result["branches"])


@pytest.fixture
def forge(tmp_path: Path, loop: Loop, airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forge]:
    if shutil.which("git") is None:
        pytest.skip("git is not installed: the stand-in keeps repositories of it")
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(github_transport, "READ_RETRY_DELAYS", (0.0, 0.0))
    seed = tmp_path / "seed"
    seed.mkdir()
    (seed / "calc.py").write_text("pass\n")
    server = StandInGitHub(tmp_path / "data", mergeability_delay=0)
    loop.run(server.__aenter__())
    try:
        for login in ("agent", "alice"):
            server.add_token(login, f"token-of-{login}")
        permissions: Any = {"agent": "write", "alice": "write"}
        loop.run(server.seed_repository(REPOSITORY, seed, permissions=permissions))
        connection = {"conn_type": "github", "host": f"{server.url}/api/v3", "password": "token-of-agent"}
        monkeypatch.setenv("AIRFLOW_CONN_GITHUB_DEFAULT", json.dumps(connection))
        yield Forge(server, loop, airflow)
    finally:
        loop.run(server.__aexit__(None, None, None))


def test_only_the_branches_of_closed_work_of_ours_go(forge: Forge) -> None:
    stale = [forge.closed_work("run_1"), forge.closed_work("run_2", days=80)]
    kept = {
        "young": forge.closed_work("run_3", days=13),
        "another account's": forge.closed_work("run_4", who="alice"),
        "moved": forge.closed_work("run_5"),
        "a person's commit": forge.closed_work("run_6"),
        "of another Airflow": forge.closed_work("run_7"),
        "to be left": forge.closed_work("run_8", delete_branch=False),
        "named by a person": forge.closed_work("run_9", work_branch="ai/mine"),
        "open again": forge.closed_work("run_10"),
        "base of another": forge.closed_work("run_11"),
        "of a run that goes on": forge.closed_work("run_12"),
    }
    forge.push(kept["moved"], "alice")
    forge.airflow.xcoms["run_6", "implement", "return_value"] = {"head_sha": "d" * 40}
    del forge.airflow.runs["run_7"]
    forge.act("alice", "open_pull", head=kept["open again"], title="Mine", body="Again")
    on_top = "alice/on-top"
    forge.push(on_top, "alice")
    forge.act("alice", "open_pull", head=on_top, base=kept["base of another"], title="On top", body="More")
    forge.airflow.runs["run_12"] = ("running", None)
    before = set(forge.branches())

    said = forge.sweep(report_only="True")
    assert set(forge.branches()) == before
    done = forge.sweep()
    assert sorted(done["names"]) == sorted(f"{REPOSITORY} {branch}" for branch in stale)
    assert said == done
    assert before - set(forge.branches()) == set(stale)
    assert done["faults"] == []
    # What it held is still there, by the pull request.
    assert forge.loop.run(forge.repository.git.resolve(forge.repository.pulls[1].head_ref_oid))
    assert forge.sweep()["deleted"] == 0


def test_a_commit_that_comes_between_judgement_and_deletion_is_safe(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    branch = forge.closed_work("run_1")
    delete = GitHubClient.delete_branch_at

    async def after_a_push(self: GitHubClient, work: ClosedWork) -> bool:
        await asyncio.to_thread(forge.push, branch, "alice")
        return await delete(self, work)

    monkeypatch.setattr(GitHubClient, "delete_branch_at", after_a_push)
    result = forge.sweep()
    assert (result["deleted"], result["kept"], result["faults"]) == (0, 1, [])
    assert branch in forge.branches()


def test_a_pull_request_that_is_opened_again_between_judgement_and_deletion_keeps_its_branch(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    branch = forge.closed_work("run_1")

    def meanwhile(dag_id: str, run_id: str) -> Any:
        forge.act("alice", "reopen", number=max(forge.repository.pulls))
        return forge.airflow.runs[run_id]

    monkeypatch.setattr(run_records, "dag_run", meanwhile)
    result = forge.sweep()
    assert (result["deleted"], result["kept"], result["faults"]) == (0, 1, [])
    assert branch in forge.branches()


def test_a_branch_that_is_gone_meanwhile_is_no_fault(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    branch = forge.closed_work("run_1")
    delete = GitHubClient.delete_branch_at

    async def after_a_deletion(self: GitHubClient, work: ClosedWork) -> bool:
        await self.delete_branch(REPOSITORY, branch)
        return await delete(self, work)

    monkeypatch.setattr(GitHubClient, "delete_branch_at", after_a_deletion)
    result = forge.sweep()
    assert (result["deleted"], result["faults"]) == (0, [])


def test_a_credential_that_may_not_delete_is_told_and_the_others_go_on(forge: Forge) -> None:
    branch = forge.closed_work("run_1")
    forge.repository.permissions["agent"] = "read"
    with pytest.raises(ForgeError, match=branch):
        forge.sweep()
    assert branch in forge.branches()


def test_a_run_that_airflow_cannot_tell_of_keeps_its_branch(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gone = forge.closed_work("run_1"), forge.closed_work("run_2")

    def away(dag_id: str, run_id: str) -> Any:
        if run_id == "run_1":
            raise RuntimeError("the API server is away")
        return forge.airflow.runs[run_id]

    monkeypatch.setattr(run_records, "dag_run", away)
    with pytest.raises(ForgeError, match="its run cannot be read: the API server is away"):
        forge.sweep()
    assert kept in forge.branches()
    assert gone not in forge.branches()


def test_zero_days_is_never(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    branch = forge.closed_work("run_1")
    monkeypatch.setenv("AIRFLOW__AGENTS__BRANCH_KEEP_DAYS", "0")
    with pytest.raises(AirflowSkipException, match="branch_keep_days is 0"):
        forge.sweep()
    assert branch in forge.branches()


# Pods and claims


@pytest.fixture
def core(tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> Iterator[client.CoreV1Api]:
    timing = Timing(retry=0.05, least_sidecar_grace=1.0, shutdown_grace=1.0)
    image = tmp_path / "image"
    image.mkdir()
    program = image / "agent-runner"
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH="{AGENT_IMAGE}" exec "{sys.executable}" -m agent_runner "$@"\n'
    )
    program.chmod(0o755)
    images = {"shell": "sh", "agent:base": Image(path=(image,))}
    runtime = LocalKubernetes(tmp_path / "cluster", images, sandbox="none", timing=timing)
    loop.run(runtime.start())
    monkeypatch.setenv("AIRFLOW__AGENTS__IMAGE", "agent:{preset}")
    extra = {"in_cluster": False, "kube_config_path": str(runtime.kubeconfig_file)}
    connection = {"conn_type": "kubernetes", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW__AGENTS__NAMESPACE", NAMESPACE)
    with config.new_client_from_config(str(runtime.kubeconfig_file)) as api_client:
        yield client.CoreV1Api(api_client)
    loop.run(runtime.stop())


def ended_pod(
    core: client.CoreV1Api, name: str, claim: str, labels: dict[str, str], script: str = "true"
) -> None:
    """Have a pod with the claim run a script to its end; the script's C is the claim."""
    security = k8s.V1SecurityContext(
        allow_privilege_escalation=False,
        capabilities=k8s.V1Capabilities(drop=["ALL"]),
        run_as_non_root=True,
        run_as_user=1000,
        seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
    )
    base = k8s.V1Container(
        name="base",
        image="shell",
        command=["sh", "-c", script],
        env=[k8s.V1EnvVar(name="C", value="/claim")],
        volume_mounts=[k8s.V1VolumeMount(name=CLAIM_VOLUME, mount_path="/claim")],
        security_context=security,
    )
    spec = k8s.V1PodSpec(containers=[base], volumes=workspace_volumes(claim), restart_policy="Never")
    metadata = k8s.V1ObjectMeta(name=name, labels=labels)
    core.create_namespaced_pod(NAMESPACE, k8s.V1Pod(metadata=metadata, spec=spec))
    for _ in range(500):
        if core.read_namespaced_pod(name, NAMESPACE).status.phase == "Succeeded":
            return
        time.sleep(0.03)
    raise AssertionError(f"{name} does not end")


def delete_pod(core: client.CoreV1Api, name: str) -> None:
    core.delete_namespaced_pod(name, NAMESPACE, grace_period_seconds=0)
    while name in names(core):
        time.sleep(0.03)


def claim_is_gone(core: client.CoreV1Api, name: str) -> bool:
    for _ in range(200):
        try:
            core.read_namespaced_persistent_volume_claim(name, NAMESPACE)
        except ApiException as error:
            return bool(error.status == 404)
        time.sleep(0.03)
    return False


def names(core: client.CoreV1Api) -> set[str]:
    return {pod.metadata.name for pod in core.list_namespaced_pod(NAMESPACE).items}


def prepare(airflow: Airflow) -> Workspace:
    values = PrepareWorkspaceOperator(task_id="workspace").execute({"ti": airflow})  # type: ignore[typeddict-item]
    workspace = Workspace.from_dict(values)
    assert workspace is not None
    return workspace


def sweep(airflow: Airflow, **arguments: Any) -> dict[str, Any]:
    return SweepOperator(task_id="sweep", **arguments).execute({"ti": airflow})  # type: ignore[typeddict-item]


def test_a_cluster_keeps_a_claim_for_an_ended_pod_and_a_release_does_not_leave_it_so(
    core: client.CoreV1Api, airflow: Airflow
) -> None:
    workspace = prepare(airflow)
    ended_pod(core, "kept", workspace.claim, READ)
    airflow.xcoms["run_1", "gate", "decision"] = {"verdict": "done", "message": "It is merged."}
    release = ReleaseWorkspaceOperator(task_id="release", workspace=workspace.to_dict(), gates=["gate"])
    assert release.execute({"ti": airflow})["released"] is True  # type: ignore[typeddict-item]
    assert claim_is_gone(core, workspace.claim)
    assert names(core) == set()
    assert airflow.xcoms["run_1", "task", GIVEN_BACK_KEY] == "It is merged."


def test_what_a_release_could_not_give_back_goes_with_its_pods(
    core: client.CoreV1Api, airflow: Airflow
) -> None:
    workspace = prepare(airflow)
    ended_pod(core, "kept", workspace.claim, READ)
    ended_pod(core, "unread", workspace.claim, OURS)
    airflow.runs["run_1"] = ("success", datetime.now(UTC) - timedelta(minutes=11))
    dry = sweep(airflow, report_only="true")
    assert names(core) == {"kept", "unread"}
    done = sweep(airflow)
    assert (dry["claims"], dry["pods"]["names"]) == (done["claims"], done["pods"]["names"])
    assert done["claims"]["names"] == [workspace.claim]
    assert done["claims"]["bytes"] == 10 * 2**30
    assert claim_is_gone(core, workspace.claim)
    assert names(core) == set()


def test_a_kept_pod_does_not_hinder_a_claim_that_is_made_anew(
    core: client.CoreV1Api, airflow: Airflow
) -> None:
    workspace = prepare(airflow)
    ended_pod(core, "kept", workspace.claim, READ)
    core.delete_namespaced_persistent_volume_claim(workspace.claim, NAMESPACE)
    assert prepare(airflow) == workspace
    assert names(core) == set()
    assert core.read_namespaced_persistent_volume_claim(workspace.claim, NAMESPACE).status.phase == "Bound"


# The cache


def sweep_cache(loop: Loop, airflow: Airflow, **arguments: Any) -> dict[str, Any]:
    """Go through the task as Airflow does: in the worker, in the triggerer, and in another worker."""
    context: Any = {"ti": airflow, "run_id": airflow.run_id, "dag": None}
    with pytest.raises(TaskDeferred) as caught:
        SweepCacheOperator(task_id="cache", startup_timeout_seconds=60, **arguments).execute(context)
    trigger = caught.value.trigger

    async def first_event() -> dict[str, Any]:
        async with asyncio.timeout(60):
            async for event in trigger.run():
                return dict(event.payload)
        raise AssertionError("no event")

    event = loop.run(first_event())
    return SweepCacheOperator(task_id="cache", **arguments).trigger_reentry(context, event)


def test_the_cache_is_swept_by_the_agents_own_program(
    core: client.CoreV1Api, loop: Loop, airflow: Airflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__CACHE_CLAIM", "agents-cache")
    monkeypatch.setattr(agent_pod, "QUIET_SECONDS", 0.0)
    with pytest.raises(AirflowSkipException, match="There is no claim agents-cache"):
        SweepCacheOperator(task_id="cache").execute({"ti": airflow})  # type: ignore[typeddict-item]
    metadata = k8s.V1ObjectMeta(name="agents-cache")
    resources = k8s.V1VolumeResourceRequirements(requests={"storage": "1Gi"})
    spec = k8s.V1PersistentVolumeClaimSpec(access_modes=["ReadWriteOnce"], resources=resources)
    claim = k8s.V1PersistentVolumeClaim(metadata=metadata, spec=spec)
    core.create_namespaced_persistent_volume_claim(NAMESPACE, claim)
    empty = sweep_cache(loop, airflow)
    assert (empty["bytes_before"], empty["freed"], empty["faults"]) == (0, 0, [])

    fill = 'mkdir -p "$C/packages/github.com/acme/x/pip" && head -c 2000000 /dev/zero > "$C/packages/github.com/acme/x/pip/a"'
    ended_pod(core, "filler", "agents-cache", {}, fill)
    delete_pod(core, "filler")
    dry = sweep_cache(loop, airflow, report_only=True, unused_days=0)
    assert dry["dry_run"] is True
    assert dry["bytes_before"] >= 2_000_000
    done = sweep_cache(loop, airflow, unused_days=0)
    assert done["freed"] == dry["freed"] >= 2_000_000
    assert {entry["path"] for entry in done["entries"]} == {"packages/github.com/acme/x"}
    assert sweep_cache(loop, airflow)["bytes_before"] < 2_000_000
    assert names(core) == set()
