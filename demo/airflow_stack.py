"""A real Airflow on this machine: the four components as programs of their own, with SQLite."""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
import time
from typing import TYPE_CHECKING

from demo.airflow_client import AirflowClient, Login
from demo.processes import Part, PartFailedError, Parts, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

API_SERVER = "api-server"
COMPONENTS = (API_SERVER, "scheduler", "triggerer", "dag-processor")
START_SECONDS = 180.0
MIGRATE_SECONDS = 120.0
START_TRIES = 3

USER = "admin"
PASSWORDS_FILE = "passwords.json"

AGENTS_BUNDLE = {
    "name": "agents",
    "classpath": "airflow_provider_agents.bundles.AgentsDagBundle",
    "kwargs": {},
}
_LOCAL_BUNDLE = "airflow.dag_processing.bundles.local.LocalDagBundle"


class AirflowStack:
    """An Airflow with every component on loopback.

    :param parts: where its programs are added.
    :param folder: ``AIRFLOW_HOME``. Keys and password are kept in it, so that a later start can go on with it.
    :param env: environment of its programs, without any ``AIRFLOW…``.
    :param port: port of the api-server; 0: a free one.
    :param dags_folders: further DAG bundles, name → folder.
    :param login: ask for user and password; otherwise everybody who reaches the port is an admin.
    :param fast: look for work more often than an installation would, which costs processor time.
    :param python: interpreter of the environment that Airflow and the provider are installed in.
    """

    def __init__(
        self,
        parts: Parts,
        folder: Path,
        env: Mapping[str, str],
        *,
        port: int = 0,
        login: bool = False,
        dags_folders: Mapping[str, Path] | None = None,
        fast: bool = True,
        python: str = sys.executable,
    ) -> None:
        self._parts = parts
        self._python = python
        self._folder = folder
        self._fixed_port = port
        self._bundles = [
            AGENTS_BUNDLE,
            *(
                {"name": name, "classpath": _LOCAL_BUNDLE, "kwargs": {"path": str(path)}}
                for name, path in (dags_folders or {}).items()
            ),
        ]
        self._folder.mkdir(parents=True, exist_ok=True)
        self._kept = _kept_secrets(folder / "kept-secrets.json")
        self.login = Login(user=USER, password=self._kept["password"]) if login else None
        """``None``: none is asked for."""
        self._env = {**env, **self._settings(fast=fast)}
        self._migrate: Part | None = None
        self.client = AirflowClient("", self.login)

    @property
    def url(self) -> str:
        """Root of the UI and of the API."""
        return self.client.url

    def prepare(self) -> None:
        """Start to make the database, and return at once."""
        if self.login:
            passwords = self._folder / PASSWORDS_FILE
            passwords.touch(mode=0o600)
            passwords.write_text(json.dumps({self.login.user: self.login.password}) + "\n")
        command = [self._python, "-m", "airflow", "db", "migrate"]
        self._migrate = self._parts.add("db-migrate", command, self._env)
        self._migrate.start()

    def start(self, extra_env: Mapping[str, str]) -> None:
        """Start all components and wait until each says that it is healthy.

        :param extra_env: settings that were not known before: connections, ``[agents]``.
        :raise PartFailedError: a component ended, or is not healthy in time.
        """
        if self._migrate is None:
            self.prepare()
        assert self._migrate is not None
        self._migrate.wait_exit(MIGRATE_SECONDS)
        self._env |= extra_env
        for attempt in range(1, START_TRIES + 1):
            self._start_components()
            try:
                self._wait_healthy()
            except PartFailedError:
                # Another program may have taken the port between our choice and the api-server's start.
                lost_port = "address already in use" in self._parts[API_SERVER].tail()
                if self._fixed_port or not lost_port or attempt == START_TRIES:
                    raise
                for name in COMPONENTS:
                    self._parts[name].stop()
            else:
                return

    def _start_components(self) -> None:
        port = self._fixed_port or free_port()
        self.client = AirflowClient(f"http://127.0.0.1:{port}", self.login)
        env = self._env | {
            "AIRFLOW__API__BASE_URL": self.client.url,
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.client.url}/execution/",
        }
        # Logs are read from the disk they share: no log servers, which would listen on fixed ports.
        options = {"scheduler": ["--skip-serve-logs"], "triggerer": ["--skip-serve-logs"]}
        for name in COMPONENTS:
            command = [self._python, "-m", "airflow", name, *options.get(name, [])]
            self._parts.add(name, command, env).start()

    def _wait_healthy(self) -> None:
        missing = dict.fromkeys(("metadatabase", "scheduler", "triggerer", "dag_processor"), "no answer")

        def healthy() -> bool | None:
            for name in COMPONENTS:
                if not self._parts[name].running:
                    part = self._parts[name]
                    raise part.failure(f"ended with exit code {part.exit_code} while Airflow started")
            states = self.client.health()
            for name in list(missing):
                if states.get(name) == "healthy":
                    del missing[name]
                else:
                    missing[name] = states.get(name, "no answer")
            return None if missing else True

        deadline = time.monotonic() + START_SECONDS
        while not healthy():
            if time.monotonic() > deadline:
                name = next(iter(missing)).replace("_", "-")
                part = self._parts[API_SERVER if "no answer" in missing.values() else name]
                raise part.failure(f"not healthy within {START_SECONDS:.0f} s: {missing}")
            time.sleep(0.2)

    def _settings(self, *, fast: bool) -> dict[str, str]:
        database = self._folder / "airflow.db"
        settings = {
            "core": {
                "dags_are_paused_at_creation": "False",
                "executor": "LocalExecutor",
                "fernet_key": self._kept["fernet_key"],
                "load_examples": "False",
                "parallelism": "4",
                **self._access(),
            },
            "api": {"host": "127.0.0.1", "secret_key": self._kept["secret_key"], "workers": "1"},
            "api_auth": {"jwt_secret": self._kept["jwt_secret"]},
            # Five components write to one file; the default, 5 s, is too short for a busy machine.
            "database": {"sql_alchemy_conn": f"sqlite:///{database}?timeout=60"},
            "dag_processor": {
                "dag_bundle_config_list": json.dumps(self._bundles),
                "min_file_process_interval": "5" if fast else "30",
                "parsing_processes": "1",
                "refresh_interval": "5",
            },
            "scheduler": {"scheduler_idle_sleep_time": "0.2" if fast else "1"},
            # The default of 5 s is too short where a few starting tasks keep both cores busy.
            "workers": {"execution_api_timeout": "60"},
            "logging": {"base_log_folder": str(self._folder / "logs"), "colored_console_log": "False"},
            "usage_data_collection": {"enabled": "False"},
        }
        return {"AIRFLOW_HOME": str(self._folder), "SCARF_ANALYTICS": "False"} | {
            f"AIRFLOW__{section.upper()}__{option.upper()}": value
            for section, options in settings.items()
            for option, value in options.items()
        }

    def _access(self) -> dict[str, str]:
        if self.login is None:
            return {"simple_auth_manager_all_admins": "True"}
        return {
            "simple_auth_manager_all_admins": "False",
            "simple_auth_manager_users": f"{self.login.user}:admin",
            "simple_auth_manager_passwords_file": str(self._folder / PASSWORDS_FILE),
        }


def _kept_secrets(file: Path) -> dict[str, str]:
    """Return the keys of this Airflow, made at the first start.

    :raise OSError: they cannot be read or written.
    :raise ValueError: the file is damaged.
    """
    if file.exists():
        return dict(json.loads(file.read_text()))
    made = {
        "fernet_key": base64.urlsafe_b64encode(os.urandom(32)).decode(),
        "secret_key": secrets.token_hex(32),
        # All components must hold the same one, of at least 64 bytes.
        "jwt_secret": secrets.token_hex(64),
        "password": secrets.token_urlsafe(12),
    }
    new = file.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(json.dumps(made))
    new.replace(file)
    return made
