"""A deployment for doctor: a small Kubernetes API, the stand-in GitHub and model, a metadata database in a file.

All three are real HTTP on loopback; a test breaks one thing and runs all checks.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from airflow_provider_agents.cli.deployment import Deployment
from airflow_provider_agents.cli.registry import CHECKS
from airflow_provider_agents.cli.runner import run_checks
from demo.github.app_tokens import PERMISSIONS, AppRegistration
from demo.github.server import StandInGitHub
from demo.github.state import BranchRules
from demo.model.script import Script
from demo.model.server import StandInModel

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    import pytest

    from airflow_provider_agents.cli.report import CheckReport, Report

NAMESPACE = "agent-system"
REPOSITORY = "acme/calc"
FORGE = "ghp_canary_forge_3b7e9d"
POD_FORGE = "ghp_canary_pods_51aa0c"
ANTHROPIC = "sk-ant-canary-anthropic-9e1d"
CLUSTER_TOKEN = "canary-cluster-token-77f2"
CANARIES = (FORGE, POD_FORGE, ANTHROPIC, CLUSTER_TOKEN)
SECONDS = 30.0

_N = f"/api/v1/namespaces/{NAMESPACE}"
_POLICIES = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies"
_CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
_PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"]


class Cluster:
    """The reads of a Kubernetes API that doctor does, from a table of objects by path."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.denied: set[tuple[str, str]] = set()
        """Resource, with its subresource, and verb."""
        self.forbidden: set[str] = set()
        """Paths that are answered with 403."""
        self.unauthorized = False
        self.identity = ""
        """Whose the credential is; empty: a cluster older than Kubernetes 1.28, which does not tell."""
        self.clock_shift = timedelta()
        self.reset()

    def reset(self) -> None:
        """Be the cluster of a deployment without faults."""
        self.denied = {("pods/exec", "create")}
        self.forbidden, self.unauthorized, self.clock_shift = set(), False, timedelta()
        self.identity = "system:serviceaccount:airflow:airflow-worker"
        values = {"github-token": POD_FORGE, "anthropic-api-key": ANTHROPIC}
        self.objects = {
            "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0", "gitCommit": "", "gitTreeState": "",
                         "buildDate": "", "goVersion": "", "compiler": "", "platform": ""},
            _N: {
                "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
                "status": {"phase": "Active"},
            },
            f"{_N}/pods": {"items": [pod("implement-1")]},
            f"{_N}/serviceaccounts/agent-runner": {
                "metadata": {"name": "agent-runner"}, "automountServiceAccountToken": False,
            },
            f"{_N}/secrets/agent-secrets": secret(values),
            f"{_N}/resourcequotas": {"items": []},
            f"{_N}/persistentvolumeclaims/agents-cache": {
                "metadata": {"name": "agents-cache"},
                "spec": {"accessModes": ["ReadWriteMany"]},
                "status": {"phase": "Bound"},
            },
            _POLICIES: {"items": [policy(_PRIVATE)]},
            _CLASSES: {
                "items": [
                    {
                        "metadata": {
                            "name": "standard",
                            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
                        },
                        "provisioner": "example.com/disks",
                    }
                ]
            },
        }  # fmt: skip

    def change(self, path: str, value: dict[str, Any] | None) -> None:
        """Put an object below the namespace in the place of another one; ``None``: there is none."""
        full = path if path.startswith("/") else f"{_N}/{path}".rstrip("/")
        if value is None:
            del self.objects[full]
        else:
            self.objects[full] = value

    async def answer(self, request: web.Request) -> web.Response:
        date = format_datetime(datetime.now(UTC) + self.clock_shift, usegmt=True)
        status, body = await self._answer(request)
        return web.json_response(body, status=status, headers={"Date": date})

    async def _answer(self, request: web.Request) -> tuple[int, dict[str, Any]]:
        path = request.path.rstrip("/")
        if self.unauthorized or request.headers.get("Authorization") != f"Bearer {CLUSTER_TOKEN}":
            return 401, _status(401, "Unauthorized")
        if path in self.forbidden:
            return 403, _status(403, f"{path} is forbidden")
        if path.endswith("/selfsubjectreviews") and self.identity:
            return 201, {"status": {"userInfo": {"username": self.identity}}}
        if path.endswith("/selfsubjectaccessreviews"):
            spec = (await request.json())["spec"]
            asked = spec["resourceAttributes"]
            resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
            allowed = (resource, asked["verb"]) not in self.denied
            return 201, {"spec": spec, "status": {"allowed": allowed}}
        if request.method in ("POST", "PATCH") and "/secrets" in path:
            return self._write_secret(path, await request.json(), request.method)
        if path in self.objects:
            return 200, self.objects[path]
        return 404, _status(404, f"{path} not found")

    def _write_secret(self, path: str, body: dict[str, Any], method: str) -> tuple[int, dict[str, Any]]:
        if _N not in self.objects:
            return 404, _status(404, f'namespaces "{NAMESPACE}" not found')
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                return 409, _status(409, "already exists")
            self.objects[path] = body
        else:
            self.objects[path]["data"] |= body["data"]
        return 201, self.objects[path]


def _status(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "status": "Failure", "message": message, "code": code}


def secret(values: dict[str, str]) -> dict[str, Any]:
    """Return the installation's secret."""
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"metadata": {"name": "agent-secrets"}, "data": encoded}


def policy(cut: list[str]) -> dict[str, Any]:
    """Return a policy: nothing in, everything out but some ranges."""
    public = {"ipBlock": {"cidr": "0.0.0.0/0", "except": cut}}
    return {
        "metadata": {"name": "agents"},
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "egress": [{"to": [public]}],
        },
    }


