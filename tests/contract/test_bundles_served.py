"""The shipped DAGs work from a folder and from a Git repository of an existing Airflow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PARSE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(dag_folder=sys.argv[1], bundle_path=None)
print(json.dumps([sorted(bag.dags), list(bag.import_errors.values())]))
"""
LOCAL = """
from airflow.dag_processing.bundles.local import LocalDagBundle
bundle = LocalDagBundle(name="agents", path={root!r} + "/dags")
bundle.initialize()
print(bundle.path)
"""
GIT = """
from airflow.providers.git.bundles.git import GitDagBundle
bundle = GitDagBundle(name="agents", repo_url={root!r}, tracking_ref={ref!r}, subdir="dags")
bundle.initialize()
assert bundle.get_current_version().version == {ref!r}, bundle.get_current_version()
print(bundle.path)
"""


def python(code: str, home: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(home / "bundles"),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "HOME": str(home),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'agent-image'}",
        },
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("kind", ["local", "git"])
def test_dags_of_a_bundle(kind: str, tmp_path: Path) -> None:
    if kind == "git":
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if found.returncode:
            pytest.skip("this is no git checkout")
        code = GIT.format(root=str(ROOT), ref=found.stdout.strip())
    else:
        code = LOCAL.format(root=str(ROOT))
    path = python(code, tmp_path)
    expected = '[["agents_maintenance", "coding_task", "pr_review", "pr_rule_escalation"], []]'
    assert python(PARSE, tmp_path, path) == expected
