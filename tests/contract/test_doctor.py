"""Doctor on a deployment without faults, and on ones with a fault each: it finds it and names the remedy."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from doctor_world import (
    CANARIES,
    FORGE,
    NAMESPACE,
    POD_FORGE,
    REPOSITORY,
    World,
    check_of,
    diagnose,
    fill_metadata,
    pod,
    policy,
    secret,
)

from airflow_provider_agents.cli.doctor import doctor, examine
from airflow_provider_agents.cli.registry import CHECKS
from airflow_provider_agents.cli.render import as_document, as_table

if TYPE_CHECKING:
    from collections.abc import Callable

pytest_plugins = ["doctor_fixtures"]


@pytest.fixture
def world(shared_world: World, metadata: str, monkeypatch: pytest.MonkeyPatch) -> World:
    """A deployment without faults."""
    shared_world.restore()
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    for name in [name for name in os.environ if name.startswith(("AIRFLOW__AGENTS__", "AIRFLOW_CONN_"))]:
        monkeypatch.delenv(name)
    for name, value in shared_world.environment().items():
        monkeypatch.setenv(name, value)
    fill_metadata()
    return shared_world


def change_rows(model: Any, **values: Any) -> None:
    from airflow.utils.session import create_session
    from sqlalchemy import update

    with create_session() as session:
        session.execute(update(model).values(**values))


def test_a_deployment_without_faults_has_no_failed_check_and_no_warning(world: World) -> None:
    report, deployment = diagnose()
    table = as_table(report, deployment.hide)
    assert {check.check_id: check.status for check in report.checks if check.status != "ok"} == {}, table
    assert report.exit_code == 0
    assert [check.check_id for check in report.checks] == [check.id for check in CHECKS]


def test_a_deployment_with_an_app_has_no_failed_check(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.use_app(monkeypatch)
    report, deployment = diagnose()
    found = [check.check_id for check in report.checks if check.status in ("failed", "warning")]
    assert found == [], as_table(report, deployment.hide)


# Faults: each breaks one thing.


def triggerer_dead(world: World, patch: pytest.MonkeyPatch) -> None:
    from airflow.jobs.job import Job

    change_rows(Job, latest_heartbeat=datetime.now(UTC) - timedelta(hours=1))


def dag_paused(world: World, patch: pytest.MonkeyPatch) -> None:
    from airflow.models.dag import DagModel

    change_rows(DagModel, is_paused=True)


def dag_absent(world: World, patch: pytest.MonkeyPatch) -> None:
    from airflow.models.dag import DagModel

    change_rows(DagModel, is_stale=True)


def dag_broken(world: World, patch: pytest.MonkeyPatch) -> None:
    from airflow.models.errors import ParseImportError
    from airflow.utils.session import create_session

    trace = "Traceback\nValueError: repositories.yaml:2: defaults.repo: unknown key"
    with create_session() as session:
        session.add(ParseImportError(filename="coding_task.py", bundle_name="agents", stacktrace=trace))


def option(name: str, value: str) -> Callable[[World, pytest.MonkeyPatch], None]:
    def act(world: World, patch: pytest.MonkeyPatch) -> None:
        patch.setenv(f"AIRFLOW__AGENTS__{name.upper()}", value)

    return act


def form(text: str) -> Callable[[World, pytest.MonkeyPatch], None]:
    def act(world: World, patch: pytest.MonkeyPatch) -> None:
        lines = "".join(f"  {line}\n" for line in text.splitlines())
        (world.folder / "agents" / "repositories.yaml").write_text(f"defaults:\n{lines}")

    return act


def template(text: str) -> Callable[[World, pytest.MonkeyPatch], None]:
    def act(world: World, patch: pytest.MonkeyPatch) -> None:
        folder = world.folder / "with-template"
        folder.mkdir(exist_ok=True)
        (folder / "pod_template.yaml").write_text(text)
        patch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", str(folder))

    return act


def without_connection(name: str) -> Callable[[World, pytest.MonkeyPatch], None]:
    return lambda world, patch: patch.delenv(f"AIRFLOW_CONN_{name}")


def cluster(**values: Any) -> Callable[[World, pytest.MonkeyPatch], None]:
    def act(world: World, patch: pytest.MonkeyPatch) -> None:
        for name, value in values.items():
            setattr(world.cluster, name, value)

    return act


def denied(resource: str, verb: str) -> Callable[[World, pytest.MonkeyPatch], None]:
    return lambda world, patch: world.cluster.denied.add((resource, verb))


def changed(path: str, value: dict[str, Any] | None) -> Callable[[World, pytest.MonkeyPatch], None]:
    return lambda world, patch: world.cluster.change(path, value)


def cluster_away(world: World, patch: pytest.MonkeyPatch) -> None:
    connection = world.kubernetes_connection()
    connection["extra"]["kube_config"]["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:9"
    patch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))


def token(value: str) -> Callable[[World, pytest.MonkeyPatch], None]:
    def act(world: World, patch: pytest.MonkeyPatch) -> None:
        connection = world.github_connection(password=value)
        patch.setenv("AIRFLOW_CONN_GITHUB_DEFAULT", json.dumps(connection))

    return act


def scopes(text: str) -> Callable[[World, pytest.MonkeyPatch], None]:
    def act(world: World, patch: pytest.MonkeyPatch) -> None:
        world.fault("/user$", status=200, body={"login": "agent"}, headers={"X-OAuth-Scopes": text})

    return act


def unreadable(path: str) -> Callable[[World, pytest.MonkeyPatch], None]:
    said = {"message": "Resource not accessible by personal access token"}
    return lambda world, patch: world.fault(path, status=403, body=said)


def app_lacks(**permissions: str) -> Callable[[World, pytest.MonkeyPatch], None]:
    def act(world: World, patch: pytest.MonkeyPatch) -> None:
        world.use_app(patch, **permissions)

    return act


def app_elsewhere(world: World, patch: pytest.MonkeyPatch) -> None:
    world.use_app(patch)
    app = world.github._app_tokens.registration
    assert app is not None
    world.github.add_app(dataclasses.replace(app, repositories=("acme/other",)))


def of_repository(**values: Any) -> Callable[[World, pytest.MonkeyPatch], None]:
    def act(world: World, patch: pytest.MonkeyPatch) -> None:
        for name, value in values.items():
            setattr(world.repository(), name, value)

    return act


def only_reads(world: World, patch: pytest.MonkeyPatch) -> None:
    world.repository().permissions["agent"] = "read"


def github_clock(world: World, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(world.github.forge.clock, "now", lambda: datetime.now(UTC) + timedelta(seconds=90))


def bad_model_key(world: World, patch: pytest.MonkeyPatch) -> None:
    values = {"github-token": POD_FORGE, "anthropic-api-key": "sk-ant-another-one"}
    world.cluster.change("secrets/agent-secrets", secret(values))


OAUTH = secret({"github-token": POD_FORGE, "anthropic-api-key": "sk-ant-oat01-abcdef"})
BACK_OFF = {"reason": "ImagePullBackOff", "message": "pull access denied"}
NO_DEFAULT = {"items": [{"metadata": {"name": "fast"}, "provisioner": "example.com/disks"}]}
FULL = {
    "items": [{"metadata": {"name": "agents"}, "status": {"hard": {"pods": "10"}, "used": {"pods": "10"}}}]
}
OPEN = policy([])
NO_EGRESS = {"metadata": {"name": "a"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}}
POLICIES = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"

FAULTS: dict[str, tuple[Callable[[World, pytest.MonkeyPatch], None], str, str, tuple[str, ...]]] = {
    # name: how it is made, check that finds it, its status, words of message and remedy
    "triggerer dead": (triggerer_dead, "airflow.triggerer", "failed", ("airflow triggerer",)),
    "DAG paused": (dag_paused, "airflow.dags", "warning", ("airflow dags unpause coding_task",)),
    "DAG absent": (dag_absent, "airflow.dags", "failed", ("dag_bundle_config_list", "AgentsDagBundle")),
    "DAG broken": (dag_broken, "airflow.dags", "failed", ("defaults.repo: unknown key", "list-import-errors")),
    "not a number": (option("max_rounds", "five"), "airflow.config", "failed", ("max_rounds", "whole number")),
    "prices": (option("prices", "{"), "airflow.config", "failed", ("prices", "not JSON", '"input"')),
    "image name": (option("image", "agent:{version}"), "airflow.config", "failed", ("{preset}",)),
    "URL": (option("anthropic_url", "proxy:80"), "airflow.config", "failed", ("anthropic_url", "https://")),
    "misspelt option": (option("namespce", "x"), "airflow.config", "warning", ("namespce", "'namespace'")),
    "source": (option("credentials", "vault"), "airflow.config", "failed", ("secret or connections",)),
    "form": (form("repo: a/b\n"), "airflow.form", "failed", ("repositories.yaml:2: defaults.repo: unknown key; did you mean `repository`?",)),
    "pod template": (
        template("apiVersion: v1\nkind: Pod\nspec:\n  hostNetwork: true\n"),
        "airflow.pod_template", "failed", ("hostNetwork", "pod_template.yaml"),
    ),
    "no GitHub": (
        without_connection("GITHUB_DEFAULT"), "github.connection", "failed", ("no connection", "airflow agents init"),
    ),
    "no cluster": (
        without_connection("KUBERNETES_DEFAULT"), "kubernetes.connection", "failed", ("airflow agents init",),
    ),
    "cluster away": (cluster_away, "kubernetes.api", "failed", ("could not be reached", "firewall")),
    "cluster refuses": (
        cluster(unauthorized=True), "kubernetes.api", "failed", ("does not accept", "Replace token"),
    ),
    "no right": (denied("pods", "create"), "kubernetes.permissions", "failed", ("create pods", "Role")),
    "no right to logs": (denied("pods/log", "get"), "kubernetes.permissions", "failed", ("get pods/log",)),
    "no events": (denied("events", "list"), "kubernetes.permissions", "warning", ("list events", "Optional")),
    "may exec": (cluster(denied=set()), "kubernetes.permissions", "warning", ("Take pods/exec out",)),
    "no namespace": (changed("", None), "kubernetes.namespace", "failed", ("kubectl create namespace",)),
    "not restricted": (
        changed("", {"metadata": {"name": NAMESPACE}, "status": {"phase": "Active"}}),
        "kubernetes.namespace", "warning", ("enforce=restricted",),
    ),
    "no account": (
        changed("serviceaccounts/agent-runner", None),
        "kubernetes.service_account", "failed", ("kubectl create serviceaccount agent-runner",),
    ),
    "token mounted": (
        changed("serviceaccounts/agent-runner", {"metadata": {"name": "agent-runner"}}),
        "kubernetes.service_account", "warning", ("automountServiceAccountToken",),
    ),
    "no policy": (changed(POLICIES, {"items": []}), "kubernetes.network_policy", "warning", ("deploy/",)),
    "metadata open": (
        changed(POLICIES, {"items": [OPEN]}),
        "kubernetes.network_policy", "warning", ("169.254.169.254", "except", "10.0.0.0/8"),
    ),
    "policy too tight": (
        changed(POLICIES, {"items": [NO_EGRESS]}),
        "kubernetes.network_policy", "warning", ("do not let the pods reach 127.0.0.1",),
    ),
    "quota": (changed("resourcequotas", FULL), "kubernetes.quota", "failed", ("pods 10 of 10", "Raise it")),
    "no default class": (
        changed(CLASSES, NO_DEFAULT), "kubernetes.storage_class", "failed", ("[agents] storage_class", "fast"),
    ),
    "wrong class": (
        option("storage_class", "gold"), "kubernetes.storage_class", "failed", ("gold", "has standard"),
    ),
    "no cache": (
        changed("persistentvolumeclaims/agents-cache", None),
        "kubernetes.cache_claim", "warning", ("without a cache", "cache_claim"),
    ),
    "image": (
        changed("pods", {"items": [pod("p", BACK_OFF)]}),
        "kubernetes.image", "failed", ("pull access denied", "image pull secrets"),
    ),
    "latest": (option("image", "agent:latest"), "kubernetes.image", "warning", ("version or a digest",)),
    "cluster's clock": (
        cluster(clock_shift=timedelta(seconds=-120)), "kubernetes.clock", "warning", ("ahead of", "NTP"),
    ),
    "GitHub's clock": (github_clock, "github.clock", "warning", ("s behind", "NTP")),
    "no secret": (
        changed("secrets/agent-secrets", None), "credentials.secret", "failed", ("kubectl create secret",),
    ),
    "no key": (
        changed("secrets/agent-secrets", secret({"github-token": POD_FORGE})),
        "credentials.secret", "failed", ("lacks anthropic-api-key", "airflow agents init"),
    ),
    "bad token": (token("ghp_revoked_000"), "github.credential", "failed", ("not accept", "new token")),
    "no scope": (scopes("read:org"), "github.permissions", "failed", ("lacks the scope repo",)),
    "workflow scope": (scopes("repo, workflow"), "github.permissions", "warning", ("workflow", "Take it")),
    "App lacks issues": (
        app_lacks(issues="read"), "github.permissions", "failed", ("Issues: write", "accept it"),
    ),
    "App lacks actions": (app_lacks(actions=""), "github.permissions", "warning", ("Actions: write",)),
    "App elsewhere": (app_elsewhere, "github.credential", "failed", ("not installed on acme/calc",)),
    "token lacks pulls": (
        unreadable("/pulls"), "github.repository", "failed", ("Pull requests: write", "HTTP 403"),
    ),
    "cannot push": (only_reads, "github.repository", "failed", ("not push to it", "Contents: write")),
    "archived": (of_repository(is_archived=True), "github.repository", "failed", ("Unarchive",)),
    "wrong name": (
        form("repository: acme/clac\n"), "github.repository", "failed", ("does not see acme/clac",),
    ),
    "merge method": (
        of_repository(squash_merge_allowed=False), "github.merging", "failed", ("merge_method: merge",),
    ),
    "no branch": (
        form(f"repository: {REPOSITORY}\nbase_branch: trunk\n"),
        "github.branch_rules", "failed", ("no branch trunk", "base_branch"),
    ),
    "no rules": (of_repository(rules={}), "github.branch_rules", "warning", ("Protect the branch",)),
    "model refuses": (bad_model_key, "model.key", "failed", ("refuses anthropic-api-key", "Replace it")),
    "OAuth as key": (
        changed("secrets/agent-secrets", OAUTH), "model.key", "failed", ("anthropic-oauth-token",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_its_remedy_named(
    name: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    act, check_id, status, words = FAULTS[name]
    act(world, monkeypatch)
    report, deployment = diagnose()
    table = as_table(report, deployment.hide)
    found = check_of(report, check_id)
    assert found.status == status, table
    told = " ".join(
        f"{finding.message} {finding.remedy}" for finding in found.findings if finding.status == status
    )
    assert all(word in told for word in words), told
    assert all(finding.remedy for check in report.checks for finding in check.findings
               if finding.status in ("failed", "warning"))  # fmt: skip
    assert report.exit_code == int(any(check.status == "failed" for check in report.checks))
    shown = table + as_document(report, "json", deployment.hide)
    assert not [canary for canary in CANARIES if canary in shown]


def test_a_credential_that_a_server_repeats_is_not_shown(world: World) -> None:
    said = f"Bad credentials: {FORGE} {POD_FORGE}"
    world.fault("/user$", status=401, body={"message": said})
    report, deployment = diagnose()
    assert check_of(report, "github.credential").status == "failed"
    for shown in (
        as_table(report, deployment.hide),
        as_document(report, "json", deployment.hide),
        as_document(report, "yaml", deployment.hide),
    ):
        assert FORGE not in shown
        assert POD_FORGE not in shown


def test_an_apps_key_is_not_shown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    private = world.use_app(monkeypatch)
    world.fault("/app/installations", status=403, body={"message": private})
    report, deployment = diagnose()
    shown = as_table(report, deployment.hide, width=4000) + as_document(report, "json", deployment.hide)
    assert not [line for line in private.splitlines()[1:-1] if line in shown]


def test_what_airflow_may_not_read_is_said_and_fails_nothing(world: World) -> None:
    namespace = f"/api/v1/namespaces/{NAMESPACE}"
    world.cluster.forbidden = {
        namespace,
        f"{namespace}/secrets/agent-secrets",
        f"{namespace}/serviceaccounts/agent-runner",
        f"{namespace}/resourcequotas",
        "/apis/networking.k8s.io/v1/namespaces/agent-system/networkpolicies",
        "/apis/storage.k8s.io/v1/storageclasses",
    }
    report, deployment = diagnose()
    table = as_table(report, deployment.hide)
    assert report.exit_code == 0, table
    for check_id in ("kubernetes.namespace", "kubernetes.network_policy", "credentials.secret"):
        (finding,) = check_of(report, check_id).findings
        assert finding.status == "skipped"
        assert "kubectl" in finding.remedy


@pytest.mark.parametrize("identity", ["system:serviceaccount:airflow:airflow-worker", ""])
def test_the_identity_in_the_cluster_is_named_where_the_cluster_tells_it(world: World, identity: str) -> None:
    world.cluster.identity = identity
    report, _ = diagnose()
    (finding,) = check_of(report, "kubernetes.api").findings
    assert finding.status == "ok"
    assert finding.message.endswith(f", as {identity}" if identity else ", Kubernetes v1.34.0")


def test_an_absent_connection_is_one_finding(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    without_connection("KUBERNETES_DEFAULT")(world, monkeypatch)
    without_connection("GITHUB_DEFAULT")(world, monkeypatch)
    report, _ = diagnose()
    for check_id in ("kubernetes.connection", "github.connection"):
        (finding,) = check_of(report, check_id).findings
        assert "there is no connection" in finding.message
        assert "TOKEN" not in finding.remedy  # not onto a command line, where others read it


def test_without_a_database_no_connection_is_called_absent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError

    def away(*arguments: Any, **options: Any) -> None:
        raise OperationalError("SELECT 1", {}, Exception("connection refused"))

    without_connection("GITHUB_DEFAULT")(world, monkeypatch)
    monkeypatch.setattr("airflow.utils.session.create_session", away)
    report, _ = diagnose()
    (finding,) = check_of(report, "github.connection").findings
    assert finding.status == "failed"
    assert "there is no connection" not in finding.message
    assert "airflow.database" in finding.remedy


def test_one_fault_hides_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster_away(world, monkeypatch)
    token("ghp_revoked_000")(world, monkeypatch)
    triggerer_dead(world, monkeypatch)
    report, _ = diagnose()
    failed = {check.check_id for check in report.checks if check.status == "failed"}
    assert {"kubernetes.api", "github.credential", "airflow.triggerer"} <= failed
    assert "needs kubernetes.api, which failed" in check_of(report, "kubernetes.quota").findings[0].message


def test_the_command_prints_one_json_document_and_has_an_exit_code(world: World, metadata: str) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__")},
        "AIRFLOW_HOME": str(world.folder),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": metadata,
        **world.environment(),
    }
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "agents", "doctor", "--output", "json"],
        env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    document = json.loads(done.stdout)
    assert (done.returncode, document["ok"], document["version"]) == (0, True, 1), done.stdout + done.stderr
    assert [check["id"] for check in document["checks"]] == [check.id for check in CHECKS]
    assert not [canary for canary in CANARIES if canary in done.stdout + done.stderr]


def test_a_failure_is_the_exit_code(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.cluster.unauthorized = True
    assert examine(skip=["airflow.*"], output="json") == 1
    printed = capsys.readouterr()
    assert not [canary for canary in CANARIES if canary in printed.out + printed.err]
    document = json.loads(printed.out)
    assert {check["status"] for check in document["checks"] if "airflow." in check["id"]} == {"skipped"}


def test_a_repository_that_is_none_is_wrong_usage(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        doctor(argparse.Namespace(skip=None, repository=["acme/calc", "calc"], output="table"))
    assert ended.value.code == 2
    assert "--repository calc" in capsys.readouterr().err


def test_a_check_that_is_none_cannot_be_skipped(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        doctor(argparse.Namespace(skip=["kubernets.*"], repository=None, output="table"))
    assert ended.value.code == 2
    assert "kubernetes.quota" in capsys.readouterr().err
