"""Real steps on the local pod runtime, behind a guard that allows what the Role in ``deploy/`` allows.

And the pod template of an installation, as it arrives in the pod that the API server has.
"""

from __future__ import annotations

import asyncio
import copy
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from deploy_world import DEPLOY, kubectl, tools
from pod_world import NAMESPACE, World
from role_guard import RoleGuard, allows, right

from airflow_provider_agents.exceptions import AgentsError, InvalidInputError
from airflow_provider_agents.hooks.github import AgentsGitHubHook
from airflow_provider_agents.operators.kubernetes_objects import cluster_client
from airflow_provider_agents.operators.step_secrets import delete_leftovers
from airflow_provider_agents.operators.workspace import PrepareWorkspaceOperator, ReleaseWorkspaceOperator
from airflow_provider_agents.triggers import agent_pod

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "deploy"))
from manifests import Json, added_rules, base, one

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECTION = "kubernetes_faults"


def role(*components: str) -> list[Json]:
    """Return the rules of the Role in the base, with those that components add."""
    rules = one(base(), "Role", "airflow-agents")["rules"]
    return copy.deepcopy([*rules, *(rule for name in components for rule in added_rules(name))])


def without(rules: list[Json], verb: str, resource: str) -> list[Json]:
    """Return rules that lack one right."""
    split = [{**rule, "resources": [each]} for rule in rules for each in rule["resources"]]
    return [
        {
            **rule,
            "verbs": [each for each in rule["verbs"] if (each, rule["resources"][0]) != (verb, resource)],
        }
        for rule in split
    ]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path)
    monkeypatch.setattr(agent_pod, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(AgentsGitHubHook, "run", lambda hook, work, **more: None)
    monkeypatch.setenv("AIRFLOW_CONN_GITHUB_DEFAULT", '{"conn_type": "github", "password": "token-of-tests"}')
    monkeypatch.setenv("AIRFLOW_CONN_ANTHROPIC_DEFAULT", '{"conn_type": "http", "password": "key-of-tests"}')
    world.start()
    asyncio.run(world.create_secret())
    world.go()
    yield world
    world.stop()


@pytest.fixture
def guard(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[RoleGuard]:
    guard = RoleGuard(world.runtime, NAMESPACE, role())
    guard.start()
    extra = {"in_cluster": False, "namespace": NAMESPACE, "kube_config": guard.kubeconfig}
    monkeypatch.setenv(
        "AIRFLOW_CONN_KUBERNETES_FAULTS", json.dumps({"conn_type": "kubernetes", "extra": extra})
    )
    yield guard
    guard.stop()


def prepare(world: World) -> Any:
    operator = PrepareWorkspaceOperator(
        task_id="workspace", namespace=NAMESPACE, kubernetes_conn_id=CONNECTION
    )
    return operator.execute({"ti": world.ti})  # type: ignore[typeddict-item]


@pytest.mark.parametrize("deferrable", [True, False])
def test_the_base_lets_a_run_through(world: World, guard: RoleGuard, deferrable: bool) -> None:
    workspace = prepare(world)
    assert workspace["claim"]
    assert world.run(workspace=workspace, deferrable=deferrable)["outcome"] == "succeeded"
    release = ReleaseWorkspaceOperator(task_id="release", workspace=workspace, kubernetes_conn_id=CONNECTION)
    assert release.execute({"ti": world.ti})["kept_until"]  # type: ignore[typeddict-item]
    # Storage classes are not of the namespace; nothing else was refused, and no secret was asked for.
    assert {resource for _, resource in guard.refused} <= {"storageclasses"}
    assert {("create", "pods"), ("get", "pods/log"), ("create", "persistentvolumeclaims")} <= guard.used
    assert not {resource for _, resource in guard.used if resource in ("secrets", "pods/exec", "pods/attach")}


@pytest.mark.parametrize(
    ("verb", "resource"), [("create", "pods"), ("list", "pods"), ("get", "persistentvolumeclaims")]
)
def test_a_right_that_is_missing_is_noticed(world: World, guard: RoleGuard, verb: str, resource: str) -> None:
    guard.rules = without(role(), verb, resource)
    with pytest.raises(Exception, match=rf"(?s)cannot {verb} resource|may not {verb} {resource}|Forbidden"):
        world.run(workspace=prepare(world))
    assert (verb, resource) in guard.refused


def test_short_lived_credentials_need_their_component(
    world: World, guard: RoleGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__CREDENTIALS", "connections")
    with pytest.raises(AgentsError, match="may not create secrets"):
        world.run()
    assert guard.refused == [("create", "secrets")]
    guard.refused.clear()
    guard.rules = role("short-lived-credentials")
    assert world.run()["outcome"] == "succeeded"
    delete_leftovers(cluster_client(CONNECTION), NAMESPACE, "default")
    assert guard.refused == []
    assert {("create", "secrets"), ("patch", "secrets"), ("list", "secrets")} <= guard.used
    assert ("get", "secrets") not in guard.used


TEMPLATE: Json = {
    "metadata": {"labels": {"team": "a"}},
    "spec": {
        "imagePullSecrets": [{"name": "registry"}],
        "runtimeClassName": "gvisor",
        "priorityClassName": "agents",
        "nodeSelector": {"pool": "agents"},
        "tolerations": [{"key": "agents", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 1, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname"}}
                ]
            }
        },
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
    },
}


@pytest.mark.parametrize("kind", ["Pod", "PodTemplate"])
def test_the_template_arrives_in_the_pod_that_the_api_server_has(
    world: World, guard: RoleGuard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    body = TEMPLATE if kind == "Pod" else {"template": TEMPLATE}
    (folder / "pod_template.yaml").write_text(yaml.safe_dump({"apiVersion": "v1", "kind": kind, **body}))
    monkeypatch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", str(folder))
    seen: list[Json] = []
    (world.folder / "go").unlink()

    async def look(world: World) -> None:
        seen.append(await world.working())
        world.go()

    assert world.run(look)["outcome"] == "succeeded"
    (pod,) = seen
    for field, value in TEMPLATE["spec"].items():
        assert pod["spec"][field] == value, field
    assert pod["metadata"]["labels"]["team"] == "a"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["serviceAccountName"] == "agent-runner"
    assert pod["spec"]["securityContext"]["runAsUser"] == 1000


def test_a_dangerous_template_makes_no_pod(
    world: World, guard: RoleGuard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pod_template.yaml"
    spec = {"hostNetwork": True, "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "spec": spec}))
    monkeypatch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", str(tmp_path))
    with pytest.raises(InvalidInputError, match=r"spec\.hostNetwork: .*\n.*spec\.volumes\[0\]\.hostPath: "):
        world.run()
    assert ("create", "pods") not in guard.used


def test_what_a_dag_gives_its_operator_is_judged_by_the_namespace(world: World, guard: RoleGuard) -> None:
    """A DAG's author may set everything; the namespace's Pod Security does not let the pod in."""
    template = {
        "apiVersion": "v1",
        "kind": "Pod",
        "spec": {
            "containers": [{"name": "base"}],
            "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
        },
    }
    with pytest.raises(Exception, match=r"(?s)violates PodSecurity.*hostPath"):
        world.run(pod_template_dict=template)
    assert asyncio.run(world.pods()) == []


def test_kubectl_applies_the_cache_claim(world: World, guard: RoleGuard, tmp_path: Path) -> None:
    tools()
    guard.rules = None
    config = tmp_path / "kubeconfig"
    config.write_text(yaml.safe_dump(guard.kubeconfig))
    claim = (DEPLOY / "components/cache/claim.yaml").read_text().replace("agent-system", NAMESPACE)
    arguments = ["--kubeconfig", str(config), "--namespace", NAMESPACE]
    for word in ("created", "unchanged"):
        done = kubectl("apply", "--validate=false", "--filename", "-", *arguments, text=claim)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == f"persistentvolumeclaim/agents-cache {word}"
    done = kubectl("get", "persistentvolumeclaims", "agents-cache", "--output", "json", *arguments)
    assert json.loads(done.stdout)["spec"]["accessModes"] == ["ReadWriteMany"]


def test_kubectl_makes_the_secret_that_the_gateway_mounts(
    world: World, guard: RoleGuard, tmp_path: Path
) -> None:
    guard.rules = None
    config = tmp_path / "kubeconfig"
    config.write_text(yaml.safe_dump(guard.kubeconfig))
    arguments = ["--kubeconfig", str(config), "--namespace", NAMESPACE]
    assert kubectl("delete", "secret", "agent-secrets", *arguments).returncode == 0
    for name in ("github-token", "anthropic-key"):
        (tmp_path / name).write_text(f"{name} of tests")
    made = kubectl(
        "create", "secret", "generic", "agent-secrets", f"--from-file=github-token={tmp_path}/github-token",
        f"--from-file=anthropic-api-key={tmp_path}/anthropic-key", "--dry-run=client", "--output", "yaml", *arguments,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    # Applied, not created at once: kubectl writes what it creates in a form that is not JSON.
    done = kubectl("apply", "--validate=false", "--filename", "-", *arguments, text=made.stdout)
    assert done.returncode == 0, done.stderr
    guard.rules = role()
    assert world.run()["outcome"] == "succeeded"


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/v1/namespaces/n/pods", {}, ("n", "", "pods", "", "list")),
        ("GET", "/api/v1/namespaces/n/pods", {"watch": "true"}, ("n", "", "pods", "", "watch")),
        ("GET", "/api/v1/namespaces/n/pods/p/log", {}, ("n", "", "pods/log", "p", "get")),
        ("POST", "/api/v1/namespaces/n/pods/p/exec", {}, ("n", "", "pods/exec", "p", "create")),
        ("DELETE", "/api/v1/namespaces/n/pods", {}, ("n", "", "pods", "", "deletecollection")),
        ("PATCH", "/api/v1/namespaces/n/secrets/s", {}, ("n", "", "secrets", "s", "patch")),
        (
            "GET",
            "/apis/storage.k8s.io/v1/storageclasses/fast",
            {},
            ("", "storage.k8s.io", "storageclasses", "fast", "get"),
        ),
        ("GET", "/version", {}, None),
    ],
)
def test_the_guard_reads_requests_as_a_cluster_does(
    method: str, path: str, query: Any, expected: Any
) -> None:
    assert right(method, path, query) == expected


def test_the_guard_reads_rules_as_a_cluster_does() -> None:
    rules = role("check-secret")
    assert allows(rules, "", "pods", "", "create")
    assert not allows(rules, "", "pods/exec", "p", "create")
    assert not allows(rules, "apps", "pods", "", "create")
    assert allows(rules, "", "secrets", "agent-secrets", "get")
    assert not allows(rules, "", "secrets", "other", "get")
    assert not allows(rules, "", "secrets", "", "list")
