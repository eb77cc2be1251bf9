"""The DAG of a rollback."""

from __future__ import annotations

import itertools
import runpy
from pathlib import Path

import pytest
from airflow.sdk import DAG, TriggerRule
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_agents.domain.pools import RULES_POOL
from airflow_provider_agents.domain.rollback_files import RollbackFile, rollback_files
from airflow_provider_agents.task_groups.rollback import rollback_dag

TASKS = ["detect", "find_candidate", "open_pull_request", "land", "confirm", "call_person"]
DAGS = Path(__file__).resolve().parents[3] / "dags"


def file(folder: Path, text: str) -> RollbackFile:
    (folder / "rollbacks").mkdir(exist_ok=True)
    (folder / "rollbacks" / "shop.yaml").write_text(text)
    (found,) = rollback_files(folder)
    return found


def test_one_line_of_tasks_one_run_at_a_time(tmp_path: Path) -> None:
    dag = rollback_dag(file(tmp_path, "application: shop\nrepository: acme/shop\n"))
    assert dag.dag_id == "rollback__shop"
    assert dag.max_active_runs == 1
    assert [task.task_id for task in dag.topological_sort()] == TASKS
    for before, after in itertools.pairwise(TASKS):
        assert dag.get_task(after).upstream_task_ids == {before}
    assert dag.get_task("call_person").trigger_rule == TriggerRule.ALL_DONE
    # What counts towards the limits of a repository is done by one task at a time.
    assert {task.task_id for task in dag.tasks if task.pool == RULES_POOL} == {"open_pull_request", "land"}


def test_it_is_scheduled_by_its_watcher(tmp_path: Path) -> None:
    dag = rollback_dag(file(tmp_path, "application: shop\nrepository: acme/shop\n"))
    assert [one.name for one in dag.timetable.asset_condition.objects] == ["agents_rollback__shop"]
    for name in ("detect", "find_candidate"):
        assert [one.name for one in dag.get_task(name).inlets] == ["agents_rollback__shop"]
    assert DagSerialization.to_dict(dag)["dag"]["dag_id"] == "rollback__shop"


@pytest.mark.parametrize(
    "text", ["application: shop\n", "application: shop\nrepository: acme/shop\nenabled: false\n"]
)
def test_a_broken_or_disabled_one_is_there_and_watches_nothing(tmp_path: Path, text: str) -> None:
    dag = rollback_dag(file(tmp_path, text))
    assert [task.task_id for task in dag.topological_sort()] == TASKS
    assert dag.schedule is None
    assert dag.get_task("detect").inlets == []


def test_the_dag_file_makes_one_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", str(tmp_path))
    file(tmp_path, "application: shop\nrepository: acme/shop\n")
    (tmp_path / "rollbacks" / "broken.yaml").write_text("application: 7\n")
    found = runpy.run_path(str(DAGS / "rollbacks.py"))
    dags = {value.dag_id for value in found.values() if isinstance(value, DAG)}
    assert dags == {"rollback__shop", "rollback__broken"}