def pod(name: str, waiting: dict[str, str] | None = None) -> dict[str, Any]:
    """Return a pod that ran, or that waits for its image."""
    state = {"waiting": waiting} if waiting else {"terminated": {"exitCode": 0}}
    status = {
        "name": "base", "image": "registry.example.com/agent:1", "imageID": "" if waiting else "sha256:1",
        "ready": False, "restartCount": 0, "state": state,
    }  # fmt: skip
    return {
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "base"}]},
        "status": {"phase": "Pending", "containerStatuses": [status]},
    }


class World:
    """One deployment without faults; :meth:`set` and the parts break it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cluster = Cluster()
        self.model = StandInModel(Script(scenes=()), api_key=ANTHROPIC)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None
        self.cluster_url = ""
        self.github: StandInGitHub

    def start(self) -> None:
        self._thread.start()
        self.await_(self._start())

    def stop(self) -> None:
        self.await_(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    def await_(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)

    async def _start(self) -> None:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self.cluster.answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.cluster_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        await self.model.start()
        self.github = await self._new_github()

    async def _new_github(self) -> StandInGitHub:
        github = StandInGitHub(None, mergeability_delay=0)
        for token in (FORGE, POD_FORGE):
            github.add_token("agent", token)
        await github.start()
        rules = {"main": BranchRules(required_checks=("test",))}
        await github.seed_synthetic(REPOSITORY, {"README.md": "calc\n"}, rules=rules)
        return github

    async def _stop(self) -> None:
        await self.github.stop()
        await self.model.stop()
        if self._runner is not None:
            await self._runner.cleanup()

    def restore(self) -> None:
        """Be without faults again."""
        self.cluster.reset()

        async def renew() -> None:
            await self.github.stop()
            self.github = await self._new_github()

        self.await_(renew())

    def fault(self, path: str, **action: Any) -> None:
        """Let GitHub answer a path otherwise, for ever."""
        self.await_(_call(self.github.faults.add, {"match": {"path": path}, "times": None, "action": action}))

    def repository(self) -> Any:
        """The repository's state in the stand-in."""
        return self.github.forge.store.repositories[REPOSITORY]

    def environment(self) -> dict[str, str]:
        """Settings and connections of the deployment."""
        config = self.folder / "agents"
        config.mkdir(exist_ok=True)
        (config / "repositories.yaml").write_text(
            f"defaults:\n  repository: {REPOSITORY}\n  merge_method: squash\n"
        )
        return {
            "AIRFLOW_CONN_GITHUB_DEFAULT": json.dumps(self.github_connection()),
            "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps(self.kubernetes_connection()),
            "AIRFLOW__AGENTS__NAMESPACE": NAMESPACE,
            "AIRFLOW__AGENTS__ANTHROPIC_URL": self.model.url,
            "AIRFLOW__AGENTS__CONFIG_PATH": str(config),
            "AIRFLOW__AGENTS__CACHE_CLAIM": "agents-cache",
            "AIRFLOW__AGENTS__IMAGE": "registry.example.com/agent:1",
        }

    def github_connection(self, **more: Any) -> dict[str, Any]:
        return {"conn_type": "github", "host": f"{self.github.url}/api/v3", "password": FORGE, **more}

    def kubernetes_connection(self) -> dict[str, Any]:
        return {
            "conn_type": "kubernetes",
            "extra": {"in_cluster": False, "namespace": NAMESPACE, "kube_config": self.kubeconfig()},
        }

    def kubeconfig(self) -> dict[str, Any]:
        return {
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": self.cluster_url}}],
            "users": [{"name": "c", "user": {"token": CLUSTER_TOKEN}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c", "namespace": NAMESPACE}}],
        }  # fmt: skip

    def use_app(self, monkeypatch: pytest.MonkeyPatch, **permissions: str) -> str:
        """Let the connection have an App instead of a token; return its private key.

        :param permissions: that differ from what is needed; empty: not granted.
        """
        key = _key()
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        granted = {name: level for name, level in {**PERMISSIONS, **permissions}.items() if level}
        self.github.add_app(AppRegistration(app_id="77", public_key=public.decode(), permissions=granted))
        extra = {"app_id": "77", "private_key": private}
        monkeypatch.setenv(
            "AIRFLOW_CONN_GITHUB_DEFAULT", json.dumps(self.github_connection(password=None, extra=extra))
        )
        return private


@functools.cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


async def _call(work: Any, *arguments: Any) -> None:
    work(*arguments)


def diagnose(*repositories: str) -> tuple[Report, Deployment]:
    """Run all checks."""
    deployment = Deployment(repositories)
    return run_checks(CHECKS, deployment), deployment


def check_of(report: Report, check_id: str) -> CheckReport:
    """Return what one check found."""
    return next(check for check in report.checks if check.check_id == check_id)


COMPONENTS = {"SchedulerJob": "scheduler", "TriggererJob": "triggerer", "DagProcessorJob": "dag_processor"}


def fill_metadata() -> None:
    """Let every component be alive, and every DAG be there."""
    from airflow.jobs.job import Job
    from airflow.models.connection import Connection
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.errors import ParseImportError
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    from airflow_provider_agents.cli.checks.airflow_parts import DAGS
    from airflow_provider_agents.plugins.pools import ensure_pools

    ensure_pools()
    with create_session() as session:
        for model in (Job, DagModel, ParseImportError, Connection, DagBundleModel):
            session.execute(delete(model))
        session.add(DagBundleModel(name="agents"))
        session.flush()
        for job_type in COMPONENTS:
            session.add(Job(job_type=job_type, state="running", latest_heartbeat=datetime.now(UTC)))
        for dag_id in DAGS:
            session.add(DagModel(dag_id=dag_id, bundle_name="agents", is_paused=False, is_stale=False))
