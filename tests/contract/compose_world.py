"""The services of ``docker-compose.yaml`` as plain programs of this machine.

The file itself is read, by Docker Compose's own program (``docker-compose config``), which also checks it. A
container's paths are found by its mounts, its hosts by the names of the services; everything else of a service's
command line, environment and health check is taken as it stands.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fetched import fetched, pip

from demo.environment import base_environment, image_folders, runtime_folders
from demo.kubernetes_client import KubernetesClient
from demo.local_stack import NAMESPACE, SECRET
from demo.processes import Part, Parts, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yaml"
REQUIREMENTS = Path(__file__).with_name("compose_tools") / "requirements.txt"
CACHE = ROOT / ".cache" / "compose-tools"
CONFIG_SECONDS = 30

LISTENED = {
    ("postgres", "5432"): ("postgres",),
    ("api-server", "8080"): ("api-server", "127.0.0.1"),
    ("github", "3000"): ("github", "127.0.0.1", "172.30.98.10"),
    ("model", "4000"): ("model", "127.0.0.1", "172.30.98.11"),
}
"""Service and its port → the names under which others know it."""

IN_IMAGE = {"/opt/agents/compose": ROOT / "deploy" / "compose"}
"""What the image's Dockerfile puts there → where it is here."""


def tools() -> Path:
    """Return the folder with Docker Compose, shellcheck and PostgreSQL's drivers; fetched once."""
    return fetched(CACHE, REQUIREMENTS, _fetch)


def _fetch() -> None:
    what = "Docker Compose, shellcheck and PostgreSQL's drivers"
    pip("install", "--upgrade", "--target", CACHE, "--requirement", REQUIREMENTS, what=what)


