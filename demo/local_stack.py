"""A real Airflow and the local pod runtime on one machine, working with a given GitHub and given models."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from demo.airflow_stack import AirflowStack
from demo.environment import REPOSITORY_ROOT, base_environment, image_folders, runtime_folders
from demo.http_json import HttpError
from demo.kubernetes_client import KubernetesClient
from demo.processes import Part, Parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from demo.airflow_client import AirflowClient, Login
    from demo.hosts import Hosts

NAMESPACE = "agent-system"
SECRET = "agent-secrets"
CACHE = "agents-cache"
READY_SECONDS = 60.0


class LocalStack:
    """Starts everything, and ends everything.

    Every program is a session of its own, has its log below ``folder/logs``, listens on loopback only and
    ends with this process, however that ends.

    :param folder: for databases, logs and volumes; stays when all is over, and may be used again.
    :param hosts: the GitHub and the models; ``None``: a subclass finds them out in :meth:`_find_hosts`.
    :param sandbox: how the local pod runtime shields containers from each other: ``none`` or ``bubblewrap``.
    :param api_port: port of Airflow's UI; 0: a free one.
    :param login: ask for a login, which is kept in the folder; otherwise everybody is an admin.
    :param fast: short intervals everywhere; otherwise Airflow's and the provider's own.
    :param dags_folders: further DAG bundles, name → folder.
    :param tickets: sources of tickets, name → definition.
    :param rules: rules for pull requests, name → definition.
    :param extra_env: more environment for Airflow's components; wins over what is set here.
    :param airflow_python: interpreter of another environment in which Airflow runs, with the provider as it
        is installed there; empty: this one, with the provider of this checkout.
    :param progress: told what is up.
    """

    def __init__(
        self,
        folder: Path,
        *,
        hosts: Hosts | None = None,
        sandbox: Literal["none", "bubblewrap"] = "none",
        api_port: int = 0,
        login: bool = False,
        fast: bool = True,
        dags_folders: Mapping[str, Path] | None = None,
        tickets: Mapping[str, Mapping[str, Any]] | None = None,
        rules: Mapping[str, Mapping[str, Any]] | None = None,
        extra_env: Mapping[str, str] | None = None,
        airflow_python: str = "",
        progress: Callable[[str], None] = lambda part: None,
    ) -> None:
        self.folder = folder.absolute()
        self._kubernetes: KubernetesClient | None = None
        self._hosts = hosts
        self._sandbox = sandbox
        self._fast = fast
        self._definitions = {"tickets": dict(tickets or {}), "rules": dict(rules or {})}
        self._extra_env = dict(extra_env or {})
        self._progress = progress
        self._parts = Parts(self.folder)
        self._env = base_environment(self.folder)
        elsewhere = {name: value for name, value in self._env.items() if name != "PYTHONPATH"}
        self._airflow = AirflowStack(
            self._parts,
            self.folder / "airflow",
            elsewhere if airflow_python else self._env,
            port=api_port,
            login=login,
            dags_folders=dags_folders,
            fast=fast,
            python=airflow_python or sys.executable,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def airflow(self) -> AirflowClient:
        """Airflow's REST API."""
        return self._airflow.client

    @property
    def airflow_url(self) -> str:
        """Root of Airflow's UI."""
        return self._airflow.url

    @property
    def kubernetes(self) -> KubernetesClient:
        """The local pod runtime's API.

        :raise RuntimeError: it is not up yet.
        """
        if self._kubernetes is None:
            raise RuntimeError("the local pod runtime is not up: start the stack first")
        return self._kubernetes

    @property
    def login(self) -> Login | None:
        """User and password of the UI; ``None``: everybody is let in."""
        return self._airflow.login

    @property
    def logs(self) -> Path:
        """Folder with one log file a part."""
        return self._parts.logs

    @property
    def processes(self) -> dict[str, Part]:
        """The programs by name: ``kubernetes``, ``api-server``, ``scheduler``, ``triggerer``,
        ``dag-processor``, and those of a subclass. Each can be killed and restarted.
        """
        return self._parts.as_dict()

    def start(self) -> None:
        """Start all parts and wait until they serve.

        :raise PartFailedError: a part ended or is not ready in time; all others are ended too.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._airflow.prepare()
            kubernetes = self._start_kubernetes()
            hosts = self._find_hosts()
            ready = kubernetes.wait_ready(READY_SECONDS)
            self._kubernetes = KubernetesClient(Path(ready["kubeconfig"]))
            self._put_secret(hosts.secret())
            self._ensure_cache()
            self._airflow.start(self._settings() | hosts.settings() | self._extra_env)
            self._progress("Airflow is up")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all parts and all that they started. May be called twice."""
        self._parts.stop()

    def check(self) -> None:
        """Raise :class:`~demo.processes.PartFailedError` if a part has failed meanwhile."""
        self._parts.check()

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, run_id: str | None = None) -> str:
        """Wait for the DAG, start a run and return its id."""
        self.wait_for_dag(dag_id)
        return self.airflow.trigger(dag_id, conf, run_id)

    def wait_for_dag(self, dag_id: str, seconds: float = 90.0) -> dict[str, Any]:
        """Wait until a DAG is there; see :meth:`AirflowClient.wait_for_dag`."""
        return self.airflow.wait_for_dag(dag_id, seconds)

    def wait_for_run(self, dag_id: str, run_id: str, seconds: float) -> dict[str, Any]:
        """Wait until a run has ended; see :meth:`AirflowClient.wait_for_run`."""
        return self.airflow.wait_for_run(dag_id, run_id, seconds)

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return a run."""
        return self.airflow.run(dag_id, run_id)

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return all task instances of a run."""
        return self.airflow.task_instances(dag_id, run_id)

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> str:
        """Return the log of one try as text."""
        return self.airflow.task_log(dag_id, run_id, task_id, try_number)

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """Return an XCom's value, or ``None`` if there is none."""
        return self.airflow.xcom(dag_id, run_id, task_id, key)

    def pods(self) -> list[dict[str, Any]]:
        """Return the pods that are there now, as the Kubernetes API describes them."""
        return list(self.kubernetes.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"])

    def _find_hosts(self) -> Hosts:
        """Return the hosts; a subclass that was given none starts them here."""
        if self._hosts is None:
            raise ValueError("a stack needs hosts")
        return self._hosts

    def _start_kubernetes(self) -> Part:
        return self._part(
            "kubernetes", "airflow_provider_agents.local", "--data", str(self.folder / "pods"),
            "--image", "*=agent-runner",
            "--image-path", "*=" + ":".join(map(str, image_folders())),
            "--sandbox", self._sandbox,
            *(part for folder in runtime_folders() for part in ("--sandbox-read", str(folder))),
            # Airflow's keys and database, too, and those of other stacks, wherever the checkout is.
            "--sandbox-hide", str(self.folder), "--sandbox-hide", str(REPOSITORY_ROOT),
        )  # fmt: skip

    def _part(self, name: str, module: str, *arguments: str) -> Part:
        ready_file = self.folder / "ready" / f"{name}.json"
        ready_file.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", module, "--ready-file", str(ready_file), *arguments]
        part = self._parts.add(name, command, self._env, ready_file=ready_file)
        part.start()
        return part

    def _put_secret(self, values: Mapping[str, str]) -> None:
        """Make the secret, in the place of the one that an earlier start left."""
        secrets = f"/api/v1/namespaces/{NAMESPACE}/secrets"
        try:
            self.kubernetes.delete(f"{secrets}/{SECRET}")
        except HttpError as error:
            if error.status != 404:
                raise
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": NAMESPACE},
            "type": "Opaque",
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
        }
        self.kubernetes.post(secrets, secret)

    def _ensure_cache(self) -> None:
        """Make the cache claim, or keep the one of an earlier start with all that is in it."""
        claims = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": CACHE, "namespace": NAMESPACE},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "10Gi"}},
            },
        }
        try:
            self.kubernetes.post(claims, claim)
        except HttpError as error:
            if error.status != 409:
                raise

    def _settings(self) -> dict[str, str]:
        # By its file, so that the token is neither in the environment of Airflow nor in its database.
        extra = {
            "in_cluster": False,
            "namespace": NAMESPACE,
            "kube_config_path": str(self.kubernetes.kubeconfig),
        }
        kubernetes = {"conn_type": "kubernetes", "extra": extra}
        settings = {
            "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps(kubernetes),
            "AIRFLOW__AGENTS__NAMESPACE": NAMESPACE,
            "AIRFLOW__AGENTS__SECRET": SECRET,
            "AIRFLOW__AGENTS__CACHE_CLAIM": CACHE,
        }
        config = self.folder / "agents"
        for kind, definitions in self._definitions.items():
            (config / kind).mkdir(parents=True, exist_ok=True)
            for name, definition in definitions.items():
                # JSON is YAML.
                (config / kind / f"{name}.yaml").write_text(json.dumps(definition, indent=2) + "\n")
        settings["AIRFLOW__AGENTS__CONFIG_PATH"] = str(config)
        if self._fast:
            # The stand-in registers all of its checks at the push.
            (config / "repositories.yaml").write_text("defaults:\n  settle_seconds: 2\n")
            settings["AIRFLOW__AGENTS__POLL_INTERVAL"] = "2"
        return settings
