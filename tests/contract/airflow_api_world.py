"""A real Airflow api-server with the shipped DAGs and a database in a file; nothing schedules or works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from unittest import mock

from airflow_provider_agents.cli import api_access
from demo.airflow_client import AirflowClient, Login
from demo.environment import base_environment
from demo.processes import Parts, free_port, wait_for
from tests.unit.cli.command_line import Ended, call_line

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
DAG = "coding_task"
SECONDS = 90.0

# What a scheduler, workers and triggerers would have written: states, times and XComs of tasks.
_WRITE = """
import json, sys
from datetime import datetime
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import select

said = json.loads(sys.stdin.read())
with create_session() as session:
    run = session.scalar(select(DagRun).where(DagRun.dag_id == said["dag"], DagRun.run_id == said["run"]))
    for name, value in said["values"].items():
        setattr(run, name, datetime.fromisoformat(value) if name.endswith(("_date", "_at")) else value)
    for task_id, values in said["tasks"].items():
        task = session.scalar(
            select(TaskInstance).where(
                TaskInstance.dag_id == said["dag"], TaskInstance.run_id == said["run"], TaskInstance.task_id == task_id
            )
        )
        for name, value in values.items():
            setattr(task, name, datetime.fromisoformat(value) if name.endswith("_date") else value)
"""

# What a scheduler does with a run whose last tasks, those that tidy up, have ended.
_SETTLE = """
import sys
from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from sqlalchemy import select

with create_session() as session:
    run = session.scalar(select(DagRun).where(DagRun.dag_id == sys.argv[1], DagRun.run_id == sys.argv[2]))
    for task in run.get_task_instances(session=session):
        if task.task_id in ("report", "release_workspace"):
            task.state = "success"
    session.flush()
    run.dag = DBDagBag().get_dag_for_run(run, session=session)
    run.update_state(session=session, execute_callbacks=False)
    print("state", run.state.value if hasattr(run.state, "value") else run.state)
"""


class AirflowApiWorld:
    """Starts the api-server, and writes what the parts that are not there would have written.

    :param folder: for the database and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.login = Login(user="admin", password="correct-horse")
        self._parts = Parts(folder)
        self.client = AirflowClient("", self.login)
        passwords = folder / "passwords.json"
        passwords.write_text(json.dumps({self.login.user: self.login.password, "vic": "watches"}) + "\n")
        self._env = base_environment(folder) | {
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__FERNET_KEY": "",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{self.login.user}:admin,vic:viewer",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API_AUTH__JWT_SECRET": "0" * 64,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}?timeout=60",
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(
                [
                    {
                        "name": "agents",
                        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                        "kwargs": {"path": str(ROOT / "dags")},
                    }
                ]
            ),
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "task-logs"),
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "SCARF_ANALYTICS": "False",
        }

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._parts.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.stop()

    @property
    def url(self) -> str:
        """Root of the api-server."""
        return self.client.url

    def _start(self) -> None:
        self._airflow("db", "migrate")
        self._airflow("dags", "reserialize")
        port = free_port()
        env = self._env | {"AIRFLOW__API__PORT": str(port)}
        server = self._parts.add("api-server", [sys.executable, "-m", "airflow", "api-server"], env)
        server.start()
        self.client = AirflowClient(f"http://127.0.0.1:{port}", self.login)
        wait_for(lambda: self.client.health() or None, what="the api-server", seconds=SECONDS)

    def _airflow(self, *arguments: str) -> None:
        self._python("-m", "airflow", *arguments)

    def _python(self, *arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            input=stdin,
            env=self._env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-3_000:]
        return done.stdout

    def write(
        self,
        run_id: str,
        values: Mapping[str, Any] | None = None,
        tasks: Mapping[str, Mapping[str, Any]] | None = None,
        xcoms: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Write into the database what a run at work would have.

        :param values: columns of the DAG run.
        :param tasks: task id → columns.
        :param xcoms: task id → key → value.
        """
        said = {"dag": DAG, "run": run_id, "values": values or {}, "tasks": tasks or {}}
        self._python("-c", _WRITE, stdin=json.dumps(said))
        for task_id, entries in (xcoms or {}).items():
            for key, value in entries.items():
                path = f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries"
                self.client.request("POST", path, {"key": key, "value": value})

    def settled(self, run_id: str) -> str:
        """End the tasks that tidy up, and return what Airflow then makes of the run."""
        return self._python("-c", _SETTLE, DAG, run_id).strip().splitlines()[-1].removeprefix("state ")

    def write_log(self, run_id: str, task_id: str, lines: list[str], try_number: int = 1) -> None:
        """Add lines to the log of a task."""
        folder = self.folder / "task-logs" / f"dag_id={DAG}" / f"run_id={run_id}" / f"task_id={task_id}"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"attempt={try_number}.log").open("a") as log:
            log.writelines(line + "\n" for line in lines)

    def call(self, *line: str, user: str = "admin", password: str = "correct-horse") -> Ended:
        """Run ``airflow agents …`` in this process."""
        environ = {api_access.URL: self.url, api_access.USERNAME: user, api_access.PASSWORD: password}
        with mock.patch.dict(os.environ, environ):
            os.environ.pop(api_access.TOKEN, None)
            return call_line(*line)

    def cli(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run ``airflow agents …`` in an environment of its own, whose database cannot be used."""
        home = self.folder / "client"
        home.mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, "-m", "airflow", "agents", *arguments],
            input=stdin,
            env=base_environment(home)
            | {
                "AIRFLOW_HOME": str(home),
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/there/is/none.db",
                "AIRFLOW_AGENTS_API_URL": self.url,
                "AIRFLOW_AGENTS_API_USERNAME": self.login.user,
                "AIRFLOW_AGENTS_API_PASSWORD": self.login.password,
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "agent-image")]),
            },
            cwd=home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
