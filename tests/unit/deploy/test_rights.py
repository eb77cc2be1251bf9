"""The rights in ``deploy/`` against the calls that the code makes: neither too few nor too many.

The calls are found in the source: every method of the Kubernetes client that is named there, and those that
``KubernetesPodOperator`` and its hook make for us. ``tests/contract/test_deploy_rights.py`` records the calls
of real steps.
"""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

from manifests import COMPONENTS, added_rules, base, objects, one, rights

import airflow_provider_agents
from airflow_provider_agents.cli.rights import RIGHTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PACKAGE = Path(airflow_provider_agents.__file__).parent

VERBS = {
    "create": "create",
    "read": "get",
    "list": "list",
    "patch": "patch",
    "delete": "delete",
    "replace": "update",
}
RESOURCES = {
    "pod": "pods", "pod_log": "pods/log", "pod_exec": "pods/exec", "event": "events", "secret": "secrets",
    "persistent_volume_claim": "persistentvolumeclaims", "storage_class": "storageclasses",
    "service_account": "serviceaccounts", "resource_quota": "resourcequotas", "network_policy": "networkpolicies",
    "config_map": "configmaps", "namespace": "namespaces", "node": "nodes", "service": "services",
    "limit_range": "limitranges",
}  # fmt: skip
METHOD = re.compile(rf"(connect_get|connect_post|{'|'.join(VERBS)})(?:_namespaced)?_({'|'.join(RESOURCES)})")

STOCK = {("get", "pods"), ("get", "pods/log"), ("list", "events")}
"""``AsyncKubernetesHook.get_pod``, ``read_logs`` and ``get_pod_events``, which the trigger calls."""


def calls(files: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Yield verb and resource of each client method that is named in the files."""
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and (found := METHOD.fullmatch(node.attr)):
                yield VERBS.get(found[1], found[1]), RESOURCES[found[2]]


def sources(*folders: str) -> list[Path]:
    return [file for folder in folders for file in sorted((PACKAGE / folder).rglob("*.py"))]


def role() -> set[tuple[str, str]]:
    return rights(one(base(), "Role", "airflow-agents")["rules"])


def component(name: str) -> set[tuple[str, str]]:
    return {(verb, resource.partition("=")[0]) for verb, resource in rights(added_rules(name))}


def cluster_wide() -> set[tuple[str, str]]:
    return rights(
        one(
            objects(COMPONENTS / "storage-classes/role.yaml"), "ClusterRole", "airflow-agents-storage-classes"
        )["rules"]
    )


@functools.cache
def running() -> frozenset[tuple[str, str]]:
    """What the operators and triggers call."""
    return frozenset(calls(sources("operators", "triggers", "sensors", "hooks", "task_groups"))) | STOCK


def test_the_source_is_read() -> None:
    found = running()
    assert {("create", "secrets"), ("list", "pods"), ("create", "persistentvolumeclaims")} <= found
    assert len(found) >= 12


def test_the_base_and_the_components_have_every_right_that_is_used() -> None:
    granted = role() | component("short-lived-credentials") | component("check-secret") | cluster_wide()
    assert running() - granted == set()


def test_no_right_is_granted_that_is_not_used() -> None:
    # The pod operator creates the pods, our trigger's base deletes them.
    used = running() | {("create", "pods"), ("delete", "pods")}
    assert role() - used == set()
    assert component("short-lived-credentials") - used == set()
    assert component("check-secret") - used == set()
    doctor = set(calls(sources("cli")))
    assert component("doctor") - doctor == set()
    assert cluster_wide() - used - doctor == set()


def test_the_doctor_has_the_rights_that_it_uses() -> None:
    granted = role() | component("check-secret") | component("doctor") | cluster_wide()
    used = set(calls(sources("cli")))
    # `init` makes the secret, with the rights of the person who runs it.
    assert used - granted <= {("create", "secrets"), ("patch", "secrets")}


def test_the_doctor_asks_for_the_rights_that_are_granted_here() -> None:
    asked = {(verb, right.resource) for right in RIGHTS for verb in right.verbs}
    granted = role() | component("short-lived-credentials") | component("check-secret") | cluster_wide()
    assert asked == granted


def test_the_base_reads_no_secret_and_runs_nothing_in_pods() -> None:
    everything = (
        role() | component("short-lived-credentials") | component("check-secret") | component("doctor")
    )
    assert not {resource for _, resource in role() if resource.startswith("secrets")}
    assert not {
        resource for _, resource in everything if resource in ("pods/exec", "pods/attach", "pods/portforward")
    }
    assert not {
        verb for verb, _ in everything if verb in ("*", "escalate", "bind", "impersonate", "deletecollection")
    }
    for item in base():
        assert item["kind"] not in ("ClusterRole", "ClusterRoleBinding")
        for rule in item.get("rules") or []:
            assert "*" not in rule["resources"] + rule["apiGroups"] + rule["verbs"]


def test_secrets_are_read_by_name_alone() -> None:
    (rule,) = added_rules("check-secret")
    assert rule["resourceNames"] == ["agent-secrets"]
    assert ("get", "secrets") not in rights(added_rules("short-lived-credentials"))


def test_the_agents_service_account_is_bound_to_nothing() -> None:
    every = [*base(), *objects(*sorted(COMPONENTS.rglob("role.yaml")))]
    bound = [
        (subject["namespace"], subject["name"])
        for item in every
        if item["kind"].endswith("RoleBinding")
        for subject in item["subjects"]
    ]
    assert bound
    assert {namespace for namespace, _ in bound} == {"airflow"}
    accounts = [item for item in base() if item["kind"] == "ServiceAccount"]
    assert {item["metadata"]["name"] for item in accounts} == {"agent-runner", "default"}
    assert all(item["automountServiceAccountToken"] is False for item in accounts)
