"""What parsing the shipped DAG files imports beside the pod operator, which every task process pays again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DAGS = ("coding_task", "pr_review", "agents_maintenance")

SMALL = frozenset(
    {
        "airflow.providers.standard.utils",
        "airflow.providers.standard.utils.skipmixin",
        "airflow.sdk.bases.operatorlink",
        "airflow.sdk.definitions.retry_policy",
    }
)
"""What our operators need of others and the pod operator does not: modules of Airflow that import nothing else."""

LATER = (
    "airflow_provider_agents.domain.escalation",
    "airflow_provider_agents.domain.flakes",
    "airflow_provider_agents.domain.landing",
    "airflow_provider_agents.domain.plan_reply",
    "airflow_provider_agents.domain.pull_request",
    "airflow_provider_agents.domain.run_report",
    "airflow_provider_agents.hooks.github",
    "airflow_provider_agents.local",
    "airflow_provider_agents.operators.credential_check",
    "airflow_provider_agents.operators.landing_look",
    "airflow_provider_agents.operators.plan_round",
    "airflow_provider_agents.operators.review_material",
    "airflow_provider_agents.operators.step_credentials",
    "airflow_provider_agents.triggers.pull_request",
    "airflow_provider_agents.triggers.ticket_comments",
)
"""Our own modules that only a task which runs needs."""

PROGRAM = """\
import json, os, runpy, sys
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG

with DAG("only_a_pod", schedule=None):
    KubernetesPodOperator(task_id="pod", image="busybox")
before = set(sys.modules)
found = {}
for file in sys.argv[1:]:
    read, write = os.pipe()
    child = os.fork()  # each file alone, and all that they share only once
    if child == 0:
        runpy.run_path(file)
        with os.fdopen(write, "w") as pipe:
            json.dump(sorted(set(sys.modules) - before), pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        found[file] = json.loads(pipe.read() or "null")
    os.waitpid(child, 0)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The names of the modules that each DAG file imports beyond those of the pod operator."""
    files = {dag: str(ROOT / "dags" / f"{dag}.py") for dag in DAGS}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *files.values()],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=ROOT,
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow"))},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return {dag: found[file] for dag, file in files.items()}


@pytest.mark.parametrize("dag", DAGS)
def test_a_dag_file_imports_nothing_of_others_but_the_pod_operator(
    imported: dict[str, list[str]], dag: str
) -> None:
    assert imported[dag], "the DAG file could not be imported"
    ours = ("airflow_provider_agents", "agent_runner")
    foreign = {name for name in imported[dag] if name.split(".")[0] not in ours}
    assert foreign - SMALL == set()


@pytest.mark.parametrize("dag", DAGS)
def test_what_only_a_running_task_needs_is_imported_by_it(imported: dict[str, list[str]], dag: str) -> None:
    assert [name for name in imported[dag] if name in LATER] == []
