"""``deploy/`` as kubectl renders it, against Kubernetes' published schemas."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import yaml
from deploy_world import CACHE, DEPLOY, Json, rendered, rendered_with, schema_faults, tools

from airflow_provider_agents.cli.network_policy import egress_allowed, ingress_rules

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "deploy"))
from egress import Network

OVERLAYS = sorted(folder.name for folder in (DEPLOY / "overlays").iterdir())
COMPONENTS = sorted(folder.name for folder in (DEPLOY / "components").iterdir())
AGENT = {"agents.airflow/step": "fix"}
FOREIGN = {"CiliumNetworkPolicy"}
"""Kinds that Kubernetes itself does not have."""


@pytest.fixture(scope="module", autouse=True)
def fetched() -> None:
    tools()


def named(items: list[Json], kind: str) -> dict[str, Json]:
    return {item["metadata"]["name"]: item for item in items if item["kind"] == kind}


@pytest.mark.parametrize("folder", ["base", *(f"overlays/{name}" for name in OVERLAYS)])
def test_every_object_is_as_kubernetes_publishes_it(folder: str) -> None:
    items = rendered(folder)
    assert len(items) >= 10
    for item in items:
        if item["kind"] not in FOREIGN:
            assert schema_faults(item) == [], (item["kind"], item["metadata"]["name"])


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_component_can_be_added_to_the_base(name: str) -> None:
    plain, items = rendered("base"), rendered_with(name)
    assert items != plain
    assert len(items) >= len(plain)
    for item in items:
        assert schema_faults(item) == []


def test_the_schema_notices_a_field_that_does_not_exist() -> None:
    policy = copy.deepcopy(named(rendered("base"), "NetworkPolicy")["agents"])
    assert schema_faults(policy) == []
    policy["spec"]["egress"][1]["port"] = []
    assert schema_faults(policy)
    role = copy.deepcopy(named(rendered("base"), "Role")["airflow-agents"])
    role["rules"][0]["verbs"] = "get"
    assert schema_faults(role)


@pytest.mark.parametrize(
    "sample", sorted((DEPLOY / "pod-templates").glob("*.yaml")), ids=lambda file: file.stem
)
def test_the_pod_templates_have_only_fields_that_exist(sample: Path) -> None:
    pod = yaml.safe_load(sample.read_text())
    pod["spec"].setdefault("containers", [{"name": "base"}])
    assert schema_faults(pod) == []


@pytest.mark.parametrize("folder", ["base", *(f"overlays/{name}" for name in OVERLAYS)])
def test_all_that_has_a_namespace_is_in_that_of_the_agents(folder: str) -> None:
    everywhere = {"Namespace", "PriorityClass", "RuntimeClass", "ClusterRole", "ClusterRoleBinding"}
    for item in rendered(folder):
        assert item["metadata"].get("namespace") == (None if item["kind"] in everywhere else "agent-system")


@pytest.mark.parametrize("folder", ["base", *(f"overlays/{name}" for name in OVERLAYS)])
def test_no_overlay_opens_what_the_base_closes(folder: str) -> None:
    items = rendered(folder)
    policies = [item for item in items if item["kind"] == "NetworkPolicy"]
    network = Network(policies)
    for labels in (AGENT, {"app": "other"}):
        assert not network.is_reached(labels)
        for address in ("169.254.169.254", "192.168.1.1", "127.0.0.1", "::1", "fd00:ec2::254", "fe80::1"):
            assert not network.reaches_address(labels, address, 443)
    assert all(
        account["automountServiceAccountToken"] is False
        for account in named(items, "ServiceAccount").values()
    )
    namespace = named(items, "Namespace")["agent-system"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_pod_that_tries_the_network_has_only_fields_that_exist() -> None:
    assert schema_faults(yaml.safe_load((DEPLOY / "checks/network.yaml").read_text())) == []


@pytest.mark.parametrize("folder", ["base", "overlays/gvisor", "overlays/inside"])
def test_the_doctor_has_nothing_against_the_policies(folder: str) -> None:
    """Two readings of the same policies, made independently."""
    policies = [item for item in rendered(folder) if item["kind"] == "NetworkPolicy"]
    network = Network(policies)
    for address in (
        "140.82.121.4",
        "10.20.30.40",
        "169.254.169.254",
        "192.168.0.1",
        "fd00::1",
        "2606:50c0::1",
    ):
        for port in (22, 53, 80, 443):
            for labels in (AGENT, {"app": "other"}):
                assert egress_allowed(policies, labels, address, port) == network.reaches_address(
                    labels, address, port
                )
    assert not ingress_rules(policies, AGENT)
    assert ingress_rules(policies, AGENT) is not None


def test_with_cilium_nothing_goes_out_by_address() -> None:
    items = rendered("overlays/cilium")
    assert set(named(items, "NetworkPolicy")) == {"nothing"}
    assert set(named(items, "CiliumNetworkPolicy")) == {"agents"}
    network = Network([item for item in items if item["kind"] == "NetworkPolicy"])
    assert not network.reaches_address(AGENT, "140.82.121.4", 443)


@pytest.mark.parametrize("name", ["gvisor", "kata"])
def test_runtime_class_and_pod_template_name_each_other(name: str) -> None:
    assert name in named(rendered(f"overlays/{name}"), "RuntimeClass")
    template = yaml.safe_load((DEPLOY / f"pod-templates/{name}.yaml").read_text())
    assert template["spec"] == {"runtimeClassName": name}


def test_the_priority_class_that_a_template_names_is_there() -> None:
    template = yaml.safe_load((DEPLOY / "pod-templates/placement.yaml").read_text())
    priority = named(rendered("base"), "PriorityClass")[template["spec"]["priorityClassName"]]
    assert priority["preemptionPolicy"] == "Never"
    assert priority["globalDefault"] is False
    assert priority["value"] < 0


def test_the_cache_is_for_many_nodes_or_for_one() -> None:
    modes = {
        name: named(rendered_with(name), "PersistentVolumeClaim")["agents-cache"]["spec"]["accessModes"]
        for name in ("cache", "cache-one-node")
    }
    assert modes == {"cache": ["ReadWriteMany"], "cache-one-node": ["ReadWriteOnce"]}


def test_the_values_for_airflows_chart_fit_the_manifests() -> None:
    values = yaml.safe_load((DEPLOY / "helm/values.yaml").read_text())
    bound = named(rendered("overlays/dev"), "RoleBinding")["airflow-agents"]["subjects"]
    accounts = {values[part]["serviceAccount"]["name"] for part in ("workers", "triggerer", "scheduler")}
    assert {subject["name"] for subject in bound} == accounts
    agents = values["config"]["agents"]
    assert agents["namespace"] in named(rendered("base"), "Namespace")
    from airflow_provider_agents.get_provider_info import get_provider_info

    assert set(agents) <= set(get_provider_info()["config"]["agents"]["options"])
    (mount,) = values["volumeMounts"]
    assert mount["mountPath"] == agents["config_path"]
    assert mount["name"] in {volume["name"] for volume in values["volumes"]}


def test_the_connections_in_the_values_are_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import Connection

    values = yaml.safe_load((DEPLOY / "helm/values.yaml").read_text())
    (entry,) = values["env"]
    connection = Connection.from_json(entry["value"], conn_id="kubernetes_default")
    assert connection.conn_type == "kubernetes"
    assert connection.extra_dejson == {"in_cluster": True, "namespace": "agent-system"}


def test_the_tools_are_not_kept_in_the_tree() -> None:
    assert CACHE.relative_to(DEPLOY.parent).parts[0] == ".cache"
