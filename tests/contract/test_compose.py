"""``docker-compose.yaml`` as Docker Compose reads it, and what its cluster is given."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml
from compose_world import ROOT, compose, config, tools
from deploy_world import rendered, schema_faults
from deploy_world import tools as kubernetes_tools

if TYPE_CHECKING:
    from pathlib import Path

DEMO_ONLY = {"github", "model", "demo"}
ADMIN = """
apiVersion: v1
kind: Config
current-context: k3s
contexts: [{name: k3s, context: {cluster: k3s, user: admin}}]
clusters: [{name: k3s, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: admin, user: {token: x}}]
"""


def test_valid_without_any_variable():
    assert config()["services"].keys() == config("demo")["services"].keys() - DEMO_ONLY


def test_a_misspelt_key_is_found(tmp_path: Path):
    """Docker Compose does check the file: else the test above says nothing."""
    wrong = tmp_path / "docker-compose.yaml"
    wrong.write_text((ROOT / "docker-compose.yaml").read_text().replace("healthcheck:", "healthchek:", 1))
    done = compose("--file", str(wrong), "config", "--quiet")
    assert done.returncode != 0
    assert "healthchek" in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "at"),
    [
        ("GITHUB_TOKEN", "ghp_x", ("settings", "environment", "GITHUB_TOKEN")),
        ("AGENT", "codex", ("scheduler", "environment", "AIRFLOW__AGENTS__AGENT")),
        ("AGENT_PRESET", "full", ("agent-image", "build", "args", "PRESET")),
        ("AGENTS_SUBNET", "10.9.8", ("cluster-init", "environment", "STAND_IN_GITHUB")),
        ("CLUSTER_MEMORY", "16g", ("k3s", "deploy", "resources", "limits", "memory")),
    ],
)
def test_variables_arrive(variable: str, value: str, at: tuple[str, ...]):
    found = config(environment={variable: value})["services"]
    for name in at:
        found = found[name]
    expected = {"10.9.8": "10.9.8.10", "16g": str(16 << 30)}.get(value, value)
    assert found == expected


def test_scripts_are_clean():
    scripts = sorted((ROOT / "deploy" / "compose").glob("*.sh"))
    done = subprocess.run(
        [tools() / "bin" / "shellcheck", *scripts], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_clusters_manifests_are_valid_and_airflows_account_has_its_rights():
    manifests = rendered("compose/cluster")
    assert not [fault for one in manifests for fault in schema_faults(one)]
    by_name = {(one["kind"], one["metadata"]["name"]): one for one in manifests}
    bound = by_name["RoleBinding", "airflow-agents"]["subjects"]
    account = {"kind": "ServiceAccount", "name": "airflow-worker", "namespace": "airflow"}
    assert account in bound
    assert by_name["ServiceAccount", "airflow-worker"]["metadata"]["namespace"] == "airflow"
    token = by_name["Secret", "airflow-token"]
    assert token["metadata"]["annotations"] == {"kubernetes.io/service-account.name": "airflow-worker"}
    assert token["metadata"]["namespace"] == "airflow"
    script = (ROOT / "deploy" / "compose" / "cluster-init.sh").read_text()
    assert "account=airflow-worker\n" in script
    assert "account_namespace=airflow\n" in script


def test_the_demos_policy_is_valid():
    text = (ROOT / "deploy" / "compose" / "demo-network-policy.yaml").read_text()
    policy = yaml.safe_load(
        text.replace("STAND_IN_GITHUB", "10.9.8.10").replace("STAND_IN_MODEL", "10.9.8.11")
    )
    assert not schema_faults(policy)
    selectors = {
        json.dumps(one["spec"]["podSelector"])
        for one in rendered("compose/cluster")
        if one["kind"] == "NetworkPolicy"
    }
    assert json.dumps(policy["spec"]["podSelector"]) in selectors, "it would open the way for other pods"


def test_kubectl_makes_the_gateways_secret_of_the_credentials(tmp_path: Path):
    """The real kubectl makes the manifest; only the calls to the cluster are left out."""
    (tmp_path / "kubectl").write_text(
        "#!/bin/sh\n"
        f'case "$*" in *" create secret "*) exec {kubernetes_tools()}/kubectl/kubectl "$@" ;;\n'
        f"*'jsonpath={{.data.token}}'*) printf dG9rZW4= ;;\n"
        f'*"--server-side"*"--filename -") cat > {tmp_path}/applied.yaml ;;\nesac\n'
    )
    (tmp_path / "kubectl").chmod(0o755)
    keys = tmp_path / "credentials" / "keys"
    keys.mkdir(parents=True)
    values = {"github-token": "ghp_x$y'z", "anthropic-api-key": "sk-ant-ä"}
    for name, value in values.items():
        (keys / name).write_text(value)
    (tmp_path / "credentials" / "mode").write_text("real")
    (tmp_path / "admin").write_text(ADMIN)
    script = ROOT / "deploy" / "compose" / "cluster-init.sh"
    done = subprocess.run(
        ["/bin/sh", script, "https://127.0.0.1:1", script.parent, tmp_path / "credentials", tmp_path],
        env={
            "PATH": f"{tmp_path}:{os.defpath}",
            "HOME": str(tmp_path),
            "KUBECONFIG": str(tmp_path / "admin"),
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    secret = yaml.safe_load((tmp_path / "applied.yaml").read_text())
    assert (secret["metadata"]["namespace"], secret["metadata"]["name"]) == ("agent-system", "agent-secrets")
    assert {name: base64.b64decode(data).decode() for name, data in secret["data"].items()} == values
