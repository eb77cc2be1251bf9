"""What importing and building the shipped DAGs costs, beside a DAG file that only uses the pod operator.

Every figure is processor time of a process of its own, so that waiting for a busy machine does not count;
the files take turns, so that a slow minute hits all of them.

``python -m tests.bench.import_time [--rounds 9]``
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.table import Row, show

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
DAGS = ("coding_task", "pr_review", "agents_maintenance")
AT_MOST = 1.15
"""Most that a shipped DAG file may cost, in terms of one that only imports the pod operator."""
IN_A_TASK_AT_MOST = 1.25
"""The same where Airflow itself is imported already, so that the pod operator alone costs a third of that."""

_BASELINE = """\
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG

with DAG("only_a_pod", schedule=None):
    KubernetesPodOperator(task_id="pod", image="busybox")
"""

_IMPORT = """\
import json, resource, runpy, sys

def user():
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime

for name in sys.argv[2:]:
    __import__(name)
begun = user()
runpy.run_path(sys.argv[1])
print(json.dumps(user() - begun))
"""

_PARSE = """\
import json, resource, sys

def user():
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime

from airflow.dag_processing.dagbag import DagBag
begun = user()
bag = DagBag(sys.argv[1])
taken = user() - begun
assert not bag.import_errors and len(bag.dags) == 1, bag.import_errors
print(json.dumps(taken))
"""

WAYS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "import": (_IMPORT, ()),
    "import in a task": (_IMPORT, ("airflow.sdk.execution_time.task_runner",)),
    "parse": (_PARSE, ()),
}
"""Way → program and its further arguments. In a task and in the DAG processor Airflow itself is there already,
because both fork: what is left is the pod operator, its Kubernetes client, and what is ours."""


def measure(rounds: int = 9) -> list[Row]:
    """Return a row for each DAG and each way.

    :param rounds: processes for each figure; the first of each is not counted.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        baseline = folder / "only_a_pod.py"
        baseline.write_text(_BASELINE)
        files = {"only a pod": baseline, **{dag: ROOT / "dags" / f"{dag}.py" for dag in DAGS}}
        env = _environment(folder)
        taken: dict[tuple[str, str], list[float]] = {}
        for number in range(rounds + 1):
            for way in WAYS:
                for dag, file in files.items():
                    seconds = _run(way, file, env)
                    if number:
                        taken.setdefault((way, dag), []).append(seconds)
    return [_row(way, dag, taken[way, "only a pod"], taken[way, dag]) for way in WAYS for dag in DAGS]


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "agent-image")]),
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'none.db'}",
    }


def _run(way: str, file: Path, env: dict[str, str]) -> float:
    program, further = WAYS[way]
    done = subprocess.run(
        [sys.executable, "-c", program, str(file), *further],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{way} of {file.name}: {done.stderr[-2_000:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def _row(way: str, dag: str, alone: list[float], ours: list[float]) -> Row:
    direct, mine = statistics.median(alone), statistics.median(ours)
    return Row(
        name=f"{way}: {dag}",
        direct=f"{direct:.2f} s only a pod",
        ours=f"{mine:.2f} s",
        measured=mine / direct,
        unit="times",
        at_most=IN_A_TASK_AT_MOST if way == "import in a task" else AT_MOST,
    )


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    show(measure(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
