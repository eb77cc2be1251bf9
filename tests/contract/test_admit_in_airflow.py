"""The task ``admit`` as Airflow itself runs it: its calls, its Variable, its deferral and its resumption."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_agents.domain.coding_task import CodingTask
from airflow_provider_agents.domain.coding_task_request import CodingTaskRequest

ROOT = Path(__file__).parents[2]
AIRFLOW = (sys.executable, "-m", "airflow")

DAG_FILE = """
import json, os

from airflow.sdk import DAG, task

from airflow_provider_agents.operators.admit import AdmitOperator
from airflow_provider_agents.operators.pulled import Pulled
from airflow_provider_agents.triggers import capacity

capacity.SETTINGS_SECONDS = 1.0  # the limits are read anew at each look

with DAG("waits", schedule=None) as dag:

    @task
    def accept():
        return json.loads(os.environ["ACCEPTED"])

    @task
    def finish():
        return None

    accept() >> AdmitOperator(task_id="admit", coding_task=Pulled("accept")) >> finish()
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of an Airflow with a database, a bundle and its own settings."""
    home = tmp_path_factory.mktemp("admit")
    (home / "dags").mkdir()
    (home / "settings").mkdir()
    (home / "dags" / "waits.py").write_text(DAG_FILE)
    request = CodingTaskRequest(repository="acme/shop", prompt="Mend it.")
    task = CodingTask.accept(request, run_key="waits/x", base_sha="c" * 40, ticket=None)
    bundle = {"name": "own", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle"}
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW__")},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(
            [{**bundle, "kwargs": {"path": str(home / "dags")}}]
        ),
        "AIRFLOW__AGENTS__CONFIG_PATH": str(home / "settings"),
        "ACCEPTED": task.model_dump_json(),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "agent-image")]),
    }
    subprocess.run([*AIRFLOW, "db", "migrate"], env=environment, check=True, capture_output=True, timeout=180)
    return environment


def test_a_run_waits_while_its_repository_is_paused_and_then_goes_on(airflow: dict[str, str]) -> None:
    home = Path(airflow["AIRFLOW_HOME"])
    settings = home / "settings" / "repositories.yaml"
    settings.write_text("repositories:\n  acme/*: {paused: true}\n")
    command = [*AIRFLOW, "dags", "test", "waits", "-f", str(home / "dags" / "waits.py")]
    log: list[str] = []
    with subprocess.Popen(
        command, env=airflow, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            log.append(line)
            if "new_state=deferred" in line:
                settings.write_text("{}\n")
        assert process.wait(timeout=120) == 0
    text = "".join(log)
    assert "Waiting: 1st of 1: acme/shop is paused." in text
    assert "new_state=deferred" in text
    with sqlite3.connect(home / "airflow.db") as database:
        states = dict(database.execute("SELECT task_id, state FROM task_instance").fetchall())
        xcoms = dict(database.execute("SELECT key, value FROM xcom WHERE task_id = 'admit'").fetchall())
        books = database.execute("SELECT COUNT(*) FROM variable WHERE key = 'agents_capacity'").fetchone()
    database.close()
    assert states == dict.fromkeys(("accept", "admit", "finish"), "success")
    assert json.loads(xcoms["waiting"])["why"] == "acme/shop is paused"
    result: dict[str, Any] = json.loads(xcoms["return_value"])
    assert result["waited_seconds"] >= 5
    assert books == (1,)