def compose(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Docker Compose on the file, with nothing of this machine's environment."""
    program = tools() / "bin" / "docker-compose"
    return subprocess.run(
        [program, "--file", FILE, "--project-directory", ROOT, "--env-file", os.devnull, *arguments],
        env={"PATH": os.defpath, "HOME": "/nonexistent", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=CONFIG_SECONDS,
        check=False,
    )


def config(*profiles: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the file as Docker Compose understands it.

    :raise AssertionError: it is not valid.
    """
    options = [part for profile in profiles for part in ("--profile", profile)]
    done = compose(*options, "config", "--format", "json", environment=environment)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


class World:
    """Runs services outside of containers.

    :param folder: has the volumes, logs and data; readable by PostgreSQL's user.
    """

    def __init__(self, folder: Path, *, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.services: dict[str, Any] = config("demo", environment=environment)["services"]
        self.parts = Parts(folder)
        self.ports = {key: str(free_port()) for key in LISTENED}
        self._base = base_environment(folder)
        self._home = folder / "airflow"
        # Their servers of logs would listen on fixed ports; in containers they have addresses of their own.
        self._more = {
            "AIRFLOW_HOME": str(self._home),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": self.ports["api-server", "8080"],
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "SCARF_ANALYTICS": "False",
        }

    def volume(self, name: str) -> Path:
        """Return the folder that stands for a named volume."""
        folder = self.folder / "volumes" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def outside(self, service: str, text: str) -> str:
        """Return a text of a service with paths, hosts and ports as they are here."""
        paths = {**IN_IMAGE, "/tmp": self.volume("tmp")}
        for mount in self.services[service].get("volumes") or ():
            source = self.volume(mount["source"]) if mount["type"] == "volume" else Path(mount["source"])
            paths[mount["target"]] = source
        # All at once, the longest first: what was put in is not looked at again.
        targets = "|".join(re.escape(target) for target in sorted(paths, key=len, reverse=True))
        text = re.sub(rf"(?<![\w./-])({targets})(?=[/\"\s]|$)", lambda found: str(paths[found[1]]), text)
        for (name, port), hosts in LISTENED.items():
            here = self.ports[name, port]
            for host in hosts:
                text = re.sub(rf"(?<![\w.-]){re.escape(host)}:{port}\b", f"127.0.0.1:{here}", text)
            if service == name:
                text = text.replace(f"--port={port}", f"--port={here}")
        return text.replace("--host=0.0.0.0", "--host=127.0.0.1")

    def environment(self, service: str) -> dict[str, str]:
        """Return a service's environment, with what a plain program needs beside it."""
        own = self.services[service].get("environment") or {}
        values = {name: self.outside(service, str(value)) for name, value in own.items()}
        path = os.pathsep.join([self._base["PYTHONPATH"], str(tools())])
        return {**self._base, "PYTHONPATH": path, **self._more, **values}

    def command(self, service: str) -> list[str]:
        """Return the command line; a command of Airflow's image without an entry point is one of ``airflow``."""
        described = self.services[service]
        words = [self.outside(service, str(word)) for word in described.get("command") or ()]
        entry = [self.outside(service, str(word)) for word in described.get("entrypoint") or ()]
        if not entry and described["image"] == "airflow-agents/airflow:local":
            entry = ["python", "-m", "airflow"]
        assert entry, f"{service}: nothing here stands for the entry point of {described['image']}"
        return [sys.executable, *entry[1:], *words] if entry[0] == "python" else [*entry, *words]

    def start(self, service: str) -> Part:
        """Start a service, and return at once."""
        part = self.parts.add(service, self.command(service), self.environment(service))
        part.start()
        return part

    def run(self, service: str, seconds: float) -> Part:
        """Run a service that ends by itself.

        :raise PartFailedError: it failed, or did not end in time.
        """
        part = self.start(service)
        part.wait_exit(seconds)
        return part

    def healthy(self, service: str) -> bool:
        """Run the service's health check."""
        test = self.services[service]["healthcheck"]["test"]
        assert test[0] == "CMD"
        words = [self.outside(service, str(word)) for word in test[1:]]
        if words[0] == "python":
            words[0] = sys.executable
        environment = self.environment(service) | {"PGPORT": self.ports["postgres", "5432"]}
        done = subprocess.run(words, env=environment, capture_output=True, timeout=30, check=False)
        return done.returncode == 0

    def wait_healthy(self, service: str, seconds: float) -> None:
        """Wait until a service's health check passes.

        :raise PartFailedError: it ended.
        :raise TimeoutError: it does not pass in time.
        """

        def ask() -> bool | None:
            self.parts.check()
            return self.healthy(service) or None

        wait_for(ask, what=f"health of {service}", seconds=seconds, interval=1.0)

    def start_postgres(self) -> None:
        """Start PostgreSQL as its image's entry point does: user, database and password of the service."""
        programs = postgres_programs()
        data, environment = self.volume("postgres"), self.environment("postgres")
        user, database = environment["POSTGRES_USER"], environment["POSTGRES_DB"]
        password = self.folder / "postgres-password"
        # The image reads it as root, before it becomes another user.
        password.write_text(Path(environment["POSTGRES_PASSWORD_FILE"]).read_text())
        as_user: list[str] = []
        if os.geteuid() == 0:
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            for path in (data, password):
                shutil.chown(path, "postgres", "postgres")
        data.chmod(0o700)
        initdb = [
            *as_user,
            str(programs / "initdb"),
            "--pgdata",
            str(data),
            "--username",
            user,
            "--auth=scram-sha-256",
        ]
        subprocess.run(
            [*initdb, "--pwfile", str(password), "--no-sync"],
            check=True,
            capture_output=True,
            timeout=60,
            cwd="/",
        )
        server = [*as_user, str(programs / "postgres"), "-D", str(data), "-h", "127.0.0.1"]
        server += ["-p", self.ports["postgres", "5432"], "-c", "unix_socket_directories=", "-c", "fsync=off"]
        self.parts.add("postgres", server, self._base).start()
        self.wait_healthy("postgres", 30)
        connect = [
            "psql",
            "--host=127.0.0.1",
            f"--port={self.ports['postgres', '5432']}",
            f"--username={user}",
        ]
        subprocess.run(
            [*connect, "--dbname=postgres", f"--command=CREATE DATABASE {database}"],
            env={**environment, "PGPASSWORD": password.read_text()},
            check=True,
            capture_output=True,
            timeout=30,
        )

    def start_kubernetes(self) -> KubernetesClient:
        """Start the local pod runtime in the place of k3s, with what ``cluster-init`` leaves."""
        ready = self.folder / "ready" / "kubernetes.json"
        ready.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "airflow_provider_agents.local", "--ready-file", str(ready)]
        command += ["--data", str(self.folder / "pods"), "--sandbox", "none", "--image"]
        command += [f"{self.services['agent-image']['image']}=agent-runner", "--image-path"]
        command += [f"{self.services['agent-image']['image']}=" + ":".join(map(str, image_folders()))]
        command += [part for folder in runtime_folders() for part in ("--sandbox-read", str(folder))]
        part = self.parts.add("kubernetes", command, self._base, ready_file=ready)
        part.start()
        kubeconfig = Path(part.wait_ready(60)["kubeconfig"])
        shutil.copy(kubeconfig, self.volume("cluster") / "kubeconfig")
        client = KubernetesClient(kubeconfig)
        keys = self.volume("credentials") / "keys"
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": NAMESPACE},
            "stringData": {file.name: file.read_text() for file in keys.iterdir()},
        }
        client.post(f"/api/v1/namespaces/{NAMESPACE}/secrets", secret)
        return client


def postgres_programs() -> Path:
    """Return the folder with PostgreSQL's server programs, the newest version's."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        on_path = shutil.which("initdb")
        if on_path is None:
            pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql).")
        return Path(str(on_path)).parent
    return found[-1].parent
